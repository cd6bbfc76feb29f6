"""Volumes on the grid that a network asks for, and what it says of them back on the image's own grid.

Shared by the generic ONNX engine, MONAI bundles and programs with environments of their own. Turning and flipping is
exact; resampling is linear on the way there, and on the way back linear for probabilities and nearest for labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryRefused
from ..imaging import canonical
from ..records import Image

Orientation = Literal["LPS", "RAS", "LAS", "RPS"]
"""Towards which patient side x, y and z grow."""
Order = Literal["zyx", "xyz"]
LARGEST = 512**3
"""Voxels of a resampled volume: 512 MiB as float32. More is a spacing that does not fit the image."""


@dataclass(frozen=True, eq=False)
class Frame:
    """array float32 in the axis order asked for; back brings labels or probabilities of that shape home."""

    array: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    _index: NDArray[np.int64]
    _flips: tuple[bool, bool]
    _order: Order
    _turned: tuple[int, int, int]
    _shape: tuple[int, int, int]

    def back(self, values: NDArray[Any], order: int = 0) -> NDArray[Any]:
        """values in the array's shape -> (z, y, x) of the image. order 0 for labels, 1 for probabilities."""
        if values.shape != self.array.shape:
            raise GeometryRefused(
                f"an output of shape {values.shape}", f"the input's shape {self.array.shape}", "mend the model's card"
            )
        turned = values.transpose(2, 1, 0) if self._order == "xyz" else values
        turned = turned[:, :: -1 if self._flips[1] else 1, :: -1 if self._flips[0] else 1]
        return np.ascontiguousarray(turned_back(resampled(turned, self._turned, order), self._index, self._shape))


