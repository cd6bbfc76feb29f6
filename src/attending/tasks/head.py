"""Is an MR image a head, and is its contrast T1? From the header where it says so, else from the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..imaging import canonical
from ..records import Image
from .looks import Look

HEAD_WORDS = ("HEAD", "BRAIN", "SKULL")
# The outline is taken on a grid of about this size: fine enough for a scalp of 5 mm, and a head costs 0.1 s.
GRID_MM = 3.0
# Outer sizes of human heads from infants to large adults with ears and nose, and the room that noise needs.
WIDTH_MM = (100.0, 205.0)
LENGTH_MM = (125.0, 265.0)
HEIGHT_MM = 90.0
LENGTH_TO_WIDTH = (0.98, 1.75)
# A head closes at the vertex: its top 12 mm cover less than this share of its widest section. A knee or an abdomen
# runs out of the field of view at full width.
TOP_MM, TOP_SHARE = 12.0, 0.5
# No head is as wide as this with anything in the field of view: a trunk is.
TRUNK_MM = 260.0
# Scalp is bright and skull dark in any contrast without fat suppression: a dip to below this share within 15 mm of the
# surface means that they are there; a stripped brain has none.
SKULL_DIP = 0.7
# White matter is the bright bulk of a T1 brain and CSF its dark tail (skewness -1.2 on the two real ones measured);
# in T2 CSF is the bright tail (+1.2 to +1.3 on the inverted ones).
T1_SKEW, T2_SKEW = -0.4, 0.3
# In T1 the deep white matter is brighter than the rim of cortex and sulci (1.09 and 1.18 measured); in FLAIR it is not.
T1_DEEP = 1.02
# What is left inside a head when everything wider than 3 mm (Gaussian) is taken away, as a share of its contrast: 0.39
# to 0.71 in the real and averaged heads measured, thick slices and EPI among them; 0.18 once they are blurred by 3 mm.
FINE_MM, LEAST_FINE = 3.0, 0.2


@dataclass(frozen=True)
class Outline:
    """width, length, height in mm of the largest object (left-right, front-back, height); closes: at the vertex;
    at_top: it runs into the upper end of the field of view; stripped: no scalp and skull around it.

    skew  skewness of the intensities inside; deep  median deep inside over median just under the surface.
    """

    width: float
    length: float
    height: float
    closes: bool
    at_top: bool
    stripped: bool
    skew: float
    deep: float

    @property
    def is_head(self) -> bool:
        ratio = self.length / max(self.width, 1.0)
        return (
            WIDTH_MM[0] <= self.width <= WIDTH_MM[1]
            and LENGTH_MM[0] <= self.length <= LENGTH_MM[1]
            and self.height >= HEIGHT_MM
            and LENGTH_TO_WIDTH[0] <= ratio <= LENGTH_TO_WIDTH[1]
            and self.closes
        )

    @property
    def contrast(self) -> str:
        """ "T1", "T2" (bright fluid), or "unclear"."""
        if self.skew <= T1_SKEW and self.deep >= T1_DEEP:
            return "T1"
        return "T2" if self.skew >= T2_SKEW else "unclear"


def outline(image: Image) -> Outline | None:
    """The outline of what a grey volume in space shows; None where there is no geometry or no object."""
    from scipy import ndimage

    facts = image.facts
    if facts.affine is None or facts.colour or facts.axis != "space" or image.voxels.shape[0] < 2:
        return None
    turned, matrix = canonical(image.voxels, facts.affine)
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)[::-1]
    steps = [max(1, int(GRID_MM / float(mm) + 1e-3)) for mm in sizes]
    thin = turned[:: steps[0], :: steps[1], :: steps[2]].astype(np.float32)
    mm = sizes * steps
    low, high = (float(v) for v in np.percentile(thin, [1, 99]))
    # Filled before it is opened: a thin scalp around a dark skull is one shell of the head, not noise to be removed.
    mask = ndimage.binary_opening(_filled(thin > max(low, 0.0) + 0.15 * (high - max(low, 0.0))))
    labels, count = ndimage.label(mask)
    if not count:
        return None
    body = labels == int(np.argmax(ndimage.sum_labels(mask, labels, range(1, count + 1)))) + 1
    z, y, x = ndimage.find_objects(body.astype(np.int8))[0]
    areas = body.sum(axis=(1, 2))
    rows = max(1, round(TOP_MM / float(mm[0])))
    top = areas[max(z.start, z.stop - rows) : z.stop].mean() / areas.max()
    profile, inside = _profile(thin, body, mm, z.stop)
    spread = float(inside.std()) if inside.size else 0.0
    skew = float(((inside - inside.mean()) ** 3).mean() / spread**3) if spread > 0 else 0.0
    shell, under = _some(profile[:2]), _some(profile[2:5])
    stripped = bool(shell and under and min(under) >= SKULL_DIP * max(shell))
    rim = _some(profile[2:4] if stripped else profile[6:8])
    core = _some(profile[9:14])
    deep = float(np.mean(core) / max(float(np.mean(rim)), 1e-6)) if rim and core else 0.0
    return Outline(
        width=float((x.stop - x.start) * mm[2]),
        length=float((y.stop - y.start) * mm[1]),
        height=float((z.stop - z.start) * mm[0]),
        closes=bool(top < TOP_SHARE),
        at_top=bool(z.stop == body.shape[0] and areas[-1] > 0.1 * areas.max()),
        stripped=stripped,
        skew=skew,
        deep=deep,
    )


def is_blurred(image: Image, plane: NDArray[np.float32]) -> bool:
    """Whether a plane of a head shows nothing finer than half a centimetre. False where pixels are too wide for it.

    plane  (y, x) of the image.
    """
    from scipy import ndimage

    spacing = image.facts.spacing
    if spacing is None or max(spacing[:2]) > FINE_MM:
        return False
    mm = np.array(spacing[1::-1])
    low, high = np.percentile(plane, [1, 99])
    body = ndimage.gaussian_filter(plane, 2.0 / mm) > low + 0.15 * (high - low)
    inside = ndimage.binary_erosion(body, iterations=max(1, round(10 / float(mm.max()))))
    if np.count_nonzero(inside) < 100:
        return False
    fine = plane - ndimage.gaussian_filter(plane, FINE_MM / mm)
    return bool(fine[inside].std() < LEAST_FINE * plane[inside].std())


def looks_like_head_slice(seen: Look) -> bool:
    """One MR plane with the closed oval outline of a head against air; a neck may leave below.

    The bounds hold the 17 public slices (aspect 0.80-0.96, ellipse 0.65-1.08, solidity from 0.79) with room on either
    side; MR of abdomen (aspect 1.3 to 1.6) and of a shoulder (solidity 0.59) lie outside. A thigh or a calf in cross
    section can pass: where the header names the body part, the header decides.
    """
    return (
        seen.corners_dark >= 3
        and seen.touches in ("", "B")
        and 0.66 <= seen.aspect <= 1.2
        and 0.58 <= seen.ellipse <= 1.18
        and seen.solidity >= 0.74
        and seen.area >= 0.12
    )


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Holes filled section by section along each axis: sinuses open to the air close in one of them."""
    from scipy import ndimage

    body = mask
    for axis in range(3):
        planes = [ndimage.binary_fill_holes(p) for p in np.moveaxis(body, axis, 0)]
        body = np.moveaxis(np.stack(planes), 0, axis)
    return body


def _profile(
    thin: NDArray[np.float32], body: NDArray[np.bool_], mm: NDArray[Any], top: int
) -> tuple[list[float], NDArray[np.float32]]:
    """Median by depth below the surface in steps of 3 mm (NaN: none there), upper 100 mm; the values below 20 mm."""
    from scipy import ndimage

    upper = np.zeros_like(body)
    start = max(0, top - int(100 / float(mm[0])))
    upper[start:top] = body[start:top]
    depth = ndimage.distance_transform_edt(np.pad(body, 1), sampling=tuple(float(v) for v in mm))[1:-1, 1:-1, 1:-1]
    profile = []
    for step in range(15):
        band = thin[upper & (depth > 3 * step) & (depth <= 3 * step + 3)]
        profile.append(float(np.median(band)) if band.size >= 20 else np.nan)
    return profile, thin[upper & (depth > 20)]


def _some(bands: list[float]) -> list[float]:
    """Those depths at which there were voxels: a coarse grid has none between its steps."""
    return [b for b in bands if np.isfinite(b)]
