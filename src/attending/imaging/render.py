"""From voxels to pictures: window, plane, section, layers, montage, PNG."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryRefused
from ..records import Image
from .grid import canonical

Colour = tuple[int, int, int]
Picture = NDArray[np.uint8]
Section = Literal["axial", "coronal", "sagittal"]

# Usual display windows (centre, width in HU) of CT: brain, lung, and soft tissue for the rest.
CT_WINDOWS = {"HEAD": (40.0, 80.0), "BRAIN": (40.0, 80.0), "CHEST": (-600.0, 1500.0), "LUNG": (-600.0, 1500.0)}
CT_SOFT_TISSUE = (40.0, 400.0)
# The darkest and brightest half percent are left out of an automatic window: markers, metal and air outside the body.
AUTO_PERCENTILES = (0.5, 99.5)
# An automatic window looks at no more than this many voxels: percentiles of a sample that size are stable to < 1 %.
AUTO_SAMPLE = 500_000


def window(array: NDArray[Any], centre: float, width: float) -> Picture:
    """Grey values to 0..255 as the linear VOI LUT of DICOM PS3.3 C.11.2.1.2.1; any shape. width below 1 counts as 1."""
    span = max(float(width), 1.0)
    values = array.astype(np.float32)
    scaled = (values - (centre - 0.5)) / max(span - 1.0, 1e-6) + 0.5 if span > 1.0 else (values > centre - 0.5) * 1.0
    return np.asarray(np.clip(scaled, 0.0, 1.0) * 255.0 + 0.5, dtype=np.float32).astype(np.uint8)


def auto_window(image: Image) -> tuple[float, float]:
    """(centre, width) in the image's own unit: a usual CT window for Hounsfield units, else percentiles.

    Zero-valued background of MR is left out, so that a small head in a large field of view still has contrast.
    """
    facts = image.facts
    if facts.unit == "[hnsf'U]":
        return CT_WINDOWS.get(facts.body_part or "", CT_SOFT_TISSUE)
    flat = image.voxels.reshape(-1)
    sample = flat[:: max(1, flat.size // AUTO_SAMPLE)].astype(np.float32)
    sample = sample[np.isfinite(sample)]
    if facts.modality in ("MR", "PT", "NM") and (sample != 0).sum() > 0.01 * sample.size:
        sample = sample[sample != 0]
    if not sample.size:
        return 0.5, 1.0
    low, high = (float(v) for v in np.percentile(sample, AUTO_PERCENTILES))
    if facts.modality in ("MR", "PT", "NM") and low > 0:
        low = 0.0
    if high <= low:
        high = low + 1.0
    return (low + high) / 2.0, max(high - low, 1e-3) if high - low >= 1.0 else 1.0


def plane(image: Image, index: int | None = None, of: tuple[float, float] | None = None) -> Picture:
    """One z plane as it was acquired, uint8 (y, x) or (y, x, 3).

    index: the middle plane where None; of: (centre, width), automatic where None.
    Raises IndexError for a plane that does not exist.
    """
    depth = image.voxels.shape[0]
    at = depth // 2 if index is None else index
    if not -depth <= at < depth:
        raise IndexError(f"plane {at} of {depth}")
    voxels = image.voxels[at]
    if image.facts.colour:
        return np.ascontiguousarray(voxels)
    if of is None:
        of = auto_window(image)
        if _fine(image):
            return _stretch(voxels, image)
    return window(voxels, *of)


def section(
    array: NDArray[Any],
    affine: NDArray[Any] | Sequence[Sequence[float]],
    kind: Section,
    at: float | None = None,
    smooth: bool = True,
) -> NDArray[Any]:
    """One section (rows, columns) through a volume (z, y, x) in radiological display, with square pixels.

    Axial: patient's right on the left, anterior up. Coronal: right on the left, superior up. Sagittal: anterior on the
    left, superior up. at: share 0..1 along the section's axis (0.5 the middle, where None). smooth: linear in-between
    values (False, nearest, for label maps). The dtype is kept. Raises GeometryRefused for fewer than three axes.
    """
    if array.ndim != 3:
        raise GeometryRefused(f"an array with {array.ndim} axes", "a volume (z, y, x)", "give one grey volume")
    turned, matrix = canonical(array, affine)
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    axis = {"axial": 0, "coronal": 1, "sagittal": 2}[kind]
    index = round((turned.shape[axis] - 1) * (0.5 if at is None else min(max(at, 0.0), 1.0)))
    flat = np.take(turned, index, axis=axis)
    rows, columns = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}[kind]
    if kind != "axial":
        flat = flat[::-1]
    return _square(flat, float(sizes[rows]), float(sizes[columns]), smooth)


def label_colours(values: Sequence[int]) -> dict[int, Colour]:
    """One colour per label value, the same for the same value everywhere: hues a golden angle apart."""
    colours: dict[int, Colour] = {}
    for value in values:
        red, green, blue = colorsys.hsv_to_rgb((value * 0.61803398875) % 1.0, 0.75 if value % 2 else 0.55, 0.95)
        colours[int(value)] = (round(red * 255), round(green * 255), round(blue * 255))
    return colours


def label_layer(labels: NDArray[Any], colours: Mapping[int, Colour] | None = None, alpha: float = 0.45) -> Picture:
    """Labels (y, x) -> RGBA (y, x, 4), transparent at 0, with a solid outline: a layer that can be switched."""
    values = [int(v) for v in np.unique(labels) if v != 0]
    table = {**label_colours(values), **(colours or {})}
    layer = np.zeros((*labels.shape, 4), dtype=np.uint8)
    for value in values:
        layer[labels == value] = (*table[value], round(alpha * 255))
    padded = np.pad(labels, 1, mode="edge")
    inner = padded[1:-1, 1:-1]
    edge = np.zeros(labels.shape, dtype=bool)
    for shifted in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        edge |= inner != shifted
    layer[..., 3][edge & (labels != 0)] = 255
    return layer


def heat_layer(heat: NDArray[Any], alpha: float = 0.6) -> Picture:
    """A map (y, x) in 0..1 -> RGBA (y, x, 4): dark red through orange to pale yellow, as opaque as it is high."""
    level = np.clip(np.nan_to_num(heat.astype(np.float32)), 0.0, 1.0)
    layer = np.zeros((*level.shape, 4), dtype=np.uint8)
    layer[..., 0] = np.clip(130 + 250 * level, 0, 255)
    layer[..., 1] = np.clip(510 * level - 255, 0, 255) * 0.9
    layer[..., 2] = np.clip(1020 * level - 800, 0, 255) * 0.6
    layer[..., 3] = np.clip(alpha * 255 * np.sqrt(level), 0, 255)
    return layer


def overlay(base: NDArray[Any], layer: Picture) -> Picture:
    """uint8 grey (y, x) or RGB (y, x, 3) under an RGBA layer (y, x, 4) -> RGB (y, x, 3).

    Raises ValueError where the two do not share a grid.
    """
    if base.shape[:2] != layer.shape[:2]:
        raise ValueError(f"picture of {base.shape[:2]} under a layer of {layer.shape[:2]}")
    colour = np.repeat(base[..., None], 3, axis=2) if base.ndim == 2 else base[..., :3]
    share = layer[..., 3:4].astype(np.float32) / 255.0
    mixed = colour.astype(np.float32) * (1.0 - share) + layer[..., :3].astype(np.float32) * share
    return np.asarray(np.rint(mixed), dtype=np.float32).astype(np.uint8)


def montage(tiles: Sequence[NDArray[Any]], columns: int | None = None, gap: int = 4) -> Picture:
    """Pictures (y, x) or (y, x, 3), of any sizes, in rows on black -> RGB (y, x, 3). Raises ValueError for none."""
    if not tiles:
        raise ValueError("a montage of no pictures")
    across = columns or int(np.ceil(np.sqrt(len(tiles))))
    height, width = max(t.shape[0] for t in tiles), max(t.shape[1] for t in tiles)
    down = -(-len(tiles) // across)
    sheet = np.zeros((down * (height + gap) - gap, across * (width + gap) - gap, 3), dtype=np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, across)
        top = row * (height + gap) + (height - tile.shape[0]) // 2
        left = column * (width + gap) + (width - tile.shape[1]) // 2
        colour = np.repeat(tile[..., None], 3, axis=2) if tile.ndim == 2 else tile[..., :3]
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = colour
    return sheet


def to_png(array: NDArray[Any]) -> bytes:
    """uint8 (y, x), (y, x, 3) or (y, x, 4) -> PNG bytes without any text chunk or time, the same for the same array.

    Raises ValueError for another shape or dtype.
    """
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(
            f"a {array.dtype} array of shape {array.shape}; PNG takes uint8 (y, x), (y, x, 3) or (y, x, 4)"
        )
    from PIL import Image as Pillow

    out = BytesIO()
    Pillow.fromarray(np.ascontiguousarray(array)).save(out, format="PNG", optimize=False, compress_level=6)
    return out.getvalue()


def _fine(image: Image) -> bool:
    """A float image whose whole range is narrower than a DICOM window can express (a map in 0..1)."""
    voxels = image.voxels
    return voxels.dtype.kind == "f" and voxels.size > 0 and float(np.ptp(voxels)) < 4.0


def _stretch(voxels: NDArray[Any], image: Image) -> Picture:
    low, high = float(image.voxels.min()), float(image.voxels.max())
    level = (voxels.astype(np.float32) - low) / max(high - low, 1e-12)
    return np.asarray(np.clip(level, 0, 1) * 255 + 0.5, dtype=np.float32).astype(np.uint8)


def _square(flat: NDArray[Any], row_mm: float, column_mm: float, smooth: bool) -> NDArray[Any]:
    finest = min(row_mm, column_mm)
    factors = (row_mm / finest, column_mm / finest)
    # Under 2 % off square nobody sees it, and the pixels stay the ones that were measured.
    if max(factors) < 1.02:
        return np.ascontiguousarray(flat)
    from scipy.ndimage import zoom

    kind = np.float32 if smooth and flat.dtype.kind != "f" else flat.dtype
    scaled: NDArray[Any] = zoom(flat.astype(kind), factors, order=1 if smooth else 0, grid_mode=True, mode="nearest")
    if flat.dtype.kind in "ui" and smooth:
        scaled = np.clip(np.rint(scaled), np.iinfo(flat.dtype).min, np.iinfo(flat.dtype).max)
    return scaled.astype(flat.dtype)
