"""Registration: two images of one body laid over each other, with how good the fit is, and a refusal where it failed.

Rigid or affine, 2-D or 3-D, by mutual information (Mattes et al., IEEE TMI 2003;22:120-128), from coarse to fine levels
(SimpleITK). The search is done twice, once each way and each from its own start: where there and back again does
not lead home, the images were not aligned, whatever the metric says; and how far it misses is the stated error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryRefused, RegistrationFailed
from ..records import Image
from .measure_space import Space, space_of

Kind = Literal["rigid", "affine"]
LEVELS_MM = (8.0, 4.0, 2.0, 1.0)
"""Voxel sizes of the levels; those finer than the image are left out, its own size is the last."""
FINEST_SAMPLES = 4_000_000
"""Voxels of the finest level: finer gives nothing that half a voxel asks for, and takes minutes."""
SAMPLES = 20_000
BINS = 48
ITERATIONS = 100
TURNS = (0.0, 0.26, -0.26)
"""Radians about each axis that the search starts from: 15 degrees, what patients lie differently by."""
STARTS = 2
MOST_ERROR_MM = 3.0
MOST_ERROR_VOXELS = 1.5
"""There and back again may miss by this many of the coarser image's voxels, or by MOST_ERROR_MM, whichever is more."""
LEAST_OVERLAP = 0.3
FOREGROUND = 0.1
"""Of the way from the darkest to the brightest percentile: what is brighter is body, not air."""
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
    there = _search(still, mover, dims, kind, seed)
    back = _search(mover, still, dims, kind, seed)
    points = _body(still, dims)
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


def _search(fixed: Any, moving: Any, dims: int, kind: Kind, seed: int) -> NDArray[np.float64]:
    """(dims + 1)-square matrix, fixed world -> moving world, from coarse to fine."""
    levels = _levels(fixed)
    still, mover = (_shrunk(image, levels[0]) for image in (fixed, moving))
    centre = _centre(fixed)
    starts = sorted(
        (
            (_metric(still, mover, start, seed), k, start)
            for k, start in enumerate(_starts(fixed, moving, centre, dims))
        ),
        key=lambda item: item[:2],
    )
    best = min(
        (_optimised(still, mover, start, centre, dims, "rigid", levels[0], seed) for _, _, start in starts[:STARTS]),
        key=lambda item: item[0],
    )[1]
    for level in levels[1:]:
        still, mover = (_shrunk(image, level) for image in (fixed, moving))
        best = _optimised(still, mover, best, centre, dims, "rigid", level, seed)[1]
    if kind == "affine":
        for level in levels[-2:]:
            still, mover = (_shrunk(image, level) for image in (fixed, moving))
            best = _optimised(still, mover, best, centre, dims, "affine", level, seed)[1]
    return best


def _levels(image: Any) -> list[float]:
    own = float(np.min(image.GetSpacing()))
    extent = np.array(image.GetSize()) * np.array(image.GetSpacing())
    # A coarsest level of at least 16 voxels along the two longest axes, and a finest of at most FINEST_SAMPLES.
    coarsest = min(LEVELS_MM[0], float(np.sort(extent)[-2]) / 16) if own >= 0.05 else own * 8
    finest = max(own, 0.5 * coarsest / 8, float(np.cbrt(np.prod(extent) / FINEST_SAMPLES)) if len(extent) == 3 else own)
    levels = [coarsest]
    while levels[-1] / 2 > finest * 1.2:
        levels.append(levels[-1] / 2)
    return [*levels, finest] if finest < levels[-1] else levels


def _shrunk(image: Any, level: float) -> Any:
    import SimpleITK

    spacing = np.array(image.GetSpacing())
    factors = [max(1, min(round(level / s), n // 4 or 1)) for s, n in zip(spacing, image.GetSize(), strict=True)]
    if max(factors) == 1:
        return image
    # Means over bins: ITK's Shrink picks one voxel of each and lays it up to half a voxel beside its place.
    return SimpleITK.BinShrink(image, [int(f) for f in factors])


def _centre(image: Any) -> NDArray[np.float64]:
    middle = [(n - 1) / 2 for n in image.GetSize()]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(middle))


def _mass(image: Any, dims: int) -> NDArray[np.float64]:
    return np.asarray(_body(image, dims).mean(axis=0))


def _starts(fixed: Any, moving: Any, centre: NDArray[np.float64], dims: int) -> list[NDArray[np.float64]]:
    """Where the search may start: as they lie in the patient, centre on centre, mass on mass; each turned a little."""
    shifts = [np.zeros(dims), _centre(moving) - centre, _mass(moving, dims) - _mass(fixed, dims)]
    turns = [np.eye(dims)]
    for angle in TURNS[1:]:
        for axis in range(3) if dims == 3 else (2,):
            turn = np.eye(3)
            i, j = (axis + 1) % 3, (axis + 2) % 3
            turn[i, i] = turn[j, j] = np.cos(angle)
            turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
            turns.append(turn[:dims, :dims])
    made = []
    for shift in shifts:
        for turn in turns:
            matrix = np.eye(dims + 1)
            matrix[:dims, :dims] = turn
            matrix[:dims, dims] = centre - turn @ centre + shift
            made.append(matrix)
    return made


def _method() -> Any:
    import SimpleITK

    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    # One thread: sums in another order would give another transform each time.
    method.SetNumberOfThreads(1)
    return method


def _sample(method: Any, fixed: Any, seed: int) -> None:
    share = min(1.0, SAMPLES / fixed.GetNumberOfPixels())
    if share < 1.0:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, seed)
    else:
        method.SetMetricSamplingStrategy(method.NONE)


def _metric(fixed: Any, moving: Any, start: NDArray[np.float64], seed: int) -> float:
    method = _method()
    _sample(method, fixed, seed)
    method.SetInitialTransform(_affine(start))
    try:
        return float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # no overlap at all
        return float("inf")


def _optimised(
    fixed: Any,
    moving: Any,
    start: NDArray[np.float64],
    centre: NDArray[np.float64],
    dims: int,
    kind: Kind,
    level: float,
    seed: int,
) -> tuple[float, NDArray[np.float64]]:
    import SimpleITK

    transform = _parametrised(start, centre, dims, kind)
    method = _method()
    _sample(method, fixed, seed)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=level, minStep=level * 4e-3, numberOfIterations=ITERATIONS, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed, moving)
        value = float(method.GetMetricValue())
    except RuntimeError:  # the images lost each other
        return float("inf"), start
    return value, _matrix(SimpleITK.Transform(transform), dims)


