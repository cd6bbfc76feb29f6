"""Decoded planes brought onto the even, straight grid of their plan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .stacking import Warp


def apply(voxels: NDArray[Any], warp: Warp) -> NDArray[Any]:
    """(z, y, x[, 3]) on the planes' own places -> the even, straight grid; same dtype; outside is the minimum."""
    if warp.shifts is not None:
        voxels = _shift(voxels, warp.shifts, warp.grow)
    if warp.depths is not None and warp.even is not None:
        voxels = _even(voxels, np.asarray(warp.depths), np.asarray(warp.even))
    return voxels


def nearest(warp: Warp, count: int) -> list[int]:
    """For each plane of the even grid, the decoded plane nearest to it."""
    if warp.depths is None or warp.even is None:
        return list(range(count))
    depths = np.asarray(warp.depths)
    return [int(np.argmin(np.abs(depths - e))) for e in warp.even]


def _shift(
    voxels: NDArray[Any], shifts: tuple[tuple[float, float], ...], grow: tuple[int, int, int, int]
) -> NDArray[Any]:
    from scipy.ndimage import shift

    left, top, right, bottom = grow
    depth, rows, columns = voxels.shape[:3]
    fill = voxels.min() if voxels.size else 0
    out = np.full((depth, rows + top + bottom, columns + left + right, *voxels.shape[3:]), fill, voxels.dtype)
    for z in range(depth):
        out[z, top : top + rows, left : left + columns] = voxels[z]
        move = (shifts[z][1], shifts[z][0], *((0.0,) * (voxels.ndim - 3)))
        if any(move):
            moved = shift(out[z].astype(np.float32), move, order=1, mode="constant", cval=float(fill))
            out[z] = _as(moved, voxels.dtype)
    return out


def _even(voxels: NDArray[Any], depths: NDArray[np.float64], even: NDArray[np.float64]) -> NDArray[Any]:
    out = np.empty((len(even), *voxels.shape[1:]), voxels.dtype)
    for z, at in enumerate(even):
        below = int(np.clip(np.searchsorted(depths, at, side="right") - 1, 0, len(depths) - 2))
        t = float(np.clip((at - depths[below]) / (depths[below + 1] - depths[below]), 0.0, 1.0))
        mixed = voxels[below].astype(np.float32) * (1 - t) + voxels[below + 1].astype(np.float32) * t
        out[z] = _as(mixed, voxels.dtype)
    return out


def _as(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
    return values if dtype.kind == "f" else np.rint(values)
