"""One DICOM file opened: its header without pixel data, and where in the bytes its pixel data lies."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputRefused, NotAnImage, TooLarge, Truncated, UnsupportedEncoding
from .refusals import IMAGES, non_image

PIXEL_TAGS = {0x7FE00010: "PixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00008: "FloatPixelData"}
DEFLATED = "1.2.840.10008.1.2.1.99"
UNDEFINED = 0xFFFFFFFF
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


@dataclass(frozen=True, eq=False)
class Pixels:
    """keyword and vr of the pixel element; data is its value, a view into the file's bytes (no copy); items are the
    (offset, length) of each fragment in data where it is encapsulated, else None."""

    keyword: str
    vr: str
    data: memoryview = field(repr=False)
    items: tuple[tuple[int, int], ...] | None
    ended: bool = True


@dataclass(frozen=True, eq=False)
class Instance:
    """One SOP instance. header: pydicom Dataset without pixel data; syntax: transfer syntax UID; big: big-endian."""

    header: Any = field(repr=False)
    syntax: str
    big: bool
    pixels: Pixels = field(repr=False)
    given: tuple[str, ...] = ()


def open_instance(data: bytes, max_bytes: int) -> Instance:
    """Parse one DICOM file. Raises NotAnImage, Truncated, UnsupportedEncoding, TooLarge."""
    from pydicom import dcmread

    body, given = data, []
    try:
        stream: Any = io.BytesIO(data)
        if data[:4] == b"DICM":
            stream = io.BytesIO(bytes(128) + data)
        header = dcmread(stream, stop_before_pixels=True, force=True)
    except MemoryError:
        raise TooLarge("a header that claims more than the free memory", "a sound header", "fetch it again") from None
    except Exception as error:  # a foreign parser on foreign bytes: whatever it raises, the header is damaged
        raise _broken(error) from None
    header.buffer = None  # else every header would keep its whole file alive
    meta = getattr(header, "file_meta", None)
    syntax = str(meta.get("TransferSyntaxUID", "") or "") if meta is not None else ""
    if not syntax:
        given.append("the transfer syntax was missing: taken from how the header is written")
        syntax = _syntax_of(header)
    if syntax == DEFLATED:
        header, body, stream = _inflate(data, header, max_bytes)
    big = header.original_encoding[1] is False
    _check_kind(header)
    whole = stream.getvalue() if isinstance(stream, io.BytesIO) else body
    pixels = _pixels(memoryview(whole), stream.tell(), bool(header.original_encoding[0]), big)
    if pixels is None:
        raise _without_pixels(header, stream.tell() >= len(whole))
    return Instance(header, syntax, big, pixels, tuple(given))


def _syntax_of(header: Any) -> str:
    implicit, little = header.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if little is not False else "1.2.840.10008.1.2.2"


def _inflate(data: bytes, header: Any, max_bytes: int) -> tuple[Any, bytes, Any]:
    """The deflated body as an explicit little-endian stream; bounded, because a few bytes can inflate to gigabytes."""
    from pydicom import dcmread

    length = int(getattr(header.file_meta, "FileMetaInformationGroupLength", 0) or 0)
    start = 132 + 12 + length
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(data[start:], max_bytes + 1)
    except zlib.error:
        raise Truncated("deflated content that is damaged", "a whole DICOM file", "fetch or export it again") from None
    if len(body) > max_bytes:
        raise TooLarge(
            f"deflated content that grows beyond {max_bytes / 2**20:.0f} MiB",
            f"content up to {max_bytes / 2**20:.0f} MiB",
            "raise limits.max_file_mib in site.toml if this is expected",
        )
    if not inflater.eof:
        raise Truncated("deflated content that ends early", "a whole DICOM file", "fetch or export it again")
    meta = data[:start].replace(b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0")
    whole = meta + body
    stream = io.BytesIO(whole)
    try:
        inner = dcmread(stream, stop_before_pixels=True, force=True)
    except Exception as error:  # as in open_instance
        raise _broken(error) from None
    inner.buffer = None
    inner.file_meta.TransferSyntaxUID = DEFLATED
    return inner, whole, stream


def _broken(error: Exception) -> InputRefused:
    if isinstance(error, (EOFError, struct.error)):
        return Truncated("a DICOM header that ends early", "a whole DICOM file", "fetch or export the file again")
    if isinstance(error, NotImplementedError):
        return UnsupportedEncoding(
            "a DICOM header with elements of unknown encoding", "a header as PS3.5 defines it", "export the file again"
        )
    return NotAnImage("a damaged DICOM header", IMAGES, "fetch or export the file again")


def _check_kind(header: Any) -> None:
    """Refuse what is DICOM but no image, by its SOP class and modality."""
    if len(header) == 0:
        raise NotAnImage("a DICOM file without any data element", IMAGES, "fetch or export the file again")
    refused = non_image(header)
    if refused is not None:
        raise refused


def _without_pixels(header: Any, at_end: bool) -> InputRefused:
    if header.get("Rows") and header.get("Columns") and at_end:
        return Truncated(
            "a DICOM image header whose pixel data is missing", "a whole DICOM image", "fetch or export the file again"
        )
    if "DirectoryRecordSequence" in header:
        return NotAnImage("a DICOMDIR index", IMAGES, "name the folder that it lists")
    return NotAnImage("a DICOM file without pixel data", IMAGES, "name the images of the study")


def _pixels(whole: memoryview, at: int, implicit: bool, big: bool) -> Pixels | None:
    """Where the pixel element is. Raises Truncated when the file ends before the element does."""
    if at + 8 > len(whole):
        if at < len(whole):
            raise _cut()
        return None
    order = ">" if big else "<"
    group, element = struct.unpack_from(f"{order}HH", whole, at)
    keyword = PIXEL_TAGS.get(group << 16 | element)
    if keyword is None:
        return None
    vr = bytes(whole[at + 4 : at + 6])
    explicit = not implicit and vr.isalpha() and vr.isupper()
    if explicit and vr in LONG_VRS:
        if at + 12 > len(whole):
            raise _cut()
        length, start = struct.unpack_from(f"{order}I", whole, at + 8)[0], at + 12
    elif explicit:
        length, start = struct.unpack_from(f"{order}H", whole, at + 6)[0], at + 8
    else:
        length, start = struct.unpack_from(f"{order}I", whole, at + 4)[0], at + 8
    name = vr.decode("ascii") if explicit else "OW"
    if length == UNDEFINED:
        value = whole[start:]
        items, ended, stop = _items(value)
        return Pixels(keyword, name, value[:stop], items, ended)
    if start + length > len(whole):
        have = max(0, len(whole) - start)
        raise Truncated(
            f"pixel data of {length} bytes of which only {have} are there",
            "a file as long as its header says",
            "fetch or export the file again",
        )
    return Pixels(keyword, name, whole[start : start + length], None)


def _items(value: memoryview) -> tuple[tuple[tuple[int, int], ...], bool, int]:
    """Fragments of encapsulated pixel data after the offset table. Raises Truncated when one runs over the end."""
    items: list[tuple[int, int]] = []
    at = 0
    while at + 8 <= len(value):
        tag, length = struct.unpack_from("<II", value, at)
        if tag == 0xE0DDFFFE:
            return tuple(items[1:]), True, at + 8
        if tag != 0xE000FFFE:
            break
        if length == UNDEFINED or at + 8 + length > len(value):
            raise _cut()
        items.append((at + 8, length))
        at += 8 + length
    if at < len(value) and len(value) - at < 8:
        raise _cut()
    if len(items) < 2:
        raise _cut()
    return tuple(items[1:]), False, at


def _cut() -> Truncated:
    return Truncated(
        "compressed pixel data that ends before its last fragment",
        "a file as long as its header says",
        "fetch or export the file again",
    )
