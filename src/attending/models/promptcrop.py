"""What the promptable net sees: a square window of one plane, resampled, with the prompts drawn on it.

The net's training and its use share this file, so that both see the same thing. Everything here is in one plane:
y and x are voxel indices (a voxel i spans i - 0.5 .. i + 0.5), windows may reach over the image's border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 96
"""Side of the net's grid in use. Training begins on smaller grids, so that it sees more images in the same time."""
CHANNELS = ("grey", "ranked", "like", "ranked_like", "positive", "negative", "area", "mask", "inside")
"""What the net is given, each in about -1..1: the window's grey values linearly and by rank, both again as difference
from the look of what was pointed at, positive and negative marks, box or lasso, the earlier mask, the image's
extent."""
BINS = 1024
"""Grey levels of the rank channel: CT spans 4000 values of which soft tissue takes 100."""
ROUNDING = 1e-5
"""Grey values that differ by less than this part are one value: resampling a constant leaves such differences."""
DOT = 2.0
"""Standard deviation of a drawn click in pixels of the net's grid: wide enough to survive the halving of the grid."""
PLACES = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A square of a plane: its least y and x (voxel edges, may be negative) and its side, in voxels."""

    y: float
    x: float
    side: float

    @staticmethod
    def around(y0: float, x0: float, y1: float, x1: float, zoom: float) -> Window:
        """The window in whose middle the box (inclusive indices) takes ``zoom`` of the side."""
        side = max((y1 - y0 + 1) / zoom, (x1 - x0 + 1) / zoom, 8.0)
        return Window((y0 + y1) / 2 - side / 2, (x0 + x1) / 2 - side / 2, side)

    @staticmethod
    def whole(shape: tuple[int, ...]) -> Window:
        rows, columns = shape[:2]
        side = float(max(rows, columns, 8))
        return Window((rows - 1) / 2 - side / 2, (columns - 1) / 2 - side / 2, side)

    def to_grid(self, places: NDArray[Any], size: int = SIZE) -> PLACES:
        """(n, 2) voxel indices (y, x) -> the same in pixels of a grid of that side."""
        corner = np.array([self.y, self.x], dtype=np.float32)
        return ((np.asarray(places, np.float32) - corner) * (size / self.side) - 0.5).astype(np.float32)


@dataclass
class Marks:
    """Prompts of one plane, all as (y, x) voxel indices.

    positive, negative  (n, 2): clicks, and scribbles with at most about a voxel between their places.
    box                 (y0, x0, y1, x1) inclusive, or None.
    lasso               (n, 2) outline of what is inside, or None.
    mask                earlier mask (rows, columns), bool or 0..1, or None.
    """

    positive: PLACES = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    negative: PLACES = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    box: tuple[float, float, float, float] | None = None
    lasso: PLACES | None = None
    mask: NDArray[Any] | None = None


def resample(plane: NDArray[Any], window: Window, size: int = SIZE) -> NDArray[np.float32]:
    """The window of a plane on the net's grid: linear where it is enlarged, averaged where it shrinks, the border's
    values beyond the border."""
    every = max(1, int(window.side / size / 2))
    if every > 1:
        # A film is shrunk twenty times: every second place of what a pixel averages tells as much at half the cost.
        plane, at = plane[::every, ::every], (np.array([window.y, window.x]) / every)
        window = Window(float(at[0]), float(at[1]), window.side / every)
    rows = _taps(plane.shape[0], window.y, window.side, size)
    columns = _taps(plane.shape[1], window.x, window.side, size)
    part = plane[rows[0] : rows[1], columns[0] : columns[1]].astype(np.float32)
    out: NDArray[np.float32] = (rows[2] @ part @ columns[2].T).astype(np.float32, copy=False)
    return out


def paste(values: NDArray[np.float32], window: Window, shape: tuple[int, int], outside: float) -> NDArray[np.float32]:
    """The net's grid back on a plane of that shape; ``outside`` where the window does not reach."""
    out = np.full(shape, outside, dtype=np.float32)
    y0, y1 = max(0, int(np.ceil(window.y))), min(shape[0], int(np.floor(window.y + window.side)) + 1)
    x0, x1 = max(0, int(np.ceil(window.x))), min(shape[1], int(np.floor(window.x + window.side)) + 1)
    if y1 <= y0 or x1 <= x0:
        return out
    size = values.shape[0]
    step = size / window.side
    rows = _weights(size, (np.arange(y0, y1) - window.y) * step - 0.5, step)
    columns = _weights(size, (np.arange(x0, x1) - window.x) * step - 0.5, step)
    out[y0:y1, x0:x1] = rows @ values @ columns.T
    return out


