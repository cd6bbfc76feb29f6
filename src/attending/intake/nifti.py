"""NIfTI volumes: RAS+ millimetres turned into our LPS, (i, j, k) into (z, y, x); the stored grid is kept."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryRefused, NotAnImage, TooLarge, Truncated, UnsupportedEncoding
from ..records import Affine, Image, ImageFacts, Stack
from .describe import known_view
from .dicom import finite
from .refusals import too_many

TAIL = 2**20  # bytes after the voxels that are read for the sake of the checksum
HEADER = 544  # bytes: the longer of the two NIfTI headers with its extension flag
UNITS = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIfTI code of metre, millimetre, micrometre -> mm


def stacks(data: bytes, modality: str, declared: dict[str, str], max_voxels: int, max_bytes: int) -> tuple[Stack, ...]:
    """One stack for each volume of the file. Raises Truncated, TooLarge, UnsupportedEncoding, GeometryRefused,
    NotAnImage; the header is judged before anything is allocated."""
    header = _header(_unpack(data, HEADER, max_bytes))
    shape = _shape(header, max_voxels)
    offset, dtype = _offset(header, max_bytes), header.get_data_dtype()
    need = offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if data[:2] == b"\x1f\x8b" and need > max_bytes:
        raise TooLarge(
            f"a volume of {need / 2**20:.0f} MiB",
            f"up to {max_bytes / 2**20:.0f} MiB",
            "raise limits.max_file_mib in site.toml",
        )
    body = _unpack(data, need, max_bytes)
    if len(body) < need:
        raise Truncated(
            f"a NIfTI of {len(body)} bytes whose header claims {need}",
            "a file as long as its header says",
            "fetch or export the file again",
        )
    raw = np.ndarray(shape, dtype, body, offset, order="F").T
    voxels, notes = _values(raw, header)
    voxels, bad = finite(voxels)
    affine, spacing, view, more = _geometry(header)
    notes = (*notes, *bad, *more, *(("a CT in NIfTI: its values are taken as HU",) if modality == "CT" else ()))
    depth, rows, columns = (*([1] * (3 - min(3, len(shape)))), *reversed(shape[:3]))
    colour = (3,) if voxels.shape[-1:] == (3,) and dtype.fields is not None else ()
    volumes = voxels.reshape(-1, depth, rows, columns, *colour)
    made = []
    for k, volume in enumerate(volumes, 1):
        part = (f"volume {k} of {len(volumes)} of a 4-D series",) if len(volumes) > 1 else ()
        facts = ImageFacts(
            id=f"i{k}",
            shape=tuple(volume.shape),
            affine=affine,
            spacing=spacing,
            modality=modality,
            view=known_view(None, view, declared),
            unit="[hnsf'U]" if modality == "CT" else "1",
            notes=(*notes, *part),
        )
        made.append(Stack(Image(facts, np.ascontiguousarray(volume))))
    return tuple(made)


def _unpack(data: bytes, need: int, max_bytes: int) -> bytes:
    """The first ``need`` bytes of the content (all of them where it is not compressed)."""
    if data[:2] != b"\x1f\x8b":
        return data
    inflater, out = zlib.decompressobj(31), bytearray()
    try:
        out += inflater.decompress(data, need)
        while inflater.eof and len(out) < need and inflater.unused_data[:2] == b"\x1f\x8b":
            rest = inflater.unused_data
            inflater = zlib.decompressobj(31)
            out += inflater.decompress(rest, need - len(out))
        # The checksum stands at the end: read on to it, unless far more follows than a volume needs
        if need > HEADER and len(out) >= need and not inflater.eof:
            inflater.decompress(inflater.unconsumed_tail, TAIL)
            if not inflater.eof and not inflater.unconsumed_tail:
                raise zlib.error
    except zlib.error:
        raise Truncated(
            "gzip content that is damaged", "a whole .nii.gz file", "fetch or export the file again"
        ) from None
    except MemoryError:
        raise TooLarge("a volume larger than the free memory", "a volume that fits", "free memory first") from None
    return bytes(out)


def _header(start: bytes) -> Any:
    import nibabel

    kind = nibabel.Nifti2Header if start[4:8] == b"n+2\0" else nibabel.Nifti1Header
    if len(start) < (540 if kind is nibabel.Nifti2Header else 348):
        raise Truncated("a NIfTI header that ends early", "a whole NIfTI file", "fetch or export the file again")
    try:
        header = kind(start[: kind.sizeof_hdr], check=False)
        header.get_data_dtype()
        header.get_data_shape()
    except Exception:  # a foreign parser on foreign bytes
        raise NotAnImage(
            "a damaged NIfTI header", "a NIfTI header as the standard defines it", "export it again"
        ) from None
    return header


def _offset(header: Any, max_bytes: int) -> int:
    offset = float(header["vox_offset"])
    if not 0 <= offset <= max_bytes:
        raise NotAnImage("a NIfTI whose voxels start nowhere", "an offset inside the file", "export the volume again")
    return int(offset)


def _shape(header: Any, max_voxels: int) -> tuple[int, ...]:
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) < 2 or any(n <= 0 for n in shape):
        raise NotAnImage("a NIfTI of zero or one dimension", "2, 3 or 4 dimensions", "export the volume again")
    if len(shape) > 4:
        raise UnsupportedEncoding(
            f"a NIfTI of {len(shape)} dimensions (a vector field or the like)", "2, 3 or 4 dimensions", "split it first"
        )
    count = 1
    for n in shape:
        count *= n
    if count > max_voxels:
        raise too_many(count, max_voxels)
    return shape


def _values(raw: NDArray[Any], header: Any) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Scaled voxels as int16, uint16 or float32, or (..., 3) uint8 for RGB."""
    if raw.dtype.fields is not None:
        colour = np.stack([raw[c] for c in ("R", "G", "B")], axis=-1).astype(np.uint8)
        return colour, (("transparency left out",) if "A" in raw.dtype.fields else ())
    if raw.dtype.kind == "c":
        raise UnsupportedEncoding("complex voxels", "real numbers", "export magnitude or phase on its own")
    if raw.dtype.kind not in "iuf":
        raise UnsupportedEncoding(
            "voxels of an unknown type", "integers, floats or RGB", "export it as int16 or float32"
        )
    slope, intercept = _scaling(header)
    notes: tuple[str, ...] = ()
    if (slope, intercept) != (1.0, 0.0):
        notes = ("scaled as the header says",)
        small = abs(slope) < 2**15 and abs(intercept) < 2**31 and raw.dtype.itemsize <= 4
        whole = small and slope == int(slope) and intercept == int(intercept) and raw.dtype.kind in "iu"
        raw = raw.astype(np.int64) * int(slope) + int(intercept) if whole else _scaled(raw, slope, intercept)
    return narrow(raw), notes


