"""Inputs that no reader may accept, each with the error that it must give; and odd ones that must be read after all.

``BAD`` and ``ODD`` are closed lists of (name, how it is written, what must come of it); tests run over all of them.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import dicom

SECRET = "ZZIDENTIFIERZZ"  # stands in every header below: no message may carry it


@dataclass(frozen=True)
class Sample:
    """write(path) makes the file; code is the error's code, or None where it must be read; seen: words of the error."""

    name: str
    write: Callable[[Path], object]
    code: str | None
    seen: str = ""


def _plane(rows: int = 32, columns: int = 40) -> np.ndarray[Any, np.dtype[np.uint16]]:
    rng = np.random.default_rng(7)
    return rng.integers(1, 4000, (rows, columns)).astype(np.uint16)


def _image(**options: Any) -> Any:
    header = {"PatientName": f"{SECRET}^X", "PatientID": SECRET, **options.pop("header", {})}
    return dicom.image(options.pop("plane", _plane()), modality=options.pop("modality", "MR"), header=header, **options)


def _bytes(ds: Any, syntax: str = dicom.EXPLICIT) -> bytes:
    buffer = io.BytesIO()
    dicom.save(ds, buffer, syntax=syntax)
    return buffer.getvalue()


def _dicom(syntax: str = dicom.EXPLICIT, **options: Any) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(_bytes(_image(**options), syntax))


