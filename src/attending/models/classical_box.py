"""What is in the box: several readings of a box, and which of them its outline bears out.

A box that was drawn around something is touched by it on every side and crossed by it on none. So the reading that
wins is the one whose outline lies on edges and does not run on beyond the box.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .classical_field import Field, Grid, Mask, refine
from .classical_scale import slope

EDGE_OF_BOX, POWER, SOFTNESS = {2: 1.0, 3: 0.8}, {2: 2.5, 3: 2.0}, 4.0
"""The usual reading: a rounded shape that touches all sides, sure in its middle, in doubt near its outline.
Volumes fill less of their box than planes do."""
CLASSES = 3
IN_CLASS, OFF_CLASS, SHAPE = 0.8, 0.12, 0.35
DATA = 1.5
HEADSTART = 0.4
"""By how much another reading must be better than the usual one: boxes around rounded things are the rule."""
EDGE, RUN, TOUCH = 1.0, 1.0, 1.5


def coordinates(grid: Grid, low: NDArray[Any], high: NDArray[Any]) -> list[NDArray[Any]]:
    """z, y, x of every sample, -1 and 1 on the box's faces; 0 along an axis on which the box is one voxel thick."""
    axes = []
    for n, step, start, a, b in zip(grid.shape, grid.step, grid.start, low, high, strict=True):
        centre = (np.arange(n) + 0.5) * step - 0.5 + start
        axes.append((centre - (a + b) / 2) / ((b - a + 1) / 2))
    return list(np.meshgrid(*axes, indexing="ij"))


def box_prior(places: list[NDArray[Any]]) -> tuple[Field, Mask]:
    """(prior 0..1, inside): the usual reading; exactly 0 outside the box."""
    size = [np.abs(p) for p in places]
    inside = np.maximum.reduce(size) <= 1.0
    dims = 2 if size[0].shape[0] == 1 else 3
    radius = np.add.reduce([s ** POWER[dims] for s in size]) ** (1 / POWER[dims])
    prior = 1.0 / (1.0 + np.exp(-SOFTNESS * (EDGE_OF_BOX[dims] - radius)))
    return np.where(inside, prior, 0.0).astype(np.float32), inside


def read_box(grey: Field, places: list[NDArray[Any]], positive: Mask, negative: Mask) -> Field:
    """The field 0..1 of the best reading of a box. grey is on the grid of places; seeds hold in every reading."""
    prior, inside = box_prior(places)
    usual = refine(grey, prior, positive, negative, data=DATA)
    steep = slope(grey)
    steep = steep / (np.percentile(steep[inside], 90) + 1e-6)
    best, top = usual, borne_out(usual, inside, steep, grey) + HEADSTART
    for other in readings(grey, prior, inside):
        field = refine(grey, other, positive, negative, data=DATA)
        value = borne_out(field, inside, steep, grey)
        if value > top:
            best, top = field, value
    return best


def readings(grey: Field, prior: Field, inside: Mask) -> list[Field]:
    """One prior for each class of grey values in the box: that class is the thing, whatever its shape."""
    from scipy.ndimage import gaussian_filter
    from skimage.filters import threshold_multiotsu

    smooth = gaussian_filter(grey, [0.0 if n == 1 else 0.7 for n in grey.shape])
    values = smooth[inside]
    if np.ptp(values) < 1e-3 or values.size < 30:
        return []
    out = []
    for classes in (2, CLASSES):
        try:
            cuts = threshold_multiotsu(values, classes=classes, nbins=64)
        except ValueError:  # fewer distinct values than classes
            continue
        number = np.digitize(smooth, cuts)
        for k in range(classes):
            own = np.where(number == k, IN_CLASS, OFF_CLASS)
            mixed = (1 - SHAPE) * own + SHAPE * own * prior / 0.7
            out.append(np.where(inside, np.clip(mixed, 0, 0.97), 0.0).astype(np.float32))
    return out


def borne_out(field: Field, inside: Mask, steep: Field, grey: Field) -> float:
    """How well a reading fits its box: edges under the outline, all sides touched, nothing running on beyond it."""
    from scipy.ndimage import binary_dilation, binary_erosion, label

    mask = field >= 0.5
    if mask.sum() < 4:
        return -10.0
    parts, count = label(mask)
    mask = parts == np.bincount(parts.ravel())[1:].argmax() + 1 if count > 1 else mask
    cross = np.zeros((3, 3, 3), dtype=bool)
    cross[1, 1, :] = cross[1, :, 1] = True
    cross[:, 1, 1] = mask.shape[0] > 1
    cross[1, 1, 1] = True
    border = mask & ~binary_erosion(mask, cross, border_value=0)
    outer = binary_dilation(mask, cross) & ~mask
    edge = float(np.clip(steep[border | outer], 0, 1.5).mean())
    beyond = outer & ~inside
    # Grey beyond the box that is as the region's own, without an edge between: it runs on.
    spread = float(grey[mask].std()) + 0.02
    alike = np.exp(-((grey[beyond] - float(np.median(grey[mask]))) ** 2) / (2 * spread**2)) * (steep[beyond] < 0.5)
    runs_on = float(alike.sum()) / max(int(border.sum()), 1)
    sides = []
    where = np.argwhere(inside)
    for axis in range(3):
        if mask.shape[axis] == 1:
            continue
        first, last = where[:, axis].min(), where[:, axis].max()
        taken = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        length = max(last - first + 1, 1)
        sides += [max(0.0, 1 - 4 * (taken[0] - first) / length), max(0.0, 1 - 4 * (last - taken[-1]) / length)]
    return EDGE * edge - RUN * runs_on + TOUCH * float(np.mean(sides))
