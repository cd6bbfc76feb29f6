"""A scene: one synthetic picture and the masks that a person could mean in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .anatomy import KINDS, Rng
from .fields import Floats, Groups, Sheet, smooth, warped
from .looks import film, render

SIDES = (144, 176, 208)
FILM = 0.1
LEAST = 24
"""Fewer pixels than this are no target."""
SEEN, UNSEEN = 0.5, 0.25
"""Contrast to noise at the border from which a target counts as visible, and how often one below it is taken: what
nobody can see teaches little but the usual shape."""


@dataclass
class Scene:
    """image (rows, columns) float32; its possible targets as label groups, or as masks where shapes overlap."""

    image: Floats
    labels: NDArray[np.int16] | None
    groups: Groups
    masks: list[NDArray[np.bool_]]
    kind: str

    def target(self, rng: Rng) -> NDArray[np.bool_] | None:
        """One random mask: mostly one connected part of it, now and then all its parts. None where the draw is too
        small or takes nearly the whole picture."""
        from scipy.ndimage import label

        if self.labels is None:
            mask = self.masks[int(rng.integers(len(self.masks)))] if self.masks else None
        else:
            group = self.groups[int(rng.integers(len(self.groups)))]
            mask = np.isin(self.labels, group)
        if mask is None or mask.sum() < LEAST:
            return None
        if rng.random() < 0.8:
            parts, _ = label(mask)
            at = np.flatnonzero(mask)
            mask = parts == parts.ravel()[at[int(rng.integers(len(at)))]]
        area = int(mask.sum())
        if not LEAST <= area <= 0.75 * mask.size:
            return None
        return mask if self.contrast(mask) > SEEN or rng.random() < UNSEEN else None

    def contrast(self, mask: NDArray[np.bool_]) -> float:
        """Difference of means on either side of the mask's border over the spread within the sides."""
        from scipy.ndimage import binary_dilation, binary_erosion

        y0, x0, y1, x1 = _bounds(mask, 4)
        part, image = mask[y0:y1, x0:x1], self.image[y0:y1, x0:x1]
        inner = image[part & ~binary_erosion(part, iterations=3)]
        outer = image[binary_dilation(part, iterations=3) & ~part]
        if not len(outer):
            return 0.0
        spread = 0.5 * float(inner.std() + outer.std())
        return abs(float(inner.mean() - outer.mean())) / max(spread, 1e-6)


def _bounds(mask: NDArray[np.bool_], margin: int) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y0, x0 = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
    return y0, x0, int(rows[-1]) + margin + 1, int(columns[-1]) + margin + 1


def scene(rng: Rng, tissues: NDArray[np.uint8] | None = None) -> Scene:
    """A new scene. tissues (z, y, x): a label volume whose slices serve as heads now and then (MNI152), or None."""
    size = int(rng.choice(SIDES))
    if rng.random() < FILM:
        image, masks = film(rng, size)
        return _cropped(rng, Scene(image, None, [], masks, "film"))
    if tissues is not None and rng.random() < 0.12:
        sheet, kind = _template(rng, size, tissues), "template"
    else:
        makers = [k for k, _ in KINDS]
        maker = makers[int(rng.choice(len(makers), p=[w for _, w in KINDS]))]
        sheet, kind = maker(rng, size), maker.__name__
    if rng.random() < 0.85:
        sheet.labels = warped(rng, sheet.labels, rng.uniform(0.005, 0.06))
    image = render(rng, sheet.labels)
    return _cropped(rng, Scene(image, sheet.labels, sheet.groups, [], kind))


def _template(rng: Rng, size: int, tissues: NDArray[np.uint8]) -> Sheet:
    """A slice of a template in any of the three directions, zoomed, with shells around it and lesions in it."""
    sheet = Sheet(size, rng)
    axis = int(rng.integers(3))
    n = tissues.shape[axis]
    plane = np.take(tissues, int(rng.integers(n // 4, 3 * n // 4)), axis=axis)
    if rng.random() < 0.7:
        plane = plane[::-1]
    zoom = size / max(plane.shape) * rng.uniform(0.7, 0.95)
    pixels = (np.arange(size) - size / 2) / zoom
    y = np.rint(pixels + plane.shape[0] / 2).astype(int)
    x = np.rint(pixels + plane.shape[1] / 2).astype(int)
    inside = ((y >= 0) & (y < plane.shape[0]))[:, None] & ((x >= 0) & (x < plane.shape[1]))[None, :]
    shown = plane[np.clip(y, 0, plane.shape[0] - 1)[:, None], np.clip(x, 0, plane.shape[1] - 1)[None, :]] * inside
    sheet.last = int(tissues.max())
    if rng.random() < 0.8:
        sheet.blob((0.5, 0.5), (0.49, 0.46), wobble=0.05, rings=(1.0, 0.96, 0.9))
    fluid = sheet.new()
    from scipy.ndimage import binary_closing

    brain = binary_closing(shown > 0, iterations=3)
    sheet.labels[brain] = fluid
    sheet.labels[shown > 0] = shown[shown > 0]
    values = tuple(range(1, int(tissues.max()) + 1))
    sheet.groups += [(v,) for v in values] + [values, (*values, fluid), (fluid,)]
    spots = smooth(rng, size, int(rng.integers(5, 20)))
    if rng.random() < 0.4:
        lesion = sheet.new()
        sheet.labels[(spots > rng.uniform(1.8, 2.5)) & (shown > 0)] = lesion
        sheet.groups.append((lesion,))
    return sheet


def _cropped(rng: Rng, made: Scene) -> Scene:
    """Turned, mirrored, and now and then cut, so that organs meet the image's border and images are not square."""
    turns, mirror = int(rng.integers(4)), rng.random() < 0.5
    size = made.image.shape[0]
    if rng.random() < 0.3:
        y0, x0 = (int(rng.uniform(0, 0.3) * size) for _ in range(2))
        y1, x1 = (size - int(rng.uniform(0, 0.3) * size) for _ in range(2))
    else:
        y0, x0, y1, x1 = 0, 0, size, size

    def move(plane: NDArray[Any]) -> NDArray[Any]:
        out = np.rot90(plane[y0:y1, x0:x1], turns)
        return np.ascontiguousarray(out[:, ::-1] if mirror else out)

    labels = None if made.labels is None else move(made.labels)
    return Scene(
        move(made.image).astype(np.float32, copy=False), labels, made.groups, [move(m) for m in made.masks], made.kind
    )


__all__ = ["Scene", "scene"]
