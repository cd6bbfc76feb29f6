"""Between structures: distances, and the cardiothoracic ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryRefused
from ..records import ImageFacts
from ..records.mask import Segment
from ..records.measured import Measured
from . import measure_codes as c
from .measure_mask import CERTAIN
from .measure_space import Space
from .measure_surface import surface

FLAT_COSINE = 0.9
"""An image axis within 26 degrees of the patient's left-right counts as the transverse one."""
Box = tuple[int, int, int, int, int, int]


def distance(a: Segment, b: Segment, space: Space) -> tuple[Measured, ...]:
    """The least distance of the surfaces of two segments (0 where they touch or overlap), and the centres', mm."""
    far = _centres(a, b, space)
    if _touch(a, b):
        return (Measured(c.DISTANCE, 0.0, "mm", _step(space), method="they touch or overlap"), *far)
    nearest, ends = _nearest(a, b, space)
    return (
        Measured(
            c.DISTANCE,
            nearest,
            "mm",
            CERTAIN * _step(space) * np.sqrt(2 / 12),
            ends=tuple((float(p[0]), float(p[1]), float(p[2])) for p in ends),
            method="least, surface to surface",
        ),
        *far,
    )


def _nearest(a: Segment, b: Segment, space: Space) -> tuple[float, NDArray[np.float64]]:
    from scipy.spatial import cKDTree

    points = []
    for segment in (a, b):
        here = space.moved(segment.start)
        if here.depth:
            made = surface(segment.mask, here)
            assert made is not None  # empty segments are refused by whoever opens a mask
            middle = made.vertices[made.faces].mean(axis=1)
            points.append(np.concatenate([made.vertices, middle]))
        else:
            points.append(_outline(segment.mask, here))
    far, index = cKDTree(points[1]).query(points[0])
    at = int(far.argmin())
    return float(far[at]), np.stack([points[0][at], points[1][int(index[at])]])


def _outline(mask: NDArray[np.bool_], space: Space) -> NDArray[np.float64]:
    """Points on the pixel borders of a flat mask, mm."""
    from skimage.measure import find_contours

    found = []
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        for contour in find_contours(np.pad(mask[z], 1).astype(np.float32), 0.5):
            found.append(np.column_stack([contour[:, 1] - 1, contour[:, 0] - 1, np.full(len(contour), z)]))
    return space.at(np.concatenate(found))


def _touch(a: Segment, b: Segment) -> bool:
    """Whether a voxel of one is, or is a neighbour of, a voxel of the other."""
    from scipy.ndimage import binary_dilation

    low = np.maximum(a.start, b.start) - 1
    high = np.minimum(np.array(a.box[3:]), np.array(b.box[3:])) + 1
    if (low > high).any():
        return False

    def window(s: Segment) -> NDArray[np.bool_]:
        cut = np.zeros(tuple((high - low + 1)[::-1]), dtype=np.bool_)
        first, last = np.maximum(low, s.start), np.minimum(high, s.box[3:])
        if (first > last).any():
            return cut
        inner = tuple(slice(f - o, e - o + 1) for f, e, o in zip(first[::-1], last[::-1], s.start[::-1], strict=True))
        outer = tuple(slice(f - o, e - o + 1) for f, e, o in zip(first[::-1], last[::-1], low[::-1], strict=True))
        cut[outer] = s.mask[inner]
        return cut

    grown = binary_dilation(window(a), structure=np.ones((3, 3, 3)))
    return bool((grown & window(b)).any())


def _centres(a: Segment, b: Segment, space: Space) -> tuple[Measured, ...]:
    middles = [space.moved(s.start).at(np.argwhere(s.mask).mean(axis=0)[None, ::-1])[0] for s in (a, b)]
    return (Measured(c.CENTRES_APART, float(np.linalg.norm(middles[1] - middles[0])), "mm", method="centres of mass"),)


def _step(space: Space) -> float:
    return float(np.cbrt(space.voxel)) if space.depth else float(np.sqrt(space.pixel))


@dataclass(frozen=True)
class Widths:
    """heart and thorax: transverse extents in pixels of the transverse image axis; ratio: heart by thorax; plane: z."""

    ratio: Measured
    heart: float
    thorax: float
    plane: int


