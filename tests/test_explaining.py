"""Explaining: maps that point at what a score rests on by construction, written in the source's geometry."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from attending import deidentify, intake
from attending.cli import app
from attending.errors import AttendingError, ModelRefused, NotAdmitted, PromptRefused
from attending.exporting.heat_picture import heat_picture, layer
from attending.exporting.parametric_map import parametric_map
from attending.models import Card
from attending.models.occlusion import falls, hidden, patches, touched
from attending.records import Code, Detection, Image, ImageFacts, Producer
from attending.tasks.explaining import explain
from attending.testing.dicom import oblique, write_series

CODE = Code("99TEST", "spot", "Spot")
CARD = Card(
    "spots", "1", "Spots", ("Detector",), "numpy", "Apache-2.0", modalities=("MR",), labels={"spot": CODE},
    intended_use="MR",
)  # fmt: skip


@dataclass
class Spots:
    """A detector whose score rests on one place by construction: a logistic of the mean of a box, less another's."""

    box: tuple[slice, ...]
    against: tuple[slice, ...] | None = None
    card: Card = CARD

    def detect(self, image: Image, progress: Any = None) -> tuple[Detection, ...]:
        value = float(image.voxels[self.box].mean()) - 300
        if self.against is not None:
            value -= float(image.voxels[self.against].mean())
        return (Detection(CODE, float(1 / (1 + np.exp(-value / 100)))),)


def picture(shape: Sequence[int] = (1, 60, 80), modality: str = "MR") -> Image:
    """Texture in the middle, air around it."""
    rng = np.random.default_rng(5)
    voxels = gaussian_filter(rng.normal(0, 1, shape), [0, 1, 1] + [0] * (len(shape) - 3)) * 200 + 300
    voxels[:, :12] = voxels[:, :, :16] = voxels[:, -12:] = voxels[:, :, -16:] = 0
    voxels = np.clip(voxels, 0, 255 if len(shape) == 4 else None)
    kind = np.uint8 if len(shape) == 4 else np.int16
    return Image(ImageFacts("i1", tuple(shape), None, None, modality), voxels.astype(kind))


def lit(image: Image, box: tuple[slice, ...], value: float = 900) -> Image:
    voxels = image.voxels.copy()
    voxels[box] = min(value, 255) if voxels.dtype == np.uint8 else value
    return Image(image.facts, voxels)


AT = (slice(0, 1), slice(20, 28), slice(50, 58))
OTHER = (slice(0, 1), slice(36, 44), slice(24, 32))


@pytest.mark.parametrize("shape", [(1, 60, 80), (1, 7, 5), (2, 33, 9), (20, 31, 17), (1, 1, 40)])
@pytest.mark.parametrize("part", [1 / 3, 1 / 6])
def test_patches_cover_the_image(shape: tuple[int, int, int], part: float) -> None:
    seen = np.zeros(shape, bool)
    for box in patches(shape, part):
        seen[box] = True
    assert seen.all()


@pytest.mark.parametrize("fill", ["blur", "mean"])
def test_the_map_is_hot_where_the_score_rests(fill: Any) -> None:
    image = lit(picture(), AT)
    got = explain(image, Spots(AT), fill=fill)
    assert got.heat.dtype == np.float32 and got.heat.shape == (1, 60, 80)
    _, y, x = np.unravel_index(got.heat.argmax(), got.heat.shape)
    assert 20 <= y < 28 and 50 <= x < 58
    assert got.hidden_score is not None and got.hidden_score < 0.9 < got.score
    assert got.box is not None and got.box[0] <= 54 <= got.box[3] and got.box[1] <= 24 <= got.box[4]
    assert got.deletion_area < got.insertion_area
    assert got.deletion[0] == got.insertion[-1] == got.score and len(got.deletion) == 11
    np.testing.assert_array_equal(got.heat, explain(image, Spots(AT), fill=fill).heat)


def test_what_speaks_against_is_negative_and_air_is_nothing() -> None:
    image = lit(lit(picture(), AT), OTHER)
    got = explain(image, Spots(AT, OTHER), "spot")
    assert got.heat[AT].mean() > 0 > got.heat[OTHER].mean()
    assert max(np.abs(got.heat[0, :2]).max(), np.abs(got.heat[0, :, :2]).max()) < 0.05 * got.heat.max()


