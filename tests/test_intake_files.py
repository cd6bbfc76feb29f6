"""NIfTI and pictures; and the mirror's real scans."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attending import intake
from attending.records import Image
from attending.testing import bad_input, dicom

RNG = np.random.default_rng(9)


def read(path: Path, modality: str = "MR", **more: str) -> list[Image]:
    opened = intake.open([path], declared={"modality": modality, **more})
    assert opened.refused == (), opened.refused
    return [s.image for s in opened.studies[0].stacks]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 7.0)] * 3),
    mirrored=st.booleans(),
    packed=st.booleans(),
)
def test_nifti_voxels_lie_where_nibabel_says(
    tmp_path_factory: pytest.TempPathFactory, angles: Any, spacing: Any, mirrored: bool, packed: bool
) -> None:
    import nibabel

    data = RNG.integers(-1000, 3000, (4, 5, 6)).astype(np.int16)
    ras = dicom.oblique(angles, spacing, (10, -20, 30))
    if mirrored:
        ras[:3, 0] *= -1
    path = tmp_path_factory.mktemp("n") / ("a.nii.gz" if packed else "a.nii")
    nibabel.save(nibabel.Nifti1Image(data, ras), path)
    (image,) = read(path)
    assert image.affine is not None
    for i, j, k in ((0, 0, 0), (3, 0, 0), (0, 4, 5), (2, 3, 1)):
        assert image.voxels[k, j, i] == data[i, j, k]
        said = nibabel.load(path).affine @ [i, j, k, 1]
        np.testing.assert_allclose((image.affine @ [i, j, k, 1])[:3], said[:3] * [-1, -1, 1], atol=1e-4)
    np.testing.assert_allclose(image.facts.spacing, spacing, rtol=1e-4)


def test_nifti_and_the_dicom_written_from_it_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(bad_input.nifti((6, 5, 4)))
    (volume,) = read(path)
    dicom.write_series_from_nifti(path, tmp_path / "series")
    (series,) = read(tmp_path / "series")
    assert volume.affine is not None and series.affine is not None
    to_series = np.linalg.inv(series.affine) @ volume.affine
    for x, y, z in ((0, 0, 0), (5, 0, 0), (0, 4, 3), (2, 2, 1)):
        a, b, c, _ = np.rint(to_series @ [x, y, z, 1]).astype(int)
        assert series.voxels[c, b, a] == volume.voxels[z, y, x]


def test_nifti_scaling_volumes_colour_and_nan(tmp_path: Path) -> None:
    import nibabel

    scaled = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    scaled.header.set_slope_inter(0.5, 10)
    nibabel.save(scaled, tmp_path / "s.nii")
    (image,) = read(tmp_path / "s.nii")
    np.testing.assert_allclose(image.voxels, nibabel.load(tmp_path / "s.nii").get_fdata().T)
    four = RNG.integers(0, 9, (3, 4, 5, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(four, np.eye(4)), tmp_path / "f.nii")
    volumes = read(tmp_path / "f.nii")
    assert len(volumes) == 6 and "volume 2 of 6 of a 4-D series" in volumes[1].facts.notes
    np.testing.assert_array_equal(volumes[4].voxels, four[..., 4].T)
    wrong = np.ones((3, 3, 3), np.float32)
    wrong[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(wrong, np.eye(4)), tmp_path / "n.nii")
    (image,) = read(tmp_path / "n.nii")
    assert image.voxels[0, 0, 0] == 0 and "1 voxels were not numbers: set to 0" in image.facts.notes
    rgb = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = 7
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), tmp_path / "c.nii")
    (image,) = read(tmp_path / "c.nii")
    assert image.facts.shape == (5, 4, 3, 3) and (image.voxels[..., 1] == 7).all()


def test_nifti_without_orientation_has_no_affine(tmp_path: Path) -> None:
    import nibabel

    made = nibabel.Nifti1Image(np.ones((3, 4, 5), np.int16), None)
    made.header.set_zooms((2, 3, 4))
    nibabel.save(made, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[252:256] = bytes(4)
    (tmp_path / "a.nii").write_bytes(bytes(data))
    (image,) = read(tmp_path / "a.nii")
    assert image.facts.affine is None and image.facts.spacing == (2, 3, 4)
    assert "left and right unknown" in " ".join(image.facts.notes)


def _save(path: Path, array: Any, mode: str | None = None, **options: Any) -> Path:
    from PIL import Image as Pillow

    picture = Pillow.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def test_grey_pictures_of_8_and_16_bits(tmp_path: Path) -> None:
    for dtype, top in ((np.uint8, 256), (np.uint16, 65536)):
        plane = RNG.integers(0, top, (9, 7)).astype(dtype)
        for name in ("a.png", "a.tif"):
            (image,) = read(_save(tmp_path / name, plane), "CR", view="pa")
            np.testing.assert_array_equal(image.voxels[0], plane)
            assert (image.facts.spacing, image.facts.affine, image.facts.view) == (None, None, "PA")


def test_grey_saved_as_colour_is_grey_for_a_grey_modality_only(tmp_path: Path) -> None:
    plane = RNG.integers(0, 256, (9, 7)).astype(np.uint8)
    path = _save(tmp_path / "a.png", np.stack([plane] * 3, axis=-1))
    (image,) = read(path, "MR")
    np.testing.assert_array_equal(image.voxels[0], plane)
    assert "red, green and blue are alike: made grey" in image.facts.notes
    (image,) = read(path, "US")
    assert image.facts.colour
    (image,) = read(_save(tmp_path / "b.png", RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8)), "MR")
    assert image.facts.colour and "kept as colour" in " ".join(image.facts.notes)


def test_transparency_palettes_and_orientation(tmp_path: Path) -> None:
    rgba = RNG.integers(0, 256, (6, 5, 4)).astype(np.uint8)
    rgba[..., 3] = 255
    (image,) = read(_save(tmp_path / "a.png", rgba), "SC")
    np.testing.assert_array_equal(image.voxels[0], rgba[..., :3])
    rgba[0, 0, 3] = 0
    (image,) = read(_save(tmp_path / "b.png", rgba), "SC")
    assert image.voxels[0, 0, 0].tolist() == [0, 0, 0] and "transparent pixels shown on black" in image.facts.notes
    (image,) = read(_save(tmp_path / "c.png", rgba[..., :3], "P"), "SC")
    assert image.facts.colour and "palette colours converted to RGB" in image.facts.notes
    from PIL import Image as Pillow

    exif = Pillow.Exif()
    exif[274] = 6
    plane = np.arange(30, dtype=np.uint8).reshape(6, 5)
    buffer = io.BytesIO()
    Pillow.fromarray(plane).save(buffer, "PNG", exif=exif)
    (tmp_path / "d.png").write_bytes(buffer.getvalue())
    (image,) = read(tmp_path / "d.png", "CR")
    np.testing.assert_array_equal(image.voxels[0], np.rot90(plane, -1))
    assert "turned upright as its EXIF orientation says" in image.facts.notes


def test_pages_and_frames_are_refused(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    pages = [Pillow.fromarray(np.full((4, 4), k, np.uint8)) for k in range(3)]
    for name in ("a.tif", "a.png"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        opened = intake.open([tmp_path / name], declared={"modality": "CR"})
        assert "3 pages or frames" in opened.refused[0].error.seen


def test_the_same_file_twice_is_one_study(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(bad_input.nifti())
    (tmp_path / "b.nii").write_bytes(bad_input.nifti())
    assert len(intake.open([tmp_path], declared={"modality": "MR"}).studies) == 1


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    dicom.write_series(np.ones((3, 8, 8), np.uint16), dicom.oblique(), tmp_path)
    (tmp_path / "note.txt").write_text("x" * 300)
    seen: list[tuple[int, int]] = []
    intake.open([tmp_path], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (8, 8) and [d for d, _ in seen] == sorted(d for d, _ in seen)


@pytest.mark.mirror
def test_the_jpeg_2000_series_lies_on_its_label_map(mirror: Path) -> None:
    import nibabel

    folder = mirror / "data" / "ct_totalsegmentator"
    opened = intake.open([folder / "example_ct_dicom"])
    (study,) = opened.studies
    assert opened.refused == () and len(study.stacks) == 1
    image = study.stacks[0].image
    labels = nibabel.load(folder / "example_seg_dicom.nii.gz")
    assert image.affine is not None
    to_labels = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ labels.affine) @ image.affine
    corners = [[0, 0, 0, 1], [511, 0, 0, 1], [0, 511, 0, 1], [0, 0, 19, 1]]
    at = np.array([to_labels @ c for c in corners])[:, :3]
    np.testing.assert_allclose(at, np.rint(at), atol=1e-3)
    assert at.min() > -0.5 and (at.max(axis=0) < np.array(labels.shape) - 0.5).all()
    data = np.asanyarray(labels.dataobj)
    index = np.rint(to_labels[:3, :3] @ np.indices(image.voxels.shape[::-1]).reshape(3, -1) + to_labels[:3, 3:]).astype(
        int
    )
    mapped = data[tuple(index)].reshape(image.voxels.shape[::-1]).T
    inside, outside = image.voxels[mapped > 0].mean(), image.voxels[mapped == 0].mean()
    assert inside > 0 > outside, "labelled tissue is denser than the rest"
    assert image.facts.unit == "[hnsf'U]"
    header = study.stacks[0].header
    meta = {str(e.file_meta.MediaStorageSOPInstanceUID) for e in [header]}
    assert str(header.SOPInstanceUID) in meta and header.StudyInstanceUID and header.SeriesInstanceUID


@pytest.mark.mirror
def test_the_chest_radiographs(mirror: Path) -> None:
    folder = mirror / "data" / "cxr"
    from pydicom import dcmread

    for name in ("1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm", "Fake_MONOHR1.dcm"):
        (image,) = read(folder / name, "CR")
        ds = dcmread(folder / name)
        said = ds.pixel_array.astype(int)
        if ds.PhotometricInterpretation == "MONOCHROME1":
            said = 2**ds.BitsStored - 1 - said
        np.testing.assert_array_equal(image.voxels[0], said)
    opened = intake.open([folder], declared={"modality": "CR", "view": "PA"})
    assert {s.kind for s in opened.studies} == {"dicom", "picture"}
    assert all(not s.image.facts.colour for study in opened.studies for s in study.stacks)


@pytest.mark.mirror
@pytest.mark.parametrize(
    "name", ["brain_t1/t1_crop", "ct_totalsegmentator/example_ct", "ct_totalsegmentator/example_mr_sm"]
)
def test_the_volumes(mirror: Path, name: str) -> None:
    import nibabel

    path = mirror / "data" / f"{name}.nii.gz"
    (image,) = read(path, "MR")
    peer = nibabel.load(path)
    np.testing.assert_allclose(image.voxels, peer.get_fdata().T, atol=1e-3)
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ peer.affine, image.affine, atol=1e-6)


def test_big_endian_nifti(tmp_path: Path) -> None:
    import nibabel

    data = RNG.integers(-1000, 1000, (3, 4, 5)).astype(">i2")
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(data, np.diag([2, 2, 2, 1]), header), tmp_path / "a.nii")
    (image,) = read(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.voxels, data.T)
    assert image.facts.spacing == (2, 2, 2)


def test_16_bit_colour_tiff_is_refused_not_halved(tmp_path: Path) -> None:
    import struct

    pixels = RNG.integers(0, 65536, (4, 4, 3)).astype("<u2").tobytes()
    tags = [
        (256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 3, 200), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 220),
        (277, 3, 1, 3), (278, 3, 1, 4), (279, 4, 1, len(pixels)),
    ]  # fmt: skip
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags) + bytes(4)
    data = data.ljust(200, b"\0") + struct.pack("<HHH", 16, 16, 16)
    (tmp_path / "a.tif").write_bytes(data.ljust(220, b"\0") + pixels)
    opened = intake.open([tmp_path / "a.tif"], declared={"modality": "SC"})
    assert str(opened.refused[0].error).startswith("a picture in 16-bit colour")
