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
READ_GROUPS = frozenset((0x0002, 0x0004, 0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x0054, 0x5200))
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

    given: list[str] = []
    if DEFLATED.encode() in data[132:1024]:
        header, whole, at = _inflated(data, max_bytes)
        syntax = DEFLATED
    else:
        whole = bytes(128) + data if data[:4] == b"DICM" else data
        header, at = _parse(whole)
        meta = getattr(header, "file_meta", None)
        syntax = str(meta.get("TransferSyntaxUID", "") or "") if meta is not None else ""
    if not syntax:
        given.append("the transfer syntax was missing: taken from how the header is written")
        syntax = _syntax_of(header)
    if len(header) == 0:
        raise NotAnImage("a DICOM file without any data element", IMAGES, "fetch or export the file again")
    refused = non_image(header)
    if refused is not None:
        raise refused
    big = header.original_encoding[1] is False
    pixels = _pixels(memoryview(whole), at, bool(header.original_encoding[0]), big)
    if pixels is None:
        raise _without_pixels(header)
    return Instance(header, syntax, big, pixels, tuple(given))


def _parse(whole: bytes) -> tuple[Any, int]:
    """(header, where it ends). Raises NotAnImage, Truncated, UnsupportedEncoding or TooLarge."""
    from pydicom import dcmread

    stream = io.BytesIO(whole)
    try:
        header = dcmread(stream, stop_before_pixels=True, force=True)
    except MemoryError:
        raise TooLarge("a header that claims more than the free memory", "a sound header", "fetch it again") from None
    except Exception as error:  # a foreign parser on foreign bytes: whatever it raises, the header is damaged
        raise _broken(error) from None
    header.buffer = None  # else every header would keep its whole file alive
    _drop_unreadable(header)
    if getattr(header, "file_meta", None) is not None:
        _drop_unreadable(header.file_meta)
    return header, stream.tell()


def _drop_unreadable(header: Any) -> None:
    """Elements of the groups that are read here whose value cannot be converted are as good as absent."""
    for tag in list(header.keys()):
        if tag.group in READ_GROUPS:
            try:
                header[tag]
            except Exception:  # whatever pydicom raises on a malformed value
                del header[tag]


def _syntax_of(header: Any) -> str:
    implicit, little = header.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if little is not False else "1.2.840.10008.1.2.2"


def _inflated(data: bytes, max_bytes: int) -> tuple[Any, bytes, int]:
    """The deflated body as an explicit little-endian file; bounded, because a few bytes can inflate to gigabytes."""
    if data[132:140] != b"\x02\0\0\0UL\x04\0":
        raise NotAnImage("a deflated DICOM file without a length of its file meta", IMAGES, "export the file again")
    start = 144 + int(struct.unpack_from("<I", data, 140)[0])
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
    whole = data[:start].replace(DEFLATED.encode(), b"1.2.840.10008.1.2.1\0\0\0") + body
    header, at = _parse(whole)
    header.file_meta.TransferSyntaxUID = DEFLATED
    return header, whole, at


def _broken(error: Exception) -> InputRefused:
    if isinstance(error, (EOFError, struct.error)):
        return Truncated("a DICOM header that ends early", "a whole DICOM file", "fetch or export the file again")
    if isinstance(error, NotImplementedError):
        return UnsupportedEncoding(
            "a DICOM header with elements of unknown encoding", "a header as PS3.5 defines it", "export the file again"
        )
    return NotAnImage("a damaged DICOM header", IMAGES, "fetch or export the file again")


def _without_pixels(header: Any) -> InputRefused:
    from pydicom.uid import UID

    sop_class = UID(str(header.get("SOPClassUID", "") or ""))
    if (header.get("Rows") and header.get("Columns")) or "Image Storage" in sop_class.name or _is_cut(header):
        return Truncated(
            "a DICOM image that ends before its pixel data", "a whole DICOM image", "fetch or export the file again"
        )
    return NotAnImage("a DICOM file without pixel data", IMAGES, "name the images of the study")


def _is_cut(header: Any) -> bool:
    """The last element's value is shorter than its length says."""
    try:
        last = header.get_item(max(header.keys()))
    except Exception:  # whatever pydicom raises on a malformed value
        return True
    length, value = getattr(last, "length", None), last.value
    return isinstance(value, bytes) and isinstance(length, int) and length != UNDEFINED and len(value) < length


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
