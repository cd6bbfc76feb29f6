"""Second: two models on one image, side by side, with where they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Code, Detection, Side

DIFFER_DICE = 0.8
"""Below this Dice two outlines of one structure are shown as a disagreement."""
DIFFER_SCORE = 0.2
THRESHOLD = 0.5


@dataclass(frozen=True)
class Disagreement:
    """One structure or finding by two models. kind "mask": dice and volumes in ml (voxels where there is no spacing);
    kind "score": scores 0..1. disagree: beyond the limits named in this module."""

    kind: str
    code: Code
    side: Side | None
    first: float | None
    second: float | None
    unit: str
    dice: float | None
    disagree: bool
    labels: tuple[int, ...] = field(default=())


Structures = Mapping[int, tuple[Code, Side | None]]


def second(
    first: NDArray[Any], named: Structures, other: NDArray[Any], other_named: Structures, voxel_ml: float | None
) -> tuple[Disagreement, ...]:
    """Two label maps (z, y, x) on one grid: per structure that both models know, Dice and volumes; worst first.

    named  label value -> (code, side) of each map. Values that mean one structure are taken together.
    """
    table = [_by_structure(first, named), _by_structure(other, other_named)]
    found = []
    for key in table[0]:
        if key not in table[1]:
            continue
        mine, theirs = np.isin(first, table[0][key]), np.isin(other, table[1][key])
        sizes = int(mine.sum()), int(theirs.sum())
        if not any(sizes):
            continue
        dice = 2.0 * int((mine & theirs).sum()) / sum(sizes)
        scale = voxel_ml if voxel_ml else 1.0
        code = next(code for code, side in named.values() if (code.scheme, code.value, side or "") == key)
        unit = "ml" if voxel_ml else "{voxels}"
        side = next(side for c, side in named.values() if (c.scheme, c.value, side or "") == key)
        amounts = sizes[0] * scale, sizes[1] * scale
        found.append(Disagreement("mask", code, side, *amounts, unit, dice, dice < DIFFER_DICE, tuple(table[0][key])))
    return tuple(sorted(found, key=lambda d: d.dice if d.dice is not None else 0.0))


def scores(first: Sequence[Detection], other: Sequence[Detection]) -> tuple[Disagreement, ...]:
    """Two detectors' scores of the findings that both know; those further apart than DIFFER_SCORE, or on two sides of
    one half, disagree."""
    theirs = {(d.code.scheme, d.code.value): d.score for d in other}
    found = []
    for d in first:
        score = theirs.get((d.code.scheme, d.code.value))
        if score is not None:
            apart = abs(d.score - score) > DIFFER_SCORE or (d.score >= THRESHOLD) != (score >= THRESHOLD)
            found.append(Disagreement("score", d.code, None, d.score, score, "1", None, apart))
    return tuple(sorted(found, key=lambda d: -abs((d.first or 0.0) - (d.second or 0.0))))


def _by_structure(labels: NDArray[Any], named: Structures) -> dict[tuple[str, str, str], list[int]]:
    grouped: dict[tuple[str, str, str], list[int]] = {}
    for value, (code, side) in named.items():
        grouped.setdefault((code.scheme, code.value, side or ""), []).append(int(value))
    return grouped
