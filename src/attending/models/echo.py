"""Echo: a weightless model for tests and as a pattern. It answers to every protocol and knows nothing of medicine."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Detection, Image, LabelMap
from .admission import refuse_unless_admitted
from .planes import grey_planes, resized
from .protocols import Progress, Segmentation, Setup, Written

SIDE = 4


class Echo:
    """Segments what is brighter than the middle, scores the mean brightness, writes what it was told."""

    space = "echo/1"

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card

    def segment(self, image: Image, progress: Progress | None = None) -> Segmentation:
        """Label 1 where a voxel is above the middle between the least and the greatest."""
        refuse_unless_admitted(self.card, image.facts)
        grey = _grey(image)
        labels = (grey > (grey.min() + grey.max()) / 2).astype(np.uint8)
        return Segmentation(LabelMap(image.id, labels, {1: "bright"}), spacing_mm=image.facts.spacing)

    def detect(self, image: Image, progress: Progress | None = None) -> tuple[Detection, ...]:
        """ "bright": the mean as a part of the range, 0 for a constant image; the heat map is the brightness."""
        refuse_unless_admitted(self.card, image.facts)
        grey = _grey(image)
        low, high = float(grey.min()), float(grey.max())
        heat = (grey - low) / (high - low) if high > low else np.zeros_like(grey)
        return (Detection(self.card.labels["bright"], float(heat.mean()), heatmap=heat, notes=("test only",)),)

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, 16): a 4x4 thumbnail of the middle plane."""
        out = np.zeros((len(images), SIDE * SIDE), dtype=np.float32)
        for row, image in enumerate(images):
            planes = grey_planes(image)
            out[row] = resized(planes[len(planes) // 2], SIDE, SIDE).ravel()
        return out

    def write(
        self,
        messages: Sequence[dict[str, str]],
        *,
        schema: dict[str, Any] | None = None,
        max_tokens: int = 60,
        timeout_s: float = 20.0,
    ) -> Written:
        """The last user message; with a schema, the least JSON that fits it, that message in its free strings. A token
        is a word; JSON is cut by characters, 4 a token."""
        started = time.perf_counter()
        said = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
        words = said.split()
        if schema is None:
            text, whole = " ".join(words[:max_tokens]), len(words) <= max_tokens
        else:
            full = json.dumps(_fitting(schema, said), ensure_ascii=False)
            text, whole = full[: 4 * max_tokens], len(full) <= 4 * max_tokens
        prompt = sum(len(m["content"].split()) for m in messages)
        took = time.perf_counter() - started
        return Written(text, prompt, 0, min(max_tokens, len(text.split())), took, "done" if whole else "length")

    def close(self) -> None:
        """Nothing to free."""


def _grey(image: Image) -> NDArray[np.float32]:
    voxels = np.nan_to_num(image.voxels.astype(np.float32))
    return voxels.mean(axis=-1) if image.facts.colour else voxels


def _fitting(schema: dict[str, Any], said: str) -> Any:
    """The least value that fits the parts of JSON Schema that our prompts use."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return _fitting(schema[several][0], said)
    kind = schema.get("type", "object")
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: _fitting(properties[name], said) for name in properties}
    if kind == "array":
        return [_fitting(schema.get("items", {"type": "string"}), said) for _ in range(schema.get("minItems", 0))]
    if kind == "string":
        return said[: schema.get("maxLength", len(said))]
    return {"integer": int(schema.get("minimum", 0)), "number": schema.get("minimum", 0), "boolean": False}.get(kind)
