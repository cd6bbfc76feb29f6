"""Detector: pneumonia on a chest film, with the Xception of the package pneumonia_model_package, by ONNX Runtime.

The package states no licence, so the licence gate refuses it until a site has cleared it. None of its code runs: its
Keras archive is converted once at pull (``keras_onnx``) and its preprocessing done again here: RGB, Pillow's nearest
``resize`` to 150x150 (what Keras' ``flow_from_dataframe`` does), x / 127.5 - 1; softmax over its two logits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PluginFailed
from ..records import Detection, Image
from .admission import refuse_unless_admitted
from .protocols import Progress, Setup
from .tumour import as_picture

SIDE = 150
NOTES = (
    "the score is the network's softmax, not calibrated: no probability of disease",
    "11 of 16 right on its own package's films",
)


class PneumoniaXception:
    """One score: pneumonia. File: ``model.onnx``."""

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card
        if list(self.card.labels) != ["pneumonia"]:
            raise PluginFailed("a card without the one label pneumonia", "that label with its code", "mend the card")
        self._path, self._threads = setup.files["model.onnx"], setup.threads
        self._session: Any = None

    def detect(self, image: Image, progress: Progress | None = None) -> tuple[Detection, ...]:
        """Raises NotAdmitted where the card does not admit the image."""
        refuse_unless_admitted(self.card, image.facts)
        score = float(softmax(self.logits(view(image)))[0, 1])
        if progress:
            progress(1.0, "scored")
        return (Detection(self.card.labels["pneumonia"], score, calibrated=False, notes=NOTES),)

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, 150, 150, 3) in -1..1 -> (n, 2): normal, pneumonia."""
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        out: NDArray[np.float32] = self._session.run(None, {"image": batch})[0]
        if out.shape != (batch.shape[0], 2):
            raise PluginFailed(f"an output of shape {out.shape}", "two logits for each film", "pull the model again")
        return out


def view(image: Image) -> NDArray[np.float32]:
    """The film as the network was shown its own: (1, 150, 150, 3) in -1..1."""
    from PIL import Image as Pillow

    small = as_picture(image).resize((SIDE, SIDE), Pillow.Resampling.NEAREST)
    return (np.asarray(small, dtype=np.float32) / 127.5 - 1)[None]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Over the last axis."""
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    scores: NDArray[np.float64] = raised / raised.sum(axis=-1, keepdims=True)
    return scores
