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
COMMON = 256
"""Greatest side of the plane on which answers of several windows are compared."""


@dataclass(frozen=True)
class Answer:
    """probability (rows, columns) on the plane's grid, 0 where the net did not look; guessed Dice."""

    probability: NDArray[np.float32]
    guess: float


def answer(net: Net, planes: Sequence[NDArray[Any]], marks: Sequence[Marks], looks: int = 2) -> list[Answer]:
    """One answer for each plane and its marks; all windows go through the net together."""
    windows = [first_windows(p.shape, m) for p, m in zip(planes, marks, strict=True)]
    owner = [k for k, some in enumerate(windows) for _ in some]
    flat = [w for some in windows for w in some]
    inputs = np.stack([look(planes[k], w, marks[k]) for k, w in zip(owner, flat, strict=True)])
    probabilities, guesses = net(inputs)
    best: list[tuple[Window, NDArray[np.float32], float]] = []
    start = 0
    for some in windows:
        stop = start + len(some)
        k = start + _choice(planes[len(best)].shape, some, probabilities[start:stop], guesses[start:stop])
        best.append((flat[k], probabilities[k], float(guesses[k])))
        start = stop
    for _ in range(looks - 1):
        best = _closer(net, planes, marks, best)
    return [
        Answer(paste(p, w, (plane.shape[0], plane.shape[1]), 0.0), g)
        for plane, (w, p, g) in zip(planes, best, strict=True)
    ]


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


def _closer(
    net: Net,
    planes: Sequence[NDArray[Any]],
    marks: Sequence[Marks],
    best: list[tuple[Window, NDArray[np.float32], float]],
) -> list[tuple[Window, NDArray[np.float32], float]]:
    """A second look around each first answer, with that answer as earlier mask; empty answers stay."""
    todo, inputs, windows = [], [], []
    for k, (window, probability, _) in enumerate(best):
        if not (probability > 0.5).any():
            continue
        said = paste(probability, window, (planes[k].shape[0], planes[k].shape[1]), 0.0)
        if not (said > 0.5).any():
            continue
        area = _bounds(np.argwhere(said > 0.5).astype(np.float32), marks[k].positive)
        again = Window.around(*area, zoom=ZOOM)
        todo.append(k)
        windows.append(again)
        inputs.append(look(planes[k], again, replace(marks[k], mask=said)))
    if not todo:
        return best
    probabilities, guesses = net(np.stack(inputs))
    out = list(best)
    for k, window, probability, guess in zip(todo, windows, probabilities, guesses, strict=True):
        out[k] = (window, probability, float(guess))
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
