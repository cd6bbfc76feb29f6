"""attending segment: the documented command line on NIfTI, DICOM and pictures, and one message for each bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from attending.cli import app
from attending.errors import AttendingError
from attending.testing.dicom import oblique, write_series

runner = CliRunner()
SPACING = (0.8, 1.1, 3.0)
CORNER = (14, 9, 3, 33, 26, 9)
"""The bright block: x, y, z of its first and last voxel."""


def block() -> np.ndarray:
    """(z, y, x) int16 with a bright block that no flip or transposition leaves in place."""
    voxels = np.random.default_rng(1).normal(100, 5, (14, 48, 60))
    x0, y0, z0, x1, y1, z1 = CORNER
    voxels[z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1] += 200
    return voxels.astype(np.int16)


def truth() -> np.ndarray:
    return block() > 200


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    lps = oblique((12, 25, -30), SPACING, (30, -20, 5))
    path = tmp_path / "volume.nii.gz"
    nib.save(nib.Nifti1Image(np.ascontiguousarray(block().T), np.diag([-1, -1, 1, 1.0]) @ lps), path)
    return path


@pytest.fixture
def series(tmp_path: Path) -> Path:
    folder = tmp_path / "series"
    write_series(block(), oblique((12, 25, -30), SPACING, (30, -20, 5)), folder, modality="CT", rescale=(1, -1024))
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image as Pillow

    path = tmp_path / "film.png"
    Pillow.fromarray(np.clip(block()[6], 0, 255).astype(np.uint8)).save(path)
    return path


def run(*words: Any) -> dict[str, Any]:
    result = runner.invoke(app, ["segment", *map(str, words), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout.splitlines()[-1])
    assert isinstance(fields, dict)
    return fields


def refused(*words: Any) -> AttendingError:
    with pytest.raises(AttendingError) as caught:
        runner.invoke(app, ["segment", *map(str, words)], catch_exceptions=False)
    return caught.value


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def test_a_nifti_mask_lies_voxel_for_voxel_over_its_image(nifti: Path, tmp_path: Path) -> None:
    import SimpleITK

    out = tmp_path / "mask.nii.gz"
    fields = run(nifti, "--box", "13,8,2,34,27,10", "--out", out)
    source, mask = nib.load(nifti), nib.load(out)
    assert np.array_equal(source.affine, mask.affine)
    for code in ("sform_code", "qform_code"):
        assert source.header[code] == mask.header[code]
    voxels = np.asanyarray(mask.dataobj)
    assert voxels.shape == source.shape and set(np.unique(voxels)) == {0, 1}
    assert dice(voxels.T > 0, truth()) > 0.9
    assert fields["voxels"] == voxels.sum() and fields["mode"] == "box" and fields["model"]
    assert fields["volume_ml"] == pytest.approx(voxels.sum() * np.prod(SPACING) / 1000, rel=1e-3)
    a, b = SimpleITK.ReadImage(str(nifti)), SimpleITK.ReadImage(str(out))
    assert a.GetSize() == b.GetSize()
    assert np.allclose(a.GetOrigin(), b.GetOrigin()) and np.allclose(a.GetDirection(), b.GetDirection())


def test_indices_are_those_of_the_file_and_millimetres_are_lps(nifti: Path, tmp_path: Path) -> None:
    by_index = run(nifti, "--point", "20,15,6", "--out", tmp_path / "a.nii.gz")
    ras = nib.load(nifti).affine @ [20, 15, 6, 1]
    place = f"{-ras[0]:.3f},{-ras[1]:.3f},{ras[2]:.3f}"
    by_mm = run(nifti, "--mm", "--point", place, "--out", tmp_path / "b.nii.gz")
    assert by_mm["box"] == by_index["box"]
    mask = np.asanyarray(nib.load(tmp_path / "a.nii.gz").dataobj)
    assert mask[20, 15, 6] == 1 and dice(mask.T > 0, truth()) > 0.9


def test_a_nifti_of_two_dimensions_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "flat.nii"
    nib.save(nib.Nifti1Image(np.ascontiguousarray(block()[6].T), np.diag([-0.8, -1.1, 1, 1])), path)
    fields = run(path, "--point", "20,15", "--out", tmp_path / "mask.nii")
    mask = nib.load(tmp_path / "mask.nii")
    assert mask.shape == nib.load(path).shape == (60, 48)
    assert fields["area_mm2"] == pytest.approx(fields["voxels"] * 0.88, rel=1e-3) and fields["volume_ml"] is None


def test_a_dicom_segmentation_read_back_equals_the_nifti(series: Path, tmp_path: Path) -> None:
    import highdicom
    from pydicom import dcmread

    words = (series, "--box", "13,8,2,34,27,10")
    run(*words, "--out", tmp_path / "mask.nii.gz")
    fields = run(*words, "--out", tmp_path / "mask.dcm")
    mask = np.asanyarray(nib.load(tmp_path / "mask.nii.gz").dataobj).T > 0
    assert fields["voxels"] == mask.sum() and dice(mask, truth()) > 0.9
    seg = highdicom.seg.segread(tmp_path / "mask.dcm")
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    slices = sorted((dcmread(p) for p in series.iterdir()), key=lambda d: d.InstanceNumber)
    uids = [d.SOPInstanceUID for d in slices]
    planes = seg.get_pixels_by_source_instance(uids, segment_numbers=[1], ignore_spatial_locations=True,
                                               assert_missing_frames_are_empty=True)[..., 0]  # fmt: skip
    assert np.array_equal(planes > 0, mask)
    volume = nib.load(tmp_path / "mask.nii.gz")
    first = np.array([*slices[0].ImagePositionPatient])
    assert np.allclose((volume.affine @ [0, 0, 0, 1])[:3], first * [-1, -1, 1], atol=1e-3)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_has_nothing_against_the_segmentation(series: Path, tmp_path: Path) -> None:
    run(series, "--point", "20,15,6", "--out", tmp_path / "mask.dcm")
    said = subprocess.run(["dciodvfy", tmp_path / "mask.dcm"], capture_output=True, text=True)
    assert not [line for line in said.stderr.splitlines() if line.startswith("Error")]


def test_a_picture_gives_a_png_or_a_nifti_and_an_overlay(picture: Path, tmp_path: Path) -> None:
    from PIL import Image as Pillow

    fields = run(picture, "--point", "20,15", "--point", "5,5:-", "--out", tmp_path / "mask.png",
                 "--picture", tmp_path / "over.png")  # fmt: skip
    mask = np.asarray(Pillow.open(tmp_path / "mask.png"))
    assert mask.shape == (48, 60) and set(np.unique(mask)) == {0, 255}
    assert dice(mask > 0, truth()[6]) > 0.9
    assert fields["box"][2] == fields["box"][5] == 0 and fields["volume_ml"] is None and fields["area_mm2"] is None
    assert np.asarray(Pillow.open(tmp_path / "over.png")).shape[2] == 3
    again = run(picture, "--point", "20,15,0", "--point", "5,5,0:-", "--out", tmp_path / "mask.nii.gz")
    assert np.array_equal(np.asanyarray(nib.load(tmp_path / "mask.nii.gz").dataobj)[..., 0].T > 0, mask > 0)
    assert again["box"] == fields["box"]


def test_scribble_lasso_and_earlier_mask_come_from_files(nifti: Path, tmp_path: Path) -> None:
    scribble = tmp_path / "stroke.txt"
    scribble.write_text("# through the block\n17,15,6\n30,20,6\n\n50,40,6:-\n55,40,6:-\n")
    got = run(nifti, "--scribble", scribble, "--out", tmp_path / "a.nii.gz")
    assert got["mode"] == "scribble" and got["box"] == list(CORNER)
    lasso = tmp_path / "lasso.json"
    lasso.write_text(json.dumps({"strokes": [{"voxels": [[11, 6, 6], [36, 6, 6], [36, 29, 6], [11, 29, 6]]}]}))
    got = run(nifti, "--lasso", lasso, "--one-plane", "--out", tmp_path / "b.nii.gz")
    mask = np.asanyarray(nib.load(tmp_path / "b.nii.gz").dataobj).T > 0
    assert dice(mask[6], truth()[6]) > 0.9
    got = run(nifti, "--mask", tmp_path / "a.nii.gz", "--point", "50,40,6:-", "--out", tmp_path / "c.nii.gz")
    assert got["mode"] == "point+mask"
    assert dice(np.asanyarray(nib.load(tmp_path / "c.nii.gz").dataobj).T > 0, truth()) > 0.9


def test_an_absent_target_is_an_empty_mask_with_the_reason(nifti: Path, series: Path, tmp_path: Path) -> None:
    fields = run(nifti, "--text", "left lung", "--out", tmp_path / "mask.nii.gz")
    assert fields["voxels"] == 0 and fields["box"] is None and fields["notes"]
    assert not np.asanyarray(nib.load(tmp_path / "mask.nii.gz").dataobj).any()
    fields = run(series, "--text", "left lung", "--out", tmp_path / "mask.dcm")
    assert fields["out"] is None and not (tmp_path / "mask.dcm").exists()
    assert "an empty mask cannot be a DICOM Segmentation" in fields["notes"][-1]


def test_everything_is_said_and_never_guessed_from_silence(nifti: Path, tmp_path: Path) -> None:
    fields = run(nifti, "--everything", "--out", tmp_path / "mask.nii.gz")
    assert fields["mode"] == "none" and fields["box"] == list(CORNER)
    error = refused(nifti, "--out", tmp_path / "none.nii.gz")
    assert error.code == "prompt_refused" and "no prompt" in error.seen


def test_a_mask_is_never_lost_to_another(nifti: Path, tmp_path: Path) -> None:
    out = tmp_path / "mask.nii.gz"
    out.write_bytes(b"somebody's work")
    assert "exists" in refused(nifti, "--point", "20,15,6", "--out", out).seen
    assert out.read_bytes() == b"somebody's work"
    run(nifti, "--point", "20,15,6", "--out", out, "--force")
    assert nib.load(out).shape == (60, 48, 14)


def test_the_image_is_never_replaced_by_its_mask_or_picture(nifti: Path, picture: Path, tmp_path: Path) -> None:
    before = nifti.read_bytes()
    point = ("--point", "20,15,6", "--force")
    assert "the image itself" in refused(nifti, *point, "--out", nifti).seen
    film = picture.read_bytes()
    assert "the image itself" in refused(picture, "--point", "20,15", "--force", "--out", picture).seen
    words = ("--point", "20,15", "--force", "--out", tmp_path / "m.png", "--picture")
    assert "in the place of" in refused(picture, *words, picture).seen
    assert "in the place of" in refused(picture, *words, tmp_path / "m.png").seen
    assert nifti.read_bytes() == before and picture.read_bytes() == film


def test_a_picture_that_cannot_be_written_is_refused_before_the_mask_is(nifti: Path, tmp_path: Path) -> None:
    out = tmp_path / "mask.nii.gz"
    words = ("--point", "20,15,6", "--out", out, "--picture", tmp_path / "no" / "p.png")
    assert "no folder to write the picture into" in refused(nifti, *words).seen
    assert not out.exists()


def test_a_junk_mask_and_a_huge_number_are_one_short_message(
    nifti: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "junk.nii").write_bytes(b"x" * 4000)
    assert "no NIfTI or PNG" in refused(nifti, "--mask", tmp_path / "junk.nii", "--out", tmp_path / "m.nii").seen
    assert "sizeof_hdr" not in capfd.readouterr().err
    for point in ("1e300,1,1", f"{'9' * 200},1,1", "7" * 500):
        assert len(refused(nifti, "--point", point, "--out", tmp_path / "m.nii").seen) < 120


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (("--point", "60,0,0"), "outside the image"),
        (("--point", "-1,0,0"), "outside the image"),
        (("--point", "20,15"), "2 numbers"),
        (("--point", "20,15,6,1"), "4 numbers"),
        (("--point", "a,b,c"), "the point 'a,b,c'"),
        (("--point", "20;15;6"), "the point"),
        (("--point", "nan,1,1"), "the point"),
        (("--point", "1.5,2,3"), "between voxels"),
        (("--point", "20,15,6:x"), "the sign"),
        (("--point", "20,15,6:-"), "negative prompts only"),
        (("--point", "20,15,6", "--point", "20,15,6:-"), "as positive and as negative"),
        (("--box", "30,20,6,10,5,2"), "beyond its second"),
        (("--box", "1,2,3"), "3 numbers"),
        (("--box", "1,2,3,4,5"), "5 numbers"),
        (("--box", "0,0,0,60,10,5"), "outside the image"),
        (("--box", "0,0,0,9,9,5", "--point", "20,15,6"), "outside the box"),
        (("--text", " "), "an empty word"),
        (("--scribble", "no-such-file"), "no such file"),
        (("--mask", "no-such-file"), "no such file"),
        (("--everything", "--point", "1,1,1"), "--everything beside a prompt"),
        (("--mm", "--point", "9999,0,0"), "outside the image"),
    ],
)
def test_bad_prompts_are_one_message_each(words: tuple[str, ...], seen: str, nifti: Path, tmp_path: Path) -> None:
    error = refused(nifti, *words, "--out", tmp_path / "mask.nii.gz")
    assert error.code == "prompt_refused"
    assert seen in error.seen
    assert error.allowed and error.do
    assert not (tmp_path / "mask.nii.gz").exists()


def test_targets_and_engines_that_cannot_be_are_refused(nifti: Path, picture: Path, tmp_path: Path) -> None:
    point = ("--point", "20,15,6")
    assert refused(nifti, *point, "--out", tmp_path / "mask.tif").code == "export_refused"
    assert refused(nifti, *point, "--out", tmp_path / "mask.dcm").code == "export_refused"
    assert refused(nifti, *point, "--out", tmp_path / "mask.png").code == "export_refused"
    assert refused(nifti, *point, "--out", tmp_path / "no" / "mask.nii").code == "export_refused"
    assert refused(nifti, *point, "--model", "nothing", "--out", tmp_path / "mask.nii").code == "unknown_model"
    assert refused(tmp_path / "no.nii", *point, "--out", tmp_path / "mask.nii").code == "not_found"
    assert "without a position" in refused(picture, "--mm", "--point", "1,1,1", "--out", tmp_path / "m.png").seen


def test_a_mask_of_another_grid_is_refused(nifti: Path, tmp_path: Path) -> None:
    moved = nib.load(nifti).affine.copy()
    moved[0, 3] += 5
    nib.save(nib.Nifti1Image(np.ones((60, 48, 14), np.uint8), moved), tmp_path / "moved.nii")
    nib.save(nib.Nifti1Image(np.ones((6, 4, 4), np.uint8), np.eye(4)), tmp_path / "small.nii")
    (tmp_path / "text.nii").write_text("no mask")
    for name, seen in (("moved", "lies elsewhere"), ("small", "a mask of 6x4x4"), ("text", "no NIfTI or PNG")):
        assert seen in refused(nifti, "--mask", tmp_path / f"{name}.nii", "--out", tmp_path / "mask.nii").seen


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[[1]]", '[["a", 1, 2]]', '{"strokes": [{"positive": 1}]}', "1 2 x", "[[1e999, 1, 1]]"]
)
def test_a_bad_stroke_file_is_one_message(text: str, nifti: Path, tmp_path: Path) -> None:
    path = tmp_path / "stroke"
    path.write_text(text)
    assert refused(nifti, "--scribble", path, "--out", tmp_path / "mask.nii").code == "prompt_refused"