def _raw(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _no_meta(path: Path) -> None:
    """The bare data set: neither preamble nor file meta, starting at Specific Character Set."""
    data = _bytes(_image())
    path.write_bytes(data[data.index(b"\x08\x00\x05\x00CS") :])


def _cut(keep: float, syntax: str = dicom.EXPLICIT) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        data = _bytes(_image(), syntax)
        path.write_bytes(data[: int(len(data) * keep)])

    return write


def _object(sop_class: str, modality: str, **attributes: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        ds = _image(header={"SOPClassUID": sop_class, "Modality": modality, **attributes})
        for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel"):
            del ds[keyword]
        dicom.save(ds, path)

    return write


def _syntax(uid: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        from pydicom.uid import UID

        data = _bytes(_image())
        old = b"\x02\x00\x10\x00UI" + struct.pack("<H", 20) + b"1.2.840.10008.1.2.1\0"
        value = UID(uid).encode() + b"\0" * (len(uid) % 2)
        new = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value
        length_at = data.index(b"\x02\x00\x00\x00UL\x04\x00") + 8
        length = struct.unpack_from("<I", data, length_at)[0] + len(new) - len(old)
        data = data[:length_at] + struct.pack("<I", length) + data[length_at + 4 :]
        path.write_bytes(data.replace(old, new))

    return write


def _zip(encrypted: bool) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("image.dcm", _bytes(_image()))
        if encrypted:
            data = bytearray(path.read_bytes())
            data[6] |= 1
            data[data.rindex(b"PK\x01\x02") + 8] |= 1
            path.write_bytes(bytes(data))

    return write


def png(
    rows: int, columns: int, depth: int = 8, colour: int = 0, body: bytes | None = None, extra: tuple[bytes, ...] = ()
) -> bytes:
    """A PNG written by hand: colour 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA; body: raw scan lines."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    lines = body if body is not None else b"".join(b"\0" + bytes(columns * samples * depth // 8) for _ in range(rows))
    head = struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def nifti(shape: tuple[int, ...] = (6, 5, 4), datatype: int = 4, bits: int = 16, data: bytes | None = None) -> bytes:
    """A NIfTI-1 written by hand: 2 mm voxels, sform to RAS; data defaults to counting int16."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(shape), *shape, *([1] * (7 - len(shape))))
    struct.pack_into("<hh", header, 70, datatype, bits)
    struct.pack_into("<8f", header, 76, 1, 2, 2, 2, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[123] = 2
    struct.pack_into("<h", header, 254, 1)
    struct.pack_into("<12f", header, 280, 2, 0, 0, -5, 0, 2, 0, -6, 0, 0, 2, -7)
    header[344:348] = b"n+1\0"
    if data is None:
        data = np.arange(int(np.prod(shape)), dtype="<i2").tobytes()
    return bytes(header) + data


def _pillow(form: str, cut: float = 1.0) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        from PIL import Image

        buffer = io.BytesIO()
        rng = np.random.default_rng(3)
        Image.fromarray(rng.integers(0, 255, (64, 48), dtype=np.uint8)).save(buffer, form)
        data = buffer.getvalue()
        path.write_bytes(data[: int(len(data) * cut)])

    return write


RLE, J2K = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"
CMS = bytes.fromhex("3082010006092a864886f70d010703a082") + bytes(240)
PGP = bytes.fromhex("8c0d04090308") + bytes(range(200))
TEXT = f"Patient {SECRET}: no image here\n".encode() * 20
RGB16 = np.zeros((8, 8, 3), np.uint16)

BAD: tuple[Sample, ...] = (
    Sample("empty.dcm", _raw(b""), "not_an_image", "empty"),
    Sample("text.dcm", _raw(TEXT), "not_an_image", "text"),
    Sample("noise.nii", _raw(np.random.default_rng(1).bytes(4096)), "not_an_image", "unknown format"),
    Sample("preamble-only.dcm", _raw(bytes(128) + b"DICM"), "not_an_image", ""),
    Sample("cut-in-header.dcm", _cut(0.15), "truncated", ""),
    Sample(
        "cut-before-pixels.dcm", lambda p: p.write_bytes(_bytes(_image()).split(b"\xe0\x7f\x10\x00")[0]), "truncated"
    ),
    Sample("cut-in-pixels.dcm", _cut(0.7), "truncated", "pixel data of"),
    Sample("cut-in-fragment.dcm", _cut(0.7, RLE), "truncated", "compressed"),
    Sample("cut-deflated.dcm", _cut(0.7, "1.2.840.10008.1.2.1.99"), "truncated", "deflated"),
    Sample("cms.dcm", _raw(CMS), "encrypted", "encrypted"),
    Sample("pgp.dcm", _raw(PGP), "encrypted", "encrypted"),
    Sample("pgp-armoured.dcm", _raw(b"-----BEGIN PGP MESSAGE-----\n\nabcd\n"), "encrypted", "encrypted"),
    Sample("openssl.dcm", _raw(b"Salted__" + bytes(range(200))), "encrypted", "encrypted"),
    Sample("locked.zip", _zip(True), "encrypted", "password"),
    Sample("open.zip", _zip(False), "not_an_image", "ZIP"),
    Sample("gzipped.dcm.gz", lambda p: p.write_bytes(gzip.compress(_bytes(_image()))), "not_an_image", "gzip"),
    Sample("report.dcm", _object("1.2.840.10008.5.1.4.1.1.88.33", "SR"), "not_an_image", "structured report"),
    Sample("structures.dcm", _object("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"), "not_an_image", "structure set"),
    Sample("document.dcm", _object("1.2.840.10008.5.1.4.1.1.104.1", "DOC"), "not_an_image", "PDF"),
    Sample("ecg.dcm", _object("1.2.840.10008.5.1.4.1.1.9.1.1", "ECG"), "not_an_image", "waveform"),
    Sample("presentation.dcm", _object("1.2.840.10008.5.1.4.1.1.11.1", "PR"), "not_an_image", "presentation"),
    Sample("video.dcm", _syntax("1.2.840.10008.1.2.4.102"), "unsupported_encoding", "transfer syntax"),
    Sample("private-syntax.dcm", _syntax("1.2.826.0.1.3680043.999.1"), "unsupported_encoding", "transfer syntax"),
    Sample("mislabelled.dcm", _syntax(J2K), "pixel_mismatch", "uncompressed"),
    Sample("too-many-rows.dcm", _dicom(header={"Rows": 64}), "pixel_mismatch", "bytes of pixel data"),
    Sample("too-few-rows.dcm", _dicom(header={"Rows": 31}), "pixel_mismatch", "bytes of pixel data"),
    Sample("too-few-columns.dcm", _dicom(header={"Columns": 39}), "pixel_mismatch", "bytes of pixel data"),
    Sample("too-many-frames.dcm", _dicom(header={"NumberOfFrames": 7}), "pixel_mismatch", "bytes of pixel data"),
    Sample("too-many-samples.dcm", _dicom(header={"SamplesPerPixel": 3}), "pixel_mismatch", "three samples"),
    Sample("zero-rows.dcm", _dicom(header={"Rows": 0}), "not_an_image", "zero rows"),
    Sample("stored-beyond-allocated.dcm", _dicom(header={"BitsStored": 20}), "pixel_mismatch", "bits stored"),
    Sample("colour-16-bit.dcm", _dicom(plane=RGB16, modality="SC"), "unsupported_encoding", "16 bits"),
    Sample("claim.dcm", _dicom(header={"Rows": 60000, "Columns": 60000}), "too_large", "3600000000 voxels"),
    Sample("claim-frames.dcm", _dicom(header={"NumberOfFrames": 2000000}), "too_large", "voxels"),
    Sample("claim.nii", _raw(nifti((1000, 1000, 1000), data=b"")), "too_large", "1000000000 voxels"),
    Sample("claim.nii.gz", _raw(gzip.compress(nifti((1000, 1000, 1000), data=bytes(100)))), "too_large", "voxels"),
    Sample("claim.png", _raw(png(40000, 40000, body=bytes(1000))), "too_large", "voxels"),
    Sample("cut.nii", _raw(nifti()[:400]), "truncated", "NIfTI"),
    Sample("cut.nii.gz", _raw(gzip.compress(nifti((40, 40, 40)))[:-4000]), "truncated", ""),
    Sample("damaged.nii.gz", _raw(gzip.compress(nifti())[:-30] + bytes(30)), "truncated", ""),
    Sample("complex.nii", _raw(nifti((3, 3, 3), 32, 64, bytes(27 * 8))), "unsupported_encoding", "complex"),
    Sample("colour-16-bit.png", _raw(png(8, 8, 16, 2)), "unsupported_encoding", "16-bit colour"),
    Sample("cut.png", _pillow("PNG", 0.5), "truncated", "picture"),
    Sample("cut.jpg", _pillow("JPEG", 0.5), "truncated", "picture"),
    Sample("picture.gif", _pillow("GIF"), "not_an_image", "GIF"),
    Sample("document.pdf", _raw(b"%PDF-1.7\n" + bytes(200)), "not_an_image", "PDF"),
)

ODD: tuple[Sample, ...] = (
    Sample("dicom-named.png", _dicom(), None),
    Sample("dicom-named-nothing", _dicom(), None),
    Sample("no-preamble.dcm", lambda p: p.write_bytes(_bytes(_image())[128:]), None),
    Sample("no-meta.dcm", _no_meta, None),
    Sample("implicit.dcm", _dicom(dicom.IMPLICIT), None),
    Sample("deflated.dcm", _dicom("1.2.840.10008.1.2.1.99"), None),
    Sample("rle.dcm", _dicom(RLE), None),
    Sample("nifti-named.dcm", _raw(nifti()), None),
    Sample("nifti.gz-named.nii", _raw(gzip.compress(nifti())), None),
    Sample("png-named.jpg", _pillow("PNG"), None),
)  # fmt: skip
