"""Segmenter: a MeshNet over a T1-weighted head, by ONNX Runtime on the CPU, in bounded memory.

A MeshNet keeps full resolution from input to output, so its cost is memory: 21 channels of 256x256x256 float32 are
1.4 GB, and a layer needs its input and its output. Here the network runs layer by layer on the head's box. A layer
whose input and output fit the budget runs at once; otherwise it runs in slabs along z that overwrite their own input,
each slab given the planes that its dilated kernel reaches, so that the result is the same and one copy is enough. The
classifier and its argmax run plane by plane: the class scores of the whole volume never exist.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryRefused
from ..imaging import conform
from ..records import Image, LabelMap
from .admission import refuse_unless_admitted
from .meshnet_codes import codes
from .meshnet_onnx import Layer, build, convert, layers_of
from .protocols import Progress, Segmentation, Setup

__all__ = ["Box", "MeshNet", "convert", "head_box", "normalise", "predict"]

Box = tuple[slice, slice, slice]
"""Of a volume's (z, y, x)."""

# A voxel brighter than this share of the conformed range (0..255) counts as head. brainchop crops at the same share.
HEAD_SHARE = 0.2
# A plane belongs to the head when so many of its voxels do: fewer are noise, a wrapped nose tip or a marker.
HEAD_VOXELS = 64
# Voxels around the head's box that the network still sees. brainchop uses none for most of its models; see
# docs/engines.md for what each margin costs and changes against the whole volume.
MARGIN = 8
# Input and output of a layer together, above which the layer runs in slabs. With the runtime, the conformed volume and
# the labels this keeps the process below 2.5 GiB.
BUDGET_BYTES = 1_600_000_000
# Planes per slab: thick enough that the planes read twice (2 x dilation, up to 32) do not dominate.
SLAB = 32
# Planes per call of the classifier: its scores are classes x planes x y x x float32.
HEAD_PLANES = 8


class MeshNet:
    """One brainchop model. Files: ``net.onnx`` and ``recipe.json``, written at pull by ``convert``."""

    def __init__(self, setup: Setup) -> None:
        self._recipe: dict[str, Any] = json.loads(setup.files["recipe.json"].read_text(encoding="utf-8"))
        self._net = setup.files["net.onnx"]
        self._threads = setup.threads
        self._layers: tuple[Layer, ...] | None = None
        self.labels: tuple[str, ...] = tuple(self._recipe["labels"])
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
        box = head_box(volume)
        margin = MARGIN
        labels = self.predict(volume, widen(box, margin, volume.shape), progress)
        kept, dropped = largest_component(labels)
        if progress:
            progress(0.98, "labelled")
        names = {value: name for value, name in enumerate(self.labels) if value}
        size = tuple(s.stop - s.start for s in box)
        notes = (
            *grid.steps,
            f"conformed to 256x256x256 voxels of 1 mm; run on the head's box of {size[2]}x{size[1]}x{size[0]} voxels "
            f"(x, y, z) with a margin of {margin}",
            f"{dropped} voxels outside the largest connected region were dropped",
            *_whole(grid.outside),
        )
        return Segmentation(
            labels=LabelMap(image.id, grid.restore(kept), names),
            conformed=LabelMap(image.id, kept, names),
            spacing_mm=grid.spacing,
            notes=notes,
        )

    def predict(
        self, volume: NDArray[Any], box: Box | None = None, progress: Progress | None = None
    ) -> NDArray[np.uint8]:
        """Conformed volume (z, y, x), 0..255 -> labels (z, y, x) uint8, 0 outside the box. box None is everywhere."""
        box = box or (slice(0, volume.shape[0]), slice(0, volume.shape[1]), slice(0, volume.shape[2]))
        ready = np.ascontiguousarray(normalise(volume, self._recipe)[box])
        out = np.zeros(volume.shape, np.uint8)
        out[box] = predict(self.layers, ready, self._threads, progress=progress)
        return out


