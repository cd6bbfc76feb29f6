"""Patients that nobody had to scan: drawn heads and chests, no two alike, on one grid and with one set of facts.

For asking whether a model looks: what differs between two of these pictures is in the voxels alone. They are drawings;
a model that takes all of them for the same nothing must be shown real pictures instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Image, ImageFacts
from .card import Card

SIDE = {2: 128, 3: 64}
"""Voxels along an axis of a plane and of a volume: enough for what is drawn, quick to encode."""
FIELD_MM = 230.0
INSIDE = 0.75
"""Part of each in-plane axis that ``middle_of`` takes: what lies outside is frame, air and annotation."""
STEPS = 256
"""Grey steps of a display: less than one of them cannot be seen."""
TOUCHED = 0.05
"""Part of the voxels that ``twin`` moves: any hash of the picture changes, no texture does."""


def patients(card: Card, count: int, seed: int = 11) -> tuple[Image, ...]:
    """``count`` drawn patients that the card admits, as far as drawings can, all of one shape and with one facts."""
    dims = 2 if 2 in card.dims else 3
    side = min(max(SIDE[dims], card.min_matrix or 0), card.max_matrix or SIDE[dims])
    shape = (side if dims == 3 else 1, side, side)
    step, start = FIELD_MM / side, -FIELD_MM / 2
    facts = ImageFacts(
        id="i1",
        shape=shape,
        affine=((step, 0.0, 0.0, start), (0.0, step, 0.0, start), (0.0, 0.0, step, start), (0.0, 0.0, 0.0, 1.0)),
        spacing=(step, step, step),
        modality=card.modalities[0] if card.modalities else "MR",
        view=card.views[0] if card.views else "AXIAL",
        body_part=card.body_parts[0] if card.body_parts else "HEAD",
        unit="[hnsf'U]" if card.modalities[:1] == ("CT",) else "1",
        sequence=card.sequences[0] if card.sequences else None,
    )
    draw = _chest if facts.body_part == "CHEST" and facts.modality in ("CR", "DX") else _head
    return tuple(Image(facts, _grey(draw(shape, np.random.default_rng((seed, n))), facts)) for n in range(count))


def alike(images: Sequence[Image]) -> tuple[Image, ...]:
    """Real pictures brought to the first one's grid, kind of number and facts, so that only their content differs.

    Raises ValueError for none.
    """
    from scipy.ndimage import zoom

    if not images:
        raise ValueError("no image; allowed: at least one")
    first = images[0]
    out = []
    for image in images:
        voxels = image.voxels if image.facts.colour == first.facts.colour else _recoloured(image, first.facts.colour)
        if voxels.shape != first.voxels.shape:
            factors = [a / b for a, b in zip(first.voxels.shape, voxels.shape, strict=True)]
            voxels = zoom(voxels.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest")
        out.append(Image(first.facts, _as(voxels, first.voxels.dtype)))
    return tuple(out)


def completed(images: Sequence[Image], count: int, seed: int = 11) -> tuple[Image, ...]:
    """The images and, up to ``count``, copies of them as other people: turned, stretched, shifted, some mirrored, in
    another contrast. For sets of a few volumes, where nobody else can be had."""
    from scipy.ndimage import affine_transform

    out = list(images)
    for n in range(count - len(images)):
        image, rng = images[n % len(images)], np.random.default_rng((seed, n))
        voxels = image.voxels.astype(np.float32)
        axes = voxels.shape[:3]
        angle, stretch = rng.uniform(-0.2, 0.2), rng.uniform(0.87, 1.15, 3)
        turn = np.eye(3)
        turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        turn = turn @ np.diag([1.0 if axes[0] == 1 else stretch[0], stretch[1], rng.choice([-1, 1]) * stretch[2]])
        centre = (np.array(axes) - 1) / 2
        shift = centre - turn @ (centre + np.array([0.0, *rng.uniform(-0.04, 0.04, 2)]) * axes)
        low, high = float(np.nanmin(voxels)), float(np.nanmax(voxels))
        channels = [voxels] if voxels.ndim == 3 else [voxels[..., c] for c in range(voxels.shape[3])]
        moved = [affine_transform(np.nan_to_num(c), turn, shift, order=1, cval=low) for c in channels]
        part = (np.stack(moved, axis=-1) if voxels.ndim == 4 else moved[0]) - low
        contrast = (part / max(high - low, 1e-6)).clip(0, 1) ** rng.uniform(0.75, 1.3)
        out.append(Image(image.facts, _as(low + contrast * (high - low), image.voxels.dtype)))
    return tuple(out)


def shuffled(image: Image, rng: np.random.Generator) -> Image:
    """Noise: the image's own voxels in another order. Size, mean and histogram stay; all that is anatomy goes."""
    flat = image.voxels.reshape(-1, *image.voxels.shape[3:])
    return Image(image.facts, flat[rng.permutation(len(flat))].reshape(image.voxels.shape))


