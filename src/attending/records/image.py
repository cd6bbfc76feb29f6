"""Image: voxels with a stated geometry. One convention: axes (z, y, x), affine to patient LPS millimetres."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Affine = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image beside its voxels. JSON-able; carries no identifier.

    shape    (z, y, x), or (z, y, x, 3) for colour; a radiograph has z = 1.
    affine   4x4, index (x, y, z, 1) -> patient LPS millimetres; None where the source gives no position or spacing.
    spacing  millimetres along (x, y, z); None where unknown (never 1.0 for lack of better).
    modality DICOM Modality (0008,0060) defined term: CT, MR, CR, DX, US, NM, PT, SC, OT ...
    view     PA, AP, LL, RL, AXIAL, CORONAL, SAGITTAL ... or None.
    body_part  one word of the closed list in ``deidentify`` (HEAD, CHEST, ABDOMEN ...), or None.
    unit     UCUM unit of a voxel after the Modality LUT: "[hnsf'U]" for CT (Hounsfield), "1" otherwise.
    axis     what z is: "space", "time" or "frame" (a cine or an unrelated stack: never measured along z).
    source   per z plane (instance number in the Study's order, frame number in that instance), both from 0;
             empty where the image has no DICOM source.
    notes    what was done on the way in, in words ("MONOCHROME1 inverted", "rescaled to HU").
    """

    id: str
    shape: tuple[int, ...]
    affine: Affine | None
    spacing: tuple[float, float, float] | None
    modality: str
    view: str | None = None
    body_part: str | None = None
    unit: str = "1"
    axis: str = "space"
    sequence: str | None = None
    descriptions: tuple[str, ...] = ()
    source: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def colour(self) -> bool:
        return len(self.shape) == 4


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels and their facts. voxels: (z, y, x) int16, uint16 or float32, or (z, y, x, 3) uint8 sRGB; read-only."""

    facts: ImageFacts
    voxels: NDArray[Any] = field(repr=False)

    def __post_init__(self) -> None:
        if tuple(self.voxels.shape) != tuple(self.facts.shape):
            raise ValueError(f"voxels have shape {self.voxels.shape}, facts say {self.facts.shape}")
        self.voxels.flags.writeable = False

    @property
    def id(self) -> str:
        return self.facts.id

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """4x4 float64, index (x, y, z, 1) -> patient LPS mm, or None."""
        return None if self.facts.affine is None else np.array(self.facts.affine, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A segmentation on an image's own grid.

    labels   (z, y, x) unsigned integers, 0 is background; read-only.
    names    label value -> the class's name as the model's recipe gives it.
    """

    image_id: str
    labels: NDArray[Any] = field(repr=False)
    names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.labels.flags.writeable = False
        object.__setattr__(self, "names", MappingProxyType(dict(self.names)))


def array_key(array: NDArray[Any]) -> str:
    """Content address of an array: sha256 over dtype, shape and C-order bytes. Where the store keeps it."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
