"""Grids: bring a volume to a model's grid, keep the record, and bring labels back by its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryRefused
from ..records import Affine, Image

# Two affines closer than this (mm, at the far corner) are one grid: DICOM writes positions as decimal strings of at
# most 16 characters and NIfTI as float32, which differ by some micrometres over a head.
SAME_GRID_MM = 1e-2
# A direction cosine off its axis by less than this (0.06 degrees, 0.25 mm at 256 mm) counts as aligned: no voxel of a
# 1 mm grid moves by half its size, so copying is exact where interpolating would only blur.
ALIGNED_COSINE = 1e-3
# FreeSurfer's ``mri_convert -conform`` saturates the brightest 0.1 % of the voxels that are not zero: vessels and fat.
BRIGHTEST_SHARE = 0.001
HISTOGRAM_BINS = 1000
# Left above the head when a field of view longer than the grid must be cut: the cut is made below, at the neck.
HEADROOM_MM = 10.0


@dataclass(frozen=True)
class Grid:
    """The record of one conforming, from which labels go back.

    source_shape, shape    (z, y, x) of the source and of the conformed array.
    source_affine, affine  4x4, index (x, y, z, 1) -> LPS millimetres, of each.
    steps                  what was done, in order, in words.
    outside                share of the source's voxels that lie outside the conformed grid; labels there come back 0.
    """

    source_shape: tuple[int, int, int]
    source_affine: Affine
    shape: tuple[int, int, int]
    affine: Affine
    steps: tuple[str, ...] = ()
    outside: float = 0.0

    @property
    def to_source(self) -> NDArray[np.float64]:
        """4x4, conformed index (x, y, z, 1) -> source index (x, y, z, 1)."""
        back: NDArray[np.float64] = np.linalg.inv(np.array(self.source_affine)) @ np.array(self.affine)
        return back

    @property
    def from_source(self) -> NDArray[np.float64]:
        """4x4, source index (x, y, z, 1) -> conformed index (x, y, z, 1)."""
        there: NDArray[np.float64] = np.linalg.inv(np.array(self.affine)) @ np.array(self.source_affine)
        return there

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres along (x, y, z) of the conformed grid."""
        sizes = np.linalg.norm(np.array(self.affine)[:3, :3], axis=0)
        return (float(sizes[0]), float(sizes[1]), float(sizes[2]))

    def restore(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Labels (z, y, x) on the conformed grid -> the same labels on the source grid, nearest neighbour.

        Raises GeometryRefused when the labels are not on this grid.
        """
        if tuple(labels.shape) != self.shape:
            raise GeometryRefused(
                f"labels of shape {tuple(labels.shape)}",
                f"labels on the conformed grid, shape {self.shape}",
                "restore only what a model made from this grid's volume",
            )
        return _sample(labels, self.from_source, self.source_shape, order=0, fill=0)

    def carry(self, labels: NDArray[Any]) -> NDArray[Any]:
        """The way there for labels: (z, y, x) on the source grid -> the conformed grid, nearest neighbour."""
        if tuple(labels.shape) != self.source_shape:
            raise GeometryRefused(
                f"labels of shape {tuple(labels.shape)}",
                f"labels on the source grid, shape {self.source_shape}",
                "carry only what was drawn on this grid's source",
            )
        return _sample(labels, self.to_source, self.shape, order=0, fill=0)


def axis_codes(affine: Sequence[Sequence[float]] | NDArray[Any]) -> tuple[str, str, str]:
    """Patient direction towards which x, y and z of an LPS affine grow, each by its nearest axis: ("L", "P", "S")."""
    order, signs = _nearest_axes(np.asarray(affine, dtype=np.float64))
    names = ("RL", "AP", "IS")
    codes = [""] * 3
    for patient, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        codes[axis] = names[patient][1 if sign > 0 else 0]
    return (codes[0], codes[1], codes[2])


def canonical(
    array: NDArray[Any], affine: Sequence[Sequence[float]] | NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """(z, y, x[, c]) flipped and transposed, never resampled: x grows to L, y to P, z to S; and its affine."""
    matrix = np.asarray(affine, dtype=np.float64)
    order, signs = _nearest_axes(matrix)
    shape_xyz = array.shape[2::-1]
    step = np.eye(4)[:, [*order, 3]]
    for target, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        if sign < 0:
            step[axis, target] = -1.0
            step[axis, 3] = shape_xyz[axis] - 1
    # numpy axis of voxel axis a is 2 - a; the new numpy axes are (z, y, x) = patient (S, P, L).
    turned = np.transpose(array, (2 - order[2], 2 - order[1], 2 - order[0], *range(3, array.ndim)))
    turned = turned[tuple(slice(None, None, int(signs[2 - axis])) for axis in range(3))]
    return turned, matrix @ step


def is_conformed(image: Image, shape: int = 256, mm: float = 1.0) -> bool:
    """Already on a conformed grid: a cube of ``shape`` voxels of ``mm``, axes towards L, I and A."""
    if image.facts.affine is None or image.voxels.shape != (shape, shape, shape):
        return False
    return bool(np.abs(np.array(image.facts.affine)[:3, :3] - _directions(mm)).max() < ALIGNED_COSINE * mm)


def conform(image: Image, shape: int = 256, mm: float = 1.0) -> tuple[NDArray[np.uint8], Grid]:
    """A volume -> uint8 cube (z, y, x) of ``shape`` voxels of ``mm`` millimetres, and the record for the way back.

    The conformed axes are FreeSurfer's (``mri_convert -conform``; Fischl, NeuroImage 2012): x grows to the patient's
    left, y to inferior, z to anterior, nibabel's axis codes ("L", "I", "A"). nibabel's own [i, j, k] array is
    ``conformed.transpose(2, 1, 0)``. The centre of the source stays the centre; trilinear interpolation, zero outside;
    intensities scaled to 0..255 with the brightest 0.1 % of non-zero voxels saturated. A source that is already on
    such a grid and already in 0..255 comes back voxel for voxel.

    Raises GeometryRefused where the way back would be guesswork: colour, a z axis that is not space, no affine, a
    singular affine, voxels that are not finite, or a constant volume.
    """
    facts = image.facts
    _require_space(image)
    source = np.array(facts.affine, dtype=np.float64)
    voxels = image.voxels
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise GeometryRefused(
            "voxels that are not finite numbers", "finite voxels", "mend or mask the volume before it is analysed"
        )
    low, high = _range(voxels)
    target, steps = _target(voxels, source, shape, mm, low)
    to_source = np.linalg.inv(source) @ target
    from_source = np.asarray(np.linalg.inv(to_source), dtype=np.float64)
    resampled = _sample(voxels, to_source, (shape, shape, shape), order=1, fill=low)
    if (low, high) == (0.0, 255.0):
        scaled = np.clip(np.rint(resampled), 0, 255).astype(np.uint8)
        steps.append("intensities already 0..255: kept")
    else:
        factor = 255.0 / (high - low)
        scaled = np.clip(np.rint((resampled.astype(np.float32) - low) * factor), 0, 255).astype(np.uint8)
        steps.append(f"intensities {low:g}..{high:g} scaled to 0..255")
    z, y, x = (int(n) for n in voxels.shape)
    grid = Grid(
        (z, y, x),
        _frozen(source),
        (shape, shape, shape),
        _frozen(target),
        tuple(steps),
        _outside(from_source, (z, y, x), shape),
    )
    return scaled, grid


def _require_space(image: Image) -> None:
    facts = image.facts
    if facts.colour:
        raise GeometryRefused("a colour image", "one grey value a voxel", "give a grey-scale volume")
    if facts.axis != "space":
        raise GeometryRefused(
            f"planes that follow each other in {facts.axis}, not in space",
            "planes of one volume in space",
            "analyse each plane or time point on its own",
        )
    if facts.affine is None or facts.spacing is None:
        raise GeometryRefused(
            "a volume without position or spacing",
            "a known affine to patient millimetres",
            "give the DICOM series or a NIfTI with its affine",
        )
    matrix = np.array(facts.affine, dtype=np.float64)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise GeometryRefused(
            "an affine that cannot be inverted", "three independent axes", "mend the positions and orientations"
        )


def _range(voxels: NDArray[Any]) -> tuple[float, float]:
    """The source intensities that become 0 and 255, as ``mri_convert`` chooses them."""
    lowest, highest = float(voxels.min()), float(voxels.max())
    if lowest == highest:
        raise GeometryRefused("a volume of one single value", "a volume with contrast", "check that it is not empty")
    whole = voxels.dtype.kind in "ui" or bool((voxels == np.rint(voxels)).all())
    # A whole-number volume inside 0..255 that uses the upper half was scaled before: scaling again would saturate more.
    if whole and lowest >= 0 and 127 < highest <= 255:
        return 0.0, 255.0
    counts, edges = np.histogram(voxels, bins=HISTOGRAM_BINS)
    bright = int(BRIGHTEST_SHARE * np.count_nonzero(voxels))
    below = np.cumsum(counts)
    index = int(np.searchsorted(below, voxels.size - bright))
    # One bin below the bin that crosses the count, as mri_convert has it.
    return lowest, float(edges[max(1, min(index - 1, HISTOGRAM_BINS))])


def _directions(mm: float) -> NDArray[np.float64]:
    """Columns x, y, z of the conformed grid in LPS: to left, to inferior, to anterior."""
    return mm * np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])


def _target(
    voxels: NDArray[Any], source: NDArray[np.float64], shape: int, mm: float, low: float
) -> tuple[NDArray[np.float64], list[str]]:
    """The conformed affine, and the steps that lead to it."""
    steps: list[str] = []
    size = np.array(voxels.shape[::-1], dtype=np.float64)
    directions = _directions(mm)
    # FreeSurfer puts the centre at index n/2, which moves by a voxel when an axis is stored the other way round; the
    # middle of the field of view, (n-1)/2, does not depend on how a scanner stored it.
    centre = (source @ np.append((size - 1) / 2, 1.0))[:3]
    extent = np.abs(np.linalg.inv(directions) @ source[:3, :3]) @ size
    if (extent > shape + 0.5).any():
        centre = _follow_head(voxels, source, directions, centre, extent, shape, low)
        steps.append(
            f"field of view {', '.join(f'{e * mm:.0f}' for e in extent)} mm (x, y, z) cut to {shape * mm:g} mm"
        )
    target = np.eye(4)
    target[:3, :3] = directions
    target[:3, 3] = centre - directions @ np.full(3, (shape - 1) / 2)
    step = np.linalg.inv(source) @ target
    aligned = np.abs(np.abs(step[:3, :3]).max(axis=0) - 1) < ALIGNED_COSINE
    rest = np.sort(np.abs(step[:3, :3]), axis=0)[:2]
    if aligned.all() and (rest < ALIGNED_COSINE).all():
        # Same voxel size, axes aligned: move by less than a voxel so that planes are copied, not blurred.
        snapped = np.rint(step)
        target = source @ snapped
        steps.append("axes reordered and padded or cut; no interpolation")
    else:
        steps.append(f"resampled to {mm:g} mm, trilinear")
    return target, steps


def _follow_head(
    voxels: NDArray[Any],
    source: NDArray[np.float64],
    directions: NDArray[np.float64],
    centre: NDArray[np.float64],
    extent: NDArray[np.float64],
    shape: int,
    low: float,
) -> NDArray[np.float64]:
    """Where to centre a cube smaller than the field of view: on what is not air; in height, just above the vertex."""
    thin = voxels[tuple(slice(None, None, max(1, n // 64)) for n in voxels.shape)].astype(np.float32)
    step_xyz = [max(1, n // 64) for n in voxels.shape[::-1]]
    mask = thin > low + 0.15 * (float(np.percentile(thin, 99)) - low)
    if not mask.any():
        return centre
    points = np.argwhere(mask)[:, ::-1] * step_xyz
    world = points @ source[:3, :3].T + source[:3, 3]
    along = world @ np.linalg.inv(directions).T
    start, stop = np.percentile(along, 0.5, axis=0), np.percentile(along, 99.5, axis=0)
    moved = np.linalg.inv(directions) @ centre
    for axis in range(3):
        if extent[axis] > shape + 0.5:
            head = float(np.linalg.norm(directions[:, axis]))
            top = start[axis] - HEADROOM_MM / head + (shape - 1) / 2
            middle = (start[axis] + stop[axis]) / 2
            # y grows to inferior: its start is the vertex, and what must go is the neck.
            moved[axis] = top if axis == 1 and stop[axis] - start[axis] > shape - HEADROOM_MM / head else middle
    result: NDArray[np.float64] = directions @ moved
    return result


def _outside(from_source: NDArray[np.float64], source_shape: tuple[int, int, int], shape: int) -> float:
    """Share of source voxels whose centre falls outside the cube, counted on at most 64 positions an axis."""
    axes = [np.linspace(0, n - 1, min(n, 64)) for n in source_shape[::-1]]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    index = points @ from_source[:3, :3].T + from_source[:3, 3]
    return float(((index < -0.5) | (index > shape - 0.5)).any(axis=1).mean())


def _sample(
    array: NDArray[Any], matrix: NDArray[np.float64], shape: tuple[int, int, int], order: int, fill: float
) -> NDArray[Any]:
    """array (z, y, x) at ``matrix`` (output index (x, y, z, 1) -> input index); copied where nothing is in between."""
    rounded = np.rint(matrix)
    corner = np.append(np.array(shape[::-1], dtype=np.float64), 1.0)
    whole = np.abs((matrix - rounded) @ corner).max() < SAME_GRID_MM and np.abs(matrix - rounded).max() < ALIGNED_COSINE
    if whole and np.abs(rounded[:3, :3]).sum() == 3:
        return _copy(array, rounded, shape, fill)
    from scipy.ndimage import affine_transform

    flipped = matrix[:3, :3][::-1, ::-1]
    offset = matrix[:3, 3][::-1]
    kind = array.dtype if order == 0 else np.float32
    sampled: NDArray[Any] = affine_transform(
        array if order == 0 else array.astype(np.float32, copy=False),
        flipped,
        offset,
        output_shape=shape,
        order=order,
        mode="grid-constant" if order else "constant",
        cval=fill,
        output=kind,
    )
    return sampled


def _copy(array: NDArray[Any], step: NDArray[np.float64], shape: tuple[int, int, int], fill: float) -> NDArray[Any]:
    """Reorder, flip, pad and cut by whole voxels. step maps output index (x, y, z, 1) to input index."""
    out = np.full(shape, fill, dtype=array.dtype)
    picks: list[NDArray[np.intp]] = [np.zeros(0, dtype=np.intp)] * 3
    places: list[slice] = [slice(0)] * 3
    sources = [int(np.flatnonzero(step[:3, axis])[0]) for axis in range(3)]
    for axis, source in enumerate(sources):
        index = (step[source, axis] * np.arange(shape[2 - axis]) + step[source, 3]).astype(np.intp)
        inside = np.flatnonzero((index >= 0) & (index < array.shape[2 - source]))
        if inside.size == 0:
            return out
        places[2 - axis] = slice(int(inside[0]), int(inside[-1]) + 1)
        picks[2 - source] = index[inside]
    part = array[np.ix_(*picks)]
    # numpy axes of the part are the input's (z, y, x); the output's numpy axis 2 - a holds the input's 2 - sources[a].
    out[tuple(places)] = part.transpose([2 - sources[2 - axis] for axis in range(3)])
    return out


def _nearest_axes(matrix: NDArray[np.float64]) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """For patient L, P, S: the voxel axis nearest to it (each used once) and its sign."""
    from itertools import permutations

    columns = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    order = max(permutations(range(3)), key=lambda p: sum(abs(columns[row, p[row]]) for row in range(3)))
    signs = [1.0 if columns[row, order[row]] >= 0 else -1.0 for row in range(3)]
    return (order[0], order[1], order[2]), (signs[0], signs[1], signs[2])


def _frozen(matrix: NDArray[np.float64]) -> Affine:
    rows = [tuple(float(v) for v in row) for row in matrix]
    return tuple((row[0], row[1], row[2], row[3]) for row in rows)
