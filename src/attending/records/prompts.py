"""Prompts: what a person points at; Masked: what a model makes of it; Answer: what a reader says of an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Voxel = tuple[int, int, int]
Box = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Point:
    """A click on voxel (x, y, z); positive: this belongs to it; negative: this does not."""

    voxel: Voxel
    positive: bool = True


@dataclass(frozen=True)
class Stroke:
    """A scribble: the voxels (x, y, z) it passes, in order. closed makes it a lasso: what it encloses in its plane."""

    voxels: tuple[Voxel, ...]
    positive: bool = True
    closed: bool = False


@dataclass(frozen=True, eq=False)
class Prompts:
    """All that was pointed at so far, in voxel indices of the image's own grid; z = 0 on one plane.

    box   (x0, y0, z0, x1, y1, z1), inclusive; z0 = z1 for a box drawn on one plane.
    mask  an earlier mask to refine, (z, y, x) bool, or None.
    text  a word ("left lung"), or None.
    """

    points: tuple[Point, ...] = ()
    box: Box | None = None
    strokes: tuple[Stroke, ...] = ()
    mask: NDArray[Any] | None = field(default=None, repr=False)
    text: str | None = None

    @property
    def empty(self) -> bool:
        return not (self.points or self.box or self.strokes or self.text) and self.mask is None


@dataclass(frozen=True, eq=False)
class Masked:
    """mask (z, y, x) bool on the image's grid, read-only. score 0..1 is the engine's own guess of the Dice, or None.

    changed  the box in which the mask differs from the session's mask before (inclusive), None where nothing changed.
    notes    what was done, in words; the reason where the mask is empty.
    """

    mask: NDArray[np.bool_] = field(repr=False)
    score: float | None = None
    changed: Box | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.mask.flags.writeable = False


@dataclass(frozen=True)
class Located:
    """One place that a phrase was found at: score in 0..1 (a model's own number, not a probability)."""

    phrase: str
    score: float
    box: Box | None = None
    heatmap: NDArray[Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Answer:
    """What a Reader or the tools say to a question.

    text       the answer in words; for "cannot tell" what would be needed.
    status     "answered" or "cannot_tell".
    rests_on   ids of findings and evidence, or of images that a Reader looked at.
    """

    text: str
    status: Literal["answered", "cannot_tell"]
    rests_on: tuple[str, ...] = ()
    score: float | None = None
    notes: tuple[str, ...] = ()
