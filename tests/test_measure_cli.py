"""measure, mesh and compare from the command line, on studies with a known answer."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from test_imaging_register import body, turned
from typer.testing import CliRunner

from attending.cli import app
from attending.errors import AttendingError
from attending.testing.dicom import write_series

AFFINE = np.array([[1.5, 0, 0, -36], [0, 1.5, 0, -42], [0, 0, 2.5, 100], [0, 0, 0, 1.0]])
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def run(home: Path, *words: str) -> dict:
    result = CliRunner().invoke(app, [*map(str, words), "--json", "--home", str(home)])
    if isinstance(result.exception, AttendingError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout.strip().splitlines()[-1])


def study(folder: Path, lesion_mm: float, *, patient: str, when: str, turn: float = 0.0, seed: str = "a") -> Path:
    """A DICOM head with a bright sphere, the patient turned against the grid by some degrees; and the sphere's mask."""
    voxels = body(0, (36, 56, 48))
    z, y, x = np.mgrid[0:36, 0:56, 0:48]
    places = np.stack([x, y, z], -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    lesion = ((places - (5.0, 3.0, 145.0)) ** 2).sum(-1) <= (lesion_mm / 2) ** 2
    voxels[lesion] += 900
    affine = AFFINE.copy()
    affine[:3] = turned(turn, 2) @ AFFINE[:3]
    header = {"PatientID": patient, "StudyDate": when, "BodyPartExamined": "HEAD", "PatientName": "Doe^Sample"}
    write_series(np.clip(voxels, 0, 4000).astype(np.int16), affine, folder / "series", header=header, seed=seed)
    mask = nibabel.Nifti1Image(lesion.astype(np.uint8).transpose(2, 1, 0), LPS_TO_RAS @ affine)
    mask.header.set_xyzt_units("mm")
    nibabel.save(mask, folder / "mask.nii.gz")
    return folder / "series"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    for name, size, when, turn in (("now", 24.0, "20260601", 6.0), ("before", 18.0, "20260301", 0.0)):
        (tmp_path / name).mkdir()
        study(tmp_path / name, size, patient="P1", when=when, turn=turn, seed=name)
    return tmp_path / "now", tmp_path / "before"


def test_growth_is_recovered_within_its_uncertainty(home: Path, pair, tmp_path: Path) -> None:
    now, before = pair
    found = run(home, "compare", now / "series", before / "series", "--mask", now / "mask.nii.gz", "--prior-mask",
                before / "mask.nii.gz", "--out", tmp_path / "out")  # fmt: skip
    assert (found["days"], found["swapped"]) == (92, False)
    # The lesion that grew pulls the fit: 1.5 degrees here, 0.6 mm on average over the head. Without growth it is 0.2.
    assert found["registration"]["turned_degrees"] == pytest.approx(6.0, abs=2.0)
    assert found["registration"]["error"] < 1.25
    (lesion,) = found["lesions"]
    assert lesion["status"] == "matched" and lesion["shift_mm"] < 1.0
    volume, long = lesion["changes"][:2]
    truth = np.pi / 6 * (24**3 - 18**3) / 1000
    assert abs(volume["difference"] - truth) <= volume["uncertainty"]
    assert abs(long["difference"] - 6.0) <= long["uncertainty"]
    assert volume["verdict"] == "larger"
    doubling = lesion["doubling_days"]
    assert doubling["low"] <= 92 * np.log(2) / np.log((24 / 18) ** 3) <= doubling["high"]
    assert "criterion for progression" in found["size_criterion"]
    assert [Path(f).name for f in found["files"]] == ["prior-registered.nii.gz", "difference.nii.gz"]


def test_studies_named_the_wrong_way_round_are_turned_and_said_so(home: Path, pair) -> None:
    now, before = pair
    found = run(home, "compare", before / "series", now / "series", "--mask", before / "mask.nii.gz", "--prior-mask",
                now / "mask.nii.gz", "--no-register")  # fmt: skip
    assert found["swapped"] and any("other way round" in text for text in found["notes"])
    assert found["lesions"][0]["changes"][0]["verdict"] == "larger"


def test_another_patient_is_refused(home: Path, pair, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = study(tmp_path / "other", 20.0, patient="P2", when="20260101", seed="other")
    with pytest.raises(AttendingError, match="of two patients"):
        run(home, "compare", pair[0] / "series", other)
    with pytest.raises(AttendingError, match="the same study twice"):
        run(home, "compare", pair[0] / "series", pair[0] / "series")
    with pytest.raises(AttendingError, match="neither a file nor a reading's id"):
        run(home, "compare", pair[0] / "series", "0123456789abcdef")


def test_a_mask_is_measured_with_codes_units_and_uncertainty(home: Path, pair) -> None:
    now, _ = pair
    found = run(home, "measure", now / "mask.nii.gz", "--image", now / "series")
    (segment,) = found["segments"]
    assert segment["volume_ml"] == pytest.approx(np.pi / 6 * 13.824, rel=0.01)
    assert segment["long_axis_mm"] == pytest.approx(24, rel=0.02)
    assert segment["longest_3d_mm"] == pytest.approx(24, rel=0.02)
    assert segment["centre"] == pytest.approx(list(turned(6.0, 2) @ (5.0, 3.0, 145.0)), abs=0.3)
    assert {m["unit"] for m in segment["measurements"]} >= {"ml", "mm", "mm2", "1"}
    assert segment["mean"] > 800


def test_a_mask_of_two_labels_gives_a_distance_and_a_label_that_is_not_there_is_refused(home: Path, tmp_path) -> None:
    labels = np.zeros((40, 40, 20), np.uint8)
    labels[5:15, 10:20, 5:15], labels[25:35, 10:20, 5:15] = 1, 3
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([2.0, 1.0, 1.5, 1.0])), tmp_path / "two.nii.gz")
    found = run(home, "measure", tmp_path / "two.nii.gz")
    assert found["between"][0]["labels"] == [1, 3]
    assert found["between"][0]["measurements"][0]["value"] == pytest.approx(20, abs=1.0)
    with pytest.raises(AttendingError, match="no label 7 in the mask"):
        run(home, "measure", tmp_path / "two.nii.gz", "--label", "7")


