"""Diameters of a mask: longest in an acquired plane, its longest perpendicular (RECIST 1.1, WHO), longest in space.

RECIST 1.1 (Eisenhauer et al., Eur J Cancer 2009;45:228-247): a target lesion's longest diameter in the plane of
measurement, as acquired; nodes by their short axis. WHO (Miller et al., Cancer 1981;47:207-214): the product of the
longest diameter and the greatest perpendicular one. The longest diameter of a body in space is IBSI L0JK (Zwanenburg
et al., Radiology 2020;295:328-338), which takes mesh vertices as ends; here the ends are found below a voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .measure_space import Space
from .measure_tip import reach

CLOSE = 2.0
"""Planes whose longest line is within this many pixels of the longest compete: their ends decide which is longer."""
MOST_PLANES = 5
FINE = 4
"""Sub-pixels along each axis when chords are measured."""
FLAT = 0.85
"""The outermost layer holds at least this share of the next one's voxels: a flat face (a dome's holds at most 0.71)."""
PEAK = 0.3
"""Loss of a chord's mean, as a share of the strip, from which on its middle is taken as a peak."""
MOST_PAIRED = 3000
"""Hull vertices whose distances are all taken; beyond, the ones farthest out in many directions stand for them."""


@dataclass(frozen=True, eq=False)
class Line:
    """ends (2, 3) LPS mm (mm from the corner voxel where the patient's space is unknown); sd: standard deviation, mm;
    plane: z index, or None for a line in space."""

    mm: float
    sd: float
    ends: NDArray[np.float64]
    plane: int | None = None


