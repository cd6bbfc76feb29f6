"""Occlusion: hide a part of the image, ask the model again, and see how far its score falls (Zeiler and Fergus 2014).

Needs nothing of a model but its answers, so it works for any. Deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..records import Detection, Image
from .planes import resized
from .protocols import Detector, Progress

Fill = Literal["blur", "mean"]
Box = tuple[slice, ...]
Score = Callable[[NDArray[Any]], NDArray[np.float64]]
"""(n, ...) arrays like the one explained -> (n,) numbers that fall when what they rest on is hidden."""

SCALES = (1 / 3, 1 / 6)
"""Sides of the patches as parts of the image's: the large ones hide a large finding whole, the small ones place it.
Neighbours overlap by half, which makes 25 + 121 patches of a plane."""
SOLID_SCALES = (1 / 3,)
"""Of a volume: 125 blocks. The small ones would be 1331."""
BLUR = 1 / 15
"""Standard deviation of the blur as part of the image's longer side: no lesion is left, no edge is made."""
BLUR_ON = 240
"""The blur is made on a view of at most this many pixels: it has nothing finer to show."""
BATCH = 8
MOST_VOXELS = 32_000_000
"""Voxels of the copies that are asked about at once (128 MB as float32)."""
NOTHING_HIDDEN = 2 / 255
"""A patch that changes less than this part of the image's range on average hides nothing: its forward is saved."""
NEAR = 1 / 24
"""How near, as part of a plane's side, a changed voxel must be for the map to be about it."""
LEAST = 1e-12
"""Probabilities below this are rounding; it bounds the log-odds."""


@runtime_checkable
class ManyAtOnce(Protocol):
    """A Detector that scores several images in one go, and without making maps of its own."""

    def scores_of(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, labels) float32 in 0..1, in the card's order of labels. The images are already admitted."""
        ...


@runtime_checkable
class Glancing(Protocol):
    """A Detector whose maps are costly and can be left out."""

    def glance(self, image: Image) -> tuple[Detection, ...]:
        """As ``detect``, with the same scores and no maps."""
        ...


def glance(detector: Detector, image: Image) -> tuple[Detection, ...]:
    """What a detector scores, without its maps where it can leave them out."""
    return detector.glance(image) if isinstance(detector, Glancing) else detector.detect(image)


@dataclass(frozen=True, eq=False)
class Occlusion:
    """heat: signed float32 on the image's (z, y, x), in the score's unit; positive where hiding lowers the score.

    asked   how many images the model was asked about.
    """

    heat: NDArray[np.float32]
    asked: int


def occlusion(
    voxels: NDArray[Any],
    filled: NDArray[Any],
    score: Score,
    *,
    scales: Sequence[float] | None = None,
    progress: Progress | None = None,
) -> Occlusion:
    """voxels (z, y, x[, 3]) and the same with everything hidden -> a map.

    At each scale a voxel has the weighted mean fall of the patches that cover it; the map is the mean of the scales.
    Where hiding changes nothing (air around a head) the map is 0: what falls there falls for the patch's other voxels.
    """
    shape = voxels.shape[:3]
    steps = scales or (SCALES if shape[0] == 1 else SOLID_SCALES)
    least = NOTHING_HIDDEN * spread(voxels)
    boxes = [patches(shape, step) for step in steps]
    total, done = sum(map(len, boxes)), 0
    heat = np.zeros(shape, np.float64)
    asked, unhidden = 1, float(score(voxels[None])[0])
    for group in boxes:

        def heard(fraction: float, words: str, before: int = done, count: int = len(group)) -> None:
            if progress:
                progress((before + fraction * count) / total, words)

        drops, forwards = falls(voxels, filled, group, score, least, heard, before=unhidden)
        heat += spread_out(drops, group, shape) / len(boxes)
        asked += forwards
        done += len(group)
    return Occlusion((heat * touched(voxels, filled)).astype(np.float32), asked)


