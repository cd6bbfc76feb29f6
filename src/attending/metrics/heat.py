"""How good a map of what a model rests on is: likeness of two maps, whether it points at the finding, and curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..records import Interval
from .intervals import RESAMPLES, percentile


def rank_likeness(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Spearman's rank correlation of two maps of one shape; None where one of them is flat."""
    if a.shape != b.shape:
        raise ValueError(f"maps of shapes {a.shape} and {b.shape}; allowed: one shape")
    from scipy.stats import rankdata

    x, y = (rankdata(m.reshape(-1)) for m in (a, b))
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else None


def points_at(heat: NDArray[Any], mask: NDArray[Any], tolerance: float = 0.0) -> bool | None:
    """The pointing game (Zhang 2016): the hottest voxel lies in the mask or within tolerance (voxels) of it; of
    several equally hot ones their middle counts. None where nothing is hot."""
    top = float(heat.max())
    if not top > 0 or not mask.any():
        return None
    at = np.argwhere(heat == top).mean(axis=0)
    return bool(np.linalg.norm(np.argwhere(mask) - at, axis=1).min() <= max(tolerance, 0.5 * np.sqrt(heat.ndim)))


def share_inside(heat: NDArray[Any], mask: NDArray[Any]) -> float | None:
    """The part of the positive heat that lies in the mask; None where there is none."""
    warm = np.maximum(heat, 0)
    total = float(warm.sum())
    return float(warm[mask.astype(bool)].sum()) / total if total > 0 else None


def area(curve: Sequence[float]) -> float:
    """Area under equally spaced points over a unit interval (trapezoids)."""
    points = np.asarray(curve, np.float64)
    return float(np.trapezoid(points) / (len(points) - 1))


def mean_of(values: ArrayLike, *, count: int = RESAMPLES, level: float = 0.95, seed: int = 0) -> Interval:
    """The mean with its percentile bootstrap interval; the values are independent."""
    x = np.asarray(values, np.float64)
    if not x.size or not np.isfinite(x).all():
        raise ValueError(f"{x.size} values; allowed: at least one, all finite")
    draws = x[np.random.default_rng(seed).integers(0, x.size, (count, x.size))].mean(axis=1)
    return percentile(float(x.mean()), draws, level)