def _parametrised(start: NDArray[np.float64], centre: NDArray[np.float64], dims: int, kind: Kind) -> Any:
    import SimpleITK

    if kind == "affine":
        transform = SimpleITK.AffineTransform(dims)
    else:
        transform = SimpleITK.Euler3DTransform() if dims == 3 else SimpleITK.Euler2DTransform()
    transform.SetCenter([float(v) for v in centre])
    block = start[:dims, :dims]
    if kind == "rigid":
        u, _, v = np.linalg.svd(block)
        block = u @ v
    transform.SetMatrix([float(v) for v in block.ravel()])
    shift = start[:dims, :dims] @ centre + start[:dims, dims] - centre
    transform.SetTranslation([float(v) for v in shift])
    return transform


def _affine(matrix: NDArray[np.float64]) -> Any:
    import SimpleITK

    dims = len(matrix) - 1
    transform = SimpleITK.AffineTransform(dims)
    transform.SetMatrix([float(v) for v in matrix[:dims, :dims].ravel()])
    transform.SetTranslation([float(v) for v in matrix[:dims, dims]])
    return transform


def _matrix(transform: Any, dims: int) -> NDArray[np.float64]:
    """The matrix of a linear transform, from where it takes the origin and the unit points."""
    origin = np.array(transform.TransformPoint([0.0] * dims))
    matrix = np.eye(dims + 1)
    for axis in range(dims):
        unit = [0.0] * dims
        unit[axis] = 1.0
        matrix[:dims, axis] = np.array(transform.TransformPoint(unit)) - origin
    matrix[:dims, dims] = origin
    return matrix


def _apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    dims = points.shape[1]
    return np.asarray(points @ matrix[:dims, :dims].T + matrix[:dims, dims])


def _body(image: Any, dims: int) -> NDArray[np.float64]:
    """At most a few thousand points of the fixed image's foreground, in its world."""
    import SimpleITK

    array = SimpleITK.GetArrayViewFromImage(image)
    every = tuple(slice(n % 2, None, max(1, n // 24)) for n in array.shape)
    thin = np.asarray(array[every])
    low, high = np.percentile(thin, (1, 99))
    places = np.argwhere(thin >= low + FOREGROUND * (high - low))
    index = places * [s.step for s in every] + [s.start for s in every]
    direction = np.array(image.GetDirection()).reshape(dims, dims) * np.array(image.GetSpacing())
    return np.asarray(index[:, ::-1] @ direction.T + np.array(image.GetOrigin()))


def _covered(points: NDArray[np.float64], image: Any) -> float:
    dims = points.shape[1]
    direction = np.array(image.GetDirection()).reshape(dims, dims) * np.array(image.GetSpacing())
    index = (points - np.array(image.GetOrigin())) @ np.linalg.inv(direction).T
    return float(((index >= -0.5) & (index <= np.array(image.GetSize()) - 0.5)).all(axis=1).mean())


def _likeness(fixed: Any, moving: Any, matrix: NDArray[np.float64]) -> float:
    """Studholme's normalised mutual information over the fixed body, 1 (independent) to 2 (identical)."""
    import SimpleITK

    laid = SimpleITK.Resample(_shrunk(moving, 2.0), _shrunk(fixed, 2.0), _affine(matrix), SimpleITK.sitkLinear, np.nan)
    a = SimpleITK.GetArrayFromImage(_shrunk(fixed, 2.0)).ravel()
    b = SimpleITK.GetArrayFromImage(laid).ravel()
    known = np.isfinite(b)
    if known.sum() < 64:
        return 1.0
    return _normalised(a[known], b[known])


def _self_likeness(image: Any) -> float:
    import SimpleITK

    values = SimpleITK.GetArrayFromImage(_shrunk(image, 2.0)).ravel()
    return _normalised(values, values) - 1


def _normalised(a: NDArray[Any], b: NDArray[Any]) -> float:
    counts, _, _ = np.histogram2d(a, b, bins=BINS)
    joint = counts / counts.sum()

    def entropy(p: NDArray[np.float64]) -> float:
        some = p[p > 0]
        return float(-(some * np.log(some)).sum())

    both = entropy(joint.ravel())
    return (entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1))) / both if both > 0 else 1.0


def as_rows(matrix: NDArray[np.float64]) -> tuple[Sequence[float], ...]:
    """A 4x4 as rows of numbers, for JSON."""
    return tuple([float(v) for v in row] for row in matrix)
