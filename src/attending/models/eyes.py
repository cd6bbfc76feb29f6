"""How each protocol is asked about a picture, and how far apart two of its answers are. For the gate in ``looking``."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputRefused, NotAdmitted
from ..records import Answer, Image, Point, Prompts
from .protocols import Segmentation, protocols_of

WORDS = 40
"""Tokens that a reader may answer with: enough for a sentence, and a gate must stay short."""
SURE = 1e-4
"""Scores nearer to 0 or 1 than this print alike; a change beyond it does not count."""
FAR = 2 * float(np.log((1 - SURE) / SURE))
QUESTIONS = (
    "What does this image show?",
    "Where is the brightest structure, and how large is it?",
    "Is there a focal lesion? If so, on which side and where?",
    "How do the left half and the right half of this image differ?",
    "Describe the shape of what is in the middle of the image.",
    "What would you measure in this image, and what do you expect it to be?",
)
"""Open ones, on content: a reader that looks cannot answer them alike for two patients."""
PHRASE = "the brightest structure"


@dataclass(frozen=True)
class Eye:
    """ask(plugin, images, question) gives an answer; apart(a, b) is 0 for equal ones and at most ``far``.

    least   the smallest difference that counts as one, in ``unit``.
    blind   whether it can be asked without any image.
    """

    protocol: str
    ask: Callable[[Any, Sequence[Image], str], Any]
    apart: Callable[[Any, Any], float]
    least: float
    unit: str
    far: float = 1.0
    questions: tuple[str, ...] = ("",)
    blind: bool = False

    def look(self, plugin: Any, images: Sequence[Image], question: str) -> Any:
        """The answer; None where it refuses the picture or the question, which is an answer too."""
        try:
            return self.ask(plugin, images, question)
        except (NotAdmitted, InputRefused):
            return None

    def distance(self, a: Any, b: Any) -> float:
        if a is None or b is None:
            return 0.0 if a is b else self.far
        return self.apart(a, b)


def eyes_of(plugin: Any) -> tuple[Eye, ...]:
    """One for every protocol of the plugin that answers about images. A Writer has one where ``write`` takes images."""
    kinds = set(protocols_of(plugin))
    if "Writer" in kinds and "images" not in inspect.signature(plugin.write).parameters:
        kinds.remove("Writer")
    return tuple(eye for eye in EYES if eye.protocol in kinds)


def _read(plugin: Any, images: Sequence[Image], question: str) -> Answer:
    answer: Answer = plugin.answer(images, question, max_tokens=WORDS)
    return answer


def _written(plugin: Any, images: Sequence[Image], question: str) -> Answer:
    messages = [{"role": "user", "content": question}]
    return Answer(plugin.write(messages, images=images, max_tokens=WORDS).text, "answered")


def _words_apart(a: Answer, b: Answer) -> float:
    """1 - the Dice overlap of their bags of words (case, punctuation and order left out); 1 for another status."""
    if a.status != b.status:
        return 1.0
    bags = [Counter(re.findall(r"[^\W_]+", answer.text.casefold())) for answer in (a, b)]
    total = sum(sum(bag.values()) for bag in bags)
    return 1 - 2 * sum((bags[0] & bags[1]).values()) / total if total else 0.0


def _scores(plugin: Any, images: Sequence[Image], question: str) -> Any:
    return np.array([found.score for found in plugin.detect(images[0])], dtype=np.float64)


def _scores_apart(a: Any, b: Any) -> float:
    """The greatest change of a score's log-odds: a rare finding moves from 0.001 to 0.01 as much as from 0.1 to 0.5."""
    if a.shape != b.shape:
        return FAR
    odds = [np.log(np.clip(s, SURE, 1 - SURE) / (1 - np.clip(s, SURE, 1 - SURE))) for s in (a, b)]
    return float(np.abs(odds[0] - odds[1]).max(initial=0.0))


