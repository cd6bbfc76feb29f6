"""Synthetic head MR volumes with their tissue labels, made from the MNI152 templates: the recipe of SynthSeg.

No image of a patient is used. Label maps come from the grey and white matter probabilities of the MNI152 2009a
templates (BSD-licensed, in nilearn's wheel), bent and scaled at random; what the templates lack (subarachnoid fluid,
dura, skull, scalp, eyes, face, neck) is drawn around them as shells and simple bodies. Every volume gets contrasts at
random, a bias field, noise, a slice thickness and a field of view, so that a net learns shapes and not one sequence.
Billot et al., SynthSeg, Medical Image Analysis 2023. Left stays left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..models.tissue import MM, SHAPE, normalise
from .tissue_contrast import AIR, acquire, paint

F32 = NDArray[np.float32]
# The fine classes that are painted, and the tissue (0 other, 1 CSF, 2 grey, 3 white) that each one is.
CSF, GREY, WHITE, VENTRICLE, DEEP, DURA, SKULL, MARROW, FAT, MUSCLE, EYE, SOFT, LESION, VESSEL, CORD = (
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 17,
)  # fmt: skip
TARGET = np.array([0, 1, 2, 3, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], np.uint8)
TEMPLATES = {
    "t1": "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
    "gm": "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
    "wm": "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
}
# The distance maps reach this far beyond the templates, so that skull, face and neck have room (mm on each side).
PAD_MM = 70
WIDE_MM = 2.0
# The middle of the template's brain in its own millimetres (RAS): what is bent is centred here.
CENTRE = np.array([0.0, -18.0, 6.0])
# Millimetres of fluid-filled depth from the surface from where CSF is ventricle and grey matter is a nucleus.
DEEP_MM = 14.0
CONTRASTS = 2
"""Contrasts of one head in an example: bending a head costs more than painting it."""


@dataclass(frozen=True)
class Atlas:
    """grey, white: probabilities 0..255 (x, y, z) at 1 mm, RAS, first voxel at ``origin``.

    surface: signed millimetres from the brain's envelope (inside negative), ventricles: millimetres from them, both at
    WIDE_MM from ``wide_origin``.
    """

    grey: NDArray[np.uint8]
    white: NDArray[np.uint8]
    origin: NDArray[np.float64]
    surface: F32
    ventricles: F32
    wide_origin: NDArray[np.float64]


_held: list[Atlas] = []


def atlas(folder: Path) -> Atlas:
    """Read the templates from a folder (nilearn/datasets/data of the wheel, unpacked)."""
    import nibabel as nib
    from scipy import ndimage

    read = {}
    for name, file in TEMPLATES.items():
        image = nib.load(str(folder / file))
        read[name] = np.ascontiguousarray(np.asanyarray(image.dataobj)).astype(np.uint8)
        origin = np.asarray(image.affine)[:3, 3]
    brain = ndimage.binary_closing(read["t1"] > 0, iterations=4)
    brain = ndimage.binary_fill_holes(brain)
    padded = np.pad(brain, PAD_MM)[::2, ::2, ::2]
    outside = ndimage.distance_transform_edt(~padded).astype(np.float32)
    inside = ndimage.distance_transform_edt(padded).astype(np.float32)
    surface = WIDE_MM * (outside - inside)
    tissue = read["gm"].astype(np.int16) + read["wm"]
    fluid = np.pad((tissue < 128) & brain, PAD_MM)[::2, ::2, ::2] & (surface < -DEEP_MM)
    ventricles = WIDE_MM * ndimage.distance_transform_edt(~fluid).astype(np.float32)
    return Atlas(read["gm"], read["wm"], origin, surface, ventricles, origin - PAD_MM)


def prepare(folder: Path) -> None:
    """Read the templates once in the process that makes examples."""
    _held.append(atlas(folder))


def made(seed: int, step: int) -> tuple[F32, NDArray[np.uint8]]:
    """The example of a step. ``prepare`` first."""
    return example(np.random.default_rng((seed, step)), _held[0])


def example(rng: np.random.Generator, source: Atlas, contrasts: int = CONTRASTS) -> tuple[F32, NDArray[np.uint8]]:
    """One head: (contrasts, *SHAPE) images as the net takes them and, for each, labels 0..3.

    Axes are the conformed ones: to anterior, to inferior, to left.
    """
    fine, target, surface, place = anatomy(rng, source)
    images, labels = [], []
    for _ in range(contrasts):
        painted = paint(rng, fine)
        cut = target
        kind = rng.random()
        if kind < 0.14:  # skull-stripped, close or loose, or by the tissue itself
            keep = surface < rng.uniform(-1.0, 4.0) if rng.random() < 0.7 else target > 0
            painted = np.where(keep, painted, np.float32(0))
            cut = np.where(keep, target, np.uint8(0))
        elif kind < 0.20:  # defaced
            painted = np.where((place[1] > rng.uniform(25, 60)) & (place[2] < rng.uniform(-35, -5)), 0, painted)
        image, seen = acquire(rng, painted.astype(np.float32), MM)
        images.append(normalise(image))
        labels.append(np.where(seen, cut, np.uint8(0)))
    return np.stack(images), np.stack(labels)


def anatomy(rng: np.random.Generator, source: Atlas) -> tuple[NDArray[np.uint8], NDArray[np.uint8], F32, F32]:
    """Fine classes, tissue labels, millimetres from the envelope, and each voxel's place in the template (RAS mm)."""
    from scipy import ndimage

    place = _bent(rng)
    at = place - source.origin[:, None, None, None].astype(np.float32)
    grey = ndimage.map_coordinates(source.grey, at, order=1, output=np.float32)
    white = ndimage.map_coordinates(source.white, at, order=1, output=np.float32)
    wide = (place - source.wide_origin[:, None, None, None].astype(np.float32)) / np.float32(WIDE_MM)
    surface = ndimage.map_coordinates(source.surface, wide, order=1, mode="nearest", output=np.float32)
    hollow = ndimage.map_coordinates(source.ventricles, wide, order=1, mode="nearest", output=np.float32)
    fluid = np.clip(255.0 - grey - white, 0, 255)
    # Thinner or thicker cortex, wider or narrower sulci, differing from place to place.
    grey *= np.exp(rng.normal(0, 0.15) + 0.3 * smooth(rng, 10))
    fluid *= np.exp(rng.uniform(-0.5, 1.3) + 0.5 * smooth(rng, 9) + 0.4 * smooth(rng, 22))
    fine = np.where(grey >= white, np.uint8(GREY), np.uint8(WHITE))
    fine[fluid > np.maximum(grey, white)] = CSF
    fine[(fine == GREY) & (surface < -DEEP_MM) & (rng.random() < 0.7)] = DEEP
    width = rng.uniform(-1.0, 2.0) if rng.random() < 0.65 else rng.uniform(2.0, 11.0)
    # The fourth ventricle and the cisterns of the brainstem lie below and do not widen as much.
    wider = width * (1 + 0.3 * smooth(rng, 7)) * np.where(place[2] < -20, 0.3, 1.0)
    fine[(hollow <= np.maximum(wider, 0)) & (surface < -3)] = VENTRICLE
    if width < 0:
        fine[(hollow <= 0) & (rng.random() < 0.5)] = WHITE
    outside = surface > 0
    fine[outside] = AIR
    target = TARGET[fine]
    _around(rng, fine, surface, place)
    # The subarachnoid fluid is brain fluid too: of the tissue labels it is CSF.
    target[outside & (fine == CSF)] = 1
    _lesions(rng, fine, target)
    return fine, target, surface, place