def cardiothoracic(
    heart: NDArray[np.bool_] | Box, lungs: Sequence[NDArray[np.bool_] | Box], facts: ImageFacts
) -> Widths:
    """The cardiothoracic ratio: greatest transverse width of the heart by the greatest inner width of the thorax.

    On a frontal film (Danzer, Am J Med Sci 1919;157:513-521) the heart's two borders may lie at different heights, and
    the thorax is measured where the lungs reach widest at one level. In a volume both are taken on axial planes, the
    heart on the plane where it is widest. heart and lungs are (z, y, x) masks or inclusive boxes (x0, y0, z0, x1, y1,
    z1). Both widths lie along one image axis, so the ratio needs no spacing. Raises GeometryRefused where no image axis
    runs from side to side, where a structure is empty, or where the thorax is not wider than the heart.
    """
    axis = _transverse(facts)
    hearts, chest = _extents(heart, axis), [_extents(lung, axis) for lung in lungs]
    if not hearts or not any(chest):
        raise GeometryRefused("a heart or lungs without a voxel", "masks or boxes of both", "segment both first")
    thorax = {}
    for level in {key for lung in chest for key in lung}:
        spans = [lung[level] for lung in chest if level in lung]
        thorax[level] = max(high for _, high in spans) - min(low for low, _ in spans)
    if facts.shape[0] == 1:
        plane = 0
        span = [min(low for low, _ in hearts.values()), max(high for _, high in hearts.values())]
        wide, chest_wide = span[1] - span[0], max(thorax.values())
    else:
        planes = sorted({z for z, _ in hearts})
        by_plane = {}
        for z in planes:
            borders = [border for (at, _), border in hearts.items() if at == z]
            by_plane[z] = max(high for _, high in borders) - min(low for low, _ in borders)
        plane = max(planes, key=lambda z: by_plane[z])
        wide = by_plane[plane]
        chest_wide = max((w for (z, _), w in thorax.items() if z == plane), default=0.0)
    if not chest_wide > wide > 0:
        raise GeometryRefused(
            f"a heart {wide:g} and a thorax {chest_wide:g} pixels wide on one level",
            "a thorax wider than the heart",
            "check the masks of heart and lungs",
        )
    ratio = wide / chest_wide
    error = CERTAIN * ratio * float(np.hypot(1 / wide, 1 / chest_wide)) * np.sqrt(2 / 12)
    method = "greatest transverse widths, along one image axis"
    return Widths(Measured(c.CARDIOTHORACIC, ratio, "1", error, plane=plane, method=method), wide, chest_wide, plane)


def _transverse(facts: ImageFacts) -> int:
    """0 where x, 1 where y of the image runs from side to side of the patient."""
    if facts.view not in (None, "PA", "AP", "AXIAL", "CORONAL"):
        raise GeometryRefused(
            f"a {facts.view} view", "a frontal film, or axial or coronal planes", "measure on a frontal view"
        )
    if facts.affine is None:
        return 0
    axes = np.array(facts.affine)[:3, :2]
    along = np.abs(axes[0]) / np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
    if along.max() < FLAT_COSINE:
        raise GeometryRefused(
            "an image whose axes run oblique to the patient's left-right",
            "an axis within 26 degrees of it",
            "resample to axial planes first",
        )
    return int(along.argmax())


def _extents(shape: NDArray[np.bool_] | Box, axis: int) -> dict[tuple[int, int], tuple[float, float]]:
    """(z, level) -> (low, high) borders along the transverse axis, outer pixel edges."""
    if isinstance(shape, tuple):
        x0, y0, z0, x1, y1, z1 = shape
        low, high, first, last = (x0, x1, y0, y1) if axis == 0 else (y0, y1, x0, x1)
        return {(z, k): (low - 0.5, high + 0.5) for z in range(z0, z1 + 1) for k in range(first, last + 1)}
    found = {}
    turned = shape if axis == 0 else shape.swapaxes(1, 2)
    for z, k in np.argwhere(turned.any(axis=2)):
        across = np.flatnonzero(turned[z, k])
        found[(int(z), int(k))] = (float(across[0]) - 0.5, float(across[-1]) + 0.5)
    return found
