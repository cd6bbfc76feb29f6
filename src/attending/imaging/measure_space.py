"""Space: what an index step is in millimetres, for masks on oblique, anisotropic or sheared grids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..records import ImageFacts

# X-ray projections: what lies along z is summed, so neither a depth nor a volume can be read from them.
PROJECTIONS = ("CR", "DX", "MG", "RF", "XA", "PX", "IO", "RG")


@dataclass(frozen=True, eq=False)
class Space:
    """axes: 3x3, columns are the steps of x, y and z in millimetres; origin: the centre of voxel (0, 0, 0), LPS.

    placed  the origin and directions are the patient's; False where only the spacing is known.
    depth   z is a direction of space with a known step: volumes exist.
    """

    axes: NDArray[np.float64]
    origin: NDArray[np.float64]
    placed: bool = True
    depth: bool = True

    @property
    def voxel(self) -> float:
        """Cubic millimetres of one voxel; shear is allowed for."""
        return float(abs(np.linalg.det(self.axes)))

    @property
    def pixel(self) -> float:
        """Square millimetres of one pixel of the acquired plane."""
        return float(np.linalg.norm(np.cross(self.axes[:, 0], self.axes[:, 1])))

    @property
    def spacing(self) -> tuple[float, float, float]:
        x, y, z = (float(v) for v in np.linalg.norm(self.axes, axis=0))
        return x, y, z

    @property
    def plane(self) -> NDArray[np.float64]:
        """2x3, two perpendicular unit vectors of the acquired plane."""
        u = self.axes[:, 0] / np.linalg.norm(self.axes[:, 0])
        v = self.axes[:, 1] - (self.axes[:, 1] @ u) * u
        return np.stack([u, v / np.linalg.norm(v)])

    def at(self, index: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float64]:
        """(n, 3) index (x, y, z) -> (n, 3) millimetres."""
        placed: NDArray[np.float64] = np.asarray(index, dtype=np.float64) @ self.axes.T + self.origin
        return placed

    def moved(self, start: tuple[int, int, int]) -> Space:
        """The space of a crop that starts at voxel (x, y, z)."""
        return Space(self.axes, self.at(np.array([start]))[0], self.placed, self.depth)


def space_of(facts: ImageFacts) -> Space | None:
    """The space of an image; None where nothing is known of its spacing: then nothing is a millimetre."""
    depth = facts.axis == "space" and facts.modality not in PROJECTIONS
    if facts.affine is not None:
        affine = np.array(facts.affine, dtype=np.float64)
        axes = affine[:3, :3].copy()
        if np.isfinite(affine).all() and abs(np.linalg.det(axes)) > 1e-12:
            return Space(axes, affine[:3, 3].copy(), True, depth)
    if facts.spacing is None:
        return None
    sizes = np.array(facts.spacing, dtype=np.float64)
    if not np.isfinite(sizes[:2]).all() or (sizes[:2] <= 0).any():
        return None
    if not sizes[2] > 0:
        sizes[2], depth = 1.0, False
    # One plane of a picture has no thickness; what stands there is a filler.
    return Space(np.diag(sizes), np.zeros(3), False, depth and facts.shape[0] > 1)


def space_from(affine: NDArray[np.floating] | list[list[float]]) -> Space:
    """The space of a 4x4 affine, index (x, y, z, 1) -> LPS millimetres."""
    matrix = np.asarray(affine, dtype=np.float64)
    return Space(matrix[:3, :3].copy(), matrix[:3, 3].copy())
