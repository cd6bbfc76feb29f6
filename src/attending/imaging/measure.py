"""Measures of label maps: volumes, boxes, centres, and the slice that shows most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int, int, int]


def voxel_ml(spacing: Sequence[float]) -> float:
    """Volume of one voxel in millilitres, from millimetres along (x, y, z)."""
    return float(abs(spacing[0] * spacing[1] * spacing[2])) / 1000.0


def volumes_ml(labels: NDArray[Any], spacing: Sequence[float]) -> dict[int, float]:
    """Label value -> millilitres, for each label present but 0. labels (z, y, x); spacing mm along (x, y, z)."""
    values, counts = np.unique(labels, return_counts=True)
    each = voxel_ml(spacing)
    return {int(v): float(n) * each for v, n in zip(values, counts, strict=True) if v != 0}


def boxes(labels: NDArray[Any]) -> dict[int, Box]:
    """Label value -> inclusive voxel box (x0, y0, z0, x1, y1, z1), for each label present but 0."""
    from scipy.ndimage import find_objects

    found: dict[int, Box] = {}
    for value, place in enumerate(find_objects(labels.astype(np.int32, copy=False)), start=1):
        if place is not None:
            z, y, x = place
            found[value] = (int(x.start), int(y.start), int(z.start), int(x.stop) - 1, int(y.stop) - 1, int(z.stop) - 1)
    return found


def masked_box(mask: NDArray[np.bool_]) -> Box | None:
    """Inclusive voxel box (x0, y0, z0, x1, y1, z1) of a (z, y, x) mask; None where it is empty."""
    return boxes(mask.astype(np.uint8)).get(1)


def centre(labels: NDArray[Any], label: int, affine: NDArray[Any] | None = None) -> tuple[float, float, float] | None:
    """Centre of mass of a label as index (x, y, z), or in LPS millimetres with an affine; None where absent."""
    places = np.argwhere(labels == label)
    if not len(places):
        return None
    x, y, z = (float(v) for v in places.mean(axis=0)[::-1])
    if affine is not None:
        x, y, z = (float(v) for v in (np.asarray(affine) @ np.array([x, y, z, 1.0]))[:3])
    return (x, y, z)


def slice_for(labels: NDArray[Any], label: int | None = None, axis: int = 0) -> int:
    """Index along a numpy axis of (z, y, x) where the label (any but 0 where None) covers most; the middle if none."""
    mask = labels != 0 if label is None else labels == label
    areas = mask.sum(axis=tuple(a for a in range(3) if a != axis))
    return int(np.argmax(areas)) if areas.any() else labels.shape[axis] // 2
