"""Frames of one DICOM instance, decoded one at a time, in the values that the modality means."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputRefused, PixelMismatch, TooLarge, Truncated, UnsupportedEncoding
from . import apart
from .instance import Instance
from .layout import SYNTAXES, Layout
from .quiet import native_quiet

BROKEN = ("pixel data that its decoder cannot read", "pixel data as its header says", "fetch or export the file again")


def stored_frames(instance: Instance, it: Layout) -> Iterator[NDArray[Any]]:
    """Stored values of each frame in file order: (rows, columns) integers or floats, or (rows, columns, 3) uint8 RGB.

    Raises PixelMismatch, Truncated, UnsupportedEncoding or TooLarge at the frame that fails.
    """
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes

    decoder = get_decoder(UID(instance.syntax))
    compressed = instance.pixels.items is not None
    shifted = it.high != it.stored - 1
    options: dict[str, Any] = {
        "rows": it.rows,
        "columns": it.columns,
        "number_of_frames": it.frames,
        "samples_per_pixel": it.samples,
        "photometric_interpretation": it.photometric,
        "bits_allocated": it.allocated,
        "bits_stored": it.stored,
        "pixel_representation": int(it.signed),
        "planar_configuration": it.planar,
        "pixel_keyword": instance.pixels.keyword,
        "allow_excess_frames": False,
    }
    if compressed:
        offsets = _extended_offsets(instance)
        if offsets is not None:
            options["extended_offsets"] = offsets
    else:
        options["pixel_vr"] = instance.pixels.vr
        options["view_only"] = it.stored == it.allocated
        options["correct_unused_bits"] = not shifted
    source: Any = bytes(instance.pixels.data) if compressed else instance.pixels.data
    # pydicom's own streaming corrects the sign of JPEG 2000 and JPEG-LS in place on read-only memory, and fails
    signs = compressed and it.samples == 1 and instance.syntax in (*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes)
    plugin = _decoder(decoder)
    if compressed and plugin == "gdcm":
        decoded: Iterator[Any] = apart.frames(instance.syntax, source, options)
    else:
        indices = range(it.frames) if signs else None
        decoded = decoder.iter_array(source, indices=indices, decoding_plugin=plugin, **options)
    for _ in range(it.frames):
        try:
            with native_quiet() if compressed else nullcontext():
                frame, properties = next(decoded)
        except StopIteration:
            raise PixelMismatch(
                "fewer frames than the header claims", "as many frames as the header says", "fetch the file again"
            ) from None
        except MemoryError:
            raise TooLarge("an image larger than the free memory", "an image that fits", "free memory first") from None
        except Exception as error:  # a foreign decoder on foreign bytes
            raise _undecoded(error, compressed) from None
        except BaseException as panic:
            if type(panic).__module__ != "pyo3_runtime":  # a panic of a decoder in Rust, which is no Exception
                raise
            raise _undecoded(RuntimeError(), compressed) from None
        if frame.shape[:2] != (it.rows, it.columns):
            raise PixelMismatch(*BROKEN)
        if it.samples == 3:
            _check_colour(str(properties.get("photometric_interpretation", "")))
        elif shifted and not compressed:
            frame = _unshift(frame, it)
        yield frame


# A damaged codestream makes some decoders abort the whole process; these, in this order, were not seen to
STEADY = ("pylibjpeg", "pyjpegls", "pillow")


def _decoder(decoder: Any) -> str:
    """The decoder to use for a syntax; gdcm where only that one is there (JPEG lossless); "" leaves it to pydicom."""
    return next((name for name in (*STEADY, "gdcm") if name in decoder.available_plugins), "")


def _extended_offsets(instance: Instance) -> tuple[bytes, bytes] | None:
    header = instance.header
    if "ExtendedOffsetTable" in header and "ExtendedOffsetTableLengths" in header:
        return bytes(header.ExtendedOffsetTable), bytes(header.ExtendedOffsetTableLengths)
    return None


def _check_colour(photometric: str) -> None:
    if photometric not in ("RGB", "YBR_RCT", "YBR_ICT"):
        raise UnsupportedEncoding(
            "a colour space that is not converted here", "RGB, YBR_FULL or YBR_FULL_422", "export it as RGB"
        )


def _unshift(frame: NDArray[Any], it: Layout) -> NDArray[Any]:
    """Values whose high bit is above bits stored less one: the bits below them belong to something else."""
    left = it.allocated - 1 - it.high
    return np.asarray(np.right_shift(np.left_shift(frame, left), it.allocated - it.stored))


def _undecoded(error: Exception, compressed: bool) -> InputRefused:
    text = str(error).lower()
    if isinstance(error, InputRefused):
        return error
    if compressed and isinstance(error, (RuntimeError, NotImplementedError)):
        if any(word in text for word in ("not support", "unsupported", "not implemented", "only supports")):
            return UnsupportedEncoding(
                "a compression variant that no decoder here reads", SYNTAXES, "export it uncompressed"
            )
        return Truncated(
            "compressed pixel data that is damaged or ends early",
            "whole compressed frames",
            "fetch or export the file again",
        )
    if "insufficient" in text or "less than expected" in text:
        return Truncated("pixel data that ends early", "as many bytes as the header says", "fetch the file again")
    return PixelMismatch(*BROKEN)


class Values:
    """Stored values of one instance's frames to modality values.

    Palette -> RGB, MONOCHROME1 -> larger is brighter, Modality LUT, rescale.
    """

    def __init__(self, header: Any, it: Layout) -> None:
        self.header, self.it = header, it
        self.table = _palette(header, it) if it.photometric == "PALETTE COLOR" else None

    def __call__(self, frame: NDArray[Any], rescale: tuple[float, float] | None, keep: bool) -> NDArray[Any]:
        """rescale is (slope, intercept) or None; keep leaves MONOCHROME1 as it is (values with a physical unit).

        Gives (rows, columns) integers or float64, or (rows, columns, 3) uint8.
        """
        if self.table is not None:
            return np.asarray(self.table[frame])
        if self.it.colour:
            return frame
        invert = self.it.photometric == "MONOCHROME1" and not keep
        if self.header.get("ModalityLUTSequence"):
            return _modality_lut(frame, self.header, invert)
        if frame.dtype.kind == "f":
            values: NDArray[Any] = frame.astype(np.float64)
        else:
            values = frame.astype(np.int64 if frame.dtype.itemsize >= 4 else np.int32)
        if invert:
            values = self._inverted(values)
        if rescale is None or rescale == (1.0, 0.0):
            return values
        slope, intercept = rescale
        small = abs(slope) < 2**15 and abs(intercept) < 2**31 and values.dtype.kind == "i" and frame.dtype.itemsize <= 4
        if small and slope == int(slope) and intercept == int(intercept):
            wide = values if abs(slope) == 1 and abs(intercept) < 2**30 else values.astype(np.int64)
            return wide * int(slope) + int(intercept)
        return values * slope + intercept

    def _inverted(self, values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype.kind == "f":
            return -values
        low, high = stored_range(self.it)
        return (low + high) - values


def stored_range(it: Layout) -> tuple[int, int]:
    """The smallest and largest stored value that the header allows."""
    return (-(2 ** (it.stored - 1)), 2 ** (it.stored - 1) - 1) if it.signed else (0, 2**it.stored - 1)


def _palette(header: Any, it: Layout) -> NDArray[np.uint8]:
    """(entries, 3) uint8: the colour of every stored value."""
    from pydicom.pixels import apply_color_lut

    try:
        entries = np.arange(2 ** min(it.stored, 16), dtype=np.uint16 if it.allocated > 8 else np.uint8)
        colour = apply_color_lut(entries[np.newaxis], header)[0, :, :3]
    except Exception:  # a foreign parser on foreign tables
        raise PixelMismatch(
            "a colour palette that is missing or damaged", "a whole red, green and blue palette", "export it as RGB"
        ) from None
    # Some writers put 8-bit entries into a 16-bit palette; true 16-bit entries use the high byte.
    wide = colour.dtype != np.uint8 and int(colour.max(initial=0)) > 255
    return np.asarray(colour >> 8 if wide else colour).astype(np.uint8)


def _modality_lut(frame: NDArray[Any], header: Any, invert: bool) -> NDArray[Any]:
    from pydicom.pixels import apply_modality_lut

    try:
        values = apply_modality_lut(frame, header).astype(np.int64)
        bits = int(header.ModalityLUTSequence[0].LUTDescriptor[2])
    except Exception:  # as above
        raise PixelMismatch(
            "a Modality LUT that is missing entries or damaged", "a whole Modality LUT", "export the file again"
        ) from None
    return np.asarray((2**bits - 1) - values if invert else values)


class Canvas:
    """The voxels of one stack, filled plane by plane: int16 while every value fits, then uint16, then float32."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        dtype: Any = np.uint8 if len(shape) == 4 else np.int16
        try:
            self.voxels: NDArray[Any] = np.zeros(shape, dtype)
        except MemoryError:
            raise TooLarge("an image larger than the free memory", "an image that fits", "free memory first") from None

    def put(self, z: int, plane: NDArray[Any]) -> None:
        """Write one (rows, columns[, 3]) plane; changes the dtype of the whole stack when a value needs it."""
        if self.voxels.dtype not in (np.uint8, np.float32):
            self._widen(plane)
        self.voxels[z] = plane

    def _widen(self, plane: NDArray[Any]) -> None:
        if plane.dtype.kind == "f" and not np.array_equal(plane, np.rint(plane)):
            self.voxels = self.voxels.astype(np.float32)
            return
        low, high = plane.min(), plane.max()
        limits = np.iinfo(self.voxels.dtype)
        if limits.min <= low and high <= limits.max:
            return
        fits_unsigned = low >= 0 and high <= 65535 and self.voxels.min() >= 0
        self.voxels = self.voxels.astype(np.uint16 if fits_unsigned else np.float32)
