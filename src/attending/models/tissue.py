"""Segmenter: CSF, grey and white matter on a head MR of any sequence, with our own small net, shipped in the package.

The net (3-D U-Net, 0.8 M parameters, ONNX Runtime) learned on synthetic heads only, by ``attending.pretraining
tissue``; docs/tissue.md says how, and what it reaches on real ones. It works at 3 mm. The volume is conformed to 1 mm,
a window is laid on the head and, after a first look, on the brain; probabilities are spread to 1 mm, where a mixture of
Gaussians learns how bright each tissue is in this volume; the largest region is kept; and the labels go back to the
image's grid. Nothing is pulled and nothing needs torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryRefused, HashMismatch
from ..imaging import conform
from ..records import Image, LabelMap
from .admission import refuse_unless_admitted
from .meshnet import largest_component
from .meshnet_codes import codes
from .protocols import Progress, Segmentation, Setup
from .tissue_mix import fit, log_level

SHAPE = (80, 64, 64)
"""Voxels of the net's window, along the conformed axes: to anterior, to inferior, to left."""
MM = 3
LABELS = ("background", "csf", "grey matter", "white matter")
WEIGHTS = Path(__file__).parent / "weights" / "attending-tissue.onnx"
SHA256 = "d7c457f2c78430c1fe60b1ef917babb48da5d7ac2512bada731aba7a36d8b5cf"
# Intensities are cut at these percentiles of the window, so that one bright vessel does not darken the brain.
CUT = (1.0, 99.5)
# A voxel this far above the darkest of the conformed range (0..255) is head, not air.
HEAD_LEVEL = 0.15
# Free above the vertex, and how much of the field below it is looked at for the head's middle: the head, not the neck.
ROOM_MM, HEAD_MM = 8, 150
# The window is moved onto the brain when the brain's middle is farther from its own than this.
OFF_MM = 6.0

Where = tuple[int, int, int]


class Tissue:
    """The plugin ``attending-tissue``. No files: the weights lie in the package."""

    def __init__(self, setup: Setup) -> None:
        self._threads = setup.threads
        self._session: Any = None
        self._weights = proved(WEIGHTS)
        self.card = replace(setup.card, labels=codes(LABELS), files={WEIGHTS.name: SHA256})

    def segment(self, image: Image, progress: Progress | None = None) -> Segmentation:
        """Head MR volume -> labels on its own grid and on the conformed 256x256x256 grid of 1 mm.

        Raises NotAdmitted where the card does not admit the image, GeometryRefused where it cannot be conformed.
        """
        refuse_unless_admitted(self.card, image.facts)
        tell: Progress = progress or (lambda fraction, words: None)
        volume, grid = conform(image)
        tell(0.2, "conformed")
        found, certainty = self.predict(volume, tell)
        kept, dropped = largest_component(found)
        names = {value: name for value, name in enumerate(LABELS) if value}
        notes = (
            *grid.steps,
            "brain found at 3 mm by a net trained on synthetic heads only; tissues told by their brightness at 1 mm",
            f"{dropped} voxels outside the largest connected region were dropped",
        )
        tell(1.0, "done")
        return Segmentation(
            labels=LabelMap(image.id, grid.restore(kept), names),
            conformed=LabelMap(image.id, kept, names),
            spacing_mm=grid.spacing,
            notes=notes,
            certainty=certainty,
        )

    def predict(self, volume: NDArray[Any], tell: Progress = lambda f, w: None) -> tuple[NDArray[np.uint8], float]:
        """Conformed volume (256, 256, 256) -> labels 0..3 uint8 on its grid, and the mean probability of the label over
        the voxels labelled as tissue."""
        at = place_on_head(volume)
        chance, fine = self._look(volume, at)
        tell(0.4, "found the brain")
        better = place_on_brain(chance, at)
        if max(abs(a - b) for a, b in zip(at, better, strict=True)) > OFF_MM:
            at = better
            chance, fine = self._look(volume, at)
        tell(0.6, "seen by the net")
        labels, certainty = settle(cut_out(volume, at), chance, fine)
        tell(0.9, "labelled")
        out = np.zeros(volume.shape, np.uint8)
        inside, here = _overlap(volume.shape, at)
        out[inside] = labels[here]
        return out, certainty

    def _look(self, volume: NDArray[Any], at: Where) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """One window: probabilities of the classes (4, ...) at 3 mm, and spread to 1 mm in 255ths."""
        ready = normalise(thinned(cut_out(volume, at)))
        chance, fine = self._run().run(None, {"volume": ready[None, None]})
        return chance[0], fine[0]

    def _run(self) -> Any:
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
            options.log_severity_level = 3
            options.enable_cpu_mem_arena = False
            self._session = onnxruntime.InferenceSession(self._weights, options, providers=["CPUExecutionProvider"])
        return self._session


