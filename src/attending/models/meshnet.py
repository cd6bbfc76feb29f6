"""Segmenter: a MeshNet over a T1-weighted head, by ONNX Runtime on the CPU, in bounded memory.

The volume is conformed, normalised as the recipe beside the weights says, and cut to the head's box; the forward is in
``meshnet_run``; the largest connected region is kept, as brainchop does; and the labels go back to the image's grid.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryRefused
from ..imaging import conform
from ..records import Image, LabelMap
from .admission import refuse_unless_admitted
from .meshnet_codes import codes
from .meshnet_onnx import Layer, convert, layers_of
from .meshnet_run import predict
from .protocols import Progress, Segmentation, Setup

__all__ = ["Box", "MeshNet", "convert", "head_box", "largest_component", "normalise", "widen"]

Box = tuple[slice, slice, slice]
"""Of a volume's (z, y, x)."""

# A voxel brighter than this share of the conformed range (0..255) counts as head. brainchop crops at the same share.
HEAD_SHARE = 0.2
# A plane belongs to the head when so many of its voxels do: fewer are noise, a wrapped nose tip or a marker.
HEAD_VOXELS = 64
# Voxels around the head's box that the network still sees. brainchop uses none for most of its models; see
# docs/engines.md for what each margin costs and changes against the whole volume.
MARGIN = 8


class MeshNet:
    """One brainchop model. Files: ``net.onnx`` and ``recipe.json``, written at pull by ``convert``."""

    def __init__(self, setup: Setup) -> None:
        self._recipe: dict[str, Any] = json.loads(setup.files["recipe.json"].read_text(encoding="utf-8"))
        self._net = setup.files["net.onnx"]
        self._threads = setup.threads
        self._layers: tuple[Layer, ...] | None = None
        self.labels: tuple[str, ...] = tuple(self._recipe["labels"])
        """Class names by label value; 0 is the background."""
        self.card = replace(setup.card, labels=codes(self.labels))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The network's layers, read on first use."""
        if self._layers is None:
            self._layers = layers_of(self._net.read_bytes())
        return self._layers

    def segment(self, image: Image, progress: Progress | None = None) -> Segmentation:
        """T1 head -> labels on its own grid and on the conformed 256x256x256 grid of 1 mm.

        Raises NotAdmitted where the card does not admit the image, GeometryRefused where it cannot be conformed.
        """
        refuse_unless_admitted(self.card, image.facts)
        volume, grid = conform(image)
        if progress:
            progress(0.02, "conformed")
        box = widen(head_box(volume), MARGIN, volume.shape)
        kept, dropped = largest_component(self.predict(volume, box, progress))
        if progress:
            progress(0.98, "labelled")
        names = {value: name for value, name in enumerate(self.labels) if value}
        depth, rows, columns = (s.stop - s.start for s in box)
        notes = [
            *grid.steps,
            f"run on 256x256x256 voxels of 1 mm, in the head's box of {columns}x{rows}x{depth} voxels (x, y, z)",
            f"{dropped} voxels outside the largest connected region were dropped",
        ]
        if grid.outside > 0:
            notes.append(f"{100 * grid.outside:.0f}% of the image lies outside those voxels and was not seen")
        if progress:
            progress(1.0, "done")
        return Segmentation(
            labels=LabelMap(image.id, grid.restore(kept), names),
            conformed=LabelMap(image.id, kept, names),
            spacing_mm=grid.spacing,
            notes=tuple(notes),
        )

    def predict(
        self, volume: NDArray[Any], box: Box | None = None, progress: Progress | None = None
    ) -> NDArray[np.uint8]:
        """Conformed volume (z, y, x), 0..255 -> labels (z, y, x) uint8, 0 outside the box. box None is everywhere."""
        box = box or (slice(0, volume.shape[0]), slice(0, volume.shape[1]), slice(0, volume.shape[2]))
        ready = np.ascontiguousarray(normalise(volume, self._recipe)[box])
        out = np.zeros(volume.shape, np.uint8)
        out[box] = predict(self.layers, ready, self._threads, progress)
        return out


def normalise(volume: NDArray[Any], recipe: dict[str, Any]) -> NDArray[np.float32]:
    """Conformed volume (z, y, x) -> float32 as brainchop feeds it: by its least and greatest value, or two quantiles.

    Quantiles are elements of the sorted volume (floor(n q) and ceil(n q) - 1), as in brainchop, not interpolated.
    Raises GeometryRefused for a volume without contrast.
    """
    if recipe["normalise"] == "min-max":
        low, high = float(volume.min()), float(volume.max())
    else:
        lower, upper = recipe["quantiles"]
        first, last = int(np.floor(volume.size * lower)), int(np.ceil(volume.size * upper)) - 1
        ordered = np.partition(volume.ravel(), (first, last))
        low, high = float(ordered[first]), float(ordered[last])
    if high <= low:
        raise GeometryRefused(
            "a volume without contrast", "a head that fills more than a twentieth of the volume", "check the input"
        )
    return (volume.astype(np.float32) - np.float32(low)) / np.float32(high - low)


def head_box(volume: NDArray[Any]) -> Box:
    """The box (z, y, x) of what is brighter than HEAD_SHARE of the greatest value; everything where nothing is."""
    mask = volume > HEAD_SHARE * float(volume.max())
    slices = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        planes = np.flatnonzero(np.count_nonzero(mask, axis=others) >= HEAD_VOXELS)
        if planes.size == 0:
            return (slice(0, volume.shape[0]), slice(0, volume.shape[1]), slice(0, volume.shape[2]))
        slices.append(slice(int(planes[0]), int(planes[-1]) + 1))
    return (slices[0], slices[1], slices[2])


def widen(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    """The box with ``margin`` more voxels on every side, within the shape (z, y, x)."""
    wide = [slice(max(0, s.start - margin), min(n, s.stop + margin)) for s, n in zip(box, shape, strict=True)]
    return (wide[0], wide[1], wide[2])


def largest_component(labels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Labels (z, y, x) with everything outside the largest 26-connected region of all classes together set to 0, and
    how many voxels that dropped. The same step as brainchop's."""
    from scipy import ndimage

    regions, count = ndimage.label(labels > 0, structure=np.ones((3, 3, 3), bool))
    if count < 2:
        return labels, 0
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    kept: NDArray[np.uint8] = np.where(regions == sizes.argmax(), labels, np.uint8(0))
    return kept, int(sizes.sum() - sizes.max())
