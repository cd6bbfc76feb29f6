"""Registration recovers what was moved, and refuses what it cannot trust."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import affine_transform, gaussian_filter

from attending.errors import GeometryRefused, RegistrationFailed
from attending.imaging.register import register, resampled
from attending.records import Image, ImageFacts


def body(seed: int = 0, shape=(40, 56, 48)) -> np.ndarray:
    """A head-like thing: an ellipsoid with structure inside, different in every direction."""
    rng = np.random.default_rng(seed)
    z, y, x = (np.linspace(-1, 1, n) for n in shape)
    inside = (z[:, None, None] / 0.8) ** 2 + (y[None, :, None] / 0.85) ** 2 + (x[None, None, :] / 0.7) ** 2 < 1
    texture = gaussian_filter(rng.normal(size=shape), 3)
    return gaussian_filter(np.where(inside, 400 + 2500 * texture, 0.0), 0.7).astype(np.float32)


def image(voxels: np.ndarray, affine: np.ndarray | None, spacing=None, modality: str = "MR") -> Image:
    rows = None if affine is None else tuple(tuple(float(v) for v in row) for row in affine)
    if affine is not None:
        spacing = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    return Image(ImageFacts("i1", voxels.shape, rows, spacing, modality), np.ascontiguousarray(voxels))


def turned(degrees: float, axis: int) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[i, i], turn[j, j], turn[i, j], turn[j, i] = c, c, -s, s
    return turn


@pytest.mark.parametrize(
    ("angle", "axis", "shift", "spacing"),
    [(0.0, 2, (5.0, -3.0, 4.0), (2.0, 2.0, 2.0)), (9.0, 1, (-6.0, 8.0, 3.0), (1.7, 1.7, 4.0))],
)
def test_a_known_motion_is_recovered_to_half_a_voxel(angle, axis, shift, spacing) -> None:
    fixed = image(body(), np.array([[2, 0, 0, -47], [0, 2, 0, -55], [0, 0, 2, 60], [0, 0, 0, 1.0]]))
    middle = np.array([0.0, 0.0, 99.0])
    truth = np.eye(4)
    truth[:3, :3] = turned(angle, axis)
    truth[:3, 3] = middle - truth[:3, :3] @ middle + shift
    grid = np.diag([*spacing, 1.0])
    shape = [int(1.25 * n * 2 / s) for n, s in zip((40, 56, 48), spacing[::-1], strict=True)]
    grid[:3, 3] = middle - np.array(spacing) * (np.array(shape[::-1]) - 1) / 2
    step = np.linalg.inv(fixed.affine) @ np.linalg.inv(truth) @ grid
    moved = affine_transform(fixed.voxels, step[:3, :3][::-1, ::-1], step[:3, 3][::-1], output_shape=shape, order=1)
    noise = np.random.default_rng(1).normal(0, 10, moved.shape)
    found = register(fixed, image((0.7 * moved + 50 + noise).astype(np.float32), grid))
    points = np.random.default_rng(2).uniform(-35, 35, (200, 3)) + middle
    miss = np.linalg.norm(
        (points @ found.matrix[:3, :3].T + found.matrix[:3, 3]) - (points @ truth[:3, :3].T + truth[:3, 3]), axis=1
    )
    assert miss.max() < max(spacing) / 2
    assert found.turned == pytest.approx(angle, abs=1.0)
    assert found.after > found.before


def test_two_bodies_with_nothing_in_common_are_refused() -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    noise = [np.random.default_rng(n).normal(size=(30, 32, 34)).astype(np.float32) for n in (1, 2)]
    with pytest.raises(RegistrationFailed, match="could not be laid over each other"):
        register(image(noise[0], affine), image(noise[1], affine))


def test_films_without_spacing_are_registered_in_pixels_and_laid_back() -> None:
    film = gaussian_filter(np.random.default_rng(3).normal(size=(160, 140)), 6)
    film = (1000 * film / film.std() * np.hanning(160)[:, None] * np.hanning(140)[None, :]).astype(np.float32)
    moved = np.roll(film, (7, -5), axis=(0, 1))
    fixed, moving = image(film[None], None, modality="CR"), image(moved[None], None, modality="CR")
    found = register(fixed, moving)
    assert (found.unit, found.dims) == ("{pixels}", 2)
    assert found.matrix[:2, 3] == pytest.approx((-5, 7), abs=0.5)
    values, known = resampled(moving, fixed, found)
    assert np.abs(values - film)[known].mean() < 0.1 * np.abs(film).mean() + 5


def test_a_plane_is_not_laid_over_a_volume() -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    with pytest.raises(GeometryRefused, match="a single plane and a volume"):
        register(image(body()[:1], affine), image(body(), affine))
    sheared = affine.copy()
    sheared[0, 1] = 1.0
    with pytest.raises(GeometryRefused, match="sheared"):
        register(image(body(), affine), image(body(), sheared))
    with pytest.raises(GeometryRefused, match="without a place in the patient"):
        register(image(body(), affine), image(body(), None, (2.0, 2.0, 2.0)))