def proved(path: Path) -> bytes:
    """The weights. Raises HashMismatch where they are not the ones that were tested."""
    blob = path.read_bytes()
    if hashlib.sha256(blob).hexdigest() != SHA256:
        raise HashMismatch(
            f"{path.name} in the package is not the file that was tested",
            f"sha256 {SHA256}",
            "install attending again",
        )
    return blob


def place_on_head(volume: NDArray[Any]) -> Where:
    """Where the window (in 1 mm voxels) starts so that it holds the head: under the vertex, in its middle otherwise."""
    thin = volume[::4, ::4, ::4]
    mask = thin > HEAD_LEVEL * float(np.percentile(thin, 99.5))
    areas = mask.sum(axis=(0, 2))
    rows = np.flatnonzero(areas > 0.1 * max(int(areas.max()), 1))
    if not rows.size:
        return _within(volume.shape, [(n - w) // 2 for n, w in zip(volume.shape, _window(), strict=True)])
    top = 4 * int(rows[0])
    upper = mask[:, rows[0] : rows[0] + HEAD_MM // 4]
    middle = [4 * float(np.mean(np.percentile(np.nonzero(upper)[axis], (2, 98)))) for axis in (0, 2)]
    window = _window()
    return _within(volume.shape, [round(middle[0]) - window[0] // 2, top - ROOM_MM, round(middle[1]) - window[2] // 2])


def settle(
    window: NDArray[np.float32], chance: NDArray[np.float32], fine: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], float]:
    """Labels 0..3 of a window at 1 mm, and the mean probability of the label over the voxels labelled.

    The net says where the brain is and which tissue is likely where; how bright each tissue is here, a mixture learns.
    """
    labels = np.zeros(window.shape, np.uint8)
    coarse = chance[0] < 0.5
    if np.count_nonzero(coarse) < 1000:
        return labels, 0.0
    level = log_level(window)
    step = slice(MM // 2, None, MM)
    mixture = fit(level[step, step, step], chance[1:], coarse, MM)
    inside = fine[0] < 128
    a, i, left = np.nonzero(inside)
    bias = mixture.bias[a // MM, i // MM, left // MM]
    weighed = mixture.weigh(level[inside], fine[1:, inside].astype(np.float32) / np.float32(255), bias)
    labels[inside] = weighed.argmax(axis=0).astype(np.uint8) + 1
    return labels, float(weighed.max(axis=0).mean())


def place_on_brain(chance: NDArray[np.float32], at: Where) -> Where:
    """Where the window should start so that the grey and white matter of a first look lie in its middle."""
    tissue = chance[2:].sum(axis=0) > 0.5
    if np.count_nonzero(tissue) < 1000:
        return at
    start = []
    for axis, window in enumerate(_window()):
        counts = np.cumsum(tissue.sum(axis=tuple(a for a in range(3) if a != axis)))
        low, high = np.searchsorted(counts, [0.01 * counts[-1], 0.99 * counts[-1]])
        start.append(round(at[axis] + MM * (low + high + 1) / 2 - window / 2))
    return (start[0], start[1], start[2])


def cut_out(volume: NDArray[Any], at: Where) -> NDArray[np.float32]:
    """The window, in 1 mm voxels, as float32; zero where it reaches beyond the volume."""
    out = np.zeros(_window(), np.float32)
    inside, here = _overlap(volume.shape, at)
    out[here] = volume[inside]
    return out


def thinned(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 3x3x3 voxels of 1 mm."""
    a, i, left = SHAPE
    out: NDArray[np.float32] = window.reshape(a, MM, i, MM, left, MM).mean(axis=(1, 3, 5))
    return out


def normalise(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Between two percentiles to 0..1, and on to 1.5 for what is brighter. The training set is made by it too."""
    low, high = np.percentile(window[::2, ::2, ::2], CUT)
    if not high > low:
        low, high = float(window.min()), float(window.max())
    if not high > low:
        raise GeometryRefused("a window without contrast", "a head MR volume", "check the input")
    ready: NDArray[np.float32] = np.clip((window - np.float32(low)) / np.float32(high - low), 0, 1.5)
    return ready.astype(np.float32)


def _window() -> Where:
    return (MM * SHAPE[0], MM * SHAPE[1], MM * SHAPE[2])


def _within(shape: tuple[int, ...], start: list[int]) -> Where:
    """Moved so that the window reaches beyond the volume no more than it must."""
    kept = [min(max(s, 0), max(n - w, 0)) for s, n, w in zip(start, shape, _window(), strict=True)]
    return (kept[0], kept[1], kept[2])


def _overlap(shape: tuple[int, ...], at: Where) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of the volume that the window covers, in the volume's indices and in the window's."""
    inside = tuple(slice(max(s, 0), min(s + w, n)) for s, w, n in zip(at, _window(), shape, strict=True))
    here = tuple(slice(part.start - s, part.stop - s) for part, s in zip(inside, at, strict=True))
    return inside, here
