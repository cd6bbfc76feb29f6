"""What a plane of pixels looks like, in a few cheap figures; the gate's rules are written on these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Image

# Figures are taken on a plane of at most this many pixels a side: film grain and JPEG blocks average out there, while
# ribs, gyri and letters stay.
SIDE = 256
# Grey levels of the stretched plane (0..1) below which a pixel is air or background.
DARK = 0.12
BRIGHT = 0.9
# Channel differences above this are colour; below are what JPEG does to grey pictures.
CHROMA = 32


@dataclass(frozen=True)
class Look:
    """Figures of one plane, stretched to 0..1 between its 0.5 and 99.5 percentiles and scaled to SIDE.

    side        pixels of the shorter side of the original plane.
    neighbours  correlation of pixels one apart: 1 smooth, 0 noise.
    detail      standard deviation of the Laplacian over that of the plane: radiographs are soft, photographs are not.
    frame_dark  share of the outer 3 % ring that is dark; corners_dark: of the four corners.
    dark, bright   share of dark and of very bright pixels.
    symmetry    correlation with its left-right mirror image.
    paper       share of pixels within 0.1 of the commonest level of the brighter half.
    area, solidity, ellipse, aspect   of the largest object against the dark: share of the plane; area over convex
                hull; area over the ellipse of its bounding box (a box has 1.27); width over height.
    touches     edges of the plane that the object runs into, of "TBLR".
    chest       correlation with the scheme of a frontal chest film (two dark lungs, bright middle and base), best of a
                few sizes; -1 where it was not tried.
    """

    side: int
    neighbours: float
    detail: float
    frame_dark: float
    corners_dark: int
    dark: float
    bright: float
    symmetry: float
    paper: float
    area: float
    solidity: float
    ellipse: float
    aspect: float
    touches: str
    chest: float


def coloured(plane: NDArray[Any]) -> float:
    """Share of pixels of an RGB plane (y, x, 3) that are colour, not grey."""
    spread = plane.max(axis=2).astype(np.int16) - plane.min(axis=2)
    return float((spread > CHROMA).mean())


def grey(plane: NDArray[Any]) -> NDArray[np.float32]:
    """(y, x) or (y, x, 3) -> (y, x) float32, Rec. 601 luma."""
    if plane.ndim == 2:
        return plane.astype(np.float32)
    luma: NDArray[np.float32] = plane.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return luma


def busiest(image: Image) -> NDArray[np.float32]:
    """The plane (y, x) with most contrast of three across the stack, as grey values; Hounsfield units cut at +-1000."""
    depth = image.voxels.shape[0]
    picks = sorted({depth // 2, depth // 4, (3 * depth) // 4})
    planes = [grey(image.voxels[z]) for z in picks]
    if image.facts.unit == "[hnsf'U]":
        planes = [np.clip(p, -1000, 1000) for p in planes]
    planes = [np.nan_to_num(p, nan=0.0, posinf=0.0, neginf=0.0) for p in planes]
    # The middle one unless another shows far more: a cine may fade in, a stack may start outside the body.
    middle = planes[picks.index(depth // 2)]
    best = max(planes, key=lambda p: float(p.std()))
    return best if float(best.std()) > 1.5 * float(middle.std()) else middle


def look(plane: NDArray[Any]) -> Look:
    """Figures of one grey plane (y, x). A plane without contrast gives zeros."""
    from scipy import ndimage

    small = stretched(plane)
    height, width = small.shape
    off = small - small.mean()
    variance = float((off * off).mean()) + 1e-9
    pairs = [p.mean() for p in (off[:, 1:] * off[:, :-1], off[1:] * off[:-1]) if p.size]
    neighbours = float(np.mean(pairs)) / variance if pairs else 0.0
    detail = float(ndimage.laplace(small).std()) / variance**0.5
    rim = max(1, round(0.03 * min(height, width)))
    ring = np.concatenate([small[:rim].ravel(), small[-rim:].ravel(), small[:, :rim].ravel(), small[:, -rim:].ravel()])
    size = max(2, round(0.08 * min(height, width)))
    corners = [small[:size, :size], small[:size, -size:], small[-size:, :size], small[-size:, -size:]]
    mirrored = small[:, ::-1]
    symmetry = float(((small - small.mean()) * (mirrored - mirrored.mean())).mean()) / variance
    counts, _ = np.histogram(small[small > 0.5], bins=20, range=(0.5, 1.0))
    mode = 0.5 + (int(np.argmax(counts)) + 0.5) / 40
    area, solidity, ellipse, aspect, touches = _object(small)
    return Look(
        side=int(min(plane.shape[:2])),
        neighbours=neighbours,
        detail=detail,
        frame_dark=float((ring < DARK).mean()),
        corners_dark=sum(bool(c.mean() < DARK) for c in corners),
        dark=float((small < DARK).mean()),
        bright=float((small > BRIGHT).mean()),
        symmetry=symmetry,
        paper=float((np.abs(small - mode) < 0.1).mean()),
        area=area,
        solidity=solidity,
        ellipse=ellipse,
        aspect=aspect,
        touches=touches,
        chest=_chest(small),
    )


def stretched(plane: NDArray[Any]) -> NDArray[np.float32]:
    """(y, x) -> float32 0..1 between its 0.5 and 99.5 percentiles, at most SIDE a side."""
    from skimage.transform import resize

    low, high = (float(v) for v in np.percentile(plane, [0.5, 99.5]))
    if high <= low:
        low, high = float(plane.min()), float(plane.max())
    level = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-6), 0.0, 1.0)
    scale = SIDE / max(level.shape)
    if scale >= 1:
        return np.asarray(level, dtype=np.float32)
    shape = (max(8, round(level.shape[0] * scale)), max(8, round(level.shape[1] * scale)))
    small = resize(level, shape, order=1, anti_aliasing=True)
    return np.asarray(small, dtype=np.float32)


def _object(small: NDArray[np.float32]) -> tuple[float, float, float, float, str]:
    """area, solidity, ellipse, aspect, touches of the largest filled object brighter than the background."""
    from scipy import ndimage
    from skimage.measure import regionprops

    mask = ndimage.binary_opening(small > 0.15)
    labels, count = ndimage.label(mask)
    if not count:
        return 0.0, 0.0, 0.0, 1.0, ""
    sizes = ndimage.sum_labels(mask, labels, range(1, count + 1))
    filled = ndimage.binary_fill_holes(labels == int(np.argmax(sizes)) + 1)
    found = regionprops(filled.astype(np.uint8))[0]
    top, left, bottom, right = found.bbox
    wide, high = right - left, bottom - top
    # An edge counts as touched where a tenth of it lies in the object: a stray label or table tip does not.
    edges = (("T", filled[0]), ("B", filled[-1]), ("L", filled[:, 0]), ("R", filled[:, -1]))
    return (
        float(filled.mean()),
        float(found.solidity),
        float(filled.sum()) / (np.pi / 4 * wide * high),
        wide / high,
        "".join(name for name, edge in edges if edge.mean() > 0.1),
    )


def _chest(small: NDArray[np.float32]) -> float:
    """Best correlation with a drawn frontal chest film: our own scheme, three lung sizes and three heights."""
    from skimage.transform import resize

    if min(small.shape) < 20 or not 0.7 <= small.shape[1] / small.shape[0] <= 1.5:
        return -1.0
    thumb = resize(small, (32, 32), order=1, anti_aliasing=True)
    off = thumb - thumb.mean()
    spread = float(np.sqrt((off * off).sum()))
    if spread < 1e-6:
        return -1.0
    y, x = np.mgrid[0:32, 0:32] / 31.0
    best = -1.0
    for width in (0.13, 0.17, 0.2):
        for height in (0.28, 0.34):
            for middle in (0.36, 0.43, 0.5):
                away = np.minimum(
                    ((x - 0.25) / width) ** 2 + ((y - middle) / height) ** 2,
                    ((x - 0.75) / width) ** 2 + ((y - middle) / height) ** 2,
                )
                scheme = 1.0 / (1.0 + np.exp(-4.0 * (away - 1.0)))
                # Outside the chest, air may show in the upper corners: they carry no weight.
                weight = 1.0 - 0.8 * ((np.abs(x - 0.5) > 0.42) | (y < 0.06))
                a = (thumb - np.average(thumb, weights=weight)) * np.sqrt(weight)
                b = (scheme - np.average(scheme, weights=weight)) * np.sqrt(weight)
                best = max(best, float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9)))
    return best