def normalise(volume: NDArray[Any], recipe: dict[str, Any]) -> NDArray[np.float32]:
    """Conformed volume (z, y, x) -> float32 as brainchop feeds it: by its least and greatest value, or two quantiles.

    Quantiles are elements of the sorted volume (floor(n q) and ceil(n q) - 1), as in brainchop, not interpolated.
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
    """The box of what is brighter than HEAD_SHARE of the conformed range, plane by plane."""
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


def predict(
    layers: tuple[Layer, ...],
    volume: NDArray[np.float32],
    threads: int = 2,
    budget: int = BUDGET_BYTES,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Normalised volume (z, y, x) -> labels (z, y, x) uint8. The same for every budget.

    budget  bytes for a layer's input and output together; a layer that needs more runs in slabs over its own input.
            A network with whole-volume statistics cannot run in slabs and ignores it.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena keeps what it once took; a layer's input must really be free when the next one allocates.
    options.enable_cpu_mem_arena = False

    def session(part: tuple[Layer, ...], **how: bool) -> Any:
        return ort.InferenceSession(build(part, **how), options, providers=["CPUExecutionProvider"])

    # Arrays go in and come out without a copy, so what is alive is exactly what these names hold.
    flow: NDArray[np.float32] = volume[None, None]
    steps = len(layers)
    for number, layer in enumerate(layers[:-1]):
        channels = layer.kernel.shape[0] + layer.kernel.shape[1]
        if layer.norm or 4 * channels * volume.size <= budget:
            flow = session((layer,)).run(None, {"volume": flow})[0]
        else:
            flow = _in_slabs(session((layer,), pad_z=False), flow, layer)
        if progress:
            progress(0.05 + 0.88 * (number + 1) / steps, f"layer {number + 1} of {steps}")
    classify = session(layers[-1:], labels=True)
    labels = np.empty(volume.shape, np.uint8)
    for start in range(0, volume.shape[0], HEAD_PLANES):
        planes = np.ascontiguousarray(flow[:, :, start : start + HEAD_PLANES])
        labels[start : start + HEAD_PLANES] = classify.run(None, {"volume": planes})[0][0]
    return labels


def _in_slabs(session: Any, flow: NDArray[np.float32], layer: Layer) -> NDArray[np.float32]:
    """One layer over (1, c, z, y, x), slab by slab; over its own input where the channels agree."""
    reach, planes = layer.reach, flow.shape[2]
    out_channels, in_channels = layer.kernel.shape[:2]
    shape = (1, out_channels, *flow.shape[2:])
    out = flow if in_channels == out_channels and flow.flags.writeable else np.empty(shape, np.float32)
    # The planes before the slab, as they were before they were overwritten; zeros before the first.
    before = np.zeros((1, in_channels, reach, *flow.shape[3:]), np.float32)
    for start in range(0, planes, SLAB):
        stop = min(start + SLAB, planes)
        after = min(stop + reach, planes)
        given = np.zeros((1, in_channels, stop - start + 2 * reach, *flow.shape[3:]), np.float32)
        given[:, :, :reach] = before
        given[:, :, reach : reach + after - start] = flow[:, :, start:after]
        before = given[:, :, stop - start : stop - start + reach].copy()
        out[:, :, start:stop] = session.run(None, {"volume": given})[0]
    return out


def largest_component(labels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Labels (z, y, x) with everything outside the largest 26-connected region of all classes together set to 0, and
    how many voxels that dropped. The same step as brainchop's."""
    from scipy import ndimage

    regions, count = ndimage.label(labels > 0, structure=np.ones((3, 3, 3), bool))
    if count < 2:
        return labels, 0
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    kept = np.where(regions == sizes.argmax(), labels, np.uint8(0))
    return kept, int(sizes.sum() - sizes.max())


def _whole(outside: float) -> Iterator[str]:
    if outside > 0:
        yield f"{100 * outside:.0f}% of the source's voxels lie outside the conformed grid and were not seen"