def falls(
    whole: NDArray[Any],
    filled: NDArray[Any],
    boxes: Sequence[Box],
    score: Score,
    least: float,
    progress: Progress | None = None,
    batch: int = BATCH,
    before: float | None = None,
) -> tuple[NDArray[np.float64], int]:
    """How far the score falls when each box is hidden, (n,), signed; 0 where a box changes the values by less than
    ``least`` on average. And how many images were asked about. before: the score of the whole, where it is known."""
    if before is None:
        before = float(score(whole[None])[0])
    drops = np.zeros(len(boxes), np.float64)
    todo = [n for n, box in enumerate(boxes) if change(whole[box], filled[box]) >= least]
    at_once = max(1, min(batch, MOST_VOXELS // max(1, whole.size)))
    for start in range(0, len(todo), at_once):
        part = todo[start : start + at_once]
        copies = np.repeat(whole[None], len(part), axis=0)
        for row, n in enumerate(part):
            copies[row][boxes[n]] = filled[boxes[n]]
        drops[part] = before - score(copies)
        if progress:
            progress((start + len(part)) / len(todo), "hiding parts of the picture")
    return drops, len(todo)


def touched(voxels: NDArray[Any], filled: NDArray[Any]) -> NDArray[np.float64]:
    """(z, y, x) in 0..1: how far hiding changes the image around each voxel, 1 from the NOTHING_HIDDEN part of its
    range on."""
    from scipy.ndimage import uniform_filter

    moved = np.abs(np.nan_to_num(voxels.astype(np.float32)) - filled.astype(np.float32))
    moved = moved.mean(axis=3) if moved.ndim == 4 else moved
    near = uniform_filter(moved, [1, *(max(1, round(side * NEAR)) for side in moved.shape[1:])], mode="nearest")
    least = NOTHING_HIDDEN * spread(voxels)
    return np.asarray(np.clip(near / least, 0, 1) if least > 0 else np.zeros(near.shape), dtype=np.float64)


def patches(shape: Sequence[int], part: float) -> list[Box]:
    """The boxes (z, y, x) of one scale, half overlapping, row by row; together they cover the image. An axis shorter
    than two patches' worth of voxels is covered whole."""
    spans = []
    for side in shape:
        size = max(1, round(side * part))
        count = 1 if side < 3 else max(1, round(2 * (1 / part - 1)) + 1)
        starts = [0] if count == 1 else [round(n * (side - size) / (count - 1)) for n in range(count)]
        spans.append([slice(0, side)] if count == 1 else [slice(a, a + size) for a in dict.fromkeys(starts)])
    return [(z, y, x) for z in spans[0] for y in spans[1] for x in spans[2]]


def spread_out(drops: NDArray[np.float64], boxes: Sequence[Box], shape: Sequence[int]) -> NDArray[np.float64]:
    """The mean fall of the boxes that cover each voxel, each counting most at its middle, so that the map has no
    edges but the image's."""
    total, covered = np.zeros(tuple(shape)), np.zeros(tuple(shape))
    tents: dict[tuple[int, ...], NDArray[np.float64]] = {}
    for drop, box in zip(drops, boxes, strict=True):
        size = tuple(part.stop - part.start for part in box)
        if size not in tents:
            sides = [_tent(n, n == side) for n, side in zip(size, shape, strict=True)]
            tents[size] = sides[0][:, None, None] * sides[1][:, None] * sides[2]
        total[box] += drop * tents[size]
        covered[box] += tents[size]
    return np.asarray(total / covered)


def _tent(size: int, whole: bool) -> NDArray[np.float64]:
    return np.ones(size) if whole else np.minimum(np.arange(size) + 0.5, size - np.arange(size) - 0.5)


def hidden(image: Image, fill: Fill = "blur") -> NDArray[Any]:
    """The image with everything hidden, in its own dtype: blurred plane by plane until no finding is left ("blur"), or
    each plane's mean ("mean", which puts edges into the picture that some models take for findings)."""
    voxels = np.nan_to_num(image.voxels.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    out = np.empty_like(voxels)
    for z, plane in enumerate(voxels):
        out[z] = plane.mean(axis=(0, 1)) if fill == "mean" else blurred(plane)
    return as_dtype(out, image.voxels.dtype)


def blurred(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """(y, x) or (y, x, 3), blurred by a Gaussian of BLUR of its longer side."""
    if plane.ndim == 3:
        return np.stack([blurred(plane[..., c]) for c in range(plane.shape[2])], axis=-1)
    from scipy.ndimage import gaussian_filter

    rows, columns = plane.shape
    by = max(1.0, max(rows, columns) / BLUR_ON)
    small = resized(plane, max(1, round(rows / by)), max(1, round(columns / by))) if by > 1 else plane
    soft = gaussian_filter(small, BLUR * max(small.shape), mode="nearest")
    return resized(soft, rows, columns) if by > 1 else np.asarray(soft, dtype=np.float32)


def as_dtype(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Rounded and kept in range for whole numbers."""
    if np.dtype(dtype).kind not in "ui":
        return values.astype(dtype)
    bounds = np.iinfo(dtype)
    out: NDArray[Any] = np.clip(np.rint(values), bounds.min, bounds.max).astype(dtype)
    return out


def spread(voxels: NDArray[Any]) -> float:
    """The range of an image without its darkest and brightest half percent."""
    flat = voxels.reshape(-1)
    sample = flat[:: max(1, flat.size >> 18)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0
    low, high = np.percentile(sample, (0.5, 99.5))
    return float(high - low) or float(np.ptp(sample))


def change(whole: NDArray[Any], filled: NDArray[Any]) -> float:
    """Mean absolute difference."""
    if not whole.size:
        return 0.0
    return float(np.abs(np.nan_to_num(whole.astype(np.float32)) - filled.astype(np.float32)).mean())


def log_odds(scores: NDArray[Any], index: int, exclusive: bool = True) -> NDArray[np.float64]:
    """(n, k) scores -> (n,) natural log-odds of one class. Of scores that add up to 1 (exclusive) the others are
    summed, as 1 - p would round to 0."""
    wide = np.asarray(scores).astype(np.float64)
    others = np.delete(wide, index, axis=1).sum(axis=1) if exclusive else 1.0 - wide[:, index]
    return np.asarray(np.log(np.maximum(wide[:, index], LEAST)) - np.log(np.maximum(others, LEAST)))
