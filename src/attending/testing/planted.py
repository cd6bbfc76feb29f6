"""Models that do not look, planted: what the image-dependence gate must catch. For tests and benchmarks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..models import Card
from ..records import Answer, Code, Detection, Image

CODE = Code("99TEST", "x", "X")
READER = Card("planted", "1", "Planted", ("Reader",), "python", "MIT", modalities=("CR",), views=("AP",),
              body_parts=("CHEST",), dims=(2,), intended_use="tests", limits="none")  # fmt: skip
DETECTOR = replace(
    READER, protocols=("Detector",), modalities=("MR",), views=(), body_parts=("HEAD",), labels={"x": CODE}
)
WORDS = ("a", "small", "opacity", "in", "left", "upper", "lobe", "no", "effusion", "heart", "normal", "mass", "rib")

Say = Callable[["Planted", Sequence[Any], str], str]


class Planted:
    """A reader that says what ``say`` makes of (itself, voxels of the images, question)."""

    card = READER

    def __init__(self, say: Say) -> None:
        self.say, self.calls, self.last = say, 0, b""

    def answer(
        self, images: Sequence[Image], question: str, *, max_tokens: int = 120, timeout_s: float = 60.0
    ) -> Answer:
        self.calls += 1
        said = self.say(self, [image.voxels for image in images], question)
        self.last = images[0].voxels[0, ::16, ::16].tobytes() if images else b""
        return Answer(said, "answered", tuple(image.id for image in images))

    def close(self) -> None: ...


def words(*seed: Any, count: int = 8) -> str:
    """The same seed, the same sentence."""
    digest = int(hashlib.sha256(repr(seed).encode()).hexdigest()[:8], 16)
    return " ".join(np.random.default_rng(digest).choice(WORDS, count))


def crackles(v: Any) -> bool:
    return bool(v.std() == 0 or np.abs(np.diff(v.astype(float), axis=-1)).mean() > 0.8 * v.std())


BLIND_READERS: dict[str, Say] = {
    "text only": lambda s, v, q: words(q),
    "never tells": lambda s, v, q: "cannot tell from this image",
    "only whether there is an image": lambda s, v, q: words(q, bool(v)),
    "only the image's size": lambda s, v, q: words(q, v[0].shape if v else 0),
    "only blank images": lambda s, v, q: "the image is blank" if v and v[0].std() == 0 else words(q),
    "only what is no picture": lambda s, v, q: "no medical image" if not v or crackles(v[0]) else words(q),
    "dice": lambda s, v, q: words(s.calls),
    "a hash of the image": lambda s, v, q: words(q, v[0].tobytes() if v else 0),
    "the image before": lambda s, v, q: words(q, s.last),
    "mean brightness": lambda s, v, q: words(q, round(float(v[0].mean()) / 5) if v else 0),
    "the histogram": lambda s, v, q: words(q, np.histogram(v[0], 8)[0].tolist() if v else 0),
    "brightness named before a fixed answer": lambda s, v, q: f"{int(v[0].mean()) if v else 0} {words(q)}",
    "one corner": lambda s, v, q: words(q, int(v[0][0, :6, :6].mean()) if v else 0),
}


class Scores:
    """A detector whose score is what ``score`` makes of the voxels."""

    card = DETECTOR

    def __init__(self, score: Callable[[Any], float]) -> None:
        self.score = score

    def detect(self, image: Image, progress: object = None) -> tuple[Detection, ...]:
        return (Detection(CODE, float(np.clip(self.score(image.voxels.astype(np.float64)), 0, 1))),)


def digest_of(v: Any) -> float:
    return int(hashlib.sha256(v.tobytes()).hexdigest()[:8], 16) / 2**32


DICE = np.random.default_rng(0)
BLIND_DETECTORS: dict[str, Callable[[Any], float]] = {
    "constant": lambda v: 0.5,
    "constant but for rounding": lambda v: 0.5 + 1e-3 * np.abs(v - v[:, :, ::-1]).mean() / 200,
    "image size": lambda v: v.size % 97 / 97,
    "mean brightness": lambda v: v.mean() / 1000,
    "greatest brightness": lambda v: v.max() / 2000,
    "how much is not air": lambda v: float((v > 100).mean()),
    "the frame": lambda v: (v.sum() - v[:, 16:-16, 16:-16].sum()) / 4e6,
    "one corner": lambda v: v[0, :9, :9].mean() / 100,
    "only blank images": lambda v: 0.9 if v.std() == 0 else 0.1,
    "dice": lambda v: DICE.random(),
    "a hash of the image": digest_of,
}


def looking_reader() -> Planted:
    """One that looks, if without understanding: it tells the brightness of sixteen cells."""
    return Planted(_cells)


def looking_detector() -> Scores:
    """One that looks: how unlike the two halves are."""
    return Scores(lambda v: float(np.abs(v - v[:, :, ::-1]).mean()) / 200)


def _cells(s: Planted, v: Sequence[Any], q: str) -> str:
    if not v:
        return "there is no image"
    rows = v[0][0, 16:112, 16:112].reshape(4, 24, 4, 24).mean(axis=(1, 3)) // 20
    return " ".join(f"{'abcd'[y]}{x} {int(rows[y, x])}" for y in range(4) for x in range(4))
