"""Encoder and TextEncoder in one space: CLIP, SigLIP, MedSigLIP and their kin of transformers, in a worker process."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExtraMissing
from ..records import Image
from .hf import VISION, config_of, pictures, refuse_unless_type, worker_of
from .inward import Method
from .occlusion import hidden
from .protocols import Setup

TYPES = ("clip", "siglip", "siglip2", "chinese_clip", "align", "altclip")
CALL_S = 300.0
AT_ONCE = 16
"""Requests under way at once: the worker takes those that wait as one batch."""


class HfClip:
    """Encoder, TextEncoder. Vectors have length one: a dot product is the cosine of an image and a text."""

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card
        self._layered = refuse_unless_type(setup, TYPES) != "align"  # whose vision side is convolutional
        self._worker = worker_of(setup, VISION, "clip")
        self._width = _width(config_of(setup))

    @property
    def space(self) -> str:
        return f"{self.card.id}/{self.card.version}"

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, d) float32. A volume's vector is the mean of three planes', again of length one."""
        shown = [(row, picture) for row, image in enumerate(images) for _, picture in pictures(image)]
        vectors = self._all("encode_images", [{"image": picture} for _, picture in shown])
        out = np.zeros((len(images), vectors.shape[1]), np.float32)
        np.add.at(out, [row for row, _ in shown], vectors)
        return _unit(out)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32. A text beyond the model's length is cut."""
        return _unit(self._all("encode_texts", [{"text": text} for text in texts]))

    @property
    def methods(self) -> tuple[Method, ...]:
        return ("integrated_gradients", "grad_cam", "rollout") if self._layered else ("integrated_gradients",)

    def attribute(self, image: Image, method: Method, direction: NDArray[np.float32]) -> NDArray[np.float32]:
        """(z, y, x) float32; the planes that the encoder looks at, 0 elsewhere. Integrated gradients needs captum."""
        if method == "integrated_gradients" and importlib.util.find_spec("captum") is None:
            raise ExtraMissing(
                "captum is not installed", "the torch extra", "in the folder of attending's source: pip install captum"
            )
        covered = dict(pictures(Image(image.facts, hidden(image))))
        out = np.zeros(image.voxels.shape[:3], np.float32)
        for z, picture in pictures(image):
            asked = {"method": method, "image": picture, "covered": covered[z], "direction": direction}
            out[z] = self._worker.call("attribute", asked, CALL_S)["heat"]
        return out

    def close(self) -> None:
        """Ends the process, for everyone who shares it. The next call starts it again."""
        self._worker.close()

    def _all(self, call: str, requests: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        if not requests:
            return np.zeros((0, self._width), np.float32)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            rows = pool.map(lambda request: self._worker.call(call, request, CALL_S)["vector"], requests)
            return np.stack(list(rows)).astype(np.float32)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: NDArray[np.float32] = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return out


def _width(config: Mapping[str, Any]) -> int:
    """Length of a vector, from the configuration."""
    inner = config.get("text_config") or {}
    for value in (config.get("projection_dim"), inner.get("projection_size"), inner.get("hidden_size")):
        if isinstance(value, int):
            return value
    return 0
