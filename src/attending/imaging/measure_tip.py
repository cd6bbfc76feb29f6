"""How far a body reaches beyond its outermost voxel centres: diameters finer than a voxel, from a binary mask.

A mask holds the voxels whose centres lie in the body, so its outermost centres fall short of the body's end; voxel
corners overshoot. How much depends on the end: a box ends in a corner, an ovoid in a dome. The number of voxels as a
function of depth behind the tip tells them apart: it grows as depth to the power p (dome 1.5 in a plane and 2 in
space, corner 2 and 3, edge 1 and 2 ...). Each kind of end, each gap d between the last centre and the body's end, is
scored by how well it explains the counts (least squares) and by the chance that a cap so large holds no centre
(a void of volume A has probability exp(-A / voxel)); the gap is the posterior mean, and its spread the uncertainty.
Where the body's second moment along the line is that of an ellipsoid which ends within a voxel of the outermost
centres, that ellipsoid's length counts as a further observation: small ovoids leave too few layers to fit.
Against SimpleITK's Feret diameter, whose ends are voxel centres, and a mesh's vertices: benchmarks/measure.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REACH = {2: (10.0, 5.0), 3: (9.0, 4.0)}
"""Voxels behind the tip that are counted, and the part of the body's length that they must not pass: enough to tell a
dome from a corner, and too little to meet the body's next corner (in space there are more of them)."""
NOISE = 0.35
"""Standard deviation, in voxels, of the count in a layer one voxel thick with one voxel of rim."""
GRAIN = 0.2
"""Further standard deviation of a layer's count, as a share of it: planes thicker than pixels fall in or out whole."""
GAPS = 25
POWERS = {2: (1.0, 1.5, 2.0), 3: (1.0, 1.5, 2.0, 2.5, 3.0)}
FLOOR = 0.1
"""Least standard deviation of one end, in voxels: no end is better known, whatever the counts say."""


@dataclass(frozen=True)
class Reach:
    """mm: from the outermost voxel centre to the body's end; sd: its standard deviation, mm."""

    mm: float
    sd: float


OVOID = 0.1
"""Standard deviation, in voxels, of an ovoid's length taken from its second moment."""

SMALL = 24.0
"""Voxels along a body below which the layers behind its tip are too few to tell its shape alone."""


def reach(depths: NDArray[np.floating], step: float, dims: int, length: float) -> Reach:
    """The reach beyond the outermost centre.

    depths  millimetres of every voxel centre behind the outermost one, along the line measured (0 for the tip itself).
    step    extent of one voxel along that line, mm. dims: 2 in a plane, 3 in space. length: between the two outermost
            centres, mm.
    """
    if length < 2 * step or len(depths) < 4:
        # Too little to tell a shape from: half a voxel, as if the voxel were the body.
        return Reach(step / 2, step / 4)
    voxels, part = REACH[dims]
    last = min(voxels * step, length / part)
    at = np.linspace(step / 2, last, max(3, round(last / step)))
    near = depths[depths < last + step]
    counts = np.array([np.clip((t - near) / step + 0.5, 0.0, 1.0).sum() for t in at])
    layers = np.diff(counts, prepend=0.0)
    weight = 1.0 / (NOISE**2 * np.maximum(1.0, np.abs(layers)) ** 0.5 + (GRAIN * layers) ** 2)
    gaps = np.linspace(0.0, step, GAPS)
    # Half the length of the ellipse or ellipsoid with this second moment.
    half = float(np.sqrt((dims + 2) * depths.var()))
    ovoid = length < SMALL * step and length < 2 * half < length + 2 * step
    hint = -(((length / 2 + gaps - half) / (OVOID * step)) ** 2) / 2 if ovoid else np.zeros(GAPS)
    scores = []
    for shape in _shapes(dims, length):
        for gap, known in zip(gaps, hint, strict=True):
            grown = shape(at + gap, gap)
            model = np.diff(grown, prepend=0.0)
            scale = (weight * model * layers).sum() / (weight * model * model).sum()
            misfit = (weight * (layers - scale * model) ** 2).sum()
            void = scale * float(shape(np.array([gap]), gap)[0])
            scores.append(known - misfit / 2 - void)
    chance = np.exp(np.array(scores) - max(scores)).reshape(-1, GAPS).sum(axis=0)
    chance /= chance.sum()
    mean = float((chance * gaps).sum())
    spread = float(np.sqrt((chance * (gaps - mean) ** 2).sum()))
    return Reach(mean, float(np.hypot(spread, FLOOR * step)))


Shape = Callable[[NDArray[np.float64], float], NDArray[np.float64]]


def _shapes(dims: int, length: float) -> list[Shape]:
    """Volume behind the tip as a function of depth, up to a factor: powers, and the cap of a whole ellipsoid."""

    def power(p: float) -> Shape:
        return lambda t, gap: t**p

    def cap(t: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
        x = np.clip(t / (length + 2 * gap), 0.0, 1.0)
        if dims == 3:
            return np.asarray(x * x * (1.5 - x))
        turn = 2 * np.arccos(1 - 2 * x)
        return np.asarray(turn - np.sin(turn))

    return [*(power(p) for p in POWERS[dims]), cap]
