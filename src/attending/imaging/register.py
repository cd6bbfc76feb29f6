"""Registration: two images of one body laid over each other, with how good the fit is, and a refusal where it failed.

Rigid or affine, 2-D or 3-D, by mutual information (Mattes et al., IEEE TMI 2003;22:120-128), from coarse to fine levels
(SimpleITK). The search is done twice, once each way and each from its own start: where there and back again does
not lead home, the images were not aligned, whatever the metric says; and how far it misses is the stated error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryRefused, RegistrationFailed
from ..records import Image
from .measure_space import Space, space_of
from .register_search import BINS, Kind, body_points, linear, search, shrunk

MOST_ERROR_MM = 3.0
MOST_ERROR_VOXELS = 1.5
"""There and back again may miss by this many of the coarser image's voxels, or by MOST_ERROR_MM, whichever is more."""
LEAST_OVERLAP = 0.3
LEAST_LIKENESS = 0.1
"""Normalised mutual information above that of independence below which the images show nothing in common."""


@dataclass(frozen=True, eq=False)
class Registered:
    """matrix    4x4, patient LPS mm (1) of the fixed image -> LPS mm (1) of the moving one. For images of one plane: in
              the plane's own millimetres from its first pixel (z unused); in pixels where ``unit`` is "{pixels}".
    error     how far there and back again misses, root mean square over the body: how consistent the fit is. What pulls
              both ways alike, as a lesion that grew, is not in it.
    overlap   share of the fixed body that the moving image covers. before, after: normalised mutual information without
              and with the transform (1: independent, 2: identical).
    """

    matrix: NDArray[np.float64]
    kind: Kind
    dims: int
    unit: str
    error: float
    overlap: float
    before: float
    after: float

    @property
    def turned(self) -> float:
        """Degrees that the rotation turns by."""
        u, _, v = np.linalg.svd(self.matrix[:3, :3])
        return float(np.degrees(np.arccos(np.clip((np.trace(u @ v) - 1) / 2, -1, 1))))

    @property
    def inverse(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.inv(self.matrix), dtype=np.float64)


def register(fixed: Image, moving: Image, kind: Kind = "rigid", seed: int = 1) -> Registered:
    """The transform that lays moving over fixed. The same images give the same transform.

    Raises GeometryRefused for what cannot be laid over each other (a plane on a volume, colour, unknown spacing of one
    of the two, a sheared grid) and RegistrationFailed, with the figures, where no fit can be trusted.
    """
    dims, unit = _dims(fixed, moving)
    still, mover = (_sitk(image, dims, unit) for image in (fixed, moving))
    there = search(still, mover, dims, kind, seed)
    back = search(mover, still, dims, kind, seed)
    points = body_points(still, dims)
    home = _apply(back, _apply(there, points))
    miss = float(np.sqrt(((home - points) ** 2).sum(axis=1).mean()))
    coarser = max(*still.GetSpacing(), *mover.GetSpacing())
    covered = _covered(_apply(there, points), mover)
    before, after = (_likeness(still, mover, m) for m in (np.eye(dims + 1), there))
    allowed = max(MOST_ERROR_VOXELS * coarser, MOST_ERROR_MM if unit == "mm" else 0.0)
    told = f"there and back again misses by {miss:.1f} {unit.strip('{}')}"
    if miss > allowed:
        raise _failed(told, f"at most {allowed:.1f}")
    if covered < LEAST_OVERLAP:
        raise _failed(f"the images share {covered:.0%} of the body", f"at least {LEAST_OVERLAP:.0%}")
    if after - 1 < LEAST_LIKENESS * _self_likeness(still):
        raise _failed("the images show nothing in common", "two images of one body part, of one kind")
    matrix = np.eye(4)
    matrix[:dims, :dims], matrix[:dims, 3] = there[:dims, :dims], there[:dims, dims]
    return Registered(matrix, kind, dims, unit, miss, covered, before, after)