def blank(images: Sequence[Image]) -> Image:
    """One grey, the median of all voxels of all images."""
    first = images[0]
    grey = np.median([np.median(image.voxels) for image in images])
    return Image(first.facts, _as(np.full(first.voxels.shape, grey), first.voxels.dtype))


def twin(image: Image, rng: np.random.Generator) -> Image:
    """The same picture to any eye: a twentieth of the voxels moved by one 256th of the range (at least by one)."""
    voxels = image.voxels
    low, high = float(np.nanmin(voxels)), float(np.nanmax(voxels))
    step = (high - low) / STEPS
    if voxels.dtype.kind in "ui":
        step = max(1.0, np.floor(step))
    signs = rng.choice([-1, 1], voxels.shape) * (rng.random(voxels.shape) < TOUCHED)
    return Image(image.facts, _as(np.clip(voxels + step * signs, low, high), voxels.dtype))


def middle_of(image: Image, other: Image) -> Image:
    """The image's frame around the other's middle: what a model that reads only corners and borders cannot tell."""
    voxels = image.voxels.copy()
    box = tuple(_middle(n) if n > 1 else slice(None) for n in voxels.shape[:3])
    voxels[box] = other.voxels[box]
    return Image(image.facts, voxels)


def _middle(n: int) -> slice:
    edge = round(n * (1 - INSIDE) / 2)
    return slice(edge, n - edge)