def look(plane: NDArray[Any], window: Window, marks: Marks, size: int = SIZE) -> NDArray[np.float32]:
    """(CHANNELS, size, size) float32: what the net is given. plane (rows, columns), finite."""
    inside = _inside(plane.shape, window, size)
    grey, ranked = _greys(resample(plane, window, size), inside)
    positive = _dots(window.to_grid(marks.positive, size), size)
    negative = _dots(window.to_grid(marks.negative, size), size)
    area = _area(window, marks, size)
    mask = np.zeros_like(inside) if marks.mask is None else resample(marks.mask, window, size) * inside
    seed = _seed(positive, mask, area, inside)
    like = _like(grey, seed, inside, squash=True)
    shown = (grey, ranked, like, _like(ranked, seed, inside), positive, negative, area, mask, inside)
    return np.stack(shown).astype(np.float32, copy=False)


def _weights(n: int, at: NDArray[Any], step: float) -> NDArray[np.float32]:
    """(len(at), n): triangle weights over n places for values at fractional places, ``step`` places apart."""
    reach = max(1.0, step) if step > 0 else 1.0
    at = np.clip(at, 0, n - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(n)[None, :] - at[:, None]) / reach)
    parts: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return parts


def _taps(n: int, start: float, side: float, size: int) -> tuple[int, int, NDArray[np.float32]]:
    """First and last row that a window needs, and the weights of those."""
    step = side / size
    at = np.clip(start + (np.arange(size) + 0.5) * step, 0, n - 1)
    low = max(0, int(np.floor(at[0] - max(1.0, step))))
    high = min(n, int(np.ceil(at[-1] + max(1.0, step))) + 1)
    return low, high, _weights(high - low, at - low, step)


def _inside(shape: tuple[int, ...], window: Window, size: int) -> NDArray[np.float32]:
    """1 where the window shows the image, 0 beyond its border."""
    at = (np.arange(size) + 0.5) * (window.side / size)
    rows = (at + window.y >= -0.5) & (at + window.y <= shape[0] - 0.5)
    columns = (at + window.x >= -0.5) & (at + window.x <= shape[1] - 0.5)
    return np.outer(rows, columns).astype(np.float32)