def test_a_score_that_is_a_sum_falls_by_what_was_hidden() -> None:
    rng = np.random.default_rng(1)
    whole, filled, weights = (rng.normal(size=(1, 12, 12)) for _ in range(3))
    boxes = patches((1, 12, 12), 1 / 3)
    drops, asked = falls(whole, filled, boxes, lambda v: (v * weights).sum(axis=(1, 2, 3)), 0.0)
    expected = [((whole - filled) * weights)[box].sum() for box in boxes]
    np.testing.assert_allclose(drops, expected, atol=1e-9)
    assert asked == len(boxes) == 25


def test_volumes_and_colour_keep_their_grid() -> None:
    box = (slice(6, 9), slice(20, 28), slice(50, 58))
    solid = explain(lit(picture((12, 60, 80)), box), Spots(box))
    z, y, x = np.unravel_index(solid.heat.argmax(), solid.heat.shape)
    assert 5 <= z <= 9 and 16 <= y <= 31 and 46 <= x <= 61
    coloured = explain(lit(picture((1, 60, 80, 3)), AT), Spots(AT))
    assert coloured.heat.shape == (1, 60, 80) and coloured.heat[AT].mean() > coloured.heat.mean()


def test_a_constant_image_has_no_map() -> None:
    image = Image(picture().facts, np.full((1, 60, 80), 7, np.int16))
    got = explain(image, Spots(AT))
    assert not got.heat.any() and got.box is None and got.hidden_score is None
    assert any("no part of the image" in note for note in got.notes)
    assert not touched(image.voxels, hidden(image)).any()


def test_what_cannot_be_explained_is_refused() -> None:
    with pytest.raises(NotAdmitted, match="its modality is CT, the card admits MR"):
        explain(picture(modality="CT"), Spots(AT))
    with pytest.raises(PromptRefused, match="a label that spots does not know; allowed: one of: spot"):
        explain(picture(), Spots(AT), "glioma")
    with pytest.raises(ModelRefused, match=r"spots has no grad_cam.*allowed: occlusion; do: say --method occlusion"):
        explain(picture(), Spots(AT), method="grad_cam")

    class Mute:
        card = Card("mute", "1", "Mute", ("Segmenter",), "numpy", "MIT")

    with pytest.raises(ModelRefused, match="gives no score that could be explained"):
        explain(picture(), Mute())


def test_a_phrase_is_explained_by_an_encoder_of_both() -> None:
    class Both:
        card = Card("both", "1", "Both", ("Encoder", "TextEncoder"), "numpy", "MIT")
        space = "both/1"

        def encode(self, images: Sequence[Image]) -> Any:
            rows = [[i.voxels[AT].mean(), 300.0] for i in images]
            vectors = np.array(rows, np.float32)
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

        def encode_texts(self, texts: Sequence[str]) -> Any:
            return np.array([[1.0, 0.0]] * len(texts), np.float32)

    got = explain(lit(picture(), AT), Both(), "a bright spot")
    assert got.unit == "cosine" and got.label == "a bright spot"
    _, y, x = np.unravel_index(got.heat.argmax(), got.heat.shape)
    assert 20 <= y < 28 and 50 <= x < 58
    with pytest.raises(PromptRefused, match="no phrase"):
        explain(picture(), Both())


def test_a_heads_scores_at_once_are_its_scores_one_by_one() -> None:
    import test_models_head as heads

    from attending.models.head import Head
    from attending.models.occlusion import ManyAtOnce
    from attending.testing import image_for

    weights = heads.network()
    head = Head(heads.card_for(weights, "person"), weights, heads.ENCODER, heads.CODE)
    images = [image_for(head.card, what, dims=2) for what in ("phantom", "noise")]
    assert isinstance(head, ManyAtOnce)
    np.testing.assert_allclose(head.scores_of(images)[:, 0], [head.detect(i)[0].score for i in images], atol=1e-6)


def test_the_picture_has_a_bar_and_is_the_same_each_time() -> None:
    image = lit(picture(), AT)
    heat = explain(image, Spots(AT)).heat
    data = heat_picture(image, heat, "spots 1, spot: score 0.99", "log-odds")
    assert data == heat_picture(image, heat, "spots 1, spot: score 0.99", "log-odds")
    shown = np.asarray(Pillow.open(BytesIO(data)))
    assert shown.shape[0] > 200 and shown.shape[1] > 400
    clear = layer(np.zeros((4, 4), np.float32))
    assert not clear[..., 3].any()
    both = layer(np.array([[1.0, -1.0]], np.float32))
    assert both[0, 0, 0] >= both[0, 0, 2] and both[0, 1, 2] > both[0, 1, 0]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    affine = oblique((10, 5, 20), (0.9, 0.9, 4.0), (-30, 12, 7))
    voxels = picture((6, 40, 50)).voxels
    write_series(voxels, affine, tmp_path / "series", modality="MR", header={"BodyPartExamined": "HEAD"})
    return tmp_path / "series"


