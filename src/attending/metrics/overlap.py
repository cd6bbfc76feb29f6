"""Overlap of segmentations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def dice(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Dice's coefficient 2 |a and b| / (|a| + |b|) of two masks of one shape; None where both are empty.

    Nothing found where nothing is: there is no overlap to speak of, and calling it 1 would flatter an average.
    Raises ValueError where the shapes differ.
    """
    first, second = np.asarray(a).astype(bool), np.asarray(b).astype(bool)
    if first.shape != second.shape:
        raise ValueError(f"masks of shapes {first.shape} and {second.shape}; allowed: one grid for both")
    size = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / size if size else None


def dices(a: NDArray[Any], b: NDArray[Any]) -> dict[int, float]:
    """Dice's coefficient of every label but 0 that either label map holds; both of one shape."""
    first, second = np.asarray(a), np.asarray(b)
    labels = sorted({int(v) for v in np.union1d(np.unique(first), np.unique(second))} - {0})
    each = {label: dice(first == label, second == label) for label in labels}
    return {label: value for label, value in each.items() if value is not None}
