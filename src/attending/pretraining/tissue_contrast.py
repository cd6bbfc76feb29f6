"""How a synthetic head is seen: a contrast for each class, coil, noise, slices and field of view, all at random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
AIR = 0
CLASSES = 18
# Brightness of CSF, grey, white, fat, muscle, bone, marrow and eye, roughly as each family of sequences shows them;
# each is shaken. The other heads get any brightness at all, which is the harder lesson: with an hour of training there
# is room for a tenth of them, with a day for most (SynthSeg has nothing else).
FAMILIES = {
    "T1": (0.15, 0.50, 0.80, 1.00, 0.45, 0.05, 0.80, 0.15),
    "T2": (1.00, 0.58, 0.40, 0.70, 0.25, 0.04, 0.50, 1.00),
    "FLAIR": (0.10, 0.65, 0.50, 0.70, 0.35, 0.05, 0.50, 0.12),
    "PD": (0.80, 0.85, 0.65, 0.85, 0.50, 0.06, 0.60, 0.75),
    "DWI": (0.10, 0.70, 0.60, 0.08, 0.12, 0.03, 0.05, 0.10),
    "GRE": (0.75, 0.60, 0.50, 0.55, 0.45, 0.05, 0.20, 0.70),
}
FAMILIAR = 0.9


def paint(rng: np.random.Generator, fine: NDArray[np.uint8]) -> F32:
    """Fine classes -> brightness 0..about 1: a Gaussian for each class (SynthSeg's mixture), plus unevenness inside."""
    level = rng.uniform(0, 1, CLASSES)
    if rng.random() < FAMILIAR:
        csf, grey, white, fat, muscle, bone, marrow, eye = (
            np.array(FAMILIES[rng.choice(list(FAMILIES), p=(0.26, 0.26, 0.2, 0.08, 0.1, 0.1))]) + rng.normal(0, 0.07, 8)
        ).clip(0.01)
        if rng.random() < 0.25:  # fat suppressed
            fat, marrow = fat * 0.2, marrow * 0.3
        level[1:12] = (csf, grey, white, csf, grey, rng.uniform(0.05, 0.7), bone, marrow, fat, muscle, eye)
        level[17] = white
    else:
        level[4], level[5] = level[1], level[2]
        if abs(level[2] - level[3]) < 0.08:
            level[3] = (level[3] + rng.choice((-0.15, 0.15))) % 1.0
    level[4] += rng.normal(0, 0.03)
    # Nuclei lie between cortex and white matter in most sequences.
    level[5] += rng.uniform(-0.1, 0.7) * (level[3] - level[5])
    level[AIR] = 0.0 if rng.random() < 0.5 else rng.uniform(0, 0.12)
    rough = rng.uniform(0.0, 0.05, CLASSES)
    rough[AIR] *= 0.3
    noise = rng.standard_normal(fine.shape, dtype=np.float32)
    table, spread = level.astype(np.float32), rough.astype(np.float32)
    image: F32 = table[fine] + spread[fine] * noise
    return image


def acquire(rng: np.random.Generator, image: F32, mm: float) -> tuple[F32, NDArray[np.bool_]]:
    """The picture a scanner would give of it on the same grid, and which voxels lie in its field of view."""
    shape = image.shape
    for axis in range(3):  # partial volume
        image = _along(image, _blur(shape[axis], rng.uniform(0.3, 0.65)), axis)
    if rng.random() < 0.9:
        image = image * np.exp(rng.uniform(0, 0.4) * _bias(rng, shape))
    if rng.random() < 0.85:
        sigma = np.float32(rng.uniform(0, 0.07) * rng.uniform(0.2, 1))
        real = image + sigma * rng.standard_normal(shape, dtype=np.float32)
        image = np.sqrt(real**2 + (sigma * rng.standard_normal(shape, dtype=np.float32)) ** 2)
    kind = rng.random()
    if kind < 0.45:  # a 2-D acquisition: thick slices along one axis, mostly axial
        axis = int(rng.choice(3, p=(0.2, 0.55, 0.25)))
        apart = rng.uniform(2.5, 7.0) / mm
        image = _along(image, _slices(shape[axis], apart, rng.uniform(0.6, 1.0) * apart, rng.random()), axis)
    elif kind < 0.55:  # coarse in all directions
        coarse = rng.uniform(2.2, 4.0) / mm
        for axis in range(3):
            image = _along(image, _slices(shape[axis], coarse, coarse, rng.random()), axis)
    seen = np.ones(shape, np.bool_)
    low = min(0.0, float(image.min()))
    for axis, end, chance, most in ((1, 1, 0.5, 0.45), (1, 0, 0.12, 0.2), (0, 0, 0.12, 0.15), (0, 1, 0.12, 0.2),
                                    (2, 0, 0.08, 0.2), (2, 1, 0.08, 0.2)):  # fmt: skip
        if rng.random() < chance:
            cut = int(rng.uniform(0, most) * shape[axis])
            index = [slice(None)] * 3
            index[axis] = slice(0, cut) if end == 0 else slice(shape[axis] - cut, None)
            seen[tuple(index)] = False
    image = np.where(seen, image, np.float32(low))
    if rng.random() < 0.7:
        top = max(float(image.max()), 1e-3)
        image = np.float32(top) * (np.clip(image, 0, None) / np.float32(top)) ** np.float32(np.exp(rng.normal(0, 0.2)))
    return image.astype(np.float32), seen


def _along(image: F32, matrix: F32, axis: int) -> F32:
    """matrix (m, n) applied along one axis."""
    return np.ascontiguousarray(np.moveaxis(np.tensordot(matrix, image, axes=(1, axis)), 0, axis))


def _blur(n: int, sigma: float) -> F32:
    away = np.arange(n)[:, None] - np.arange(n)
    weights = np.exp(-0.5 * (away / sigma) ** 2)
    kernel: F32 = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return kernel


def _slices(n: int, apart: float, thick: float, start: float) -> F32:
    """(n, n): slices ``thick`` voxels thick (Gaussian profiles) every ``apart`` voxels, and linear in between."""
    centres = np.arange(start * apart, n - 1 + apart, apart)
    away = np.arange(n) - np.minimum(centres, n - 1)[:, None]
    profile = np.exp(-0.5 * (away / max(thick / 2.355, 0.3)) ** 2)
    profile /= profile.sum(axis=1, keepdims=True)
    at = np.clip((np.arange(n) - centres[0]) / apart, 0, len(centres) - 1)
    left = np.minimum(at.astype(int), max(len(centres) - 2, 0))
    share = at - left
    between = np.zeros((n, len(centres)))
    between[np.arange(n), left] = 1 - share
    if len(centres) > 1:
        between[np.arange(n), left + 1] += share
    out: F32 = (between @ profile).astype(np.float32)
    return out


def _bias(rng: np.random.Generator, shape: tuple[int, ...]) -> F32:
    """A smooth field of about unit size: a few knots, as a coil's sensitivity is."""
    field = rng.standard_normal((3, 3, 3)).astype(np.float32)
    for n in shape:
        at = np.linspace(0, 2, n)
        away = np.abs(at[:, None] - np.arange(3))
        weights = np.exp(-0.5 * (away / 0.7) ** 2)
        weights /= weights.sum(axis=1, keepdims=True)
        field = np.tensordot(field, weights.astype(np.float32), axes=(0, 1))
    return field
