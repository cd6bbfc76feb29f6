"""Exports of what has no DICOM source, and NIfTI files that other programs put in the right place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from exporting_samples import LPS, picture, volume

from attending.exporting import export, may_leave
from attending.exporting.nifti import nifti
from attending.records import ImageFacts, Stack, Study


def study(kind: str, sample: Any) -> Study:
    return Study(kind, "0" * 64, (), tuple(Stack(i) for i in sample[1].values()))


def loaded(content: bytes, folder: Path) -> Any:
    (folder / "x.nii.gz").write_bytes(content)
    return nibabel.load(folder / "x.nii.gz")


def test_a_nifti_lies_in_ras_millimetres_with_its_voxels_unchanged(tmp_path: Path) -> None:
    _, images, _ = volume()
    image = loaded(nifti(images["i1"].voxels, images["i1"].facts, "d"), tmp_path)
    assert image.shape == (40, 32, 20)
    assert np.array_equal(np.asarray(image.dataobj), images["i1"].voxels.transpose(2, 1, 0))
    for index in ((0, 0, 0), (7, 3, 11)):
        lps = np.array(LPS) @ [*index, 1]
        assert np.allclose(image.affine @ [*index, 1], lps * [-1, -1, 1, 1])
    assert int(image.header["sform_code"]) == 1
    assert image.header.get_xyzt_units()[0] == "mm"


def test_unknown_space_is_said_in_the_header(tmp_path: Path) -> None:
    facts = ImageFacts("i1", (1, 5, 7), None, None, "MR")
    image = loaded(nifti(np.arange(35, dtype=np.uint16).reshape(1, 5, 7), facts, ""), tmp_path)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)
    assert image.header.get_xyzt_units()[0] == "unknown"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_every_voxel_type_survives(dtype: Any, tmp_path: Path) -> None:
    voxels = np.arange(60).reshape(3, 4, 5).astype(dtype)
    image = loaded(nifti(voxels, ImageFacts("i1", (3, 4, 5), LPS, (2, 1, 3), "MR"), ""), tmp_path)
    assert image.get_data_dtype() == dtype
    assert np.array_equal(np.asarray(image.dataobj), voxels.transpose(2, 1, 0))


def test_colour_survives(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 255, (2, 4, 5, 3)).astype(np.uint8)
    image = loaded(nifti(voxels, ImageFacts("i1", voxels.shape, None, None, "US"), ""), tmp_path)
    back = np.asarray(image.dataobj)
    assert np.array_equal(back["G"], voxels[..., 1].transpose(2, 1, 0))


def test_a_picture_says_that_it_has_no_dicom_source_and_writes_the_rest(tmp_path: Path) -> None:
    sample = picture()
    files, notes = export(sample[0], study("picture", sample), sample[1], sample[2], None, tmp_path / "out")
    assert {f.name for f in files} == {"report.json", "page.html", "volume.nii.gz", "fhir.json"}
    assert any("a picture, not DICOM" in n for n in notes)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["files"]["page"] == "page.html"
    assert report["export_notes"] == list(notes)


def test_a_nifti_keeps_its_masks_as_nifti(tmp_path: Path) -> None:
    sample = volume()
    files, notes = export(sample[0], study("nifti", sample), sample[1], sample[2], None, tmp_path / "a" / "out")
    assert {f.name for f in files} == {"report.json", "page.html", "volume.nii.gz", "labels.nii.gz", "fhir.json"}
    assert any("a NIfTI, not DICOM" in n for n in notes)
    labels: Any = nibabel.load(tmp_path / "a" / "out" / "labels.nii.gz")
    assert np.array_equal(np.asarray(labels.dataobj), next(iter(sample[2].values())).transpose(2, 1, 0))


def test_care_and_teaching_data_may_leave() -> None:
    for use in ("care", "teach"):
        reading = picture()[0]
        may_leave(replace(reading, case=replace(reading.case, use=use)))
