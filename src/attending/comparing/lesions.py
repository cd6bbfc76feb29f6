"""Lesions: the connected parts of two masks matched with each other in one space, and how each changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..imaging.measure_mask import Measures, measure, parts_of
from ..imaging.measure_space import Space
from ..records.mask import Segment
from .growth import Growth, growth

Status = Literal["matched", "new", "gone"]
NEAR_MM = 5.0
"""Centres this far apart, beyond the lesion's own radius and three times the registration's error, are two lesions."""
SPECK = 3
"""Voxels below which a part is noise of segmentation, and is left out."""


@dataclass(frozen=True, eq=False)
class Matched:
    """One lesion at two times. now and before: its measures, None where it is new or gone. shift: mm between the
    centres after registration. notes: merging and splitting."""

    label: int
    name: str
    status: Status
    now: Measures | None
    before: Measures | None
    growth: Growth | None
    shift: float | None
    notes: tuple[str, ...] = ()

    @property
    def voxels(self) -> int:
        """Of this study; of the prior where it is gone."""
        side = self.now or self.before
        return side.voxels if side else 0


@dataclass(frozen=True, eq=False)
class _Lesion:
    """points: voxel centres, LPS mm of this study. step: half a voxel's diagonal, mm."""

    step: float
    measures: Measures
    points: NDArray[np.float64]

    @property
    def centre(self) -> NDArray[np.float64]:
        return np.asarray(self.points.mean(axis=0))

    @property
    def radius(self) -> float:
        return float(np.sqrt(((self.points - self.centre) ** 2).sum(axis=1).mean()) * np.sqrt(5 / 3))


def lesions(
    now: Sequence[tuple[Segment, Space]],
    before: Sequence[tuple[Segment, Space]],
    back: NDArray[np.float64] | None,
    error: float,
    days: int | None,
) -> tuple[Matched, ...]:
    """Lesions of one label matched with each other, largest first; then what is new, then what is gone.

    back   4x4, the prior's LPS mm (1) -> this study's; None where the images were not registered: then only labels
           that are one part in both are matched, as nothing says which part is which.
    error  of the registration, mm.
    """
    found: list[Matched] = []
    # Two masks of one structure each speak of that structure, however they number it.
    alone = len({s.label for s, _ in now}) <= 1 and len({s.label for s, _ in before}) <= 1
    labels = [None] if alone else list(dict.fromkeys(s.label for s, _ in (*now, *before)))
    for label in labels:
        mine = [_lesions(s, space, None) for s, space in now if label in (None, s.label)]
        theirs = [_lesions(s, space, back) for s, space in before if label in (None, s.label)]
        ours, old = [x for part in mine for x in part], [x for part in theirs for x in part]
        if back is None and not (len(ours) <= 1 and len(old) <= 1):
            pairs, notes = _whole(ours, old), ("not registered: the parts of this label were compared as one",)
            for a, b in pairs:
                found.append(_matched(a, b, days, None, notes))
            continue
        chosen, extra = _pairs(ours, old, error, placed=back is not None)
        for i, j in chosen:
            shift = float(np.linalg.norm(ours[i].centre - old[j].centre)) if back is not None else None
            found.append(_matched(ours[i].measures, old[j].measures, days, shift, extra.get(i, ())))
        taken, matched_old = {i for i, _ in chosen}, {j for _, j in chosen}
        found += [_matched(x.measures, None, days, None, ()) for i, x in enumerate(ours) if i not in taken]
        found += [_matched(None, x.measures, days, None, ()) for j, x in enumerate(old) if j not in matched_old]
    order = {"matched": 0, "new": 1, "gone": 2}
    return tuple(sorted(found, key=lambda m: (order[m.status], -m.voxels)))


def _lesions(segment: Segment, space: Space, back: NDArray[np.float64] | None) -> list[_Lesion]:
    made = []
    for part in parts_of(segment):
        if part.mask.sum() < SPECK and segment.mask.sum() > SPECK:
            continue
        points = space.moved(part.start).at(np.argwhere(part.mask)[:, ::-1])
        if back is not None:
            points = points @ back[:3, :3].T + back[:3, 3]
        step = float(np.linalg.norm(np.abs(space.axes).sum(axis=1))) / 2
        made.append(_Lesion(step, measure(part, space), points))
    return made


def _whole(ours: list[_Lesion], old: list[_Lesion]) -> list[tuple[Measures | None, Measures | None]]:
    """Without registration: the largest part of each side stands for it."""
    return [(ours[0].measures if ours else None, old[0].measures if old else None)]


def _pairs(
    ours: list[_Lesion], old: list[_Lesion], error: float, placed: bool
) -> tuple[list[tuple[int, int]], dict[int, tuple[str, ...]]]:
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial import cKDTree

    if not ours or not old:
        return [], {}
    if not placed:
        return [(0, 0)], {}
    far = np.full((len(ours), len(old)), 1e6)
    within = np.zeros((len(ours), len(old)))
    trees = [cKDTree(x.points) for x in ours]
    for i, a in enumerate(ours):
        for j, b in enumerate(old):
            apart = float(np.linalg.norm(a.centre - b.centre))
            near, _ = trees[i].query(b.points, distance_upper_bound=a.step)
            within[i, j] = float(np.isfinite(near).mean())
            if within[i, j] > 0 or apart <= max(a.radius, b.radius) + NEAR_MM + 3 * error:
                far[i, j] = apart - 100 * within[i, j]
    rows, columns = linear_sum_assignment(far)
    chosen = [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if far[i, j] < 1e6]
    notes: dict[int, tuple[str, ...]] = {}
    for i, j in chosen:
        merged = int((within[i] > 0.5).sum())
        split = int((within[:, j] > 0.2).sum())
        if merged > 1:
            notes[i] = (f"{merged} lesions of the prior lie within it: they may have merged",)
        elif split > 1:
            notes[i] = (f"{split} lesions lie where the prior had one: it may have split",)
    return chosen, notes


def _matched(
    now: Measures | None, before: Measures | None, days: int | None, shift: float | None, notes: tuple[str, ...]
) -> Matched:
    one = now or before
    assert one is not None
    status: Status = "matched" if now and before else "new" if now else "gone"
    grown = growth(now, before, days) if now and before else None
    return Matched(one.label, one.name, status, now, before, grown, shift, notes)
