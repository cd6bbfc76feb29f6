"""Stored values become what the modality means: bits, signs, LUTs, inversion, colour, every transfer syntax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import intake
from attending.records import Image
from attending.testing import dicom

RNG = np.random.default_rng(3)


def one(ds: Any, folder: Path, **options: Any) -> Image:
    dicom.save(ds, folder / "one.dcm", **options)
    opened = intake.open([folder / "one.dcm"])
    assert opened.refused == (), opened.refused
    return opened.studies[0].stacks[0].image


SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.90",
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("kind", ["unsigned 12", "signed 16", "unsigned 8", "rgb"])
def test_lossless_syntaxes_give_the_same_voxels(tmp_path: Path, syntax: str, kind: str) -> None:
    shape = (64, 48)
    planes: dict[str, tuple[Any, dict[str, Any]]] = {
        "unsigned 12": (RNG.integers(0, 4096, shape).astype(np.uint16), {"bits": 12}),
        "signed 16": (RNG.integers(-30000, 30000, shape).astype(np.int16), {}),
        "unsigned 8": (RNG.integers(0, 256, shape).astype(np.uint8), {}),
        "rgb": (RNG.integers(0, 256, (*shape, 3)).astype(np.uint8), {}),
    }
    plane, options = planes[kind]
    image = one(
        dicom.image(plane, modality="SC" if kind == "rgb" else "MR", **options), tmp_path, syntax=SYNTAXES[syntax]
    )
    np.testing.assert_array_equal(image.voxels[0], plane)
    assert image.facts.colour == (kind == "rgb")


@pytest.mark.parametrize("table", ["none", "basic", "extended"])
def test_offset_tables_make_no_difference(tmp_path: Path, table: str) -> None:
    from pydicom.encaps import encapsulate, encapsulate_extended

    frames = RNG.integers(0, 255, (5, 32, 32)).astype(np.uint8)
    ds = dicom.image(frames, modality="US", frames=True)
    ds.file_meta = None
    from pydicom.pixels.encoders import RLELosslessEncoder

    options = {
        "rows": 32, "columns": 32, "samples_per_pixel": 1, "number_of_frames": 1, "bits_allocated": 8, "bits_stored": 8,
        "photometric_interpretation": "MONOCHROME2", "pixel_representation": 0,
    }  # fmt: skip
    coded = [RLELosslessEncoder.encode(f.tobytes(), **options) for f in frames]
    if table == "extended":
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(coded)
    else:
        ds.PixelData = encapsulate(coded, has_bot=table == "basic")
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    image = one(ds, tmp_path, syntax=SYNTAXES["rle"])
    np.testing.assert_array_equal(image.voxels, frames)


def test_hounsfield_units(tmp_path: Path) -> None:
    plane = RNG.integers(0, 4096, (16, 16)).astype(np.uint16)
    header = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
    image = one(dicom.image(plane, modality="CT", header=header), tmp_path)
    assert image.facts.unit == "[hnsf'U]" and image.voxels.dtype == np.int16
    assert "rescaled to HU" in image.facts.notes
    np.testing.assert_array_equal(image.voxels[0], plane.astype(int) - 1024)


def test_a_fractional_rescale_gives_float(tmp_path: Path) -> None:
    plane = RNG.integers(0, 4096, (16, 16)).astype(np.uint16)
    image = one(dicom.image(plane, modality="PT", header={"RescaleSlope": 0.5, "RescaleIntercept": 3}), tmp_path)
    assert image.voxels.dtype == np.float32
    np.testing.assert_array_equal(image.voxels[0], plane * 0.5 + 3)


def test_each_slice_keeps_its_own_slope(tmp_path: Path) -> None:
    voxels = RNG.integers(0, 1000, (3, 8, 8)).astype(np.uint16)
    made = dicom.series(voxels, dicom.oblique(), modality="PT")
    for k, ds in enumerate(made):
        ds.RescaleSlope, ds.RescaleIntercept = 0.25 * (k + 1), 0
    dicom.write(made, tmp_path)
    image = intake.open([tmp_path]).studies[0].stacks[0].image
    np.testing.assert_array_equal(image.voxels, voxels * np.array([0.25, 0.5, 0.75])[:, None, None])


def test_monochrome1_is_inverted_and_said_so(tmp_path: Path) -> None:
    plane = RNG.integers(0, 1024, (16, 16)).astype(np.uint16)
    image = one(dicom.image(plane, modality="CR", photometric="MONOCHROME1", bits=10), tmp_path)
    np.testing.assert_array_equal(image.voxels[0], 1023 - plane)
    assert "MONOCHROME1 inverted" in image.facts.notes and image.facts.view == "PA"


def test_monochrome1_ct_keeps_its_hounsfield_units(tmp_path: Path) -> None:
    plane = RNG.integers(0, 1024, (16, 16)).astype(np.uint16)
    header = {"RescaleSlope": 1, "RescaleIntercept": -1000}
    image = one(dicom.image(plane, modality="CT", photometric="MONOCHROME1", header=header), tmp_path)
    np.testing.assert_array_equal(image.voxels[0], plane.astype(int) - 1000)
    assert "MONOCHROME1: values kept, they carry a unit" in image.facts.notes


def test_overlay_in_the_high_bits_is_masked(tmp_path: Path) -> None:
    plane = RNG.integers(0, 4096, (16, 16)).astype(np.uint16)
    ds = dicom.image(plane | 0x8000, modality="MR", bits=12)
    ds.add_new(0x60000010, "US", 16)
    ds.add_new(0x60000011, "US", 16)
    ds.add_new(0x60000102, "US", 15)
    image = one(ds, tmp_path)
    np.testing.assert_array_equal(image.voxels[0], plane)
    assert "overlay in the unused bits of the pixels masked" in image.facts.notes


def test_signed_values_in_few_bits(tmp_path: Path) -> None:
    plane = RNG.integers(-2048, 2048, (16, 16)).astype(np.int16)
    ds = dicom.image(plane & 0x0FFF, modality="MR", bits=12)
    image = one(ds, tmp_path)
    np.testing.assert_array_equal(image.voxels[0], plane)


def test_a_high_bit_that_is_not_the_lowest_place(tmp_path: Path) -> None:
    plane = RNG.integers(0, 4096, (16, 16)).astype(np.uint16)
    ds = dicom.image(plane << 4 | 0x3, modality="MR", header={"BitsStored": 12, "HighBit": 15})
    image = one(ds, tmp_path)
    np.testing.assert_array_equal(image.voxels[0], plane)


def test_16_bit_unsigned_stays_whole(tmp_path: Path) -> None:
    plane = RNG.integers(0, 65536, (16, 16)).astype(np.uint16)
    plane[0, 0] = 65535
    image = one(dicom.image(plane, modality="MR"), tmp_path)
    assert image.voxels.dtype == np.uint16
    np.testing.assert_array_equal(image.voxels[0], plane)


def test_modality_lut(tmp_path: Path) -> None:
    from pydicom import Dataset
    from pydicom.sequence import Sequence

    plane = RNG.integers(0, 16, (16, 16)).astype(np.uint8)
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [16, 0, 16], "US"
    item.LUTData = [k * k * 10 for k in range(16)]
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "US"
    image = one(dicom.image(plane, modality="CR", header={"ModalityLUTSequence": Sequence([item])}), tmp_path)
    np.testing.assert_array_equal(image.voxels[0], plane.astype(int) ** 2 * 10)
    assert "Modality LUT applied" in image.facts.notes


def test_padding_value_is_noted_and_kept(tmp_path: Path) -> None:
    plane = np.full((8, 8), -2000, np.int16)
    ds = dicom.image(plane, modality="CT", header={"RescaleSlope": 1, "RescaleIntercept": 0})
    ds.add_new(0x00280120, "SS", -2000)
    image = one(ds, tmp_path)
    assert (image.voxels == -2000).all()
    assert any("padding" in n for n in image.facts.notes)


@pytest.mark.parametrize("planar", [0, 1])
def test_planar_configuration(tmp_path: Path, planar: int) -> None:
    plane = RNG.integers(0, 256, (8, 6, 3)).astype(np.uint8)
    data = plane if planar == 0 else np.moveaxis(plane, -1, 0)
    image = one(dicom.image(plane, header={"PlanarConfiguration": planar, "PixelData": data.tobytes()}), tmp_path)
    np.testing.assert_array_equal(image.voxels[0], plane)


def test_ybr_becomes_rgb(tmp_path: Path) -> None:
    from pydicom.pixels import convert_color_space

    plane = RNG.integers(0, 256, (8, 6, 3)).astype(np.uint8)
    image = one(dicom.image(plane, photometric="YBR_FULL"), tmp_path)
    np.testing.assert_array_equal(image.voxels[0], convert_color_space(plane, "YBR_FULL", "RGB"))


def test_the_header_comes_without_pixels_and_voxels_are_read_only(tmp_path: Path) -> None:
    dicom.save(dicom.image(np.ones((4, 4), np.uint8)), tmp_path / "a.dcm")
    stack = intake.open([tmp_path]).studies[0].stacks[0]
    assert "PixelData" not in stack.header and stack.header.PatientID == "PHANTOM-0001"
    with pytest.raises(ValueError, match="read-only"):
        stack.image.voxels[0] = 1


def test_what_was_missing_is_given_and_said(tmp_path: Path) -> None:
    missing = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID", "SOPClassUID")
    dicom.write_series(np.ones((3, 8, 8), np.uint16), dicom.oblique(), tmp_path, header=dict.fromkeys(missing, ""))
    study = intake.open([tmp_path]).studies[0]
    for keyword in missing:
        assert any(words.startswith(f"{keyword} was missing: ") for words in study.given), keyword
        assert all(keyword in dict(own) for own in study.restored)
        assert getattr(study.stacks[0].header, keyword)
    assert len({dict(own)["SeriesInstanceUID"] for own in study.restored}) == 1
    again = intake.open([tmp_path]).studies[0]
    assert (again.digest, again.restored) == (study.digest, study.restored)


def test_repr_shows_no_identifier(tmp_path: Path) -> None:
    dicom.save(dicom.image(np.ones((4, 4), np.uint8), header={"PatientID": "ZZ-SECRET"}), tmp_path / "ZZ-NAME.dcm")
    opened = intake.open([tmp_path])
    assert "ZZ-" not in repr(opened)


def test_float_pixel_data(tmp_path: Path) -> None:
    plane = RNG.normal(size=(8, 6)).astype(np.float32)
    ds = dicom.image(np.ones((8, 6), np.uint16), modality="MR")
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(ds, keyword)
    ds.BitsAllocated, ds.FloatPixelData = 32, plane.tobytes()
    np.testing.assert_array_equal(one(ds, tmp_path).voxels[0], plane)


def test_one_bit_images(tmp_path: Path) -> None:
    plane = RNG.integers(0, 2, (8, 16)).astype(np.uint8)
    packed = np.packbits(plane.ravel(), bitorder="little").tobytes()
    header = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "PixelData": packed}
    np.testing.assert_array_equal(one(dicom.image(plane, header=header), tmp_path).voxels[0], plane)


def test_32_bit_values_beyond_16_bits_become_float(tmp_path: Path) -> None:
    plane = RNG.integers(0, 2**24, (8, 6)).astype(np.uint32)
    image = one(dicom.image(plane, modality="NM"), tmp_path)
    assert image.voxels.dtype == np.float32
    np.testing.assert_array_equal(image.voxels[0], plane)