def resampled(
    moving: Image, fixed: Image, found: Registered, order: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The moving image on the fixed image's grid (z, y, x), and where it is known. order 0 for labels, 1 for values."""
    from scipy.ndimage import affine_transform

    step = np.linalg.inv(_to_world(moving, found)) @ found.matrix @ _to_world(fixed, found)
    flipped, offset = step[:3, :3][::-1, ::-1], step[:3, 3][::-1]
    shape = fixed.voxels.shape[:3]
    voxels = np.asarray(moving.voxels, dtype=np.float32)
    values = affine_transform(voxels, flipped, offset, output_shape=shape, order=order, mode="nearest")
    known = affine_transform(np.ones(voxels.shape, np.float32), flipped, offset, output_shape=shape, order=0)
    return values, known > 0.5


def _to_world(image: Image, found: Registered) -> NDArray[np.float64]:
    """4x4, index (x, y, z, 1) -> the millimetres (or pixels) that the transform speaks of."""
    matrix = np.eye(4)
    if found.dims == 3:
        return np.array(image.facts.affine, dtype=np.float64)
    sizes = _plane_spacing(image) if found.unit == "mm" else (1.0, 1.0)
    matrix[0, 0], matrix[1, 1] = sizes
    return matrix


def _failed(seen: str, allowed: str) -> RegistrationFailed:
    return RegistrationFailed(
        f"the two images could not be laid over each other: {seen}",
        allowed,
        "compare the measurements instead, or give images of the same body part and sequence",
    )


def _dims(fixed: Image, moving: Image) -> tuple[int, str]:
    planes = [image.voxels.shape[0] for image in (fixed, moving)]
    for image in (fixed, moving):
        if image.facts.colour or image.facts.axis != "space":
            raise GeometryRefused(
                "a colour image, or planes that follow each other in time",
                "grey-scale images in space",
                "choose others",
            )
    if (planes[0] == 1) != (planes[1] == 1):
        raise GeometryRefused("a single plane and a volume", "two volumes or two planes", "give two of one kind")
    if planes[0] == 1:
        known = [image.facts.affine is not None or image.facts.spacing is not None for image in (fixed, moving)]
        if known[0] != known[1]:
            raise GeometryRefused(
                "one image with a spacing and one without", "both or neither", "give the images with their spacing"
            )
        return 2, "mm" if known[0] else "{pixels}"
    if any(image.facts.affine is None for image in (fixed, moving)):
        raise GeometryRefused(
            "a volume without a place in the patient",
            "a known affine of both",
            "give the DICOM series or set the affine",
        )
    return 3, "mm"


def _plane_spacing(image: Image) -> tuple[float, float]:
    space: Space | None = space_of(image.facts)
    assert space is not None  # _dims asked for it
    return space.spacing[:2]


def _sitk(image: Image, dims: int, unit: str) -> Any:
    import SimpleITK

    voxels = np.asarray(image.voxels, dtype=np.float32)
    low, high = np.percentile(voxels[:: max(1, len(voxels) // 32)], (0.1, 99.9))
    voxels = np.clip(voxels, low, high)
    if dims == 2:
        made = SimpleITK.GetImageFromArray(voxels[0])
        made.SetSpacing(_plane_spacing(image) if unit == "mm" else (1.0, 1.0))
        return made
    made = SimpleITK.GetImageFromArray(voxels)
    affine = np.array(image.facts.affine, dtype=np.float64)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / sizes
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise GeometryRefused("a sheared grid", "perpendicular axes", "resample the volume first")
    u, _, v = np.linalg.svd(axes)
    made.SetSpacing([float(s) for s in sizes])
    made.SetDirection([float(a) for a in (u @ v).ravel()])
    made.SetOrigin([float(o) for o in affine[:3, 3]])
    return made


def _apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    dims = points.shape[1]
    return np.asarray(points @ matrix[:dims, :dims].T + matrix[:dims, dims])


def _covered(points: NDArray[np.float64], image: Any) -> float:
    dims = points.shape[1]
    direction = np.array(image.GetDirection()).reshape(dims, dims) * np.array(image.GetSpacing())
    index = (points - np.array(image.GetOrigin())) @ np.linalg.inv(direction).T
    return float(((index >= -0.5) & (index <= np.array(image.GetSize()) - 0.5)).all(axis=1).mean())


def _likeness(fixed: Any, moving: Any, matrix: NDArray[np.float64]) -> float:
    """Studholme's normalised mutual information over the fixed body, 1 (independent) to 2 (identical)."""
    import SimpleITK

    laid = SimpleITK.Resample(shrunk(moving, 2.0), shrunk(fixed, 2.0), linear(matrix), SimpleITK.sitkLinear, np.nan)
    a = SimpleITK.GetArrayFromImage(shrunk(fixed, 2.0)).ravel()
    b = SimpleITK.GetArrayFromImage(laid).ravel()
    known = np.isfinite(b)
    if known.sum() < 64:
        return 1.0
    return _normalised(a[known], b[known])


def _self_likeness(image: Any) -> float:
    import SimpleITK

    values = SimpleITK.GetArrayFromImage(shrunk(image, 2.0)).ravel()
    return _normalised(values, values) - 1


def _normalised(a: NDArray[Any], b: NDArray[Any]) -> float:
    counts, _, _ = np.histogram2d(a, b, bins=BINS)
    joint = counts / counts.sum()

    def entropy(p: NDArray[np.float64]) -> float:
        some = p[p > 0]
        return float(-(some * np.log(some)).sum())

    both = entropy(joint.ravel())
    return (entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1))) / both if both > 0 else 1.0
