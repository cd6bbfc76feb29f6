"""PNG, JPEG, TIFF and BMP pictures: no millimetres, no place in the patient; modality and view as declared."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputRefused, NotAnImage, TooLarge, Truncated, UnsupportedEncoding
from ..records import Image, ImageFacts, Stack
from .describe import known_view
from .dicom import finite
from .nifti import narrow
from .quiet import native_quiet
from .refusals import too_many

GREY_MODALITIES = frozenset(["CR", "CT", "DX", "IO", "MG", "MR", "NM", "PT", "PX", "RF", "RG", "XA"])
# Grey films saved as colour JPEG come back a step or two apart, because JPEG rounds luminance and colour on their own.
GREY_STEPS = 3
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")


def stack(data: bytes, modality: str, declared: dict[str, str], max_voxels: int) -> Stack:
    """One picture as an image with z = 1. Raises NotAnImage, Truncated, UnsupportedEncoding or TooLarge."""
    _deep_png(data)
    picture = _opened(data)
    if picture.width * picture.height > max_voxels:
        raise too_many(picture.width * picture.height, max_voxels)
    bits = _tag(picture, 258) if picture.format == "TIFF" else None
    if isinstance(bits, tuple) and len(bits) > 1 and max(bits) > 8:
        raise deep_colour(f"{max(bits)}-bit colour")
    try:
        pages = getattr(picture, "n_frames", 1)
    except Exception as error:  # a foreign parser on foreign bytes: it reads the next directory of a TIFF
        raise _undecoded(error) from None
    if pages > 1 and picture.format != "MPO":
        raise UnsupportedEncoding(
            f"a picture of {pages} pages or frames", "one picture in a file", "save each page on its own, or as DICOM"
        )
    notes: list[str] = []
    pixels = _pixels(picture, notes)
    if pixels.ndim == 3 and modality in GREY_MODALITIES:
        pixels = _grey(pixels, notes)
    voxels, bad = finite(pixels[np.newaxis] if pixels.ndim == 3 else narrow(pixels)[np.newaxis])
    facts = ImageFacts(
        id="i1",
        shape=tuple(voxels.shape),
        affine=None,
        spacing=None,
        modality=modality,
        view=known_view(None, None, declared),
        notes=(*notes, *bad),
    )
    return Stack(Image(facts, np.ascontiguousarray(voxels)))


def _deep_png(data: bytes) -> None:
    """Pillow halves 16-bit colour without a word; it is refused instead."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 26 and data[24] == 16 and data[25] in (2, 4, 6):
        raise deep_colour("16-bit grey with transparency" if data[25] == 4 else "16-bit colour")


def deep_colour(what: str) -> UnsupportedEncoding:
    """The refusal of colours that would lose bits."""
    return UnsupportedEncoding(
        f"a picture in {what}", "8-bit colour, or 8 or 16-bit grey", "save it as 8-bit RGB or 16-bit grey"
    )


def _opened(data: bytes) -> Any:
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    before = Pillow.MAX_IMAGE_PIXELS
    try:
        Pillow.MAX_IMAGE_PIXELS = None  # the site's own limit is judged next, before any pixel is read
        return Pillow.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if _tiff_is_deep(data):
            raise deep_colour("16-bit colour") from None
        raise NotAnImage(
            "a picture whose header is damaged", "PNG, JPEG, TIFF or BMP", "save or fetch it again"
        ) from None
    except Exception:  # a foreign parser on foreign bytes
        raise NotAnImage(
            "a picture whose header is damaged", "PNG, JPEG, TIFF or BMP", "save or fetch it again"
        ) from None
    finally:
        Pillow.MAX_IMAGE_PIXELS = before


def _tiff_is_deep(data: bytes) -> bool:
    """The first directory of a TIFF says more than 8 bits in each of several samples."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 10:
        return False
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for k in range(count):
            tag, _, number, value = struct.unpack_from(f"{order}HHII", data, at + 2 + 12 * k)
            if tag == 258 and number >= 3:
                return bool(struct.unpack_from(f"{order}H", data, value)[0] > 8)
    except struct.error:
        return False
    return False


def _pixels(picture: Any, notes: list[str]) -> NDArray[Any]:
    """(rows, columns) numbers or (rows, columns, 3) uint8, upright."""
    from PIL import ImageOps

    inverted = picture.format == "TIFF" and picture.mode.startswith("I;16") and _tag(picture, 262) == 0
    try:
        with native_quiet():
            picture.load()
        upright = ImageOps.exif_transpose(picture)
    except MemoryError:
        raise TooLarge("a picture larger than the free memory", "a picture that fits", "free memory first") from None
    except Exception as error:  # a foreign decoder on foreign bytes
        raise _undecoded(error) from None
    if upright.size != picture.size or picture.getexif().get(274, 1) not in (0, 1):
        notes.append("turned upright as its EXIF orientation says")
    mode = upright.mode
    if mode in ("L", "I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(upright)
        if mode == "L" and "transparency" in upright.info:
            notes.append("a transparent grey level left as it is")
        if inverted:
            notes.append("white is zero: inverted")
            values = 65535 - values.astype(np.int64)
        return values
    if mode == "1":
        return np.asarray(upright.convert("L"))
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info:
        return _flat(upright, notes)
    if mode in ("P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        notes.append(f"{'palette' if mode == 'P' else mode} colours converted to RGB")
        return np.asarray(upright.convert("RGB"))
    if mode == "RGB":
        return np.asarray(upright)
    raise UnsupportedEncoding(
        "a picture in an unknown colour mode", "grey or RGB", "save it as 8-bit RGB or 16-bit grey"
    )


def _flat(picture: Any, notes: list[str]) -> NDArray[Any]:
    """Transparency laid on black; a picture that is opaque throughout loses nothing."""
    rgba = np.asarray(picture.convert("RGBA"))
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        notes.append("an opaque transparency channel left out")
        flat = rgba[..., :3]
    else:
        notes.append("transparent pixels shown on black")
        flat = np.rint(rgba[..., :3] * (alpha[..., None] / 255.0)).astype(np.uint8)
    return flat[..., 0] if picture.mode in ("LA", "La") else flat


def _grey(pixels: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    wide = pixels.astype(np.int16)
    apart = int(max(np.abs(wide[..., 0] - wide[..., 1]).max(), np.abs(wide[..., 1] - wide[..., 2]).max()))
    if apart > GREY_STEPS:
        notes.append("colours in a picture declared as a grey modality: kept as colour")
        return pixels
    notes.append("red, green and blue are alike: made grey")
    return pixels[..., 1] if apart else pixels[..., 0]


def _tag(picture: Any, tag: int) -> Any:
    try:
        return picture.tag_v2.get(tag)
    except Exception:  # no tags, or malformed ones
        return None


def _undecoded(error: Exception) -> InputRefused:
    if isinstance(error, (OSError, SyntaxError, EOFError, ValueError, struct.error)):
        text = str(error).lower()
        if "truncated" in text or "unexpected end" in text or "not enough" in text or "buffer overrun" in text:
            return Truncated("a picture that ends early", "a whole picture", "save or fetch it again")
        if "decoder" in text and "not available" in text:
            return UnsupportedEncoding(
                "a compression that is not read here", "PNG, JPEG, TIFF or BMP", "save it as PNG"
            )
    return Truncated("a picture whose pixels are damaged", "a whole picture", "save or fetch it again")
