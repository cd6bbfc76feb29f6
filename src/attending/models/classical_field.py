"""The numbers behind ``classical``: a working grid at the prompt's scale, appearance, and a random walker with priors.

Arrays are (z, y, x) on the working grid; one plane has z = 1. Nothing here is learned: the constants are set by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
Bounds = tuple[slice, slice, slice]

SIDE_2D = 112
"""Working samples along the longer side of a plane: a 512-matrix organ keeps its outline, a click stays under 0.2 s."""
VOXELS_3D = 60_000
"""Working samples of a volume: the solver's time grows with them, the error of a coarser outline does so slowly."""
FINEST = 3.0
"""A small structure is looked at in steps of no less than a third of a voxel."""
BINS = 24
LLR_LIMIT = 2.5
EVEN = 0.25
"""How far the classes' sizes are evened out; set on the development cases."""
HARD = 100.0
SETTLED = 2e-3
"""Mean residual at which the solver stops: the 0.5 outline no longer moves by a sample."""


@dataclass(frozen=True)
class Grid:
    """A working grid inside the image. start (z, y, x) voxel of the corner, step voxels per sample, shape samples."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def bounds(self) -> Bounds:
        a, b = self.start, self.stop
        return (slice(a[0], b[0]), slice(a[1], b[1]), slice(a[2], b[2]))

    @property
    def step(self) -> NDArray[np.float64]:
        """Voxels per sample along (z, y, x)."""
        return np.asarray((np.array(self.stop) - np.array(self.start)) / np.array(self.shape), dtype=np.float64)

    def down(self, array: NDArray[Any], smooth: bool = True) -> Field:
        """An array on the image's grid -> samples, averaged where several voxels make one."""
        from scipy.ndimage import gaussian_filter

        part = array[self.bounds].astype(np.float32)
        blur = [0.45 * s if s > 1.2 else 0.0 for s in self.step]
        if smooth and any(blur):
            part = gaussian_filter(part, blur)
        axes = [(np.arange(n) + 0.5) * s - 0.5 for n, s in zip(self.shape, self.step, strict=True)]
        return _linear(part, axes)

    def up(self, field: Field) -> Field:
        """Samples -> voxels of the part of the image that the grid covers."""
        size = [b - a for a, b in zip(self.start, self.stop, strict=True)]
        return _linear(field, [(np.arange(n) + 0.5) / s - 0.5 for n, s in zip(size, self.step, strict=True)])

    def place(self, voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """The sample nearest to voxel (x, y, z)."""
        zyx = (np.array(voxel[::-1]) + 0.5 - np.array(self.start)) / self.step
        z, y, x = (int(v) for v in np.clip(np.floor(zyx), 0, np.array(self.shape) - 1))
        return (z, y, x)


def _linear(field: Field, axes: list[NDArray[Any]]) -> Field:
    """Linear values at places along each axis in turn, the border's beyond the border: trilinear on a regular grid."""
    for axis, places in enumerate(axes):
        count = field.shape[axis]
        if len(places) == count and np.array_equal(places, np.arange(count)):
            continue
        at = np.clip(places, 0, count - 1)
        low = np.minimum(at.astype(np.intp), max(count - 2, 0))
        share = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        first = np.take(field, low, axis)
        field = first + share * (np.take(field, np.minimum(low + 1, count - 1), axis) - first)
    return field


def grid_around(
    low: NDArray[Any], high: NDArray[Any], shape: tuple[int, ...], spacing: NDArray[np.float64], margin: float
) -> Grid:
    """A grid over voxels low..high (z, y, x; inclusive) and a margin, as a share of the size, of at least 3 voxels."""
    size = high - low + 1
    sized = spacing * size
    pad = np.maximum(np.ceil(margin * np.maximum(sized, 0.5 * sized.max()) / spacing), 3)
    flat = shape[0] == 1
    if flat:
        pad[0] = 0
    else:
        pad[0] = max(2, min(pad[0], np.ceil(margin * size[0]) + 2))
    start = np.maximum(low - pad, 0).astype(int)
    stop = np.minimum(high + pad + 1, shape[:3]).astype(int)
    length = (stop - start) * spacing
    if flat:
        fine = max(length[1:].max() / SIDE_2D, min(spacing[1:]) / FINEST)
    else:
        fine = max(float(np.prod(length) / VOXELS_3D) ** (1 / 3), min(spacing) / 2)
    samples = np.maximum(np.rint(length / fine).astype(int), 1)
    samples = np.where(spacing[0] > fine, np.array([stop[0] - start[0], samples[1], samples[2]]), samples)
    if flat:
        samples[0] = 1
    return Grid(_three(start), _three(stop), _three(samples))


def _three(values: NDArray[Any]) -> tuple[int, int, int]:
    return (int(values[0]), int(values[1]), int(values[2]))


def levels(field: Field, focus: Mask | None = None) -> Field:
    """Grey values as 0..1 between the 1st and 99th percentile of the focus (all where None)."""
    values = field if focus is None or focus.sum() < 16 else field[focus]
    low, high = np.percentile(values, (1, 99))
    return np.asarray(np.clip((field - low) / max(float(high - low), 1e-6), -0.25, 1.25), dtype=np.float32)


def evidence(grey: Field, inside: Field, outside: Field) -> Field:
    """log p(grey | inside) / p(grey | outside) from weighted two-scale histograms, within +-LLR_LIMIT."""
    from scipy.ndimage import gaussian_filter

    coarse = gaussian_filter(grey, _sigma(grey, 2.0))
    fine = gaussian_filter(grey, _sigma(grey, 0.6))
    index = [np.clip(((c + 0.25) / 1.5 * BINS).astype(np.intp), 0, BINS - 1) for c in (fine, coarse)]
    flat = np.ravel(index[0] * BINS + index[1])
    spread = (1.2, 1.2)
    tables = []
    for weight in (inside, outside):
        counts = np.bincount(flat, weights=np.ravel(weight), minlength=BINS * BINS).reshape(BINS, BINS)
        counts = gaussian_filter(counts, spread) + 1e-9
        tables.append(counts / counts.sum() + 2e-4)
    ratio = np.log(tables[0]) - np.log(tables[1])
    # Samples between the two greys lie on the outline, half on each side; in the larger class they are the rarer, so
    # that the plain ratio would give them all to the smaller.
    ratio -= EVEN * np.log(max(float(outside.sum()), 1.0) / max(float(inside.sum()), 1.0))
    return np.asarray(np.clip(ratio.ravel()[flat].reshape(grey.shape), -LLR_LIMIT, LLR_LIMIT), dtype=np.float32)


def _sigma(field: Field, value: float) -> list[float]:
    return [0.0 if n == 1 else value for n in field.shape]


def walk(grey: Field, prior: Field, trust: Field, beta: float = 60.0, start: Field | None = None) -> Field:
    """Random walker with priors (Grady, CVPR 2005): the field nearest to ``prior`` (weighed by ``trust``) that changes
    only where ``grey`` does. 0..1. Solved by conjugate gradients."""
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import cg

    count = grey.size
    number = np.arange(count).reshape(grey.shape)
    rows, columns, weights = [], [], []
    scale = _noise(grey)
    for axis in range(3):
        if grey.shape[axis] == 1:
            continue
        one = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        two = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        jump = np.abs(grey[one] - grey[two]).ravel()
        rows.append(number[one].ravel())
        columns.append(number[two].ravel())
        weights.append(np.exp(-beta * jump * jump / scale) + 1e-3)
    i, j, w = np.concatenate(rows), np.concatenate(columns), np.concatenate(weights)
    kept = trust.ravel().astype(np.float64)
    degree = np.bincount(i, w, count) + np.bincount(j, w, count) + kept
    matrix = diags_array(degree) - coo_array(
        (np.concatenate([w, w]), (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(count, count)
    )
    guess = prior if start is None else start
    found, _ = cg(
        matrix.tocsr(),
        kept * prior.ravel(),
        x0=guess.ravel().astype(np.float64),
        rtol=0.0,
        atol=SETTLED * float(np.sqrt(count)),
        maxiter=150,
        M=diags_array(1.0 / degree).tocsr(),
    )
    return np.asarray(np.clip(found, 0, 1).reshape(grey.shape), dtype=np.float32)


def _noise(grey: Field) -> float:
    """Mean square of the jumps between neighbours, so that beta means the same for any contrast."""
    jumps = [np.diff(grey, axis=a) for a in range(3) if grey.shape[a] > 1]
    square = float(np.mean(np.concatenate([(j * j).ravel() for j in jumps]))) if jumps else 1.0
    return max(square, 1e-5) * 20.0


def refine(
    grey: Field,
    prior: Field,
    positive: Mask,
    negative: Mask,
    *,
    rounds: int = 4,
    data: float = 1.0,
    hold: float = 0.25,
    beta: float = 60.0,
) -> Field:
    """What a prior, seeds and the grey values agree on: appearance and field in turn. 0..1; seeds are 1 and 0."""
    sure = np.clip(prior, 0.01, 0.99)
    logit = np.log(sure / (1 - sure))
    field = np.where(positive, 1.0, np.where(negative, 0.0, prior)).astype(np.float32)
    impossible = prior <= 0.0
    for _ in range(rounds):
        inside = np.where(impossible, 0.0, field)
        marked = inside + np.float32(30.0 / max(int(positive.sum()), 1)) * positive
        ratio = evidence(grey, marked.astype(np.float32), (1.0 - field).astype(np.float32) + np.float32(1e-6))
        score = 1.0 / (1.0 + np.exp(-(logit + data * ratio)))
        target = np.where(positive, 1.0, np.where(negative | impossible, 0.0, score)).astype(np.float32)
        trust = np.where(positive | negative | impossible, HARD, hold).astype(np.float32)
        field = walk(grey, target, trust, beta, start=field)
    return field
