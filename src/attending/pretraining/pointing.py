"""What a person would point at, simulated: clicks, boxes, scribbles, lassos, earlier masks, and corrections."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.promptcrop import PLACES, Marks, Window
from .anatomy import Rng
from .fields import smooth

Mask = NDArray[np.bool_]
BoxOf = tuple[float, float, float, float]


def bounds(mask: NDArray[Any]) -> tuple[int, int, int, int]:
    """(y0, x0, y1, x1), inclusive, of what is set; the mask is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])


def central(mask: Mask) -> tuple[int, int]:
    """The place farthest from the mask's border."""
    from scipy.ndimage import distance_transform_edt

    y0, x0, y1, x1 = bounds(mask)
    depth = distance_transform_edt(np.pad(mask[y0 : y1 + 1, x0 : x1 + 1], 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return y0 + int(y), x0 + int(x)


def anywhere(rng: Rng, mask: Mask) -> tuple[int, int]:
    at = np.flatnonzero(mask)
    y, x = divmod(int(at[int(rng.integers(len(at)))]), mask.shape[1])
    return y, x


def click(rng: Rng, mask: Mask) -> tuple[int, int]:
    """Half of the clicks are in the middle, half anywhere inside."""
    return central(mask) if rng.random() < 0.5 else anywhere(rng, mask)


def box(rng: Rng, mask: Mask, jitter: float) -> BoxOf:
    """The tight box, each edge moved by up to ``jitter`` of the side (and at least a voxel where jitter is not 0)."""
    y0, x0, y1, x1 = bounds(mask)
    if jitter <= 0:
        return y0, x0, y1, x1
    dy, dx = max(1.0, jitter * (y1 - y0 + 1)), max(1.0, jitter * (x1 - x0 + 1))
    moves = np.rint(rng.uniform(-1, 1, 4) * (dy, dx, dy, dx))
    top, left, bottom, right = y0 + moves[0], x0 + moves[1], y1 + moves[2], x1 + moves[3]
    rows, columns = mask.shape
    return (
        float(np.clip(min(top, bottom), 0, rows - 1)),
        float(np.clip(min(left, right), 0, columns - 1)),
        float(np.clip(max(top, bottom), 0, rows - 1)),
        float(np.clip(max(left, right), 0, columns - 1)),
    )


def scribble(rng: Rng, mask: Mask) -> PLACES:
    """(n, 2) places inside: along the middle line, or along wavy lines between places inside."""
    if rng.random() < 0.4:
        from skimage.morphology import skeletonize

        y0, x0, y1, x1 = bounds(mask)
        line = np.argwhere(skeletonize(mask[y0 : y1 + 1, x0 : x1 + 1]))
        if len(line) > 2:
            near = np.abs(line - line[int(rng.integers(len(line)))]).max(1)
            keep = near <= np.quantile(near, rng.uniform(0.3, 1.0))
            kept: PLACES = (line[keep] + (y0, x0)).astype(np.float32)
            return kept
    places = []
    for _ in range(int(rng.integers(1, 4))):
        a, b = np.array(anywhere(rng, mask)), np.array(anywhere(rng, mask))
        n = int(np.abs(b - a).max()) + 1
        t = np.linspace(0, 1, n)[:, None]
        wave = rng.normal(0, 0.1) * n * np.sin(t * np.pi * rng.uniform(0.5, 2)) * ((b - a)[::-1] * (1, -1) / n)
        places.append(a + (b - a) * t + wave)
    line = np.rint(np.concatenate(places)).astype(int)
    line = line[((line >= 0) & (line < mask.shape)).all(1)]
    inside: PLACES = line[mask[line[:, 0], line[:, 1]]].astype(np.float32)
    return inside


def lasso(rng: Rng, mask: Mask) -> PLACES | None:
    """A rough outline around the mask's largest part; None where there is none to walk around."""
    from skimage.measure import approximate_polygon, find_contours

    y0, x0, y1, x1 = bounds(mask)
    contours = find_contours(np.pad(mask[y0 : y1 + 1, x0 : x1 + 1], 1).astype(np.float32), 0.5)
    outline = max(contours, key=len) - 1 + (y0, x0)
    middle, reach = outline.mean(0), np.sqrt(mask.sum())
    outline = middle + (outline - middle) * rng.uniform(0.95, 1.25)
    outline = approximate_polygon(outline, float(max(1.0, 0.06 * reach)))
    outline = outline + rng.normal(0, 0.03 * reach, outline.shape)
    return outline.astype(np.float32) if len(outline) >= 3 else None


def earlier(rng: Rng, mask: Mask) -> Mask:
    """The mask as an earlier answer or the slice before would have it: moved, warped, shrunk or grown, with flaws."""
    from scipy.ndimage import binary_dilation, binary_erosion

    rows, columns = mask.shape
    reach = float(np.sqrt(mask.sum()))
    size = max(rows, columns)
    flawed = rng.random() ** 1.5  # most slices are much like the one before
    strength = flawed * 0.2 * reach
    cells = int(np.clip(rng.uniform(0.7, 2.5) * size / reach, 2, 24))
    shift = np.stack([smooth(rng, size, cells)[:rows, :columns] for _ in range(2)]) * np.float32(strength)
    shift += rng.normal(0, 0.08 * flawed * reach, (2, 1, 1)).astype(np.float32)
    zoom = np.float32(rng.normal(1.0, 0.12 * flawed))
    cy, cx = (np.argwhere(mask).mean(0)).astype(np.float32)
    y = np.arange(rows, dtype=np.float32)[:, None]
    x = np.arange(columns, dtype=np.float32)[None, :]
    y = np.clip(np.rint((y - cy) * zoom + cy + shift[0]), 0, rows - 1).astype(np.intp)
    x = np.clip(np.rint((x - cx) * zoom + cx + shift[1]), 0, columns - 1).astype(np.intp)
    out: Mask = mask[y, x]
    draw, times = rng.random() / max(flawed, 0.05) ** 0.5, max(1, int(rng.uniform(0, 0.12) * flawed * reach))
    if draw < 0.2:
        out = binary_dilation(out, iterations=times)
    elif draw < 0.4:
        out = binary_erosion(out, iterations=times)
    elif draw < 0.5:
        out = out & (smooth(rng, size, cells)[:rows, :columns] > -0.8)
    return out if out.any() else mask


def outside(rng: Rng, mask: Mask) -> PLACES:
    """One to three places near the mask that are not in it."""
    y0, x0, y1, x1 = bounds(mask)
    my, mx = (y1 - y0 + 4) // 2, (x1 - x0 + 4) // 2
    ys = rng.integers(max(0, y0 - my), min(mask.shape[0], y1 + my + 1), 12)
    xs = rng.integers(max(0, x0 - mx), min(mask.shape[1], x1 + mx + 1), 12)
    free = np.flatnonzero(~mask[ys, xs])[: int(rng.integers(1, 4))]
    return np.stack([ys[free], xs[free]], 1).astype(np.float32)


def correction(rng: Rng, wrong: Mask) -> tuple[int, int]:
    """A place in the largest wrong part, mostly its middle."""
    from scipy.ndimage import label

    parts, count = label(wrong)
    if count > 1:
        wrong = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return central(wrong) if rng.random() < 0.75 else anywhere(rng, wrong)


def first_window(rng: Rng, marks: Marks, target: Mask) -> Window:
    """A window as the engine would take first: around a box, lasso or mask; for clicks of any zoom, or all of it."""
    rows, columns = target.shape
    area = marks.box
    if area is None and marks.lasso is not None:
        (y0, x0), (y1, x1) = marks.lasso.min(0), marks.lasso.max(0)
        area = (y0, x0, y1, x1)
    if area is None and marks.mask is not None:
        area = bounds(marks.mask > 0.5)
    if area is not None:
        window = Window.around(*area, zoom=float(rng.uniform(0.45, 0.8)))
        return _shifted(rng, window, 0.04)
    if rng.random() < 0.2:
        return Window.whole(target.shape)
    y0, x0, y1, x1 = bounds(target)
    (py0, px0), (py1, px1) = marks.positive.min(0), marks.positive.max(0)
    long = max(y1 - y0, x1 - x0) + 1
    zoom = np.exp(rng.uniform(np.log(0.15), np.log(1.1)))
    side = float(np.clip(long / zoom, max(12.0, 1.3 * max(py1 - py0, px1 - px0)), 1.3 * max(rows, columns)))
    window = Window((py0 + py1) / 2 - side / 2, (px0 + px1) / 2 - side / 2, side)
    return _shifted(rng, window, 0.08)


def _shifted(rng: Rng, window: Window, by: float) -> Window:
    dy, dx = rng.uniform(-by, by, 2) * window.side
    return Window(window.y + float(dy), window.x + float(dx), window.side)
