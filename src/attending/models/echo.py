"""Echo: a weightless model for tests and as a pattern. It answers to every protocol and knows nothing of medicine."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Answer, Box, Detection, Image, LabelMap, Located, Masked, Prompts
from .admission import refuse_unless_admitted
from .planes import grey_planes, resized
from .prompt_rules import refuse_bad_prompts
from .protocols import Progress, Segmentation, Setup, Written

SIDE = 4


class Echo:
    """Segments what is brighter than the middle, scores how bright the image's centre is, writes what it was told, and
    answers every question with the brightness of sixteen cells."""

    space = "echo/1"
    modes = ("point", "box", "scribble", "lasso", "mask", "none")

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card

    def segment(self, image: Image, progress: Progress | None = None) -> Segmentation:
        """Label 1 where a voxel is above the middle between the least and the greatest."""
        refuse_unless_admitted(self.card, image.facts)
        grey = _grey(image)
        labels = (grey > (grey.min() + grey.max()) / 2).astype(np.uint8)
        return Segmentation(LabelMap(image.id, labels, {1: "bright"}), spacing_mm=image.facts.spacing)

    def detect(self, image: Image, progress: Progress | None = None) -> tuple[Detection, ...]:
        """ "bright": the mean of the central half as a part of the range, 0 for a constant image; the heat map is the
        brightness. The centre, because the mean of a whole image is the same for its voxels in any order."""
        refuse_unless_admitted(self.card, image.facts)
        grey = _grey(image)
        low, high = float(grey.min()), float(grey.max())
        heat = (grey - low) / (high - low) if high > low else np.zeros_like(grey)
        rows, columns = heat.shape[1:]
        centre = heat[:, rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
        return (Detection(self.card.labels["bright"], float(centre.mean()), heatmap=heat, notes=("test only",)),)

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, 16): a 4x4 thumbnail of the middle plane."""
        out = np.zeros((len(images), SIDE * SIDE), dtype=np.float32)
        for row, image in enumerate(images):
            planes = grey_planes(image)
            out[row] = resized(planes[len(planes) // 2], SIDE, SIDE).ravel()
        return out

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, 16): how many words of a text begin with each letter, the alphabet folded onto 16."""
        out = np.zeros((len(texts), SIDE * SIDE), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.casefold().split():
                out[row, ord(word[0]) % out.shape[1]] += 1
        return out

    def locate(self, image: Image, phrase: str, progress: Progress | None = None) -> tuple[Located, ...]:
        """The box around the brightest fifth of the range for a phrase with "bright" in it; else nothing."""
        refuse_unless_admitted(self.card, image.facts)
        grey = _grey(image)
        low, high = float(grey.min()), float(grey.max())
        if "bright" not in phrase.casefold() or not high > low:
            return ()
        box = _box_around(grey >= high - (high - low) / 5)
        return (Located(phrase, 1.0, box, (grey - low) / (high - low)),)

    def session(self, image: Image, progress: Progress | None = None) -> EchoSession:
        """A session whose masks are what is brighter than the middle, inside the box where one is given."""
        refuse_unless_admitted(self.card, image.facts)
        return EchoSession(image, self.modes)

    def answer(
        self, images: Sequence[Image], question: str, *, max_tokens: int = 120, timeout_s: float = 60.0
    ) -> Answer:
        """The brightness of a 4x4 thumbnail in tenths, row by row; without an image it cannot tell."""
        for image in images:
            refuse_unless_admitted(self.card, image.facts)
        if not images:
            return Answer("there is no image to look at", "cannot_tell")
        tenths = np.rint(self.encode(images) * 10).astype(int)
        words = [f"{column}{cell}" for row in tenths for column, cell in zip("abcdefghijklmnop", row, strict=True)]
        text = " ".join(["brightness", "in", "tenths:", *words][: max(1, max_tokens)])
        return Answer(text, "answered", tuple(image.id for image in images), notes=("test only",))

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


class EchoSession:
    """One image and what is brighter than the middle of its range."""

    def __init__(self, image: Image, modes: tuple[str, ...]) -> None:
        grey = _grey(image)
        self._bright, self._modes = grey > (grey.min() + grey.max()) / 2, modes
        self._last = np.zeros_like(self._bright)

    def predict(self, prompts: Prompts) -> Masked:
        """Raises PromptRefused."""
        if not prompts.empty:
            refuse_bad_prompts(prompts, self._bright.shape, self._modes, "echo")
        mask = self._bright.copy()
        if prompts.box is not None:
            x0, y0, z0, x1, y1, z1 = prompts.box
            inside = np.zeros_like(mask)
            inside[z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1] = True
            mask &= inside
        for x, y, z in (p.voxel for p in prompts.points):
            mask[z, y, x] = next(p.positive for p in prompts.points if p.voxel == (x, y, z))
        changed = _box_around(mask != self._last)
        self._last = mask.copy()
        why = ("nothing is brighter than the middle",) if not mask.any() else ()
        return Masked(mask, None, changed, ("test only", *why))

    def close(self) -> None:
        """Nothing to free."""


def _box_around(mask: NDArray[np.bool_]) -> Box | None:
    """(x0, y0, z0, x1, y1, z1), inclusive; None for an empty mask."""
    if not mask.any():
        return None
    z, y, x = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    return int(x[0]), int(y[0]), int(z[0]), int(x[-1]), int(y[-1]), int(z[-1])


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