def in_plane(mask: NDArray[np.bool_], space: Space) -> tuple[Line, Line] | None:
    """(longest, longest perpendicular to it) in the acquired planes of a (z, y, x) mask; None where it is empty.

    Both lie in one connected island of one plane. The perpendicular is a chord: the longest line across the lesion at a
    right angle, as calipers are set, not the width of its shadow.
    """
    from scipy.ndimage import label

    basis = space.plane
    steps = basis @ space.axes[:, :2]
    islands: list[tuple[float, int, NDArray[np.intp], NDArray[np.bool_]]] = []
    for z in map(int, np.flatnonzero(mask.any(axis=(1, 2)))):
        parts, count = label(mask[z], structure=np.ones((3, 3)))
        for n in range(1, count + 1):
            island = parts == n
            rows, columns = np.nonzero(island)
            index = np.stack([columns, rows], axis=1)
            points = index @ steps.T
            i, j = _farthest(points)
            islands.append((float(np.linalg.norm(points[j] - points[i])), z, index, island))
    if not islands:
        return None
    islands.sort(key=lambda item: -item[0])
    pixel = float(np.abs(steps).sum(axis=1).max())
    rivals = [item for item in islands[:MOST_PLANES] if item[0] > islands[0][0] - CLOSE * pixel]
    lines = [(_line(index, steps), z, index, island) for _, z, index, island in rivals]
    (mm, sd, along, ends), z, index, island = max(lines, key=lambda item: item[0][0] - item[0][1])
    short, short_sd, short_ends = _across(index @ steps.T, steps, along, mm)

    def lifted(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(flat @ basis + space.origin + z * space.axes[:, 2])

    return Line(mm, sd, lifted(ends), z), Line(short, short_sd, lifted(short_ends), z)


def in_space(mask: NDArray[np.bool_], space: Space) -> Line | None:
    """The longest line between two points of a (z, y, x) mask's body, in space; None where it is empty."""
    if not mask.any():
        return None
    z, y, x = np.nonzero(mask)
    mm, sd, _, ends = _line(np.stack([x, y, z], axis=1), space.axes)
    return Line(mm, sd, ends + space.origin)


def width(points: NDArray[np.float64], steps: NDArray[np.float64], along: NDArray[np.float64]) -> tuple[float, float]:
    """(mm, sd) between the two ends of a body along a unit vector. points (n, d) mm, steps (d, d) columns."""
    dims = points.shape[1]
    projected = points @ along
    low, high = float(projected.min()), float(projected.max())
    step = float(np.abs(along @ steps).sum())
    ends = [reach(high - projected, step, dims, high - low), reach(projected - low, step, dims, high - low)]
    return high - low + sum(e.mm for e in ends), float(np.hypot(ends[0].sd, ends[1].sd))


def _line(
    index: NDArray[np.intp], steps: NDArray[np.float64]
) -> tuple[float, float, NDArray[np.float64], NDArray[np.float64]]:
    """(mm, sd, unit vector, ends (2, d)) of the longest line of a body given by its voxels' indices (n, d)."""
    points = index @ steps.T
    i, j = _farthest(points)
    length = float(np.linalg.norm(points[j] - points[i]))
    # One voxel has no direction of its own: its longest edge gives one.
    along = (points[j] - points[i]) if length else steps[:, int(np.linalg.norm(steps, axis=0).argmax())]
    along = along / np.linalg.norm(along)
    low, low_sd = _end(index, i, steps, -along, length)
    high, high_sd = _end(index, j, steps, along, length)
    line = high - low
    mm = float(np.linalg.norm(line))
    return mm, float(np.hypot(low_sd, high_sd)), line / mm, np.stack([low, high])


def _end(
    index: NDArray[np.intp], tip: int, steps: NDArray[np.float64], along: NDArray[np.float64], length: float
) -> tuple[NDArray[np.float64], float]:
    """(the body's end beyond its outermost voxel centre, standard deviation mm).

    Where the tip lies on a face that runs with the grid (an axis-aligned box, a cylinder's lid), the face is half a
    voxel out, give or take half a voxel; what is left is the reach within that face.
    """
    dims = len(steps)
    here, chosen, spread = index[tip].astype(np.float64), np.ones(len(index), dtype=np.bool_), 0.0
    free = []
    for axis in range(dims):
        level = index[tip, axis]
        across = float(along @ steps[:, axis])
        side = int(np.sign(across)) if abs(across) > 1e-9 else 0
        last = index[:, axis] == level
        outermost = side != 0 and level == (index[:, axis].max() if side > 0 else index[:, axis].min())
        if outermost and last.sum() >= FLAT * (index[:, axis] == level - side).sum() > 0:
            here[axis] += side / 2
            spread = float(np.hypot(spread, abs(along @ steps[:, axis]) / np.sqrt(12)))
            chosen &= last
        else:
            free.append(axis)
    end = steps @ here
    if not free:
        return end, spread
    if len(free) < dims:
        within = along @ steps[:, free]
        # The part of the line that lies in the face.
        along = steps[:, free] @ np.linalg.lstsq(steps[:, free], along, rcond=None)[0]
        size = float(np.linalg.norm(along))
        if size < 1e-6 or not np.abs(within).max() > 0:
            return end, spread
        along, length = along / size, length * size
    projected = index[chosen] @ steps.T @ along
    step = float(np.abs(along @ steps[:, free]).sum())
    if len(free) == 1:
        return end + along * step / 2, float(np.hypot(spread, step / np.sqrt(12)))
    more = reach(projected.max() - projected, step, len(free), length)
    return end + along * more.mm, float(np.hypot(spread, more.sd))


def _across(
    points: NDArray[np.float64],
    steps: NDArray[np.float64],
    along: NDArray[np.float64],
    longest: float,
) -> tuple[float, float, NDArray[np.float64]]:
    """(mm, sd, ends) of the longest chord at a right angle to ``along``."""
    across = np.array([-along[1], along[0]])
    strip = float(np.abs(along @ steps).sum())
    offsets = (np.arange(FINE) + 0.5) / FINE - 0.5
    fine = np.stack(np.meshgrid(offsets, offsets), axis=-1).reshape(-1, 2) @ steps.T
    spread = (points[:, None, :] + fine[None, :, :]).reshape(-1, 2)
    area = abs(float(np.linalg.det(steps))) / FINE**2
    place = spread @ along
    bin_mm = strip / FINE
    # Rounding must not throw points that lie on a border of two bins to either side.
    index = np.floor((place - place.min()) / bin_mm + 1e-6).astype(np.intp)
    profile = np.asarray(np.bincount(index) * area / bin_mm, dtype=np.float64)
    narrow, at = _widest(profile, 2 * FINE)
    drop = max(0.0, narrow - _widest(profile, 4 * FINE)[0]) if len(profile) > 4 * FINE else 0.0
    # Between two corners chords grow linearly to a peak, which the mean over a strip misses by as much as it loses to
    # the mean over a strip twice as wide: half the narrower strip. On a plateau or a dome it loses next to nothing.
    chord = narrow + drop * min(1.0, drop / (PEAK * 2 * strip))
    shadow, sd = width(points, steps, across)
    short = min(chord, shadow, longest)
    chosen = spread[np.abs(place - (place.min() + (at + 0.5) * bin_mm)) <= strip / 2]
    middle = chosen.mean(axis=0)
    ends = np.stack([middle - short / 2 * across, middle + short / 2 * across])
    return short, sd, ends


def _widest(profile: NDArray[np.float64], bins: int) -> tuple[float, float]:
    """(highest mean of the profile over so many neighbouring bins, the middle bin's position)."""
    bins = min(bins, len(profile))
    means = np.convolve(profile, np.ones(bins) / bins, mode="valid")
    at = int(means.argmax())
    return float(means[at]), at + (bins - 1) / 2


def _farthest(points: NDArray[np.float64]) -> tuple[int, int]:
    """Indices of the two points farthest apart. points (n, 2 or 3)."""
    from scipy.spatial.distance import pdist, squareform

    outer = _outer(points)
    table = squareform(pdist(points[outer]))
    # Of pairs equally far apart the first by index: rounding, and so the patient's pose, must not choose.
    i, j = np.unravel_index(int((table >= table.max() * (1 - 1e-9)).argmax()), table.shape)
    return int(outer[i]), int(outer[j])


def _outer(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of points among which the two farthest apart are."""
    from scipy.spatial import ConvexHull, QhullError

    if len(points) <= 500:
        return np.arange(len(points))
    try:
        hull = np.sort(ConvexHull(points).vertices)
    except QhullError:  # all in one plane or on one line
        hull = np.arange(len(points))
    if len(hull) <= MOST_PAIRED:
        return hull
    directions = np.random.default_rng(0).normal(size=(MOST_PAIRED // 2, points.shape[1]))
    projected = points[hull] @ directions.T
    return np.asarray(hull[np.unique(np.concatenate([projected.argmax(axis=0), projected.argmin(axis=0)]))])
