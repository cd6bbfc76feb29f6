"""From an image of any shape to the few grey planes in 0..1 that an image encoder looks at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Image

DEPTHS = (0.375, 0.5, 0.625)
"""Where a volume is cut, as parts of its z extent: the middle, and one plane on either side of it."""
LOW, HIGH = 0.5, 99.5
"""Percentiles that become 0 and 1: a few hot or dead pixels must not decide the contrast."""
SAMPLES = 1 << 16
"""Pixels from which the percentiles are taken: enough for their first decimal, and a film of 3000x3000 stays cheap."""
LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
"""ITU-R BT.709: what the eye sees of sRGB's channels."""


def grey_planes(image: Image) -> list[NDArray[np.float32]]:
    """(y, x) float32 in 0..1: the only plane, or the three of DEPTHS. A constant plane becomes 0; NaN counts as 0."""
    return [_scaled(_grey(image.voxels[z])) for z in _cuts(image.voxels.shape[0])]


def saturation(image: Image) -> float:
    """How coloured the middle plane is: mean of (max - min) / 255 over the channels, 0 for grey images."""
    if not image.facts.colour:
        return 0.0
    plane = image.voxels[image.voxels.shape[0] // 2].astype(np.float32)
    return float((plane.max(axis=-1) - plane.min(axis=-1)).mean() / 255)


def resized(plane: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """(rows, columns) float32: block means down to near the size, then linear; sides are stretched, not cropped."""
    from skimage.transform import downscale_local_mean, resize

    factors = (max(1, plane.shape[0] // (2 * rows)), max(1, plane.shape[1] // (2 * columns)))
    if max(factors) > 1:
        whole = plane[: plane.shape[0] // factors[0] * factors[0], : plane.shape[1] // factors[1] * factors[1]]
        plane = downscale_local_mean(whole, factors)
    smaller = rows < plane.shape[0] or columns < plane.shape[1]
    out: NDArray[np.float32] = resize(
        plane, (rows, columns), order=1, mode="edge", anti_aliasing=smaller, preserve_range=True
    ).astype(np.float32)
    return out


def _cuts(planes: int) -> list[int]:
    return [0] if planes == 1 else [min(planes - 1, int(planes * depth)) for depth in DEPTHS]


def _grey(plane: NDArray[Any]) -> NDArray[np.float32]:
    grey = plane.astype(np.float32) @ LUMA if plane.ndim == 3 else plane.astype(np.float32)
    return np.nan_to_num(grey, nan=0.0, posinf=0.0, neginf=0.0)


def _scaled(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    every = max(1, int(np.sqrt(plane.size / SAMPLES)))
    low, high = np.percentile(plane[::every, ::every], (LOW, HIGH))
    if not high > low:
        low, high = float(plane.min()), float(plane.max())
    if not high > low:
        return np.zeros_like(plane)
    scaled: NDArray[np.float32] = np.clip((plane - np.float32(low)) / np.float32(high - low), 0, 1)
    return scaled