def _as(voxels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind not in "ui":
        return voxels.astype(dtype)
    limits = np.iinfo(dtype)
    whole = np.clip(np.rint(np.nan_to_num(voxels)), limits.min, limits.max)
    return np.asarray(whole.astype(dtype))


def _recoloured(image: Image, colour: bool) -> NDArray[Any]:
    if colour:
        return np.repeat(image.voxels[..., None], 3, axis=-1)
    return np.asarray(image.voxels.mean(axis=-1))


def _grey(drawn: NDArray[np.float32], facts: ImageFacts) -> NDArray[np.int16]:
    """0..1 -> Hounsfield units for CT, 0..255 for a film, 0..1000 else."""
    if facts.modality == "CT":
        return (drawn * 1200 - 1000).astype(np.int16)
    return (drawn * (255 if facts.modality in ("CR", "DX") else 1000)).astype(np.int16)


Grid = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def _grid(shape: tuple[int, ...], rng: np.random.Generator) -> Grid:
    """(x, y, z) from -1 to 1, turned and shifted a little: nobody lies straight."""
    axes = [(np.arange(n, dtype=np.float32) + 0.5) / n * 2 - 1 if n > 1 else np.zeros(1, np.float32) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    angle = rng.uniform(-0.25, 0.25)
    turned = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    return turned[0] - rng.uniform(-0.06, 0.06), turned[1] - rng.uniform(-0.06, 0.06), z


def _ellipsoid(grid: Grid, centre: Sequence[float], half: Sequence[float]) -> NDArray[np.float32]:
    """Squared distance from the centre in half axes: below 1 inside."""
    return np.asarray(sum(((g - c) / h) ** 2 for g, c, h in zip(grid, centre, half, strict=True)), dtype=np.float32)


def _head(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Scalp, skull, grey and white matter with folds, ventricles, and up to three lesions of any brightness."""
    grid, size = _grid(shape, rng), rng.uniform(0.8, 1.05)
    drawn = np.zeros(shape, np.float32)
    folds = 0.10 * np.sin(rng.uniform(7, 13) * grid[0] + rng.uniform(0, 6)) * np.cos(rng.uniform(7, 13) * grid[1])
    narrow = rng.uniform(0.75, 0.9)
    for part, wave, grey in ((0.93, 0, 0.85), (0.86, 0, 0.12), (0.81, 0, 0.45), (0.66, 1, 0.62)):
        inside = _ellipsoid(grid, (0, 0, 0), (part * size * narrow, part * size, part * size)) + wave * folds < 1
        drawn[inside] = grey * rng.uniform(0.85, 1.15)
    wide, long = rng.uniform(0.05, 0.14), rng.uniform(0.18, 0.34)
    for side in (-1, 1):
        drawn[_ellipsoid(grid, (side * (0.06 + wide), 0.02, 0), (wide, long, 0.2)) < 1] = rng.uniform(0.05, 0.3)
    for _ in range(rng.integers(0, 4)):
        at = (*rng.uniform(-0.45, 0.45, 2), rng.uniform(-0.2, 0.2))
        half = tuple(rng.uniform(0.06, 0.22, 3))
        drawn[_ellipsoid(grid, at, half) < 1] = rng.uniform(0.1, 1.0)
    return _scanned(drawn, grid, rng)


def _chest(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """A frontal film: bright body, two dark lungs with ribs, a heart, and up to three opacities."""
    grid = _grid(shape, rng)
    x, y, _ = grid
    drawn = np.broadcast_to(np.float32(rng.uniform(0.55, 0.75)), shape).copy()
    drawn[np.broadcast_to(np.abs(x) + 0.15 * y > rng.uniform(0.92, 1.05), shape)] = 0.05
    height = rng.uniform(0.55, 0.75)
    ribs = 0.09 * (np.sin(rng.uniform(13, 20) * (y + 0.5 * np.abs(x)) + rng.uniform(0, 6)) > 0.3)
    for side in (-1, 1):
        lung = _ellipsoid(grid, (side * rng.uniform(0.38, 0.46), -0.1, 0), (rng.uniform(0.24, 0.34), height, 1)) < 1
        drawn[lung] = (rng.uniform(0.15, 0.32) + np.broadcast_to(ribs, shape))[lung]
    heart = (rng.uniform(0.02, 0.18), rng.uniform(0.2, 0.4), 0)
    drawn[_ellipsoid(grid, heart, (rng.uniform(0.2, 0.38), rng.uniform(0.25, 0.36), 1)) < 1] = rng.uniform(0.65, 0.85)
    for _ in range(rng.integers(0, 4)):
        at = (rng.choice([-1, 1]) * rng.uniform(0.25, 0.55), rng.uniform(-0.5, 0.4), 0)
        cloud = np.exp(-_ellipsoid(grid, at, (*rng.uniform(0.08, 0.3, 2), 1)))
        drawn = np.maximum(drawn, np.broadcast_to(cloud * rng.uniform(0.5, 0.8), shape)).astype(np.float32)
    return _scanned(drawn, grid, rng)


def _scanned(drawn: NDArray[np.float32], grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """A slow change of brightness across the field and a little noise; 0..1."""
    x, y, _ = grid
    field = 1 + rng.uniform(-0.15, 0.15) * x + rng.uniform(-0.15, 0.15) * y
    noise = rng.normal(0, 0.012, drawn.shape)
    return np.clip(drawn * field + noise, 0, 1).astype(np.float32)
