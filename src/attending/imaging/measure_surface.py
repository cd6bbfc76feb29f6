"""The closed surface of a mask: shape-based interpolation, so that thick planes leave no terraces, at its own volume.

The signed distance to the mask's border is interpolated between planes (Raya and Udupa, IEEE TMI 1990;9:32-42),
smoothed a little, and cut at the level that encloses exactly the volume of the counted voxels (marching cubes, Lewiner
et al. 2003). Smoothing an indicator shrinks what is round; choosing the level afterwards undoes that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .measure_space import Space

PAD = 3
SMOOTH = 1.0
"""Standard deviation of the smoothing, in samples of the interpolated grid."""
FINEST = 6
"""Most samples that one plane distance is divided into."""
MOST_SAMPLES = 24_000_000
"""Samples of the interpolated grid: four float32 arrays of it stay below half a GiB."""
EXACT = 1e-4
SPECK = 1e-2
"""Share of the volume that the level may miss; then the surface is scaled."""


@dataclass(frozen=True, eq=False)
class Surface:
    """vertices (n, 3) LPS mm, faces (m, 3) counter-clockwise seen from outside; volume mm3, area mm2."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    volume: float
    area: float

    @property
    def sphericity(self) -> float:
        """IBSI QCFX: the area of a sphere of this volume, by this area; 1 for a sphere (Wadell 1935)."""
        return float(min(1.0, (36 * np.pi * self.volume**2) ** (1 / 3) / self.area)) if self.area else 0.0


def surface(mask: NDArray[np.bool_], space: Space, volume: float | None = None) -> Surface | None:
    """The surface of a (z, y, x) mask as one body, closed also where it meets the image's border; None where empty.

    volume  cubic millimetres to enclose; those of the voxels where None.
    """
    from scipy.ndimage import find_objects

    if not mask.any():
        return None
    place = find_objects(mask.astype(np.uint8))[0]
    body = np.pad(mask[place], PAD)
    start = [p.start - PAD for p in place][::-1]
    shrink = max(1, int(np.ceil((body.size / MOST_SAMPLES) ** (1 / 3))))
    cropped = space.moved((start[0], start[1], start[2]))
    wanted = volume if volume is not None else float(mask[place].sum()) * space.voxel
    if shrink > 1:
        body, cropped = _coarser(body, cropped, shrink)
    field, finer = _field(body, cropped.spacing)
    return _cut(field, finer, cropped, wanted)


def _field(body: NDArray[np.bool_], spacing: tuple[float, float, float]) -> tuple[NDArray[np.float32], list[int]]:
    """Smoothed signed distance (positive inside) on a finer, nearly even grid, and samples a voxel along z, y, x."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

    sizes = np.array(spacing[::-1])
    inside = distance_transform_edt(body, sampling=sizes)
    field = (inside - distance_transform_edt(~body, sampling=sizes)).astype(np.float32)
    del inside
    finer = [int(np.clip(round(s / sizes.min()), 1, FINEST)) for s in sizes]
    while body.size * np.prod(finer) > MOST_SAMPLES and max(finer) > 1:
        finer[int(np.argmax(finer))] -= 1
    if max(finer) > 1:
        ratio = [((n - 1) * f + 1) / n for n, f in zip(body.shape, finer, strict=True)]
        field = zoom(field, ratio, order=1, output=np.float32)
    return gaussian_filter(field, SMOOTH), finer


def _cut(field: NDArray[np.float32], finer: list[int], space: Space, wanted: float) -> Surface:
    from skimage.measure import marching_cubes

    sample = space.voxel / float(np.prod(finer))
    count = int(np.clip(round(wanted / sample), 1, field.size - 1))
    level = float(np.partition(field, field.size - count, axis=None)[field.size - count])
    made = None
    for _ in range(4):
        level = float(np.clip(level, float(field.min()) + 1e-4, float(field.max()) - 1e-4))
        vertices, faces, _, _ = marching_cubes(field, level, allow_degenerate=False)
        points = space.at((vertices / np.array(finer))[:, ::-1])
        made = _whole(points, faces.astype(np.int64))
        if abs(made.volume - wanted) < EXACT * wanted or not made.area:
            break
        # The field is a distance: lowering the level by d moves the surface out by d.
        level -= (wanted - made.volume) / made.area
    assert made is not None
    if abs(made.volume - wanted) > SPECK * wanted and made.volume > 0:
        # A speck of a few voxels is smoothed flat, and no level encloses its volume: its shape is scaled to it.
        middle = made.vertices.mean(axis=0)
        return _whole(middle + (made.vertices - middle) * (wanted / made.volume) ** (1 / 3), made.faces)
    return made


def _whole(points: NDArray[np.float64], faces: NDArray[np.int64]) -> Surface:
    corners = points[faces] - points.mean(axis=0)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    volume = float(np.einsum("ij,ij->i", corners[:, 0], normals).sum()) / 6
    if volume < 0:
        # A left-handed affine turns the surface inside out: its faces are turned back.
        faces, volume = faces[:, ::-1].copy(), -volume
    return Surface(points, faces, volume, float(np.linalg.norm(normals, axis=1).sum()) / 2)


def _coarser(body: NDArray[np.bool_], space: Space, by: int) -> tuple[NDArray[np.bool_], Space]:
    """The mask on a grid coarser by a whole number, by majority; its border stays empty."""
    cut = np.pad(body, [(by, by + (-n) % by) for n in body.shape])
    z, y, x = (n // by for n in cut.shape)
    share = cut.reshape(z, by, y, by, x, by).mean(axis=(1, 3, 5), dtype=np.float32)
    shift = np.full(3, (by - 1) / 2 - by)
    return share >= 0.5, Space(space.axes * by, space.at(shift[None])[0], space.placed, space.depth)
