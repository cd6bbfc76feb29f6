"""Bodies whose measures are known, sampled on oblique grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """inside: (..., 3) mm about the centre -> bool. Volumes in mm3, lengths in mm. in_plane: long and short axis of its
    largest section across z, where the body stands upright."""

    name: str
    inside: Callable[[Points], NDArray[np.bool_]]
    half: float
    volume: float
    longest: float
    in_plane: tuple[float, float]


def sphere(r: float) -> Body:
    return Body(f"sphere {r:g}", lambda p: (p**2).sum(-1) <= r * r, r, 4 / 3 * np.pi * r**3, 2 * r, (2 * r, 2 * r))


def ellipsoid(a: float, b: float, c: float) -> Body:
    axes = np.array([a, b, c])
    volume = 4 / 3 * np.pi * a * b * c
    plane = (2 * max(a, b), 2 * min(a, b))
    return Body(
        f"ellipsoid {a:g} {b:g} {c:g}",
        lambda p: ((p / axes) ** 2).sum(-1) <= 1,
        max(axes),
        volume,
        2 * max(axes),
        plane,
    )


def box(a: float, b: float, c: float) -> Body:
    sides = np.array([a, b, c])
    across = float(np.hypot(a, b)) * min(a, b) / max(a, b)
    reach = float(np.linalg.norm(sides))
    return Body(
        f"box {a:g} {b:g} {c:g}",
        lambda p: (np.abs(p) <= sides / 2).all(-1),
        reach / 2,
        float(sides.prod()),
        reach,
        (float(np.hypot(a, b)), across),
    )


def cylinder(r: float, height: float) -> Body:
    reach = float(np.hypot(2 * r, height))
    return Body(
        f"cylinder {r:g} {height:g}",
        lambda p: (p[..., 0] ** 2 + p[..., 1] ** 2 <= r * r) & (np.abs(p[..., 2]) <= height / 2),
        reach / 2,
        np.pi * r * r * height,
        reach,
        (2 * r, 2 * r),
    )


def rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A rotation drawn evenly."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def upright(rng: np.random.Generator) -> NDArray[np.float64]:
    """A turn about z: the body's own z stays the grid's."""
    angle = rng.uniform(0, np.pi)
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def sampled(
    body: Body,
    spacing: tuple[float, float, float],
    turn: NDArray[np.float64],
    rng: np.random.Generator,
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """A (z, y, x) mask of voxel centres inside, and its 4x4 affine to LPS mm. The body is turned against the grid by
    ``turn`` and the grid lies oblique in the patient, the body's centre at ``centre``, off any voxel's."""
    counts = [int(np.ceil(body.half / s)) + 3 for s in spacing]
    z, y, x = np.mgrid[tuple(slice(-n, n + 1) for n in counts[::-1])]
    off = rng.uniform(-0.5, 0.5, 3)
    index = np.stack([x, y, z], -1) - off
    mask = body.inside((index * np.array(spacing)) @ turn.T)
    affine = np.eye(4)
    affine[:3, :3] = rotation(rng) * np.array(spacing)
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ (np.array(counts) + off)
    return mask, affine
