"""How a plane is cut from an array: which axis, which way round, which patient direction at each edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..imaging import axis_codes
from ..records import Image

LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
"""Per LPS axis: the letter at its negative and at its positive end."""

VOLUME_PLANES = 16
"""Stacks with fewer planes keep their own plane: a reformat of so few would be mostly interpolation."""

Crop = Sequence[tuple[int, int]]
"""Per array axis (z, y, x): first and last + 1 index that is shown."""


@dataclass(frozen=True)
class View:
    """How one plane is cut from the (z, y, x) array. axis: the array axis cut along, flip: whether its index runs
    backwards; rows, cols: array axes; flip_rows, flip_cols; pixel: mm of (rows, cols), 1 where unknown."""

    name: str
    axis: int
    rows: int
    cols: int
    flips: tuple[bool, bool, bool]
    pixel: tuple[float, float]
    letters: tuple[str, str, str, str] | None

    def cut(self, array: NDArray[Any], index: int, crop: Crop) -> NDArray[Any]:
        """One display slice as (rows, cols[, 3]), of the rows and columns that ``crop`` keeps."""
        n = array.shape[self.axis]
        at = n - 1 - index if self.flips[0] else index
        plane = array[tuple(at if a == self.axis else slice(*crop[a]) for a in range(3))]
        if self.rows > self.cols:
            plane = np.swapaxes(plane, 0, 1)
        if self.flips[1]:
            plane = plane[::-1]
        return plane[:, ::-1] if self.flips[2] else plane

    def place(self, array_axis: int, index: float, shape: Sequence[int]) -> float:
        """A (fractional) array index along one axis -> the display index along it."""
        flip = self.flips[(self.axis, self.rows, self.cols).index(array_axis)]
        return shape[array_axis] - 1 - index if flip else index


def views_of(image: Image) -> tuple[View, ...]:
    facts, affine = image.facts, image.affine
    shape = facts.shape
    if affine is None or facts.axis != "space" or shape[0] < VOLUME_PLANES or min(shape[1:3]) < VOLUME_PLANES:
        spacing = facts.spacing or (1.0, 1.0, 1.0)
        letters = None if affine is None or facts.axis != "space" else _own_letters(affine)
        return (View("own", 0, 1, 2, (False, False, False), (spacing[1], spacing[0]), letters),)
    axis_of, backwards = _patient_axes(affine)
    mm = {lps: float(np.linalg.norm(affine[:3, 2 - axis_of[lps]])) for lps in range(3)}
    views = []
    for name, along, rows, cols in (("axial", 2, 1, 0), ("coronal", 1, 2, 0), ("sagittal", 0, 2, 1)):
        top_down = rows == 2  # superior is at the top: rows run against S
        flips = (backwards[along], backwards[rows] != top_down, backwards[cols])
        top, bottom = LETTERS[rows][::-1] if top_down else LETTERS[rows]
        letters = (top, LETTERS[cols][1], bottom, LETTERS[cols][0])
        views.append(View(name, axis_of[along], axis_of[rows], axis_of[cols], flips, (mm[rows], mm[cols]), letters))
    return tuple(views)


def _patient_axes(affine: NDArray[np.float64]) -> tuple[dict[int, int], dict[int, bool]]:
    """LPS axis -> (array axis that runs most along it, whether it runs against it)."""
    codes = axis_codes(affine)
    axis_of, backwards = {}, {}
    for lps, letters in enumerate(LETTERS):
        voxel_axis = next(i for i, code in enumerate(codes) if code in letters)
        axis_of[lps], backwards[lps] = 2 - voxel_axis, codes[voxel_axis] == letters[0]
    return axis_of, backwards


def _own_letters(affine: NDArray[np.float64]) -> tuple[str, str, str, str]:
    right, bottom, _ = axis_codes(affine)
    opposite = {a: b for low, high in LETTERS for a, b in ((low, high), (high, low))}
    return opposite[bottom], right, bottom, opposite[right]
