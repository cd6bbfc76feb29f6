"""Smooth random fields and star-shaped blobs: what every synthetic image is drawn from. numpy only, for speed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Groups = list[tuple[int, ...]]


@lru_cache(maxsize=512)
def _basis(size: int, cells: int) -> Floats:
    """(size, cells + 3): cubic B-spline weights of ``cells`` cells spread over ``size`` places."""
    at = np.arange(size) * (cells / size)
    first = np.floor(at).astype(int)
    t = at - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    out = np.zeros((size, cells + 3), np.float32)
    for k in range(4):
        out[np.arange(size), first + k] = weights[:, k]
    return out


def smooth(rng: np.random.Generator, size: int, cells: int) -> Floats:
    """(size, size) smooth noise with about ``cells`` bumps a side, mean about 0, standard deviation about 1."""
    low = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    basis = _basis(size, cells)
    out: Floats = (basis @ low @ basis.T * np.float32(2.0)).astype(np.float32)
    return out


def warped(rng: np.random.Generator, labels: NDArray[Any], strength: float) -> NDArray[Any]:
    """Labels moved by a smooth displacement of about ``strength`` parts of the side; no label is invented."""
    size = labels.shape[0]
    pixels = np.arange(size, dtype=np.float32)
    shift = np.zeros((2, size, size), np.float32)
    for cells, part in ((int(rng.integers(1, 4)), 1.0), (int(rng.integers(4, 10)), 0.3)):
        for axis in (0, 1):
            shift[axis] += smooth(rng, size, cells) * np.float32(strength * size * part)
    y = np.clip(np.rint(pixels[:, None] + shift[0]), 0, size - 1).astype(np.intp)
    x = np.clip(np.rint(pixels[None, :] + shift[1]), 0, size - 1).astype(np.intp)
    out: NDArray[Any] = labels[y, x]
    return out


@dataclass
class Sheet:
    """A label map under construction.

    labels  (size, size) int16.
    groups  label tuples that a person may mean: an organ with its lesion, a vessel with its wall.
    """

    size: int
    rng: np.random.Generator
    labels: NDArray[np.int16] = field(init=False)
    groups: Groups = field(default_factory=list)
    last: int = 0

    def __post_init__(self) -> None:
        self.labels = np.zeros((self.size, self.size), np.int16)

    def new(self) -> int:
        self.last += 1
        return self.last

    def blob(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        *,
        angle: float = 0.0,
        wobble: float = 0.15,
        rings: tuple[float, ...] = (1.0,),
        only: tuple[int, ...] | None = None,
        same: tuple[int, ...] | None = None,
    ) -> tuple[int, ...]:
        """Paints a star-shaped blob; ``rings`` are the relative radii of nested layers, outermost first.

        centre and radii (y, x) are parts of the side. only: paints on those labels alone. same: labels to use again.
        """
        size, rng = self.size, self.rng
        cy, cx = centre[0] * size, centre[1] * size
        ry, rx = max(radii[0] * size, 1.0), max(radii[1] * size, 1.0)
        reach = (1.0 + 2.5 * wobble) * max(ry, rx) + 1
        y0, y1 = int(max(0, cy - reach)), int(min(size, cy + reach + 1))
        x0, x1 = int(max(0, cx - reach)), int(min(size, cx + reach + 1))
        names = same or tuple(self.new() for _ in rings)
        if y1 <= y0 or x1 <= x0:
            return names
        dy = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)
        dx = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(cx)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u, v = (c * dy + s * dx) / np.float32(ry), (c * dx - s * dy) / np.float32(rx)
        far = np.sqrt(u * u + v * v)
        if wobble > 0:
            turn = np.arctan2(u, v)
            limit = np.ones_like(far)
            for k in range(2, 6):
                amplitude = np.float32(wobble * rng.standard_normal() / k)
                limit += amplitude * np.cos(k * turn + np.float32(rng.uniform(0, 6.28)))
            far /= np.maximum(limit, 0.3)
        part = self.labels[y0:y1, x0:x1]
        free = np.isin(part, only) if only is not None else None
        for name, ring in zip(names, rings, strict=True):
            hit = far < ring
            if free is not None:
                hit &= free
            part[hit] = name
        if same is None:
            for k in range(len(names)):
                self.groups.append(names[k:])
                if k:
                    self.groups.append((names[k - 1],))
        return names

    def path(self, corners: NDArray[Any], widths: NDArray[Any], name: int) -> None:
        """A thick line through (n, 2) places with a radius (in pixels) at each."""
        for (y, x), w in zip(corners, widths, strict=True):
            r = int(np.ceil(w))
            y0, y1, x0, x1 = int(y) - r, int(y) + r + 2, int(x) - r, int(x) + r + 2
            if y1 <= 0 or x1 <= 0 or y0 >= self.size or x0 >= self.size:
                continue
            y0, x0 = max(0, y0), max(0, x0)
            rows = np.arange(y0, min(self.size, y1), dtype=np.float32)[:, None] - y
            columns = np.arange(x0, min(self.size, x1), dtype=np.float32)[None, :] - x
            part = self.labels[y0 : y0 + rows.shape[0], x0 : x0 + columns.shape[1]]
            part[rows * rows + columns * columns <= w * w] = name