@pytest.mark.parametrize(
    ("values", "words"),
    [(np.zeros((5, 5, 5)), "without a voxel"), (np.full((5, 5, 5), -2.0), "negative values"),
     (np.linspace(0, 9, 125).reshape(5, 5, 5), "neither labels nor shares")],
)  # fmt: skip
def test_what_is_no_mask_is_refused(home: Path, tmp_path: Path, values: np.ndarray, words: str) -> None:
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), tmp_path / "no.nii.gz")
    with pytest.raises(AttendingError, match=words):
        run(home, "measure", tmp_path / "no.nii.gz")


@pytest.mark.parametrize("suffix", [".stl", ".glb", ".ply", ".dcm"])
def test_a_mesh_is_written_closed(home: Path, pair, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"lesion{suffix}"
    found = run(home, "mesh", pair[0] / "mask.nii.gz", "--out", out)
    (one,) = found["meshes"]
    assert one["watertight"] and one["volume_ml"] == pytest.approx(np.pi / 6 * 13.824, rel=0.02)
    assert out.stat().st_size > 1000
    with pytest.raises(AttendingError, match="a file of that name exists"):
        run(home, "mesh", pair[0] / "mask.nii.gz", "--out", out)
    if suffix == ".dcm":
        import pydicom

        read = pydicom.dcmread(out)
        assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.3"
        assert read.MIMETypeOfEncapsulatedDocument == "model/stl"
        assert not str(read.get("PatientName") or "")


def test_a_mask_that_lies_nowhere_on_its_image_is_refused(home: Path, pair, tmp_path: Path) -> None:
    now, before = pair
    far = nibabel.load(before / "mask.nii.gz")
    affine = far.affine.copy()
    affine[:3, 3] += 1000
    nibabel.save(nibabel.Nifti1Image(np.asarray(far.dataobj), affine), tmp_path / "far.nii.gz")
    with pytest.raises(AttendingError, match="outside the image"):
        run(
            home,
            "compare",
            now / "series",
            before / "series",
            "--mask",
            now / "mask.nii.gz",
            "--prior-mask",
            tmp_path / "far.nii.gz",
        )


def test_an_image_given_as_a_mask_is_refused_at_once(home: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (60, 50, 40)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "image.nii.gz")
    for words in (("measure",), ("mesh", "--out", tmp_path / "m.stl")):
        with pytest.raises(AttendingError, match="change from voxel to voxel"):
            run(home, words[0], tmp_path / "image.nii.gz", *words[1:])
    labels = np.kron(np.arange(1, 41).reshape(4, 5, 2), np.ones((3, 3, 3))).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "labels.nii.gz")
    assert len(run(home, "measure", tmp_path / "labels.nii.gz")["segments"]) == 40


def test_targets_are_judged_before_any_work(home: Path, pair, tmp_path: Path) -> None:
    now, before = pair
    mask = now / "mask.nii.gz"
    with pytest.raises(AttendingError, match="no folder to write the mesh into"):
        run(home, "mesh", mask, "--out", tmp_path / "no" / "m.stl")
    (tmp_path / "m.stl").mkdir()
    with pytest.raises(AttendingError, match="a folder of that name"):
        run(home, "mesh", mask, "--out", tmp_path / "m.stl", "--force")
    (tmp_path / "file").write_text("x")
    for target, words in ((tmp_path / "file", "is not empty"), (tmp_path / "file" / "deep", "cannot be made")):
        with pytest.raises(AttendingError, match=words):
            run(home, "compare", now / "series", before / "series", "--out", target)
    with pytest.raises(AttendingError, match="--lungs"):
        run(home, "measure", mask, "--heart", "1", "--lungs", "a")


def test_the_segmentation_of_a_film_without_a_place_is_measured(home: Path, tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    film = get_testdata_file("JPEG2000.dcm", download=False)
    drawn = run(home, "segment", film, "--box", "60,60,120,120", "--out", tmp_path / "mask.dcm")
    (segment,) = run(home, "measure", tmp_path / "mask.dcm", "--image", film)["segments"]
    assert segment["voxels"] == drawn["voxels"] and segment["box"] == drawn["box"]
