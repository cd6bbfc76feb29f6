"""Slices go where the header says, and nothing is stacked that does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attending import intake
from attending.records import Image
from attending.testing import dicom, multiframe

# Decimal strings carry 16 characters; a fraction of a micrometre over a whole body is below any scanner's precision.
MICROMETRE = 1e-3
RNG = np.random.default_rng(11)


def volume(depth: int = 6, rows: int = 8, columns: int = 10) -> np.ndarray[Any, np.dtype[np.uint16]]:
    return RNG.integers(0, 4000, (depth, rows, columns)).astype(np.uint16)


def images(path: Path, **options: Any) -> list[Image]:
    opened = intake.open([path], **options)
    assert not opened.refused, opened.refused
    return [s.image for study in opened.studies for s in study.stacks]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 7.0)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    order=st.permutations(range(5)),
    mirrored=st.booleans(),
    modality=st.sampled_from(["MR", "CT"]),
)
def test_affine_maps_every_voxel_to_where_its_slice_says(
    tmp_path_factory: pytest.TempPathFactory,
    angles: Any,
    spacing: Any,
    origin: Any,
    order: Any,
    mirrored: bool,
    modality: str,
) -> None:
    voxels = volume(5)
    affine = dicom.oblique(angles, spacing, origin)
    if mirrored:
        affine[:3, 2] *= -1
    datasets = dicom.series(voxels, affine, modality=modality)
    folder = tmp_path_factory.mktemp("series")
    dicom.write([datasets[k] for k in order], folder)
    opened = intake.open([folder])
    (stack,) = opened.studies[0].stacks
    image = stack.image
    assert image.facts.shape == (5, 8, 10)
    assert image.affine is not None
    from pydicom import dcmread

    for z, (file, frame) in enumerate(image.facts.source):
        ds = dcmread(_bytes(opened.studies[0].files[file].data))
        row, column = np.array(ds.ImageOrientationPatient[:3]), np.array(ds.ImageOrientationPatient[3:])
        assert frame == 0
        np.testing.assert_array_equal(image.voxels[z], ds.pixel_array)
        for x, y in ((0, 0), (9, 0), (0, 7), (9, 7)):
            said = np.array(ds.ImagePositionPatient) + row * ds.PixelSpacing[1] * x + column * ds.PixelSpacing[0] * y
            assert np.abs((image.affine @ [x, y, z, 1])[:3] - said).max() < MICROMETRE
    assert np.linalg.det(image.affine[:3, :3]) > 0
    np.testing.assert_allclose(image.facts.spacing, spacing, rtol=1e-4)


def _bytes(data: bytes) -> Any:
    import io

    return io.BytesIO(data)


def test_shuffled_names_and_order_give_the_same_study(tmp_path: Path) -> None:
    datasets = dicom.series(volume(), dicom.oblique())
    dicom.write(datasets, tmp_path / "a")
    dicom.write(datasets[::-1], tmp_path / "b")
    a, b = intake.open([tmp_path / "a"]).studies[0], intake.open([tmp_path / "b"]).studies[0]
    assert a.digest == b.digest
    np.testing.assert_array_equal(a.stacks[0].image.voxels, b.stacks[0].image.voxels)
    assert a.stacks[0].image.facts == b.stacks[0].image.facts


def test_decode_rebuilds_the_same_stacks(tmp_path: Path) -> None:
    from dataclasses import replace

    dicom.write_series(volume(), dicom.oblique((5, 6, 7)), tmp_path, header={"StudyInstanceUID": ""})
    study = intake.open([tmp_path]).studies[0]
    again = intake.decode(replace(study, stacks=()))
    assert again.stacks[0].image.facts == study.stacks[0].image.facts
    np.testing.assert_array_equal(again.stacks[0].image.voxels, study.stacks[0].image.voxels)
    assert again.restored == study.restored
    assert again.stacks[0].header.StudyInstanceUID == study.stacks[0].header.StudyInstanceUID != ""


def test_a_missing_slice_splits_the_stack(tmp_path: Path) -> None:
    datasets = dicom.series(volume(9), dicom.oblique(spacing=(1, 1, 5)))
    dicom.write(datasets[:4] + datasets[5:], tmp_path)
    parts = images(tmp_path)
    assert [p.facts.shape[0] for p in parts] == [4, 4]
    assert all("uneven slice distances (5.00 to 10.00 mm): split" in " ".join(p.facts.notes) for p in parts)
    assert parts[1].affine is not None and parts[1].affine[2, 3] == 25.0


def test_a_change_of_slice_distance_splits_the_stack(tmp_path: Path) -> None:
    thin = dicom.series(volume(6), dicom.oblique(spacing=(1, 1, 2)), seed="x")
    thick = dicom.series(volume(6), dicom.oblique(spacing=(1, 1, 8), origin=(0, 0, 18)), seed="x")
    for k, ds in enumerate(thick):
        ds.SOPInstanceUID, ds.InstanceNumber = dicom.uid("thick", k), 10 + k
    dicom.write([*thin, *thick], tmp_path)
    assert [(p.facts.shape[0], p.facts.spacing) for p in images(tmp_path)] == [(6, (1, 1, 2)), (6, (1, 1, 8))]


def test_irregular_distances_are_resampled_and_said_so(tmp_path: Path) -> None:
    datasets = dicom.series(volume(7), dicom.oblique())
    depths = [0, 2.0, 5.0, 6.5, 9.5, 11.0, 14.0]
    for ds, depth in zip(datasets, depths, strict=True):
        ds.ImagePositionPatient = [0, 0, depth]
        ds.PixelData = np.full((8, 10), int(depth * 100), "<u2").tobytes()
    dicom.write(datasets, tmp_path)
    (image,) = images(tmp_path)
    assert "resampled to" in " ".join(image.facts.notes)
    assert image.affine is not None
    # the values are 100 times the depth, so linear interpolation must give the depth of each plane back
    at = [float((image.affine @ [0, 0, z, 1])[2]) for z in range(image.facts.shape[0])]
    np.testing.assert_allclose(image.voxels[:, 4, 4], np.multiply(at, 100), atol=0.51)


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even(tmp_path: Path) -> None:
    datasets = dicom.series(volume(40), dicom.oblique(spacing=(1, 1, 0.625)))
    for k, ds in enumerate(datasets):
        ds.ImagePositionPatient = [0, 0, round(0.625 * k, 1)]
    dicom.write(datasets, tmp_path)
    (image,) = images(tmp_path)
    assert image.facts.shape[0] == 40
    assert image.facts.spacing == pytest.approx((1, 1, 0.625), abs=0.003)


def test_a_tilted_gantry_is_straightened_and_said_so(tmp_path: Path) -> None:
    """A rod along z stands upright again after slices were written with a sideways drift of 3.4 mm each."""
    depth, drift = 9, 3.4
    rod = np.zeros((depth, 40, 30), np.uint16)
    rod[:, 18:23, 14:17] = 1000
    datasets = dicom.series(rod, dicom.oblique(spacing=(1, 1, 10)))
    rows = []
    for k, ds in enumerate(datasets):
        ds.ImagePositionPatient = [0, drift * k, 10 * k]
        moved = np.zeros((40, 30), np.uint16)
        low = 18 - round(drift * k) % 18
        moved[low : low + 5, 14:17] = 1000
        ds.PixelData = moved.astype("<u2").tobytes()
        ds.GantryDetectorTilt = "18.8"
        rows.append(low + drift * k)
    dicom.write(datasets, tmp_path)
    (image,) = images(tmp_path)
    assert "tilted or drifting slices (18.8 degrees): resampled" in " ".join(image.facts.notes)
    assert image.affine is not None and np.allclose(image.affine[:3, 2], [0, 0, 10])
    for z in range(depth):
        y = np.average(np.arange(image.facts.shape[1]), weights=image.voxels[z, :, 15].astype(float))
        assert (image.affine @ [15, y, z, 1])[1] == pytest.approx(rows[z] + 2, abs=0.05)


def test_localizers_are_split_from_the_volume(tmp_path: Path) -> None:
    axial = dicom.series(volume(5), dicom.oblique())
    scouts = dicom.series(volume(1, 8, 10), dicom.oblique((0, 90, 0)))
    scouts += dicom.series(volume(1, 16, 16), dicom.oblique((90, 0, 0)))
    for k, ds in enumerate(scouts):
        ds.SOPInstanceUID, ds.InstanceNumber = dicom.uid("scout", k), 90 + k
    dicom.write([*scouts, *axial], tmp_path)
    found = {(i.facts.view, i.facts.shape) for i in images(tmp_path)}
    assert found == {("AXIAL", (5, 8, 10)), ("SAGITTAL", (1, 8, 10)), ("CORONAL", (1, 16, 16))}


def test_other_pixel_spacing_is_another_stack(tmp_path: Path) -> None:
    a = dicom.series(volume(3), dicom.oblique())
    b = dicom.series(volume(3), dicom.oblique(spacing=(0.5, 0.5, 1), origin=(0, 0, 3)))
    for k, ds in enumerate(b):
        ds.SOPInstanceUID = dicom.uid("b", k)
    dicom.write([*a, *b], tmp_path)
    assert [i.facts.spacing for i in images(tmp_path)] == [(1, 1, 1), (0.5, 0.5, 1)]


@pytest.mark.parametrize(
    "what", ["EchoTime", "DiffusionBValue", "TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime"]
)
def test_a_series_of_many_volumes_is_split(tmp_path: Path, what: str) -> None:
    one, two = volume(4), volume(4)
    made = dicom.series(one, dicom.oblique(), header={what: 1}) + dicom.series(two, dicom.oblique(), header={what: 2})
    for k, ds in enumerate(made):
        ds.SOPInstanceUID, ds.InstanceNumber = dicom.uid(what, k), (k % 4) * 2 + k // 4
    dicom.write(made, tmp_path)
    first, second = images(tmp_path)
    np.testing.assert_array_equal(first.voxels, one)
    np.testing.assert_array_equal(second.voxels, two)


def test_volumes_that_nothing_tells_apart_are_split_by_number(tmp_path: Path) -> None:
    one, two = volume(4), volume(4)
    made = dicom.series(one, dicom.oblique()) + dicom.series(two, dicom.oblique())
    for k, ds in enumerate(made):
        ds.SOPInstanceUID, ds.InstanceNumber = dicom.uid("n", k), k + 1
    dicom.write(made, tmp_path)
    first, second = images(tmp_path)
    np.testing.assert_array_equal(first.voxels, one)
    np.testing.assert_array_equal(second.voxels, two)
    assert "split in the order of their numbers" in " ".join(first.facts.notes)


def test_many_images_at_one_place_are_a_time_axis(tmp_path: Path) -> None:
    voxels = volume(5)
    made = dicom.series(voxels, dicom.oblique())
    for k, ds in enumerate(made):
        ds.ImagePositionPatient, ds.TriggerTime, ds.InstanceNumber = [0, 0, 0], 100 - 10 * k, 3
    dicom.write(made, tmp_path)
    (image,) = images(tmp_path)
    assert image.facts.axis == "time" and image.facts.affine is None
    np.testing.assert_array_equal(image.voxels, voxels[::-1])


def test_pixel_spacing_of_zero_gives_no_millimetres(tmp_path: Path) -> None:
    dicom.write_series(volume(3), dicom.oblique(), tmp_path, header={"PixelSpacing": ["0", "0"]})
    for image in images(tmp_path):
        assert image.facts.spacing is None and image.facts.affine is None
        assert "no millimetres" in " ".join(image.facts.notes)


def test_impossible_orientation_is_not_stacked(tmp_path: Path) -> None:
    dicom.write_series(volume(3), dicom.oblique(), tmp_path, header={"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]})
    found = images(tmp_path)
    assert [i.facts.shape[0] for i in found] == [1, 1, 1]
    assert all(i.facts.affine is None for i in found)


def test_enhanced_frames_are_placed_one_by_one(tmp_path: Path) -> None:
    voxels, affine = volume(6), dicom.oblique((20, -10, 5), (0.8, 0.9, 3.1), (-50, 60, 70))
    rescale = [(1.0, float(-k)) for k in range(6)]
    dicom.save(multiframe.enhanced(voxels, affine, order=[3, 0, 5, 1, 4, 2], rescale=rescale), tmp_path / "e.dcm")
    (image,) = images(tmp_path)
    np.testing.assert_allclose(image.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(image.voxels, voxels.astype(int) - np.arange(6)[:, None, None])
    assert image.facts.source == tuple((0, k) for k in (1, 3, 5, 0, 4, 2))


def test_enhanced_time_points_are_split(tmp_path: Path) -> None:
    voxels = volume(6)
    ds = multiframe.enhanced(voxels, dicom.oblique(), times=[1, 2, 1, 2, 1, 2])
    dicom.save(ds, tmp_path / "e.dcm")
    first, second = images(tmp_path)
    np.testing.assert_array_equal(first.voxels, voxels[0::2])
    np.testing.assert_array_equal(second.voxels, voxels[1::2])


def test_a_mosaic_is_split_as_nibabel_does(tmp_path: Path) -> None:
    from nibabel.nicom.dicomwrappers import MosaicWrapper

    voxels, affine = volume(7), dicom.oblique((10, 4, -8), (2, 2, 3), (-90, -80, 30))
    ds = multiframe.mosaic(voxels, affine)
    dicom.save(ds, tmp_path / "m.dcm")
    (image,) = images(tmp_path)
    np.testing.assert_array_equal(image.voxels, voxels)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    peer = MosaicWrapper(ds, csa_header={"tags": {}}, n_mosaic=7)
    np.testing.assert_allclose(peer.image_position, affine[:3, 3], atol=1e-5)
    assert "Siemens mosaic split into 7 slices" in image.facts.notes


def test_nm_slices_are_placed_by_the_detector(tmp_path: Path) -> None:
    voxels = volume(5)
    dicom.save(multiframe.nm_slices(voxels, (4, 4, 6), (-100, -90, 20)), tmp_path / "n.dcm")
    (image,) = images(tmp_path)
    assert image.facts.axis == "space" and image.facts.spacing == (4, 4, 6)
    assert image.affine is not None and image.affine[:3, 3].tolist() == [-100, -90, 20]


def test_a_cine_is_never_a_volume(tmp_path: Path) -> None:
    dicom.save(
        dicom.image(RNG.integers(0, 255, (6, 8, 10, 3)).astype(np.uint8), modality="US", frames=True),
        tmp_path / "u.dcm",
    )
    (image,) = images(tmp_path)
    assert image.facts.axis == "frame" and image.facts.shape == (6, 8, 10, 3) and image.facts.affine is None


def test_gaps_between_thin_slices_are_noted(tmp_path: Path) -> None:
    dicom.write_series(volume(4), dicom.oblique(spacing=(1, 1, 6)), tmp_path, header={"SliceThickness": "5"})
    (image,) = images(tmp_path)
    assert "gaps between the slices: 5 mm thick, 6 mm apart" in image.facts.notes


def test_two_far_slices_are_no_volume(tmp_path: Path) -> None:
    dicom.write_series(volume(2), dicom.oblique(spacing=(1, 1, 200)), tmp_path, header={"SliceThickness": "5"})
    assert [i.facts.shape[0] for i in images(tmp_path)] == [1, 1]
