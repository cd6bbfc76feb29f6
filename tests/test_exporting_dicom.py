"""Exports of DICOM studies: the source as received, SEG and SR that other programs read back, all or nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exporting_samples import Sample, signed, volume

from attending import intake
from attending.errors import ExportRefused
from attending.exporting import export, identity
from attending.records import DRAFT_MARK, Code, Finding, Producer, Reading, Region, Review, Study
from attending.testing import dicom

OBLIQUE = dicom.oblique((5, 0, 10), (2.0, 1.0, 3.0), (-40, -20, -30))
Make = Callable[..., tuple[Study, Sample]]


def voxels(z: int = 20, y: int = 32, x: int = 40, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 900, (z, y, x)).astype(np.int16)


def opened(folder: Path, which: int = 0) -> tuple[Study, Sample]:
    """The study in a folder as the vault would give it back, and a reading of its stack with two labelled blocks."""
    found = intake.open([folder], declared={})
    assert not found.refused
    study = intake.decode(found.studies[0])
    image = study.stacks[which].image
    return study, volume(facts=image.facts, voxels=image.voxels)


@pytest.fixture
def mr(tmp_path: Path) -> tuple[Study, Sample]:
    dicom.write_series(voxels(), OBLIQUE, tmp_path / "in")
    return opened(tmp_path / "in")


def sent(
    study: Study, sample: Sample, to: Path, review: Review | None = None
) -> tuple[dict[str, Path], tuple[str, ...]]:
    files, notes = export(sample[0], study, sample[1], sample[2], review, to)
    assert all(f.is_file() for f in files)
    assert {f for f in to.rglob("*") if f.is_file()} == set(files)
    return {str(f.relative_to(to)): f for f in files}, notes


def errors_of(path: Path) -> list[str]:
    """What dciodvfy calls an error."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed; the package dicom3tools has it")
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (run.stderr + run.stdout).splitlines() if line.startswith("Error")]


def dumped(path: Path) -> str:
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed; the package dcmtk has it")
    run = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def read_back(path: Path, labels: Any, affine: Any) -> Any:
    """The SEG as a label map on the image's own grid, each frame put where its position says; values by segment."""
    from highdicom.seg import segread

    seg = segread(path)
    out = np.zeros(labels.shape, np.int64)
    inverse = np.linalg.inv(np.array(affine))
    frames = seg.pixel_array.reshape(-1, *labels.shape[1:])
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        place = np.array([*map(float, group.PlanePositionSequence[0].ImagePositionPatient), 1.0])
        index = inverse @ place
        z = round(index[2])
        assert np.allclose(index[:3], [0, 0, z], atol=1e-3)
        out[z][frame > 0] = number
    return out


def test_the_source_goes_out_exactly_as_received(mr: Any, tmp_path: Path) -> None:
    study, sample = mr
    files, _ = sent(study, sample, tmp_path / "out")
    sources = sorted(n for n in files if n.startswith("source/"))
    assert sources == [f"source/{n:04}.dcm" for n in range(1, 21)]
    assert [files[n].read_bytes() for n in sources] == [f.data for f in study.files]
    assert {"seg.dcm", "sr.dcm", "report.json", "page.html", "volume.nii.gz", "fhir.json"} <= set(files)


def test_the_segmentation_read_back_is_ours_voxel_for_voxel(mr: Any, tmp_path: Path) -> None:
    study, sample = mr
    files, _ = sent(study, sample, tmp_path / "out")
    labels = next(iter(sample[2].values()))
    back = read_back(files["seg.dcm"], labels, sample[1]["i1"].facts.affine)
    expected = np.select([labels == 2, labels == 5], [1, 2], 0)
    assert np.array_equal(back, expected)
    assert errors_of(files["seg.dcm"]) == []


def test_highdicoms_own_volume_of_the_segmentation_is_ours(mr: Any, tmp_path: Path) -> None:
    from highdicom.seg import segread

    study, sample = mr
    files, _ = sent(study, sample, tmp_path / "out")
    seg = segread(files["seg.dcm"])
    uids = [str(dataset_of(f.data).SOPInstanceUID) for f in study.files]
    per = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True, ignore_spatial_locations=True
    )
    by_place = np.array([index for index, _ in sample[1]["i1"].facts.source])
    labels = next(iter(sample[2].values()))
    assert np.array_equal(per[by_place], np.select([labels == 2, labels == 5], [1, 2], 0))


