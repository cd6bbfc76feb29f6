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
    islands: list[tuple[float, int, NDArray[np.float64], NDArray[np.bool_]]] = []
    for z in map(int, np.flatnonzero(mask.any(axis=(1, 2)))):
        parts, count = label(mask[z], structure=np.ones((3, 3)))
        for n in range(1, count + 1):
            island = parts == n
            rows, columns = np.nonzero(island)
            points = np.stack([columns, rows], axis=1) @ steps.T
            i, j = _farthest(points)
            islands.append((float(np.linalg.norm(points[j] - points[i])), z, points, island))
    if not islands:
        return None
    islands.sort(key=lambda item: -item[0])
    pixel = float(np.abs(steps).sum(axis=1).max())
    rivals = [item for item in islands[:MOST_PLANES] if item[0] > islands[0][0] - CLOSE * pixel]
    lines = [(_line(points, steps, 2), z, points, island) for _, z, points, island in rivals]
    (mm, sd, along, ends), z, points, island = max(lines, key=lambda item: item[0][0] - item[0][1])
    short, short_sd, short_ends = _across(points, island, steps, along, mm)

    def lifted(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(flat @ basis + space.origin + z * space.axes[:, 2])

    return Line(mm, sd, lifted(ends), z), Line(short, short_sd, lifted(short_ends), z)


def in_space(mask: NDArray[np.bool_], space: Space) -> Line | None:
    """The longest line between two points of a (z, y, x) mask's body, in space; None where it is empty."""
    if not mask.any():
        return None
    z, y, x = np.nonzero(mask)
    points = np.stack([x, y, z], axis=1) @ space.axes.T
    mm, sd, _, ends = _line(points, space.axes, 3)
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
    points: NDArray[np.float64], steps: NDArray[np.float64], dims: int
) -> tuple[float, float, NDArray[np.float64], NDArray[np.float64]]:
    """(mm, sd, unit vector, ends (2, d)) of the longest line of a body given by its voxel centres."""
    i, j = _farthest(points)
    length = float(np.linalg.norm(points[j] - points[i]))
    # One voxel has no direction of its own: its longest edge gives one.
    along = (points[j] - points[i]) if length else steps[:, int(np.linalg.norm(steps, axis=0).argmax())]
    along = along / np.linalg.norm(along)
    step = float(np.abs(along @ steps).sum())
    projected = points @ along
    low = reach(projected - projected.min(), step, dims, length)
    high = reach(projected.max() - projected, step, dims, length)
    ends = np.stack([points[i] - low.mm * along, points[j] + high.mm * along])
    return length + low.mm + high.mm, float(np.hypot(low.sd, high.sd)), along, ends


def _across(
    points: NDArray[np.float64],
    island: NDArray[np.bool_],
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
    index = np.floor((place - place.min()) / bin_mm).astype(np.intp)
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
    i, j = np.unravel_index(int(table.argmax()), table.shape)
    return int(outer[i]), int(outer[j])


def _outer(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of points among which the two farthest apart are."""
    from scipy.spatial import ConvexHull, QhullError

    if len(points) <= 500:
        return np.arange(len(points))
    try:
        hull = np.asarray(ConvexHull(points).vertices)
    except QhullError:  # all in one plane or on one line
        hull = np.arange(len(points))
    if len(hull) <= MOST_PAIRED:
        return hull
    directions = np.random.default_rng(0).normal(size=(MOST_PAIRED // 2, points.shape[1]))
    projected = points[hull] @ directions.T
    return np.asarray(hull[np.unique(np.concatenate([projected.argmax(axis=0), projected.argmin(axis=0)]))])
