"""A stream of training samples: fresh ones with first prompts, and earlier ones carried on with a correction.

A batch mixes both, so that batch statistics are the same in training and use, and no forward pass is made only to
find where the net is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.promptcrop import CHANNELS, SIZE, Marks, Window, look, paste, resample
from . import pointing
from .anatomy import Rng
from .pointing import Mask
from .scenes import Scene, scene

MODES = {"click": 0.34, "box": 0.24, "scribble": 0.1, "lasso": 0.05, "mask": 0.2, "box and click": 0.07}
GO_ON = 0.6
"""How often a sample is carried on with what the net made of it."""
REFINE = 0.4
"""How many of those are carried on by a second, closer look instead of another click."""
MOST = 6
PER_SCENE = 4


@dataclass
class Sample:
    """One task: the picture, what is meant, what was pointed at so far, and the window that is looked through."""

    image: NDArray[np.float32]
    target: Mask
    marks: Marks
    window: Window
    mode: str
    turn: int = 0

    def input(self, size: int) -> NDArray[np.float32]:
        return look(self.image, self.window, self.marks, size)

    def answer(self, size: int) -> NDArray[np.float32]:
        """The target in the window, 0..1."""
        return resample(self.target, self.window, size)

    def whole(self, size: int) -> float:
        """The target's area in pixels of the net's grid, in the window or not."""
        return float(self.target.sum()) * (size / self.window.side) ** 2


def first(rng: Rng, made: Scene, mode: str | None = None) -> Sample | None:
    """A fresh sample of a scene, or None where its draw of a target failed."""
    target = made.target(rng)
    if target is None:
        return None
    mode = mode or str(rng.choice(list(MODES), p=list(MODES.values())))
    marks = Marks()
    if mode == "click":
        extra = int(rng.integers(2, 5)) if rng.random() < 0.15 else 1
        marks.positive = np.array([pointing.click(rng, target) for _ in range(extra)], np.float32)
    if mode in ("box", "box and click"):
        marks.box = pointing.box(rng, target, 0.0 if rng.random() < 0.4 else float(rng.uniform(0.02, 0.2)))
    if mode == "box and click":
        marks.positive = np.array([pointing.click(rng, target)], np.float32)
    if mode == "scribble":
        marks.positive = pointing.scribble(rng, target)
        if not len(marks.positive):
            return None
    if mode == "lasso":
        marks.lasso = pointing.lasso(rng, target)
        if marks.lasso is None:
            return None
    if mode == "mask":
        marks.mask = pointing.earlier(rng, target)
        if rng.random() < 0.25:
            marks.positive = np.array([pointing.click(rng, target)], np.float32)
    if rng.random() < 0.12:
        marks.negative = pointing.outside(rng, target)
    return Sample(made.image, target, marks, pointing.first_window(rng, marks, target), mode)


def carried_on(rng: Rng, sample: Sample, probability: NDArray[np.float32]) -> Sample | None:
    """The same task after the net's answer (side, side): looked at more closely, or with a corrective click."""
    shape = (sample.target.shape[0], sample.target.shape[1])
    said = paste(probability, sample.window, shape, 0.0)
    mask = said > 0.5
    if rng.random() < 0.5:
        said = mask.astype(np.float32)
    marks = Marks(sample.marks.positive, sample.marks.negative, sample.marks.box, sample.marks.lasso, sample.marks.mask)
    window = sample.window
    if mask.any():
        marks.mask = said
    if mask.any() and (rng.random() < REFINE or not (mask != sample.target).any()):
        area = mask.copy()
        for y, x in sample.marks.positive.astype(int):
            area[y, x] = True
        window = Window.around(*pointing.bounds(area), zoom=float(rng.uniform(0.45, 0.8)))
        if rng.random() < 0.5:
            return Sample(sample.image, sample.target, marks, window, sample.mode, sample.turn + 1)
    wrong = mask != sample.target
    if not wrong.any():
        return None
    y, x = pointing.correction(rng, wrong)
    place = np.array([[y, x]], np.float32)
    if sample.target[y, x]:
        marks.positive = np.concatenate([marks.positive, place])
    else:
        marks.negative = np.concatenate([marks.negative, place])
    if not (window.y < y < window.y + window.side and window.x < x < window.x + window.side):
        window = pointing.first_window(rng, marks, sample.target)
    return Sample(sample.image, sample.target, marks, window, sample.mode, sample.turn + 1)


class Stream:
    """An endless stream of batches. ``batch()`` gives inputs and answers, ``told(probabilities)`` what the net said."""

    def __init__(self, size: int, rng: Rng, tissues: NDArray[np.uint8] | None) -> None:
        self._rng, self._tissues, self._size = rng, tissues, size
        self._scenes: list[Scene] = []
        self.samples: list[Sample] = [self._fresh() for _ in range(size)]

    def batch(self, side: int = SIZE) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Inputs (n, CHANNELS, side, side), answers (n, side, side) in 0..1, whole areas (n,) in grid pixels."""
        inputs = np.stack([s.input(side) for s in self.samples])
        answers = np.stack([s.answer(side) for s in self.samples]) * inputs[:, CHANNELS.index("inside")]
        return inputs, answers, np.array([s.whole(side) for s in self.samples], np.float32)

    def told(self, probabilities: NDArray[np.float32]) -> None:
        """Carries samples on, or replaces them."""
        for k, sample in enumerate(self.samples):
            on = sample.turn < MOST and self._rng.random() < GO_ON
            new = carried_on(self._rng, sample, probabilities[k]) if on else None
            self.samples[k] = new or self._fresh()

    def _fresh(self) -> Sample:
        while True:
            if not self._scenes or self._rng.random() < 1 / PER_SCENE:
                self._scenes = [*self._scenes[-24:], scene(self._rng, self._tissues)]
            made = self._scenes[int(self._rng.integers(len(self._scenes)))]
            sample = first(self._rng, made)
            if sample is not None:
                return sample