def _scaled(raw: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float32]:
    """Plane by plane, so that float64 is never held for the whole volume."""
    out = np.empty(raw.shape, np.float32)
    for k in range(len(raw)):
        out[k] = raw[k].astype(np.float64) * slope + intercept
    return out


def narrow(raw: NDArray[Any]) -> NDArray[Any]:
    """int16 where all values are whole and fit, else uint16, else float32; native byte order, C order, own memory."""
    if raw.dtype.kind == "f" and not (np.isfinite(raw).all() and np.array_equal(raw, np.rint(raw))):
        return np.array(raw, dtype=np.float32, order="C")
    low, high = (raw.min(), raw.max()) if raw.size else (0, 0)
    if low >= -32768 and high <= 32767:
        return np.array(raw, dtype=np.int16, order="C")
    if low >= 0 and high <= 65535:
        return np.array(raw, dtype=np.uint16, order="C")
    return np.array(raw, dtype=np.float32, order="C")


def _scaling(header: Any) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    return slope, intercept if np.isfinite(intercept) else 0.0


def _geometry(header: Any) -> tuple[Affine | None, tuple[float, float, float] | None, str | None, tuple[str, ...]]:
    """(affine to LPS mm, spacing mm, view, notes)."""
    unit = int(header["xyzt_units"]) & 7
    scale = UNITS.get(unit, 1.0)
    notes = [] if unit in UNITS else ["the unit of length was not stated: taken as mm"]
    zooms = [float(z) * scale for z in header["pixdim"][1:4]]
    known = all(np.isfinite(z) and z != 0 for z in zooms[: min(3, int(header["dim"][0]))])
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        spacing = (abs(zooms[0]), abs(zooms[1]), abs(zooms[2])) if known else None
        return None, spacing, None, (*notes, "neither sform nor qform is set: left and right unknown")
    try:
        ras = np.array(header.get_best_affine(), dtype=np.float64)
    except Exception:  # a foreign parser on foreign bytes: a quaternion that is none
        ras = np.full((4, 4), np.nan)
    ras[:3] *= scale
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras
    columns = np.linalg.norm(lps[:3, :3], axis=0)
    if not np.isfinite(lps).all() or columns.min() <= 0 or abs(np.linalg.det(lps[:3, :3] / columns)) < 1e-3:
        raise GeometryRefused(
            "a NIfTI whose affine is not invertible",
            "an affine that maps voxels to millimetres",
            "set the affine first",
        )
    axes = lps[:3, :3] / columns
    if np.abs(axes.T @ axes - np.eye(3)).max() > 0.01:
        notes.append("the voxel axes are not perpendicular (sheared)")
    affine: Affine = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in lps)
    view = ("SAGITTAL", "CORONAL", "AXIAL")[int(np.argmax(np.abs(axes[:, 2])))]
    return affine, (float(columns[0]), float(columns[1]), float(columns[2])), view, tuple(notes)