def smooth(rng: np.random.Generator, knots: int, shape: tuple[int, int, int] = SHAPE) -> F32:
    """Smooth noise of unit variance at its knots: a cubic B-spline of ``knots`` random knots along each axis."""
    field = rng.standard_normal((knots, knots, knots)).astype(np.float32)
    for n in shape:
        # The leading axis is spread and becomes the last: after three rounds the order is as before.
        field = np.tensordot(field, _spread(n, knots), axes=(0, 1))
    return np.ascontiguousarray(field) * np.float32(1.9)


def _spread(n: int, knots: int) -> F32:
    """(n, knots): cubic B-spline weights of n samples between ``knots`` knots."""
    at = np.linspace(1, knots - 2, n)
    away = np.abs(at[:, None] - np.arange(knots))
    near = 2 / 3 - away**2 + away**3 / 2
    far = (2 - np.minimum(away, 2)) ** 3 / 6
    weights: F32 = np.where(away < 1, near, far).astype(np.float32)
    return weights


def _bent(rng: np.random.Generator) -> F32:
    """(3, *SHAPE): the place in the template (RAS mm) of each voxel of the net's grid, after a random bending."""
    a, i, left = (np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in SHAPE)
    grid = np.stack(np.broadcast_arrays(-left[None, None, :], a[:, None, None], -i[None, :, None])) * np.float32(MM)
    pitch, roll, yaw = np.deg2rad(rng.normal(0, (11, 6, 6)))
    turn = np.eye(3)
    for (p, q), angle in (((1, 2), pitch), ((0, 2), roll), ((0, 1), yaw)):
        step = np.eye(3)
        step[p, p] = step[q, q] = np.cos(angle)
        step[p, q], step[q, p] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    size = rng.uniform(0.86, 1.22) * rng.uniform(0.93, 1.07, 3)
    turn = np.diag(size) @ turn + rng.normal(0, 0.03, (3, 3))
    shift = rng.normal(0, (7.0, 8.0, 9.0))
    moved = np.einsum("pq,qaij->paij", turn.astype(np.float32), grid + shift.astype(np.float32)[:, None, None, None])
    for knots, mm in ((6, 4.0), (11, 2.0), (22, 0.9)):
        strength = np.float32(rng.uniform(0.3, 1.2) * mm)
        for axis in range(3):
            moved[axis] += strength * smooth(rng, knots)
    moved += CENTRE.astype(np.float32)[:, None, None, None]
    return np.ascontiguousarray(moved, dtype=np.float32)


