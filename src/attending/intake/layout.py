"""The pixel layout that a header claims, checked against the bytes before anything is allocated."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from ..errors import NotAnImage, PixelMismatch, Truncated, UnsupportedEncoding
from .instance import Instance
from .refusals import too_many

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "YBR_PARTIAL_422")
SYNTAXES = "uncompressed, deflated, RLE, JPEG, JPEG-LS, JPEG 2000 or HTJ2K"


@dataclass(frozen=True)
class Layout:
    """What the Image Pixel module says. colour: three samples or a palette; decoded to (rows, columns, 3) uint8."""

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high: int
    signed: bool
    planar: int
    colour: bool
    notes: tuple[str, ...] = ()


def layout(instance: Instance, max_voxels: int) -> Layout:
    """Raises NotAnImage, UnsupportedEncoding, TooLarge, PixelMismatch or Truncated; allocates nothing."""
    header = instance.header
    rows, columns = _whole(header, "Rows"), _whole(header, "Columns")
    frames = _whole(header, "NumberOfFrames", 1) or 1
    samples = _whole(header, "SamplesPerPixel", 1)
    if not rows or not columns or rows < 0 or columns < 0 or frames < 0:
        raise NotAnImage("a DICOM image of zero rows, columns or frames", "at least one pixel", "fetch the file again")
    if rows * columns * frames > max_voxels:
        raise too_many(rows * columns * frames, max_voxels)
    is_float = instance.pixels.keyword != "PixelData"
    allocated = _whole(
        header, "BitsAllocated", {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(instance.pixels.keyword, 0)
    )
    stored = allocated if is_float else _whole(header, "BitsStored", allocated)
    high = _whole(header, "HighBit", stored - 1)
    notes: list[str] = []
    photometric = str(header.get("PhotometricInterpretation", "") or "").strip().upper()
    if not photometric:
        photometric = "RGB" if samples == 3 else "MONOCHROME2"
        notes.append("the photometric interpretation was missing: taken as " + photometric)
    _supported(instance, samples, photometric, allocated, stored, high)
    if 0 < stored - 1 > high or not stored - 1 <= high < allocated:
        notes.append("the high bit was out of place: taken as bits stored less one")
        high = stored - 1
    made = Layout(
        rows, columns, frames, samples, photometric, allocated, stored, high,
        _whole(header, "PixelRepresentation", 0) == 1, _whole(header, "PlanarConfiguration", 0),
        samples == 3 or photometric == "PALETTE COLOR", tuple(notes),
    )  # fmt: skip
    note = _length(instance, made) if instance.pixels.items is None else _fragments(instance, made)
    return made if note is None else Layout(**{**made.__dict__, "notes": (*made.notes, note)})


def _whole(header: Any, keyword: str, default: int = 0) -> int:
    try:
        value = header.get(keyword)
        return default if value is None or value == "" else int(value)
    except Exception:  # whatever pydicom raises on a malformed value
        raise PixelMismatch(
            f"a header whose {keyword} is not a number",
            "whole numbers in the Image Pixel module",
            "export the file again",
        ) from None


def _supported(instance: Instance, samples: int, photometric: str, allocated: int, stored: int, high: int) -> None:
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    uid = UID(instance.syntax)
    try:
        available = get_decoder(uid).is_available
    except NotImplementedError:
        available = False
    if not available:
        name = uid.name if uid.name != str(uid) and not uid.is_private else "an unknown or private one"
        raise UnsupportedEncoding(f"the transfer syntax {name}", SYNTAXES, "export it uncompressed")
    if samples not in (1, 3):
        raise UnsupportedEncoding(f"{samples} samples per pixel", "1 (grey, palette) or 3 (colour)", "export it as RGB")
    if samples == 1 and photometric not in (*GREY, "PALETTE COLOR"):
        raise PixelMismatch(
            "one sample per pixel with a colour photometric interpretation" if photometric in COLOUR
            else "an unknown photometric interpretation",
            "MONOCHROME1, MONOCHROME2 or PALETTE COLOR for one sample",
            "export the file again",
        )  # fmt: skip
    if samples == 3 and photometric not in COLOUR:
        raise PixelMismatch(
            "three samples per pixel with a grey or unknown photometric interpretation",
            "RGB, YBR_FULL, YBR_FULL_422, YBR_RCT or YBR_ICT for three samples",
            "export the file again",
        )
    if photometric == "YBR_PARTIAL_422":
        raise UnsupportedEncoding("the retired colour space YBR_PARTIAL_422", "RGB or YBR_FULL", "export it as RGB")
    if samples == 3 and allocated != 8:
        raise UnsupportedEncoding(
            f"a colour image of {allocated} bits per sample", "colour of 8 bits per sample", "export it as 8-bit RGB"
        )
    if allocated not in (1, 8, 16, 32, 64) or not 1 <= stored <= allocated:
        raise PixelMismatch(
            f"{stored} bits stored in {allocated} bits allocated",
            "1, 8, 16 or 32 bits allocated, and no more stored than allocated",
            "export the file again",
        )


def _length(instance: Instance, it: Layout) -> str | None:
    if _is_encapsulated(instance.syntax):
        raise PixelMismatch(
            "uncompressed pixel data under a compressed transfer syntax", "data as its header says", "export it again"
        )
    per_pixel = 2 if it.photometric == "YBR_FULL_422" else it.samples
    bits = it.rows * it.columns * it.frames * per_pixel * it.allocated
    expected, have = -(-bits // 8), len(instance.pixels.data)
    if have < expected:
        raise PixelMismatch(
            f"{have} bytes of pixel data where the header claims {expected}",
            "as many bytes as rows, columns, frames and bits make",
            "fetch or export the file again",
        )
    extra = have - expected
    if extra <= 1:
        return None
    # A wrong number of rows, columns or frames leaves at least one row or column over; padding is shorter, or blank.
    edge = min(it.rows, it.columns) * it.samples * it.allocated // 8
    blank = not any(instance.pixels.data[expected:]) if extra <= max(edge, 256) else False
    if extra >= edge and not blank:
        raise PixelMismatch(
            f"{have} bytes of pixel data where the header claims {expected}",
            "as many bytes as rows, columns, frames and bits make",
            "fetch or export the file again",
        )
    return f"{extra} bytes of padding after the pixel data left out"


def _fragments(instance: Instance, it: Layout) -> str | None:
    if not _is_encapsulated(instance.syntax):
        raise PixelMismatch(
            "compressed pixel data under an uncompressed transfer syntax", "data as its header says", "export it again"
        )
    items = instance.pixels.items or ()
    if len(items) < it.frames:
        what = (
            f"{len(items)} compressed fragments for {it.frames} frames",
            "at least one fragment for each frame",
            "fetch or export the file again",
        )
        raise PixelMismatch(*what) if instance.pixels.ended else Truncated(*what)
    offset, length = items[0]
    # A size beyond 16 bits is damage in the codestream, which its decoder will say
    size = _codestream_size(bytes(instance.pixels.data[offset : offset + min(length, 65536)]))
    if size is not None and size != (it.rows, it.columns):
        raise PixelMismatch(
            f"a compressed image of {size[0]} x {size[1]} where the header claims {it.rows} x {it.columns}",
            "a compressed image of the size in its header",
            "export the file again",
        )
    return None if instance.pixels.ended else "the compressed pixel data lacks its end mark"


def _codestream_size(data: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG, JPEG-LS or JPEG 2000 codestream's own header, or None where it has none (RLE)."""
    if data[:4] == b"\0\0\0\x0c":
        start = data.find(b"\xff\x4f\xff\x51")
        data = data[start:] if start >= 0 else b""
    if data[:4] == b"\xff\x4f\xff\x51" and len(data) >= 24:
        width, height, left, top = struct.unpack_from(">IIII", data, 8)
        return height - top, width - left
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xF7):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return (height, width) if height else None
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _is_encapsulated(syntax: str) -> bool:
    from pydicom.uid import UID

    return bool(UID(syntax).is_encapsulated)