def frame(
    image: Image,
    *,
    orientation: Orientation = "LPS",
    order: Order = "zyx",
    spacing_mm: tuple[float, float, float] | None = None,
) -> Frame:
    """A volume turned to its nearest patient axes, resampled to ``spacing_mm`` (x, y, z) where one is asked for.

    Raises GeometryRefused for colour, for z that is not space, and without a known affine and spacing.
    """
    facts = image.facts
    if facts.colour or facts.axis != "space" or image.affine is None or facts.spacing is None:
        raise GeometryRefused(
            "a volume whose geometry is not known",
            "one grey volume in space with its affine",
            "give a DICOM series or a NIfTI with its affine",
        )
    turned, affine = canonical(image.voxels, image.affine)
    index = np.rint(np.linalg.inv(affine) @ image.affine).astype(np.int64)
    own = np.linalg.norm(affine[:3, :3], axis=0)
    shape = (turned.shape[0], turned.shape[1], turned.shape[2])
    array = np.nan_to_num(turned.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if spacing_mm is not None:
        goal = tuple(
            max(1, round(n * mm / want)) for n, mm, want in zip(shape, own[::-1], spacing_mm[::-1], strict=True)
        )
        if int(np.prod([float(n) for n in goal])) > LARGEST:
            raise GeometryRefused(
                f"a volume that would have {' x '.join(map(str, goal))} voxels at {spacing_mm} mm",
                f"at most {LARGEST} voxels",
                "crop the image, or choose a model of coarser spacing",
            )
        array = resampled(array, goal, 1)
    step = np.array(shape[::-1]) / np.array(array.shape[::-1])
    moved = affine.copy()
    moved[:3, :3] = affine[:3, :3] * step
    moved[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((step - 1) / 2)
    flips = (orientation[0] == "R", orientation[1] == "A")
    for axis, flip in enumerate(flips):
        if flip:
            moved[:3, 3] += moved[:3, axis] * (array.shape[2 - axis] - 1)
            moved[:3, axis] *= -1
    array = array[:, :: -1 if flips[1] else 1, :: -1 if flips[0] else 1]
    array = np.ascontiguousarray(array.transpose(2, 1, 0) if order == "xyz" else array)
    sizes = np.linalg.norm(moved[:3, :3], axis=0)
    spacing = (float(sizes[0]), float(sizes[1]), float(sizes[2]))
    own_shape = (image.voxels.shape[0], image.voxels.shape[1], image.voxels.shape[2])
    return Frame(array, spacing, moved, index, flips, order, shape, own_shape)


def turned_back(mask: NDArray[Any], index: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A canonical array (z, y, x) back on the image's own axes: transposed and flipped, nothing else.

    index  4x4, image index (x, y, z, 1) -> canonical index; shape (z, y, x) is the image's.
    """
    order = [int(np.flatnonzero(index[:3, axis])[0]) for axis in range(3)]
    turned = mask.transpose([2 - order[2 - axis] for axis in range(3)])
    flips = tuple(slice(None, None, -1) if index[order[2 - axis], 2 - axis] < 0 else slice(None) for axis in range(3))
    own: NDArray[Any] = turned[flips]
    if own.shape != tuple(shape[:3]):
        raise GeometryRefused("axes that cannot be turned back", "axes that only turn and flip", "report it")
    return own


def resampled(array: NDArray[Any], shape: tuple[int, ...], order: int) -> NDArray[Any]:
    """(z, y, x) over the same field on another number of voxels; voxel centres keep their place in space."""
    if array.shape == shape:
        return array
    from scipy.ndimage import zoom

    factors = [goal / n for goal, n in zip(shape, array.shape, strict=True)]
    out: NDArray[Any] = zoom(array, factors, order=order, grid_mode=True, mode="nearest")
    return out


def windows(shape: tuple[int, ...], roi: tuple[int, ...], overlap: float) -> Iterator[tuple[slice, ...]]:
    """Boxes of ``roi`` that cover ``shape``, each sharing at least ``overlap`` of a side with the next."""
    starts = []
    for size, side in zip(shape, roi, strict=True):
        step = max(1, int(side * (1 - overlap)))
        count = max(1, -(-(size - side) // step) + 1) if size > side else 1
        starts.append([min(n * step, max(0, size - side)) for n in range(count)])
    for corner in np.ndindex(*(len(s) for s in starts)):
        yield tuple(slice(s[c], s[c] + side) for s, c, side in zip(starts, corner, roi, strict=True))


def slide(
    array: NDArray[np.float32],
    roi: tuple[int, ...],
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    overlap: float = 0.25,
    fill: float = 0.0,
    progress: Callable[[float, str], None] | None = None,
) -> NDArray[np.float32]:
    """A network of fixed size over a larger volume: (C, ...) averaged with weights that fall towards a window's edge.

    run  one window in the shape ``roi`` -> (C, *roi). Axes shorter than the window are padded with ``fill``.
    """
    short = [(0, max(0, side - n)) for n, side in zip(array.shape, roi, strict=True)]
    padded = np.pad(array, short, constant_values=fill)
    weight = np.ones(roi, np.float32)
    for axis, side in enumerate(roi):
        bell = np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side * 0.25)) ** 2).astype(np.float32)
        weight *= bell.reshape([-1 if a == axis else 1 for a in range(len(roi))])
    boxes = list(windows(padded.shape, roi, overlap))
    total: NDArray[np.float32] | None = None
    seen = np.zeros(padded.shape, np.float32)
    for number, box in enumerate(boxes, 1):
        got = run(np.ascontiguousarray(padded[box]))
        if got.shape[1:] != tuple(roi):
            raise GeometryRefused(f"an output of shape {got.shape}", f"classes x {roi}", "mend the model's card")
        if total is None:
            total = np.zeros((got.shape[0], *padded.shape), np.float32)
        total[(slice(None), *box)] += got * weight
        seen[box] += weight
        if progress:
            progress(number / len(boxes), f"window {number} of {len(boxes)}")
    assert total is not None  # there is at least one box
    mean: NDArray[np.float32] = total / seen
    return mean[(slice(None), *(slice(0, n) for n in array.shape))]