def _around(rng: np.random.Generator, fine: NDArray[np.uint8], surface: F32, place: F32) -> None:
    """Fluid, dura, skull and scalp as shells outside the brain; face, eyes, air spaces and neck below it."""
    x, y, z = place
    uneven = smooth(rng, 7)
    water = np.maximum(rng.uniform(0.0, 4.0) + rng.uniform(0.2, 1.2) * uneven, 0)
    dura = water + rng.uniform(0.5, 2.0)
    inner = dura + rng.uniform(1.5, 3.0)
    marrow = inner + np.maximum(rng.uniform(0.5, 5.0) + 1.0 * smooth(rng, 9), 0)
    outer = marrow + rng.uniform(1.5, 3.0)
    fat = outer + np.maximum(rng.uniform(1.0, 7.0) + 1.2 * smooth(rng, 8), 0.5)
    skin = fat + rng.uniform(1.0, 4.0)
    neck_y, lean = rng.uniform(-50, -25), rng.uniform(-0.3, 0.3)
    below = z + 40.0
    neck = ((x / rng.uniform(50, 72)) ** 2 + ((y - neck_y + lean * below) / rng.uniform(52, 72)) ** 2 < 1) & (z < -30)
    face = (
        (x / rng.uniform(55, 72)) ** 2 + ((y - 28) / rng.uniform(48, 68)) ** 2 + ((z + 55) / rng.uniform(60, 85)) ** 2
    ) < 1
    body = (neck | face) & (surface > 0)
    blobs = np.stack([smooth(rng, knots) for knots in (14, 16, 18, 20, 24)]).argmax(axis=0).astype(np.uint8)
    kinds = rng.choice([FAT, MUSCLE, MUSCLE, SKULL, MARROW, SOFT, SOFT + 1, SOFT + 2, AIR], 5)
    fine[body] = kinds.astype(np.uint8)[blobs[body]]
    shell = surface > 0
    for limit, what in ((skin, MUSCLE), (fat, FAT), (outer, SKULL), (marrow, MARROW), (inner, SKULL), (dura, DURA)):
        fine[shell & (surface <= limit)] = what
    fine[shell & (surface <= water)] = CSF
    if rng.random() < 0.6:  # the great sinus along the midline
        fine[shell & (np.abs(x) < 5) & (surface > 0.5) & (surface < 6) & ((z > 20) | (y < -60))] = VESSEL
    apart, forward, down = rng.normal((32, 60, -36), 2.5)
    for side in (-1, 1):
        away = np.sqrt((x - side * apart) ** 2 + (y - forward) ** 2 + (z - down) ** 2)
        fine[(away < 21) & shell & (surface > dura)] = FAT
        fine[(away < rng.uniform(10.5, 13)) & shell & (surface > dura)] = EYE
    for centre, radius in (((0, 12, -42), 11), ((27, 48, -62), 15), ((-27, 48, -62), 15), ((0, 52, -55), 13),
                           ((0, 72, -12), 9), ((58, -28, -48), 12), ((-58, -28, -48), 12)):  # fmt: skip
        if rng.random() < 0.8:
            p, q, r = rng.normal(centre, 4)
            away = (x - p) ** 2 + (y - q) ** 2 + (z - r) ** 2
            fine[(away < (radius * rng.uniform(0.6, 1.2)) ** 2) & shell & (surface > dura)] = AIR
    cord = np.hypot(x, y - rng.normal(-44, 3) + lean * below)
    # Below the foramen magnum nothing is brain: the canal's fluid is painted like the eye's, and labelled as neither.
    canal = (z < -66) & (surface > 1)
    fine[(cord < rng.uniform(9, 12)) & canal] = EYE
    fine[(cord < rng.uniform(5, 7)) & canal] = CORD


def _lesions(rng: np.random.Generator, fine: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    """Patches of another brightness in the tissue, whose tissue label stays; and, rarely, a cavity of fluid."""
    if rng.random() > 0.35:
        return
    tissue = target >= 2
    if rng.random() < 0.6:  # many small ones
        fine[tissue & (smooth(rng, int(rng.integers(16, 30))) > rng.uniform(1.6, 2.2))] = LESION
        return
    spots = np.argwhere(tissue[::8, ::8, ::8]) * 8
    if not len(spots):
        return
    spot = spots[rng.integers(len(spots))]
    a, i, left = (np.arange(n, dtype=np.float32) for n in SHAPE)
    away = np.sqrt(
        ((a - spot[0]) ** 2)[:, None, None] + ((i - spot[1]) ** 2)[None, :, None] + ((left - spot[2]) ** 2)[None, None]
    )
    inside = (away + 1.5 * smooth(rng, 14) < rng.uniform(8, 24) / MM) & tissue
    if rng.random() < 0.3:
        fine[inside], target[inside] = CSF, 1
    else:
        fine[inside] = LESION
