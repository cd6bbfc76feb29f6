"""The search behind ``register``: from coarse to fine levels, by mutual information, from several starts.

Images are SimpleITK's; matrices are (dims + 1)-square, fixed world -> moving world.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["rigid", "affine"]
BINS = 48
LEVELS_MM = (8.0, 4.0, 2.0, 1.0)
"""Voxel sizes of the levels; those finer than the image are left out, its own size is the last."""
FINEST_SAMPLES = 4_000_000
"""Voxels of the finest level: finer gives nothing that half a voxel asks for, and takes minutes."""
SAMPLES = 20_000
ITERATIONS = 100
TURNS = (0.0, 0.26, -0.26)
"""Radians about each axis that the search starts from: 15 degrees, what patients lie differently by."""
STARTS = 2
FOREGROUND = 0.1
"""Of the way from the darkest to the brightest percentile: what is brighter is body, not air."""


def search(fixed: Any, moving: Any, dims: int, kind: Kind, seed: int) -> NDArray[np.float64]:
    """(dims + 1)-square matrix, fixed world -> moving world, from coarse to fine."""
    levels = _levels(fixed)
    still, mover = (shrunk(image, levels[0]) for image in (fixed, moving))
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
        still, mover = (shrunk(image, level) for image in (fixed, moving))
        best = _optimised(still, mover, best, centre, dims, "rigid", level, seed)[1]
    if kind == "affine":
        for level in levels[-2:]:
            still, mover = (shrunk(image, level) for image in (fixed, moving))
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


def shrunk(image: Any, level: float) -> Any:
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
    return np.asarray(body_points(image, dims).mean(axis=0))


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
    method.SetInitialTransform(linear(start))
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


def linear(matrix: NDArray[np.float64]) -> Any:
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


def body_points(image: Any, dims: int) -> NDArray[np.float64]:
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