def dataset_of(data: bytes) -> Any:
    import io

    from pydicom import dcmread

    return dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)


def test_results_lie_in_the_sources_study_and_space(mr: Any, tmp_path: Path) -> None:
    from pydicom import dcmread

    study, sample = mr
    files, _ = sent(study, sample, tmp_path / "out")
    source, seg, sr = (dcmread(files[n]) for n in ("source/0001.dcm", "seg.dcm", "sr.dcm"))
    for result in (seg, sr):
        assert result.StudyInstanceUID == source.StudyInstanceUID
        assert result.SeriesInstanceUID != source.SeriesInstanceUID
        assert (result.PatientID, str(result.PatientName)) == (source.PatientID, str(source.PatientName))
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    known = {str(dcmread(p).SOPInstanceUID) for n, p in files.items() if n.startswith("source/")}
    named = {str(i.ReferencedSOPInstanceUID) for i in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named == known
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID


def test_segments_carry_the_findings_codes_and_names(mr: Any, tmp_path: Path) -> None:
    from pydicom import dcmread

    study, sample = mr
    files, _ = sent(study, sample, tmp_path / "out")
    segments = dcmread(files["seg.dcm"]).SegmentSequence
    assert [s.SegmentLabel for s in segments] == ["Left-Thing", "Right-Thing"]
    assert segments[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "12738006"
    assert segments[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "echo-segmenter"


def test_a_draft_says_so_in_every_form(mr: Any, tmp_path: Path) -> None:
    from pydicom import dcmread

    study, sample = mr
    files, _ = sent(study, sample, tmp_path / "out")
    sr, seg = dcmread(files["sr.dcm"]), dcmread(files["seg.dcm"])
    assert (sr.CompletionFlag, sr.VerificationFlag, sr.PreliminaryFlag) == ("PARTIAL", "UNVERIFIED", "PRELIMINARY")
    assert "DRAFT" in sr.SeriesDescription
    assert "DRAFT" in seg.SeriesDescription
    assert seg.ContentLabel == "DRAFT"
    assert DRAFT_MARK in dumped(files["sr.dcm"])
    assert json.loads(files["report.json"].read_text())["status"] == "draft"
    assert DRAFT_MARK in files["page.html"].read_text()
    assert DRAFT_MARK in files["fhir.json"].read_text()


def test_a_final_reading_without_its_review_is_no_verified_report(mr: Any, tmp_path: Path) -> None:
    from pydicom import dcmread

    study, sample = mr
    draft_review = signed(sample[0])[1]
    files, _ = sent(study, sample, tmp_path / "out", draft_review)
    assert dcmread(files["sr.dcm"]).VerificationFlag == "UNVERIFIED"


def test_a_signed_report_names_who_and_when(mr: Any, tmp_path: Path) -> None:
    from pydicom import dcmread

    study, sample = mr
    final, review = signed(sample[0])
    files, _ = sent(study, (final, *sample[1:]), tmp_path / "out", review)
    sr = dcmread(files["sr.dcm"])
    assert (sr.CompletionFlag, sr.VerificationFlag, sr.PreliminaryFlag) == ("COMPLETE", "VERIFIED", "FINAL")
    observer = sr.VerifyingObserverSequence[0]
    assert str(observer.VerifyingObserverName).startswith("Dr Demo")
    assert str(observer.VerificationDateTime).startswith("20260103100000")
    assert errors_of(files["sr.dcm"]) == []
    assert DRAFT_MARK not in files["page.html"].read_text()
    assert DRAFT_MARK not in files["fhir.json"].read_text()
    assert "DRAFT" not in str(dcmread(files["seg.dcm"]).SeriesDescription)


def test_the_report_holds_the_findings_values_sentences_and_segments(mr: Any, tmp_path: Path) -> None:
    from highdicom.sr import srread

    study, sample = mr
    files, _ = sent(study, sample, tmp_path / "out")
    assert errors_of(files["sr.dcm"]) == []
    groups = srread(files["sr.dcm"]).content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    for group, finding in zip(groups, sample[0].findings, strict=False):
        assert group.finding_type.meaning == finding.code.meaning
        measured = group.get_measurements()[0]
        assert (measured.value, measured.unit.value) == (finding.measurements[0].value, "ml")
    text = dumped(files["sr.dcm"])
    for finding in sample[0].findings:
        assert f'"{finding.measurements[0].value}"' in text
    for sentence in sample[0].draft.sentences:
        assert sentence.text in text


def test_one_segment_alone_works(mr: Any, tmp_path: Path) -> None:
    from highdicom.sr import srread

    study, (reading, images, arrays) = mr
    one = replace(reading, findings=reading.findings[:1])
    labels = next(iter(arrays.values())).copy()
    labels[labels == 5] = 0
    key = next(iter(arrays))
    files, _ = sent(study, (one, images, {key: labels}), tmp_path / "out")
    assert np.array_equal(read_back_shared(files["seg.dcm"], labels, images["i1"].facts.affine), labels == 2)
    assert errors_of(files["seg.dcm"]) == []
    assert len(srread(files["sr.dcm"]).content.get_volumetric_roi_measurement_groups()) == 1


def read_back_shared(path: Path, labels: Any, affine: Any) -> Any:
    """A SEG of one segment, whose number is shared by all frames."""
    from highdicom.seg import segread

    seg = segread(path)
    out = np.zeros(labels.shape, bool)
    inverse = np.linalg.inv(np.array(affine))
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, np.atleast_3d(seg.pixel_array), strict=True):
        index = inverse @ np.array([*map(float, group.PlanePositionSequence[0].ImagePositionPatient), 1.0])
        out[round(index[2])] = frame > 0
    return out


def test_no_mask_or_an_empty_one_makes_no_segmentation_and_says_so(mr: Any, tmp_path: Path) -> None:
    study, (reading, images, arrays) = mr
    bare = replace(reading, findings=())
    files, notes = sent(study, (bare, images, {}), tmp_path / "bare")
    assert "seg.dcm" not in files
    assert any("no mask" in n for n in notes)
    assert errors_of(files["sr.dcm"]) == []
    key = next(iter(arrays))
    files, notes = sent(study, (reading, images, {key: np.zeros_like(arrays[key])}), tmp_path / "empty")
    assert "seg.dcm" not in files
    assert any("empty" in n for n in notes)
    assert json.loads(files["report.json"].read_text())["export_notes"] == list(notes)


@pytest.mark.parametrize("missing", ["FrameOfReferenceUID", "SliceThickness"])
def test_what_the_source_lacks_is_given_and_said(missing: str, tmp_path: Path) -> None:
    from highdicom.seg import segread

    dicom.write_series(voxels(), OBLIQUE, tmp_path / "in", header={missing: None})
    study, sample = opened(tmp_path / "in")
    files, notes = sent(study, sample, tmp_path / "out")
    seg = segread(files["seg.dcm"])
    assert seg.FrameOfReferenceUID
    assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness
    if missing == "FrameOfReferenceUID":
        assert any("FrameOfReferenceUID" in n or "Frame of Reference" in n for n in notes)


def test_a_single_slice_without_a_thickness_is_given_one_and_says_so(tmp_path: Path) -> None:
    dicom.write_series(voxels(1), OBLIQUE, tmp_path / "in", header={"SliceThickness": None})
    study, sample = opened(tmp_path / "in")
    files, notes = sent(study, sample, tmp_path / "out")
    assert any("slice thickness" in n for n in notes)
    assert errors_of(files["seg.dcm"]) == []


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_pydicoms_own_files(name: str, tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    shutil.copy(str(get_testdata_file(name)), _made(tmp_path / "in") / "a.dcm")
    study, sample = opened(tmp_path / "in")
    files, _ = sent(study, sample, tmp_path / "out")
    had = set(errors_of(files["source/0001.dcm"]))
    assert set(errors_of(files["seg.dcm"])) <= had
    assert set(errors_of(files["sr.dcm"])) <= had


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def enhanced() -> Any:
    """An enhanced MR of 8 frames in mixed order, with functional groups."""
    from pydicom import Dataset

    order = [3, 0, 7, 1, 6, 2, 5, 4]
    ds = dicom.image(voxels(8), modality="MR", frames=True)
    ds.SOPClassUID = dicom.SOP_CLASSES["enhanced MR"]
    ds.FrameOfReferenceUID = dicom.uid("frame")
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1.0, 2.0], 3.0
    orientation.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for place in order:
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-40.0, -16.0, 3.0 * place]
        group.PlanePositionSequence = [position]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    return ds


def test_an_enhanced_multi_frame_source_is_named_frame_by_frame(tmp_path: Path) -> None:
    from pydicom import dcmread

    dicom.save(enhanced(), _made(tmp_path / "in") / "a.dcm")
    study, sample = opened(tmp_path / "in")
    files, _ = sent(study, sample, tmp_path / "out")
    seg, source = dcmread(files["seg.dcm"]), dcmread(files["source/0001.dcm"])
    items = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [str(i.ReferencedSOPInstanceUID) for i in items] == [str(source.SOPInstanceUID)]
    assert items[0].ReferencedSOPClassUID == source.SOPClassUID
    labels = next(iter(sample[2].values()))
    facts = sample[1]["i1"].facts
    inverse = np.linalg.inv(np.array(facts.affine))
    for group in seg.PerFrameFunctionalGroupsSequence:
        origin = group.DerivationImageSequence[0].SourceImageSequence[0]
        index = inverse @ np.array([*map(float, group.PlanePositionSequence[0].ImagePositionPatient), 1.0])
        assert int(origin.ReferencedFrameNumber) == facts.source[round(index[2])][1] + 1
    assert np.array_equal(read_back(files["seg.dcm"], labels, facts.affine) > 0, labels > 0)
    assert set(errors_of(files["seg.dcm"])) <= set(errors_of(files["source/0001.dcm"]))


def test_a_tilted_stack_is_written_where_it_was_analysed(tmp_path: Path) -> None:
    made = dicom.series(voxels(), np.diag([2.0, 1.0, 3.0, 1.0]), modality="CT")
    for n, ds in enumerate(made):
        x, y, z = (float(v) for v in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y + 0.8 * n, z]
    dicom.write(made, tmp_path / "in")
    study, sample = opened(tmp_path / "in")
    files, notes = sent(study, sample, tmp_path / "out")
    labels = next(iter(sample[2].values()))
    assert any("resampled" in n for n in notes)
    assert np.array_equal(read_back(files["seg.dcm"], labels, sample[1]["i1"].facts.affine) > 0, labels > 0)


def test_a_radiograph_without_geometry_keeps_its_mask_and_its_box(tmp_path: Path) -> None:
    from highdicom.seg import segread

    film = np.random.default_rng(0).integers(0, 4000, (48, 64)).astype(np.uint16)
    dicom.save(dicom.image(film, modality="CR"), _made(tmp_path / "in") / "a.dcm")
    study, sample = opened(tmp_path / "in")
    labels = np.zeros((1, 48, 64), np.uint8)
    labels[0, 10:20, 30:40] = 1
    reading = with_regions(sample[0])
    files, _ = sent(study, (reading, sample[1], {"m": labels}), tmp_path / "out")
    assert np.array_equal(segread(files["seg.dcm"]).pixel_array.reshape(48, 64), labels[0])
    assert errors_of(files["seg.dcm"]) == []
    assert errors_of(files["sr.dcm"]) == []
    assert "(POLYLINE,30/10,40/10,40/20,30/20,30/10)" in dumped(files["sr.dcm"])


def with_regions(reading: Reading) -> Reading:
    """A mask and a box on the first image, by two findings with probability, score, side and site."""
    lung = Code("SCT", "39607008", "Lung")
    mask = Finding(
        "f1",
        Code("SCT", "233604007", "Pneumonia"),
        "present",
        0.91,
        side="left",
        site=lung,
        region=Region("mask", "i1", "m", 1),
        producer=Producer("head-pneumonia", "1"),
    )
    box = Finding(
        "f2",
        Code("SCT", "60046008", "Pleural effusion"),
        "uncertain",
        None,
        0.4,
        "right",
        region=Region("box", "i1", box=(30, 10, 0, 39, 19, 0)),
    )
    return replace(reading, findings=(mask, box), label_names=(("m", ((1, "opacity"),)),))


def test_a_cine_of_frames_without_a_place_gets_no_segmentation(tmp_path: Path) -> None:
    cine = np.random.default_rng(0).integers(0, 255, (6, 32, 40, 3)).astype(np.uint8)
    dicom.save(dicom.image(cine, modality="US", frames=True), _made(tmp_path / "in") / "a.dcm")
    study, sample = opened(tmp_path / "in")
    labels = np.zeros((6, 32, 40), np.uint8)
    labels[2:4, 5:9, 5:9] = 1
    files, notes = sent(study, (with_regions(sample[0]), sample[1], {"m": labels}), tmp_path / "out")
    assert "seg.dcm" not in files
    assert any("no position in the patient" in n for n in notes)
    assert "labels.nii.gz" in files
    assert set(errors_of(files["sr.dcm"])) == set()


def test_patient_names_of_any_script_survive(tmp_path: Path) -> None:
    from pydicom import dcmread

    header = {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "PatientSex": "X", "PatientBirthDate": "1970"}
    dicom.write_series(voxels(3), OBLIQUE, tmp_path / "in", header=header)
    study, sample = opened(tmp_path / "in")
    files, notes = sent(study, sample, tmp_path / "out")
    for name in ("seg.dcm", "sr.dcm"):
        assert str(dcmread(files[name]).PatientName) == header["PatientName"]
    assert any("PatientSex" in n and "PatientBirthDate" in n for n in notes)
    assert "太郎" in files["fhir.json"].read_text() or "Tarou" in files["fhir.json"].read_text()


def test_a_source_without_uids_is_named_by_those_given(tmp_path: Path) -> None:
    from pydicom import dcmread

    header = {"StudyInstanceUID": None, "SeriesInstanceUID": ""}
    dicom.write_series(voxels(4), OBLIQUE, tmp_path / "in", header=header)
    study, sample = opened(tmp_path / "in")
    files, notes = sent(study, sample, tmp_path / "out")
    seg = dcmread(files["seg.dcm"])
    assert seg.StudyInstanceUID == study.stacks[0].header.StudyInstanceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == study.stacks[0].header.SeriesInstanceUID
    assert any("StudyInstanceUID was missing" in n for n in notes)
    assert errors_of(files["sr.dcm"]) == []


@pytest.mark.mirror
def test_the_jpeg_2000_series_of_the_mirror_with_its_empty_uids(mirror: Path, tmp_path: Path) -> None:
    study, sample = opened(mirror / "data" / "ct_totalsegmentator" / "example_ct_dicom")
    files, _ = sent(study, sample, tmp_path / "out")
    labels = next(iter(sample[2].values()))
    back = read_back(files["seg.dcm"], labels, sample[1]["i1"].facts.affine)
    assert np.array_equal(back > 0, labels > 0)
    had = set(errors_of(files["source/0001.dcm"]))
    assert set(errors_of(files["seg.dcm"])) <= had
    assert set(errors_of(files["sr.dcm"])) <= had


def test_an_export_never_overwrites_and_leaves_nothing_half_done(mr: Any, tmp_path: Path) -> None:
    study, (reading, images, arrays) = mr
    full = _made(tmp_path / "full")
    (full / "kept.txt").write_text("mine")
    with pytest.raises(ExportRefused, match="not an empty folder"):
        export(reading, study, images, arrays, None, full)
    assert [p.name for p in full.iterdir()] == ["kept.txt"]
    with pytest.raises(ExportRefused, match="not an empty folder"):
        export(reading, study, images, arrays, None, full / "kept.txt")
    export(reading, study, images, arrays, None, _made(tmp_path / "empty"))
    assert (tmp_path / "empty").stat().st_mode & 0o077 == 0
    broken = replace(study, files=tuple(replace(f, data=None) for f in study.files))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        export(reading, broken, images, arrays, None, tmp_path / "broken")
    assert {p.name for p in tmp_path.iterdir()} == {"in", "full", "empty"}


def test_data_that_may_only_be_viewed_is_not_exported(mr: Any, tmp_path: Path) -> None:
    study, (reading, images, arrays) = mr
    view = replace(reading, case=replace(reading.case, use="view"))
    with pytest.raises(ExportRefused, match="without a stated licence"):
        export(view, study, images, arrays, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_file_names_page_and_json_carry_no_identifier(tmp_path: Path) -> None:
    planted = "PLANTEDIDENTIFIER"
    header = {"PatientName": f"{planted}^A", "PatientID": planted, "AccessionNumber": planted[:16]}
    dicom.write_series(voxels(3), OBLIQUE, tmp_path / f"in-{planted}", header=header)
    study, sample = opened(tmp_path / f"in-{planted}")
    files, notes = sent(study, sample, tmp_path / "out")
    assert not any(planted in name for name in files)
    assert not any(planted in note for note in notes)
    for name in ("page.html", "report.json", "volume.nii.gz"):
        assert planted[:16].encode() not in files[name].read_bytes()
    assert planted in files["fhir.json"].read_text()


def test_identity_is_read_from_the_source_and_masked(mr: Any) -> None:
    study, _ = mr
    who = identity(study)
    assert dict(who) == {"name": "PHANTOM^TEST", "patient_id": "PHANTOM-0001", "birth_date": "1970-01-01"}
    assert dict(identity(replace(study, stacks=()))) == dict(who)
    assert "PHANTOM" not in repr(who)
    assert dict(identity(Study("nifti", "0", (), ()))) == {"name": "", "patient_id": "", "birth_date": ""}


def test_a_retired_sop_class_is_named_as_it_is(tmp_path: Path) -> None:
    from pydicom import dcmread

    retired = "1.2.840.10008.5.1.4.1.1.6"
    film = dicom.image(voxels(1)[0].astype(np.uint8), modality="US", header={"SOPClassUID": retired})
    dicom.save(film, _made(tmp_path / "in") / "a.dcm")
    study, sample = opened(tmp_path / "in")
    files, _ = sent(study, sample, tmp_path / "out")
    listed = dcmread(files["sr.dcm"]).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert retired in {str(i.ReferencedSOPClassUID) for s in listed for i in s.ReferencedSOPSequence}


def test_two_label_maps_that_overlap_share_one_segmentation(mr: Any, tmp_path: Path) -> None:
    from highdicom.seg import segread
    from highdicom.sr import srread

    study, (reading, images, arrays) = mr
    labels = next(iter(arrays.values()))
    whole = (labels > 0).astype(np.uint8)
    brain = replace(reading.findings[0], id="f0", side=None, region=Region("mask", "i1", "whole", 1))
    both = replace(reading, findings=(brain, *reading.findings[:2]))
    files, _ = sent(study, (both, images, {**arrays, "whole": whole}), tmp_path / "out")
    assert "seg-2.dcm" not in files
    seg = segread(files["seg.dcm"])
    uids = [str(dataset_of(f.data).SOPInstanceUID) for f in study.files]
    back = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True, ignore_spatial_locations=True)
    order = np.array([index for index, _ in images["i1"].facts.source])
    assert np.array_equal(back[order][..., 0], whole)
    assert np.array_equal(back[order][..., 1], labels == 2)
    assert np.array_equal(back[order][..., 2], labels == 5)
    assert errors_of(files["seg.dcm"]) == []
    groups = srread(files["sr.dcm"]).content.get_volumetric_roi_measurement_groups()
    named = [int(g.referenced_segment.referenced_segment_numbers[0]) for g in groups]
    assert named == [1, 2, 3]


def test_no_library_tells_the_patients_name_while_it_exports(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = "QXZWVLONGSINGLECOMPONENT"
    dicom.write_series(voxels(), OBLIQUE, tmp_path / "in", header={"PatientName": name})
    study, sample = opened(tmp_path / "in")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        sent(study, sample, tmp_path / "out")
        assert dict(identity(study))["name"] == name
    assert not [w for w in told if name in str(w.message)]
    assert name not in caplog.text