def test_a_parametric_map_is_read_back_exactly_in_the_sources_geometry(study: Path, tmp_path: Path) -> None:
    import highdicom
    import pydicom

    opened = intake.open([str(study)]).studies[0]
    case = deidentify.to_case(opened, bytes(32))
    image = case.images[0]
    heat = np.random.default_rng(2).normal(0, 1, image.voxels.shape).astype(np.float32)
    path = tmp_path / "map.dcm"
    path.write_bytes(parametric_map(heat, opened, case, image, Producer("spots", "1"), "occlusion of spot"))
    back = pydicom.dcmread(path)
    source = pydicom.dcmread(next(study.rglob("*.dcm")))
    assert back.SOPClassUID == "1.2.840.10008.5.1.4.1.1.30" and back.StudyInstanceUID == source.StudyInstanceUID
    assert back.FrameOfReferenceUID == source.FrameOfReferenceUID and back.PatientID == source.PatientID
    assert back.SeriesDescription.startswith("DRAFT")
    opened_again = highdicom.imread(path)
    again = opened_again.get_volume(apply_real_world_transform=False)
    turned = np.linalg.inv(np.array(image.affine)) @ again.affine  # voxel (slice, row, column) -> index (x, y, z)
    out = np.zeros_like(heat)
    for place in np.ndindex(*again.spatial_shape):
        x, y, z = np.rint(turned @ [*place, 1])[:3].astype(int)
        out[z, y, x] = again.array[place]
    np.testing.assert_array_equal(out, heat)
    if shutil.which("dciodvfy"):
        run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        assert [line for line in (run.stderr + run.stdout).splitlines() if line.startswith("Error")] == []


def ask(home: Path, *words: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["explain", *map(str, words), "--json", "--home", str(home)])
    if isinstance(result.exception, AttendingError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return dict(json.loads(result.stdout.strip().splitlines()[-1]))


def test_the_command_writes_each_kind_of_file(home: Path, study: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.nii.gz", "a.dcm"):
        got = ask(home, study, "--model", "echo", "--out", tmp_path / name)
        assert (got["schema"], got["model"], got["label"], got["unit"]) == (1, "echo", "bright", "log-odds")
        assert got["mark"].startswith("Draft") and got["out"] == str(tmp_path / name) and got["notes"]
        assert got["deletion_area"] < got["insertion_area"]
    written = nibabel.load(tmp_path / "a.nii.gz")
    assert written.get_data_dtype() == np.float32 and written.shape == (50, 40, 6)
    documented = (Path(__file__).parent.parent / "docs/json.md").read_text().split("## `explain`")[1].split("## `")[0]
    assert not {key for key in got if key != "schema" and f"`{key}`" not in documented}


def test_a_map_of_a_nifti_lies_on_the_files_own_grid(home: Path, tmp_path: Path) -> None:
    affine = np.array([[-0.9, 0, 0.1, 30], [0, 1.1, 0, -20], [0.1, 0, 3.0, 5], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(picture((6, 40, 50)).voxels.transpose(2, 1, 0), affine), tmp_path / "in.nii.gz")
    ask(home, tmp_path / "in.nii.gz", "--modality", "MR", "--model", "echo", "--out", tmp_path / "out.nii.gz")
    out = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(out.affine, nibabel.load(tmp_path / "in.nii.gz").affine, atol=1e-6)
    assert out.shape == (50, 40, 6) and out.get_data_dtype() == np.float32


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--model", "nothing"], "unknown_model"),
        (["--model", "echo", "--out", "x.txt"], "export_refused"),
        (["--model", "echo", "--label", "glioma"], "prompt_refused"),
        (["--model", "echo", "--method", "rollout"], "model_refused"),
        (["--model", "classical"], "model_refused"),
    ],
)
def test_bad_input_is_one_clear_message(home: Path, study: Path, tmp_path: Path, words: list[str], why: str) -> None:
    given = [*words, *([] if "--out" in words else ["--out", str(tmp_path / "a.png")])]
    with pytest.raises(AttendingError) as refused:
        ask(home, study, *given)
    assert refused.value.code == why
    assert not (tmp_path / "a.png").exists()
