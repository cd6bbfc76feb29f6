"""The gate on real and made images, each with its declared outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attending.records import Image, ImageFacts
from attending.tasks.gate import see
from attending.tasks.quality import facts_of

AXIAL = np.diag([1.0, 1.0, 1.0, 1.0])


def image(voxels: np.ndarray, modality: str, affine: np.ndarray | None = None, **facts) -> Image:
    """(y, x), (z, y, x) or (y, x, 3) -> Image; uint8 grey becomes int16, as intake keeps it."""
    voxels = np.ascontiguousarray(voxels)
    colour = voxels.ndim == 3 and voxels.shape[-1] == 3 and voxels.dtype == np.uint8
    voxels = voxels[None] if voxels.ndim == 2 or colour else voxels
    voxels = voxels if voxels.ndim == 4 or voxels.dtype != np.uint8 else voxels.astype(np.int16)
    rows = None if affine is None else tuple(tuple(float(v) for v in row) for row in affine)
    spacing = None if affine is None else tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    return Image(ImageFacts("i1", voxels.shape, rows, spacing, modality, **facts), voxels)


def picture(path: Path) -> np.ndarray:
    from PIL import Image as Pillow

    return np.asarray(Pillow.open(path).convert("L"))


def dicom(path: str | Path, modality: str | None = None, **facts) -> Image:
    import pydicom

    header = pydicom.dcmread(path, force=True)
    voxels = header.pixel_array.astype(np.float32)
    voxels = voxels * float(header.get("RescaleSlope", 1)) + float(header.get("RescaleIntercept", 0))
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        voxels = voxels.max() - voxels
    said = modality or header.Modality
    return image(voxels.astype(np.int16), said, unit="[hnsf'U]" if said == "CT" else "1", **facts)


def rgb(path: str, modality: str) -> Image:
    import pydicom

    return image(pydicom.dcmread(path).pixel_array, modality)


def nifti(path: Path, modality: str, **facts) -> Image:
    import nibabel

    volume = nibabel.load(path)
    voxels = np.asanyarray(volume.dataobj).transpose(2, 1, 0).astype(np.int16)
    return image(voxels, modality, np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine, **facts)


def bundled(name: str) -> str:
    from pydicom.data import get_testdata_file

    found = get_testdata_file(name, download=False)
    assert found, name
    return str(found)


def natural(name: str) -> np.ndarray:
    import skimage.data

    found = np.asarray(getattr(skimage.data, name)())
    return found.astype(np.uint8) * 255 if found.dtype == bool else found


def luma(voxels: np.ndarray) -> np.ndarray:
    return np.rint(voxels[..., :3] @ [0.299, 0.587, 0.114]).astype(np.uint8) if voxels.ndim == 3 else voxels


def text_page(dark: bool = False) -> np.ndarray:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    page = Pillow.new("L", (620, 877), 0 if dark else 255)
    draw = ImageDraw.Draw(page)
    for line in range(40):
        draw.text(
            (40, 40 + 20 * line), "Lorem ipsum dolor sit amet, consetetur sadipscing elitr " * 2, 255 if dark else 0
        )
    return np.asarray(page)


def head_volume(contrast: str = "T1", skull: bool = True) -> Image:
    """A head at 2 mm: scalp, skull, cortex, white matter and ventricles, closed at the vertex, cut at the neck."""
    z, y, x = np.meshgrid(np.arange(100), np.arange(110), np.arange(90), indexing="ij")

    def inside(a: float, b: float, c: float, dx: float = 0.0) -> np.ndarray:
        return ((x - 45 - dx) / a) ** 2 + ((y - 55) / b) ** 2 + ((z - 50) / c) ** 2 <= 1

    levels = {"T1": (520, 700, 150), "T2": (420, 300, 950), "FLAIR": (700, 520, 100)}[contrast]
    voxels = np.zeros(z.shape)
    if skull:
        voxels[inside(38, 46, 42) | ((abs(x - 45) < 22) & (abs(y - 55) < 25) & (z < 30))] = 900
        voxels[inside(35.5, 43.5, 39.5)] = 60
    voxels[inside(33, 41, 37)] = levels[0]
    voxels[inside(26, 34, 30)] = levels[1]
    voxels[inside(4, 12, 8, -7) | inside(4, 12, 8, 7)] = levels[2]
    noise = np.random.default_rng(1).normal(0, 8, voxels.shape)
    return image(np.clip(voxels + (voxels > 0) * noise, 0, None).astype(np.int16), "MR", np.diag([2.0, 2.0, 2.0, 1.0]))


def drawn_section() -> np.ndarray:
    """An axial section: an oval body with two dark lungs, a spine and a table under it, on empty background."""
    y, x = np.mgrid[0:512, 0:512]
    plane = np.full((512, 512), 0.0)
    plane[((x - 256) / 190) ** 2 + ((y - 256) / 130) ** 2 <= 1] = 160
    for side in (-85, 85):
        plane[((x - 256 - side) / 60) ** 2 + ((y - 245) / 80) ** 2 <= 1] = 30
    plane[((x - 256) / 28) ** 2 + ((y - 330) / 24) ** 2 <= 1] = 250
    plane[(y > 410) & (y < 416) & (abs(x - 256) < 150)] = 120
    return np.clip(plane + np.random.default_rng(0).normal(0, 4, plane.shape) * (plane > 0), 0, 255).astype(np.uint8)


def soft_film() -> np.ndarray:
    """A frontal chest film, drawn: two dark lungs, a bright middle and base, running off the plate."""
    y, x = np.mgrid[0:300, 0:300] / 299.0
    lungs = np.minimum(((x - 0.27) / 0.16) ** 2, ((x - 0.73) / 0.16) ** 2) + ((y - 0.43) / 0.32) ** 2
    return (200 / (1 + np.exp(-4 * (lungs - 1))) + 30 * y).astype(np.uint8)


REFUSED: dict[str, tuple[Callable[[], Image], str]] = {
    "colour photo as CR": (lambda: image(natural("astronaut"), "CR"), "colour image declared CR"),
    "colour photo as MR": (lambda: image(natural("cat"), "MR", body_part="HEAD"), "looks like a photograph"),
    "colour photo as US": (lambda: image(natural("coffee"), "US"), "looks like a photograph"),
    "tinted microscopy as MR": (lambda: image(natural("immunohistochemistry"), "MR"), "colour image declared MR"),
    "text page as CR": (lambda: image(natural("page"), "CR", view="PA"), "text page or document"),
    "text photo as MR": (lambda: image(natural("text"), "MR"), "text page or document"),
    "drawn page as CR": (lambda: image(text_page(), "CR"), "text page|photograph or a drawing|grey levels"),
    "drawn page as MR": (lambda: image(text_page(), "MR", body_part="HEAD"), "text page|grey levels"),
    "dark page as MR": (lambda: image(text_page(dark=True), "MR"), "text screen|grey levels"),
    "drawn page as US": (lambda: image(text_page(), "US"), "text page"),
    "test pattern as CR": (lambda: image(natural("checkerboard"), "CR"), "grey levels"),
    "mask as MR": (lambda: image(natural("horse"), "MR"), "grey levels"),
    "noise as CR": (lambda: image(np.random.default_rng(0).integers(0, 255, (300, 300)), "CR"), "are noise"),
    "noise as MR": (lambda: image(np.random.default_rng(0).normal(500, 99, (9, 64, 64)), "MR", AXIAL), "are noise"),
    "noise thumbnail": (lambda: image(np.random.default_rng(0).integers(0, 255, (28, 28)), "CR"), "are noise"),
    "blank": (lambda: image(np.zeros((64, 64), np.uint8), "CR"), "is blank"),
    "blank but for a spot": (lambda: image(np.eye(1, 250_000, 7).reshape(500, 500) * 99, "MR"), "is blank"),
    "drawn section as CR": (lambda: image(drawn_section(), "CR", view="PA", body_part="CHEST"), "CT or MR section"),
    "CT file as CR": (lambda: dicom(bundled("CT_small.dcm"), "CR"), "Hounsfield units"),
    "volume as DX": (lambda: image(np.asarray(head_volume().voxels), "DX", AXIAL), "parallel planes in space"),
    "head volume as CR plane": (lambda: image(head_volume().voxels[50], "CR"), "CT or MR section"),
    "film as CT": (lambda: image(soft_film(), "CT", unit="[hnsf'U]"), "radiograph, not a CT"),
    "screen capture": (lambda: image(natural("cell"), "SC"), "not stated"),
    **{
        f"grey {name} as {modality}": (
            lambda name=name, modality=modality: image(luma(natural(name)), modality),
            f"photograph|not an? {modality if modality == 'MR' else 'radiograph'}",
        )
        for name in ("astronaut", "camera", "cat", "coffee", "coins", "grass", "gravel", "brick", "moon")
        for modality in ("CR", "DX", "MR")
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_kept_from_the_models(name: str) -> None:
    make, reason = REFUSED[name]
    sight = see(make())
    assert sight.refusal is not None, sight.text
    import re

    assert re.search(reason, sight.refusal), sight.refusal
    assert sight.text.startswith("Declared ") and "Kept from every model." in sight.text


PASSES: dict[str, Callable[[], Image]] = {
    "MR_small": lambda: dicom(bundled("MR_small.dcm")),
    "CT_small": lambda: dicom(bundled("CT_small.dcm")),
    "MR abdomen": lambda: dicom(bundled("examples_overlay.dcm")),
    "T1 phantom": head_volume,
    "crop within a Doppler box": lambda: rgb(bundled("ExplVR_BigEnd.dcm"), "US"),
    "ultrasound in colour": lambda: rgb(bundled("examples_rgb_color.dcm"), "US"),
    "drawn film": lambda: image(soft_film(), "DX"),
    "icon": lambda: image(np.random.default_rng(0).integers(0, 999, (16, 16)), "CT", unit="[hnsf'U]"),
    "ultrasound of a cine": lambda: image(np.asarray(natural("cell"))[None].repeat(3, 0), "US", axis="frame"),
}


@pytest.mark.parametrize("name", PASSES)
def test_what_it_is_passes(name: str) -> None:
    sight = see(PASSES[name]())
    assert sight.refusal is None, sight.refusal


@pytest.mark.mirror
def test_every_chest_film_passes_and_none_as_mr(mirror: Path) -> None:
    films = [image(picture(p), "CR") for p in sorted((mirror / "data/cxr").rglob("*")) if p.suffix in (".png", ".jpg")]
    films += [dicom(p, "CR") for p in sorted((mirror / "data/cxr").glob("*.dcm"))]
    assert len(films) == 9
    for film in films:
        assert see(film).refusal is None
        as_mr = see(Image(replace(film.facts, modality="MR", body_part="HEAD"), film.voxels.copy()))
        assert as_mr.refusal is not None and "radiograph" in as_mr.refusal
    inverted = [any("looks inverted" in text for text in facts_of(see(film))) for film in films]
    assert sum(inverted) == 1, "one of the nine is a MONOCHROME1 film with wrong values"


@pytest.mark.mirror
def test_thumbnails_pass(mirror: Path) -> None:
    archive = np.load(mirror / "data/pneumoniamnist/pneumoniamnist_val_test.npz")
    for key in (k for k in archive.files if k.endswith("images")):
        for plane in archive[key][::5]:
            sight = see(image(plane.squeeze(), "CR", view="AP", body_part="CHEST"))
            assert sight.refusal is None
            assert not any("inverted" in text for text in facts_of(sight))


@pytest.mark.mirror
def test_ct_sections_pass_as_ct_and_not_as_radiographs(mirror: Path) -> None:
    for path in sorted((mirror / "data/ct_totalsegmentator/example_ct_dicom").iterdir())[::5]:
        assert see(dicom(path)).refusal is None
        assert "Hounsfield" in (see(dicom(path, "CR")).refusal or "")
        shown = np.clip((dicom(path).voxels[0].astype(float) + 160) / 400 * 255, 0, 255).astype(np.uint8)
        assert "section, not a radiograph" in (see(image(shown, "CR", view="PA", body_part="CHEST")).refusal or "")


@pytest.mark.mirror
def test_a_real_t1_head_is_told_from_its_pixels(mirror: Path) -> None:
    sight = see(nifti(mirror / "data/brain_t1/t1_crop.nii.gz", "MR"))
    assert sight.refusal is None and sight.is_head
    assert (sight.image.facts.body_part, sight.image.facts.sequence) == ("HEAD", "T1")
    assert "judged from the pixels" in sight.text and sight.outline is not None and not sight.outline.stripped
    abdomen = see(nifti(mirror / "data/ct_totalsegmentator/example_mr_sm.nii.gz", "MR"))
    assert abdomen.refusal is None and not abdomen.is_head
    declared = see(nifti(mirror / "data/ct_totalsegmentator/example_mr_sm.nii.gz", "MR", body_part="HEAD"))
    assert "a trunk" in (declared.refusal or "")


def test_brain_mr_pictures_pass_as_heads(pulled: Callable[[str], dict[str, Path]]) -> None:
    pictures = [p for p in pulled("brain-mr-slices").values() if p.suffix == ".jpg"]
    assert len(pictures) == 17
    for path in pictures:
        sight = see(image(picture(path), "MR"))
        assert sight.refusal is None and sight.is_head, path.name


def test_contrast_is_judged_from_the_pixels() -> None:
    t1, t2, flair = (see(head_volume(c)) for c in ("T1", "T2", "FLAIR"))
    assert t1.image.facts.sequence == "T1" and "Contrast judged from the pixels" in t1.text
    assert t2.image.facts.sequence == "T2"
    assert flair.image.facts.sequence is None and "not clearly T1" in flair.text
    lied = head_volume("T2")
    lied = Image(replace(lied.facts, sequence="T1", body_part="HEAD"), lied.voxels)
    assert see(lied).refusal == "declared T1, but fluid is brighter than white matter: not T1 contrast"


def test_a_stripped_brain_is_said_to_be_one() -> None:
    assert any("skull-stripped" in text for text in facts_of(see(head_volume(skull=False))))
    assert not any("skull-stripped" in text for text in facts_of(see(head_volume())))


def test_the_header_decides_the_body_part_where_it_speaks() -> None:
    head = head_volume()
    knee = see(Image(replace(head.facts, body_part="KNEE"), head.voxels))
    assert knee.image.facts.body_part == "KNEE" and not knee.is_head


def test_grey_stored_as_colour_is_read_as_grey() -> None:
    plane = np.asarray(head_volume().voxels[50] / 4).astype(np.uint8)
    sight = see(image(np.repeat(plane[..., None], 3, axis=2), "MR", body_part="HEAD"))
    assert sight.refusal is None and not sight.image.facts.colour
    assert (sight.image.voxels[0] == plane).all() and "read as grey" in sight.text


def test_quality_facts() -> None:
    def texts(made: Image) -> str:
        return " ".join(facts_of(see(made)))

    head = head_volume()
    assert texts(head) == "Only 90 x 110 pixels: fine detail cannot be seen."
    assert "no millimetres possible" in texts(image(head.voxels[50], "MR"))
    thick = np.diag([1.0, 1.0, 6.0, 1.0])
    assert "Slices are 6 mm apart" in texts(image(head.voxels[::3], "MR", thick))
    hollow = head.voxels.copy()
    hollow[40:43] = 0
    assert "3 of 100 slices within the stack are empty" in texts(image(hollow, "MR", np.diag([2.0, 2.0, 2.0, 1.0])))
    noted = Image(replace(head.facts, notes=("a gap of 3 slices after slice 40",)), head.voxels)
    assert "A gap of 3 slices after slice 40." in texts(noted)
    cut = image(head.voxels[:70], "MR", np.diag([2.0, 2.0, 2.0, 1.0]), body_part="HEAD")
    assert "cuts the head at the vertex" in texts(cut)
    assert "Only 28 x 28 pixels" in texts(image(np.add.outer(np.arange(28), np.arange(28)), "CR"))
    film = np.add.outer(np.linspace(0, 200, 400), np.linspace(0, 55, 300))
    film[100:200, 50:250] = 255
    assert "clipped at the brightest value" in texts(image(film.astype(np.uint8), "CR"))
