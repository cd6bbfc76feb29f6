"""How large is what was clicked? Geodesic regions at several scales, weighed by how well their outline lies on edges.

A click says where, not how large. From the clicks geodesic distances are taken on windows of several sizes; their level
sets are candidate regions. Each is scored by its outline (how much of it lies on an edge, how the grey values differ
across it, how round it is, whether it runs out of the window) and by its size: structures that people point at fill a
few hundredths of an image more often than a thousandth or a half. The answer is the mean of the candidates, each
weighed by its score, so that a doubt between two sizes stays a doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .classical_field import Field, Grid, Mask, grid_around, levels

WINDOWS_2D = (16, 32, 64, 128, 256)
WINDOWS_3D = (10, 20, 40, 80)
LEVELS = 22
USUAL_SHARE_2D, USUAL_SHARE_3D, SPREAD = -4.1, -5.8, 1.2
KNOWN_SPREAD = 0.8
"""Natural logarithm of the share of an image that a pointed-at structure fills: 1.7 % of a plane, 0.3 % of a volume."""
EDGE, APART, ROUND, RUNS_OUT, SHARPNESS = 3.0, 0.7, 1.5, 3.0, 3.0
TAIL = {2: 2.0, 3: 1.0}
"""A size that is only usual must not outweigh a clear outline: beyond this penalty only its logarithm counts. Without
it a click on a cube that filled an eighth of a volume gave a few voxels; on the development cases Dice stayed the same
within 0.01, so that it is set by clear shapes."""
KEPT = 10
TINY = 12


@dataclass(frozen=True, eq=False)
class Candidate:
    """A region on a grid, and how well it would do."""

    grid: Grid
    mask: Mask
    score: float


def expected(
    voxels: NDArray[Any],
    spacing: NDArray[np.float64],
    positive: NDArray[Any],
    negative: NDArray[Any],
    *,
    usual: float | None = None,
    within: Mask | None = None,
) -> Field:
    """(z, y, x) in 0..1 on the image's grid: how likely a voxel belongs to what the seeds are in.

    voxels is grey (z, y, x); positive and negative are voxels (n, 3) as (z, y, x), positive not empty. usual is the
    number of voxels expected where something is known of the size; within, the only voxels it may fill.
    """
    found: list[Candidate] = []
    low, high = positive.min(0), positive.max(0)
    reach = float(((high - low) * spacing).max() / spacing[-1])
    windows: tuple[int, ...] = WINDOWS_2D if voxels.shape[0] == 1 else WINDOWS_3D
    if usual is not None:
        # Windows far wider or narrower than what is looked for cannot hold it well.
        wide = _radius(usual, voxels.shape[0] == 1)
        fitting = [w for w in windows if 1.0 * wide <= w <= 6.0 * wide]
        windows = tuple(fitting) or (min(windows, key=lambda w: abs(np.log(w / (2.5 * wide)))),)
    longest = float((np.array(voxels.shape) * spacing).max() / spacing[-1])
    for window in windows:
        if window > windows[0] and window / 2 > longest:
            break
        if window < 0.75 * reach and window != windows[-1] and usual is None:
            continue
        half = np.ceil(window * spacing[-1] / spacing)
        start = np.maximum(low - half, 0).astype(int)
        stop = np.minimum(high + half, np.array(voxels.shape) - 1).astype(int)
        found += _candidates(
            voxels, spacing, grid_around(start, stop, voxels.shape, spacing, 0.0), positive, negative, usual, within
        )
    out = np.zeros(voxels.shape, dtype=np.float32)
    if not found:
        out[tuple(positive.T)] = 1.0
        return out
    best = sorted(found, key=lambda c: -c.score)[:KEPT]
    weights = np.exp(SHARPNESS * (np.array([c.score for c in best]) - best[0].score))
    for candidate, weight in zip(best, weights / weights.sum(), strict=True):
        out[candidate.grid.bounds] += weight * np.clip(candidate.grid.up(candidate.mask.astype(np.float32)), 0, 1)
    return out


def mixed(field: Field, focus: Mask | None = None) -> Field:
    """Grey values half by level, half by rank: contrast within tissue survives air and bone in the same window."""
    ordered = np.sort(field.ravel() if focus is None or focus.sum() < 16 else field[focus])
    rank = np.searchsorted(ordered, field) / len(ordered)
    return np.asarray(0.5 * levels(field, focus) + 0.5 * rank, dtype=np.float32)


def slope(grey: Field) -> Field:
    """Length of the gradient at the scale of one sample."""
    from scipy.ndimage import gaussian_filter

    square = np.zeros_like(grey)
    sigma = [0.0 if n == 1 else 1.0 for n in grey.shape]
    for axis in range(3):
        if grey.shape[axis] > 1:
            order = [int(a == axis) for a in range(3)]
            square += gaussian_filter(grey, sigma, order=order) ** 2
    return np.asarray(np.sqrt(square), dtype=np.float32)


def geodesic(grey: Field, edges: Field, seeds: NDArray[Any], domain: Mask | None = None) -> Field:
    """Least cost of a path from the seeds (n, 3): long where edges are crossed and where grey leaves the seeds'.
    Infinite where no path inside the domain leads."""
    from scipy.ndimage import gaussian_filter
    from skimage.graph import MCP_Geometric

    smooth = gaussian_filter(grey, [0.0 if n == 1 else 0.7 for n in grey.shape])
    own = smooth[tuple(seeds.T)]
    away = np.min(np.abs(smooth[..., None] - np.unique(np.quantile(own, (0.1, 0.5, 0.9)))), axis=-1)
    cost = 0.02 + edges**2 + 0.5 * np.minimum(away / 0.15, 2.0) ** 2
    if domain is not None:
        cost = np.where(domain, cost, np.inf)
    flat = grey.shape[0] == 1
    costs, _ = MCP_Geometric(cost[0] if flat else cost).find_costs([tuple(s[1:] if flat else s) for s in seeds])
    return np.asarray(costs[None] if flat else costs, dtype=np.float32)


def _candidates(
    voxels: NDArray[Any],
    spacing: NDArray[np.float64],
    grid: Grid,
    positive: NDArray[Any],
    negative: NDArray[Any],
    expecting: float | None,
    within: Mask | None,
) -> list[Candidate]:
    from scipy.ndimage import binary_dilation, binary_erosion, binary_fill_holes

    grey = mixed(grid.down(voxels))
    steep = slope(grey)
    edges = steep / (np.percentile(steep, 90) + 1e-6)
    seeds = np.unique([grid.place(tuple(v[::-1])) for v in positive], axis=0)
    domain = np.ones(grey.shape, dtype=bool)
    if within is not None:
        domain = grid.down(within, smooth=False) >= 0.5
        domain[tuple(seeds.T)] = True
    far = geodesic(grey, edges, seeds, domain)
    inside = [v for v in negative if all(a <= p < b for a, p, b in zip(grid.start, v, grid.stop, strict=True))]
    allowed = np.isfinite(far)
    if inside:
        against = np.unique([grid.place(tuple(v[::-1])) for v in inside], axis=0)
        allowed &= far < geodesic(grey, edges, against)
    ordered = np.sort(far[allowed])
    if ordered.size < 2 * TINY:
        return []
    edges = steep / (np.percentile(steep, 95) + 1e-6)
    flat = grey.shape[0] == 1
    cell = float(np.prod(grid.step)) / float(np.prod(voxels.shape))
    usual, spread = USUAL_SHARE_2D if flat else USUAL_SHARE_3D, SPREAD
    if expecting is not None:
        usual, spread = float(np.log(expecting / np.prod(voxels.shape))), KNOWN_SPREAD
    cross = np.zeros((3, 3, 3), dtype=bool)
    cross[1, 1, :] = cross[1, :, 1] = True
    cross[:, 1, 1] = not flat
    cross[1, 1, 1] = True
    rim = _rim(grid, voxels.shape)
    out = []
    for count in np.unique(np.geomspace(TINY, 0.6 * ordered.size, LEVELS).astype(int)):
        mask = allowed & (far <= ordered[count - 1])
        mask = binary_fill_holes(mask[0])[None] if flat else mask
        size = int(mask.sum())
        if size > 0.8 * mask.size:
            break
        inner = binary_erosion(mask, cross, border_value=1)
        outer = binary_dilation(mask, cross)
        band = (mask & ~inner) | (outer & ~mask)
        if not band.any():
            continue
        around = grey[binary_dilation(outer, cross, iterations=2) & ~mask]
        apart = abs(float(around.mean()) - float(grey[mask].mean())) / (grey[mask].std() + around.std() + 0.02)
        border = int((mask & ~inner).sum()) + int((mask & rim).sum())
        off = float((np.log(size * cell) - usual) / spread) ** 2 / 2
        tail = TAIL[2 if flat else 3]
        score = -off if expecting is not None else -tail * float(np.log1p(off / tail))
        score += EDGE * float(np.percentile(edges[band], 25)) + APART * min(apart, 2.0)
        score += ROUND * min(_round(size, border, flat), 1.0) - RUNS_OUT * float((mask & rim).sum()) / max(border, 1)
        out.append(Candidate(grid, mask, float(score)))
    return out


def _radius(count: float, flat: bool) -> float:
    """Of a disc or ball of that many voxels."""
    return float((count / np.pi) ** 0.5 if flat else (count * 3 / (4 * np.pi)) ** (1 / 3))


def _round(size: int, border: int, flat: bool) -> float:
    """1 for a disc or ball, less for what has more outline than that."""
    return 4 * np.pi * size / border**2 if flat else float((36 * np.pi * size**2) ** (1 / 3) / max(border, 1))


def _rim(grid: Grid, shape: tuple[int, ...]) -> Mask:
    """The outermost samples of a window, in the plane: a region there runs out of it."""
    rim = np.zeros(grid.shape, dtype=bool)
    for axis in (1, 2) if grid.shape[0] == 1 else (0, 1, 2):
        for side in (0, -1):
            at: list[Any] = [slice(None)] * 3
            at[axis] = side
            # The first and last plane of a volume end the scan, not the structure.
            if axis == 0 and (grid.start[0] == 0 if side == 0 else grid.stop[0] == shape[0]):
                continue
            rim[tuple(at)] = True
    return rim