def _labels(plugin: Any, images: Sequence[Image], question: str) -> Any:
    found: Segmentation = plugin.segment(images[0])
    return np.asarray(found.labels.labels).copy()


def _prompted(plugin: Any, images: Sequence[Image], question: str) -> Any:
    """The mask for a click, else a box, in the middle: a model that gives back the prompt gives one mask for all."""
    shape = images[0].voxels.shape[:3]
    z, y, x = (n // 2 for n in shape)
    box = (x // 2, y // 2, z, x + x // 2, y + y // 2, z)
    session = plugin.session(images[0])
    try:
        if "none" in plugin.modes and not {"point", "box"} & set(plugin.modes):
            prompts = Prompts()
        elif "point" in plugin.modes:
            prompts = Prompts(points=(Point((x, y, z)),))
        else:
            prompts = Prompts(box=box) if "box" in plugin.modes else Prompts(text=PHRASE)
        return np.asarray(session.predict(prompts).mask).copy()
    finally:
        session.close()


def _labels_apart(a: Any, b: Any) -> float:
    """Of the voxels labelled in either, the part that is labelled differently."""
    if a.shape != b.shape:
        return 1.0
    either = (a != 0) | (b != 0)
    return float((a != b)[either].mean()) if either.any() else 0.0


def _vector(plugin: Any, images: Sequence[Image], question: str) -> Any:
    return np.asarray(plugin.encode([images[0]])[0], dtype=np.float64)


def _vectors_apart(a: Any, b: Any) -> float:
    """The length of the difference as a part of the greater length, at most 1."""
    if a.shape != b.shape:
        return 1.0
    longest = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)))
    return min(1.0, float(np.linalg.norm(a - b)) / longest) if longest > 0 else 0.0


def _placed(plugin: Any, images: Sequence[Image], question: str) -> Any:
    return plugin.locate(images[0], question)


def _places_apart(a: Any, b: Any) -> float:
    """Of the best place: 1 - the boxes' overlap, the heat maps' mean difference, or the scores' difference."""
    if not a or not b:
        return 0.0 if not a and not b else 1.0
    first, second = a[0], b[0]
    apart = float(abs(first.score - second.score))
    if (first.box is None) != (second.box is None) or (first.heatmap is None) != (second.heatmap is None):
        return 1.0
    if first.box is not None:
        apart = max(apart, 1 - _overlap(first.box, second.box))
    if first.heatmap is not None:
        maps = [np.asarray(place.heatmap, dtype=np.float64) for place in (first, second)]
        apart = max(apart, float(np.abs(maps[0] - maps[1]).mean()) if maps[0].shape == maps[1].shape else 1.0)
    return min(1.0, apart)


def _overlap(a: Sequence[int], b: Sequence[int]) -> float:
    """Intersection over union of two inclusive boxes (x0, y0, z0, x1, y1, z1)."""
    sides = [max(0, min(a[i + 3], b[i + 3]) - max(a[i], b[i]) + 1) for i in range(3)]
    both = float(np.prod(sides))
    each = [float(np.prod([box[i + 3] - box[i] + 1 for i in range(3)])) for box in (a, b)]
    return float(both / (sum(each) - both))


EYES = (
    Eye("Reader", _read, _words_apart, 0.05, "part of the words", questions=QUESTIONS, blind=True),
    Eye("Writer", _written, _words_apart, 0.05, "part of the words", questions=QUESTIONS, blind=True),
    Eye("Detector", _scores, _scores_apart, 0.2, "log-odds", far=FAR),
    Eye("Locator", _placed, _places_apart, 0.02, "part of the place", questions=(PHRASE,)),
    Eye("Segmenter", _labels, _labels_apart, 0.01, "part of the labelled voxels"),
    Eye("Prompted", _prompted, _labels_apart, 0.01, "part of the mask"),
    Eye("Encoder", _vector, _vectors_apart, 0.01, "part of the vector's length"),
)
"""least: one word in twenty; a score from 0.50 to 0.55; one voxel in a hundred."""