def _greys(crop: NDArray[np.float32], inside: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Grey values linearly between the window's half percents, and by rank; both -1..1, 0 beyond the border."""
    shown = inside > 0
    values = crop[shown]
    if values.size == 0:
        return np.zeros_like(crop), np.zeros_like(crop)
    low, high = np.percentile(values[:: max(1, values.size // 4096)], (0.5, 99.5))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high - low <= ROUNDING * max(abs(low), abs(high)):
        return np.zeros_like(crop), np.zeros_like(crop)
    grey = np.clip((crop - low) / (high - low), 0.0, 1.0)
    level = (grey * (BINS - 1)).astype(np.int32)
    counts = np.bincount(level[shown], minlength=BINS).astype(np.float32)
    rank = (np.cumsum(counts) - counts / 2) / values.size
    return (2 * grey - 1) * inside, (2 * rank[level].astype(np.float32) - 1) * inside


_REACH = int(3 * DOT)
_OFFSETS = np.arange(-_REACH, _REACH + 1, dtype=np.float32)


def _dots(places: PLACES, size: int) -> NDArray[np.float32]:
    """A Gaussian dot of height 1 at each place; the greatest where dots meet."""
    out = np.zeros((size, size), np.float32)
    whole = np.round(places).astype(np.int64)
    if len(whole) > 1:
        whole = np.unique(whole, axis=0)
    for y, x in whole[: 4 * size]:
        if -_REACH <= y < size + _REACH and -_REACH <= x < size + _REACH:
            y0, y1, x0, x1 = (
                max(0, y - _REACH),
                min(size, y + _REACH + 1),
                max(0, x - _REACH),
                min(size, x + _REACH + 1),
            )
            dot = _DOT[y0 - y + _REACH : y1 - y + _REACH, x0 - x + _REACH : x1 - x + _REACH]
            np.maximum(out[y0:y1, x0:x1], dot, out=out[y0:y1, x0:x1])
    return out


_LINE = np.exp(-0.5 * (_OFFSETS / DOT) ** 2)
_DOT = np.outer(_LINE, _LINE).astype(np.float32)


def _area(window: Window, marks: Marks, size: int) -> NDArray[np.float32]:
    """1 within the box or lasso, -1 without where there is one, 0 where there is none."""
    if marks.lasso is not None:
        from skimage.draw import polygon2mask

        drawn: NDArray[np.float32] = polygon2mask((size, size), window.to_grid(marks.lasso, size)).astype(np.float32)
        return 2.0 * drawn - 1.0
    if marks.box is None:
        return np.zeros((size, size), np.float32)
    y0, x0, y1, x1 = marks.box
    edges = window.to_grid(np.array([[y0 - 0.5, x0 - 0.5], [y1 + 0.5, x1 + 0.5]], np.float32), size)
    pixels = np.arange(size, dtype=np.float32)
    rows = (pixels >= edges[0, 0]) & (pixels <= edges[1, 0])
    columns = (pixels >= edges[0, 1]) & (pixels <= edges[1, 1])
    return 2.0 * np.outer(rows, columns).astype(np.float32) - 1.0


def _seed(
    positive: NDArray[np.float32], mask: NDArray[np.float32], area: NDArray[np.float32], inside: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Weights over the grid of what was pointed at: the clicks, else the mask, else the inner part of box or lasso."""
    if positive.any():
        return positive * inside
    if (mask > 0.5).any():
        return (mask > 0.5) * inside
    if (area > 0).any():
        ys, xs = np.nonzero(area > 0)
        y, x, a, b = ys.mean(), xs.mean(), ys.std() + 1.0, xs.std() + 1.0
        grid = np.arange(area.shape[0], dtype=np.float32)
        inner = np.exp(-0.5 * (((grid - y) / a)[:, None] ** 2 + ((grid - x) / b)[None, :] ** 2))
        weights: NDArray[np.float32] = (inner * (area > 0) * inside).astype(np.float32)
        return weights
    return inside


def _like(
    grey: NDArray[np.float32], seed: NDArray[np.float32], inside: NDArray[np.float32], squash: bool = False
) -> NDArray[np.float32]:
    """Difference from the seed's mean grey; squashed so that the nearer two fifths of the window use the range."""
    total = float(seed.sum())
    if total <= 0:
        return np.zeros_like(grey)
    off = grey - float((grey * seed).sum()) / total
    if squash:
        near = float(np.quantile(np.abs(off)[::2, ::2], 0.4))
        off = np.tanh(off / (2 * near + 0.02))
    return (off * inside).astype(np.float32)


def strokes_to_places(strokes: Sequence[NDArray[Any]], spacing: float = 1.0) -> PLACES:
    """Strokes of (n, 2) corners -> places along them, about ``spacing`` voxels apart."""
    places: list[NDArray[Any]] = [np.zeros((0, 2), np.float32)]
    for stroke in strokes:
        corners = np.asarray(stroke, np.float32)
        places.append(corners[:1])
        for a, b in pairwise(corners):
            n = max(1, int(np.ceil(np.abs(b - a).max() / spacing)))
            places.append(a + (b - a) * (np.arange(1, n + 1, dtype=np.float32) / n)[:, None])
    return np.concatenate(places).astype(np.float32)
