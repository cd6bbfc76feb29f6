"""Mask: segments as a person or a model drew them, each cut to its own box, on one stated grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .finding import Code
from .image import ImageFacts


@dataclass(frozen=True, eq=False)
class Segment:
    """One structure of a mask.

    label  its number in the file. start: voxel (x, y, z) of the first voxel of the cut array.
    mask   (z, y, x) bool, cut to the structure's box. share: (z, y, x) float32 in 0..1 where the file says how much of
           a voxel belongs to it (a fractional segmentation or a probability map), or None.
    """

    label: int
    name: str
    mask: NDArray[np.bool_] = field(repr=False)
    start: tuple[int, int, int] = (0, 0, 0)
    share: NDArray[Any] | None = field(default=None, repr=False)
    code: Code | None = None

    @property
    def box(self) -> tuple[int, int, int, int, int, int]:
        """Inclusive voxel box (x0, y0, z0, x1, y1, z1)."""
        x, y, z = self.start
        depth, rows, columns = self.mask.shape
        return (x, y, z, x + columns - 1, y + rows - 1, z + depth - 1)


@dataclass(frozen=True, eq=False)
class Mask:
    """segments in the order of their labels, on the grid of facts; notes: what was done on the way in, in words."""

    facts: ImageFacts
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()

    def whole(self, segment: Segment) -> NDArray[np.bool_]:
        """(z, y, x) bool on the whole grid."""
        full = np.zeros(self.facts.shape[:3], dtype=np.bool_)
        x, y, z = segment.start
        depth, rows, columns = segment.mask.shape
        full[z : z + depth, y : y + rows, x : x + columns] = segment.mask
        return full


def segments_of(
    labels: NDArray[Any], names: dict[int, str] | None = None, codes: dict[int, Code] | None = None
) -> tuple[Segment, ...]:
    """The segments of a (z, y, x) label map, background 0 left out."""
    found = []
    for value in np.unique(labels):
        if value == 0:
            continue
        where = labels == value
        axes = [np.flatnonzero(where.any(axis=tuple(a for a in range(3) if a != k))) for k in range(3)]
        cut = where[tuple(slice(a[0], a[-1] + 1) for a in axes)].copy()
        z, y, x = (int(a[0]) for a in axes)
        number = int(value)
        found.append(
            Segment(
                number, (names or {}).get(number, f"label {number}"), cut, (x, y, z), None, (codes or {}).get(number)
            )
        )
    return tuple(found)
