"""How the promptable net is looked through: which windows of a plane it sees, and which of its answers is taken.

A box, a lasso or an earlier mask says where to look. A click does not say how large the thing is: windows of several
zooms are tried in one batch, and the answer is taken whose guessed Dice, sureness and agreement with the other windows'
answers are greatest together. Then comes a second, closer look around it. Shared by the engine and by the validation
during training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .promptcrop import SIZE, Marks, Window, look, paste

Net = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Inputs (n, CHANNELS, SIZE, SIZE) -> probabilities (n, SIZE, SIZE) and guessed Dice (n,)."""

ZOOM = 0.6
"""The part of the window's side that a box, lasso, mask or first answer takes: the middle of what training showed."""
ZOOMS = 6
"""Windows tried for clicks, from the whole plane down to the closest."""
CLOSEST = 20.0
"""Voxels: the least side of a window tried for clicks."""
BEFORE, SOFT = 0.3, 0.08
"""Weight of an earlier mask beside the net's answer where nothing else was pointed at, and by how much of its size its
outline is softened for that."""
COMMON = 256
"""Greatest side of the plane on which answers of several windows are compared."""


@dataclass(frozen=True)
class Answer:
    """probability (rows, columns) on the plane's grid, 0 where the net did not look; guessed Dice."""

    probability: NDArray[np.float32]
    guess: float


def answer(net: Net, planes: Sequence[NDArray[Any]], marks: Sequence[Marks]) -> list[Answer]:
    """One answer for each plane and its marks; all windows go through the net together.

    Without an earlier mask there is a second look; a box's answer is the mean of both, and ends at the box. An earlier
    mask alone is mixed into the answer, since the next slice is mostly like the one before.
    """
    windows = [first_windows(p.shape, m) for p, m in zip(planes, marks, strict=True)]
    owner = [k for k, some in enumerate(windows) for _ in some]
    flat = [w for some in windows for w in some]
    inputs = np.stack([look(planes[k], w, marks[k]) for k, w in zip(owner, flat, strict=True)])
    probabilities, guesses = net(inputs)
    first: list[Answer] = []
    start = 0
    for plane, some in zip(planes, windows, strict=True):
        stop = start + len(some)
        k = start + _choice(plane.shape, some, probabilities[start:stop], guesses[start:stop])
        shape = (plane.shape[0], plane.shape[1])
        first.append(Answer(paste(probabilities[k], flat[k], shape, 0.0), float(guesses[k])))
        start = stop
    second = _closer(net, planes, marks, first)
    return [_settled(m, a, b) for m, a, b in zip(marks, first, second, strict=True)]


def _settled(marks: Marks, first: Answer, second: Answer) -> Answer:
    probability = second.probability
    if marks.box is not None:
        y0, x0, y1, x1 = (int(v) for v in marks.box)
        within = np.zeros_like(probability)
        within[y0 : y1 + 1, x0 : x1 + 1] = 0.5
        probability = (first.probability + second.probability) * within
    elif marks.mask is not None and not len(marks.positive) and not len(marks.negative):
        from scipy.ndimage import gaussian_filter

        before = marks.mask.astype(np.float32)
        soft = gaussian_filter(before, max(1.0, SOFT * float(np.sqrt(before.sum()))))
        probability = (1 - BEFORE) * probability + BEFORE * soft
    return Answer(probability, second.guess)


def first_windows(shape: tuple[int, ...], marks: Marks) -> list[Window]:
    """The windows that are looked through first."""
    area = _extent(marks)
    if area is not None:
        return [Window.around(*area, zoom=ZOOM)]
    whole = Window.whole(shape)
    y0, x0, y1, x1 = _bounds(marks.positive)
    least = max(CLOSEST, (max(y1 - y0, x1 - x0) + 1) / 0.8)
    if least >= whole.side:
        return [whole]
    sides = np.geomspace(whole.side, least, ZOOMS)[1:]
    return [whole, *(Window((y0 + y1) / 2 - s / 2, (x0 + x1) / 2 - s / 2, float(s)) for s in sides)]


def _choice(
    shape: tuple[int, ...], windows: list[Window], probabilities: NDArray[np.float32], guesses: NDArray[np.float32]
) -> int:
    """Which window's answer is taken: guessed Dice x sureness x mean agreement with all windows' answers. Chosen on
    held-out synthetic scenes, where it beats each of the three alone."""
    if len(windows) == 1:
        return 0
    scale = min(1.0, COMMON / max(shape[:2]))
    small = (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale)))
    there = [Window((w.y + 0.5) * scale - 0.5, (w.x + 0.5) * scale - 0.5, w.side * scale) for w in windows]
    same = np.stack([paste(p, w, small, 0.0).ravel() for p, w in zip(probabilities, there, strict=True)])
    both, own = same @ same.T, (same * same).sum(1)
    agreement = (2 * both / (own[:, None] + own[None, :] + 1e-6)).mean(1)
    return int(np.argmax(guesses * np.array([_sureness(p) for p in probabilities]) * agreement))


def _sureness(probability: NDArray[np.float32]) -> float:
    """0..1: how far from a half the probabilities are where there may be something; 0 where there is nothing."""
    maybe = probability[probability > 0.1]
    return 2 * float(np.abs(maybe - 0.5).mean()) if len(maybe) else 0.0


def _closer(net: Net, planes: Sequence[NDArray[Any]], marks: Sequence[Marks], first: Sequence[Answer]) -> list[Answer]:
    """A second look around each first answer, with that answer as earlier mask. Answers that are empty, or that an
    earlier mask led to, stay."""
    todo, inputs, windows = [], [], []
    for k, (plane, given, said) in enumerate(zip(planes, marks, first, strict=True)):
        if given.mask is not None or not (said.probability > 0.5).any():
            continue
        area = _bounds(np.argwhere(said.probability > 0.5).astype(np.float32), given.positive)
        again = Window.around(*area, zoom=ZOOM)
        todo.append(k)
        windows.append(again)
        inputs.append(look(plane, again, replace(given, mask=said.probability)))
    out = list(first)
    if not todo:
        return out
    probabilities, guesses = net(np.stack(inputs))
    for k, window, probability, guess in zip(todo, windows, probabilities, guesses, strict=True):
        shape = (planes[k].shape[0], planes[k].shape[1])
        out[k] = Answer(paste(probability, window, shape, 0.0), float(guess))
    return out


def _extent(marks: Marks) -> tuple[float, float, float, float] | None:
    """What box, lasso or mask, and the clicks with them, span; None where only clicks are there."""
    places = [marks.positive]
    if marks.box is not None:
        return marks.box
    if marks.lasso is not None:
        places.append(marks.lasso)
    if marks.mask is not None and (marks.mask > 0.5).any():
        places.append(np.argwhere(marks.mask > 0.5).astype(np.float32))
    return _bounds(*places) if len(places) > 1 else None


def _bounds(*places: NDArray[np.float32]) -> tuple[float, float, float, float]:
    every = np.concatenate(places)
    (y0, x0), (y1, x1) = every.min(0), every.max(0)
    return float(y0), float(x0), float(y1), float(x1)


__all__ = ["SIZE", "Answer", "Net", "answer", "first_windows"]
