"""Candidate against release on the same held-out cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import metrics
from ..errors import NotBetter
from ..records import Interval, Scores

MIN_SUBGROUP = 20  # cases of each class below which a subgroup's AUROC interval is wider than what it could show


def compare(
    candidate: ArrayLike,
    release: ArrayLike | None,
    labels: ArrayLike,
    *,
    ids: tuple[str, str | None],
    held_out_sha256: str,
    thresholds: tuple[float, float] = (0.5, 0.5),
    groups: Sequence[str] | None = None,
    subgroups: Sequence[str | None] | None = None,
    looks: int = 0,
    resamples: int = 2000,
) -> Scores:
    """Score a candidate, and the release in use on the same cases and the same resamples.

    candidate, release  (n,) probabilities of the held-out cases, in the order of labels (n,); release None where no
                        release is in use.
    ids                 (candidate, release).     thresholds  the operating point of each.
    held_out_sha256     names the cases and their labels.
    groups              (n,) the patient of each case: patients are resampled, not images.
    subgroups           (n,) "sex F" ... or None where it is not recorded. A subgroup with fewer than 20 cases of a
                        class is named in the notes and not scored.
    looks               how often held-out cases of this task were used before: each look at the same cases makes it a
                        little likelier that a candidate looks good by chance, so the count goes on the record.

    Intervals are 95 %: bootstrap over patients, stratified by class; Wilson for proportions. In ``subgroups`` each has
    "auroc", and "auroc_difference" where there is a release. Raises NotBetter where an answer is no probability.
    """
    y = np.asarray(labels, int)
    ours = _probabilities(candidate, y, "the candidate")
    theirs = None if release is None else _probabilities(release, y, "the release")
    notes = [
        f"look {looks + 1} at held-out cases of this task; intervals are not widened for earlier looks",
        f"95 % intervals from {resamples} resamples of {len(set(groups)) if groups is not None else y.size} patients "
        f"or images",
    ]
    if not y.size:
        return Scores(ids[0], ids[1], 0, held_out_sha256, (), notes=("no held-out case", *notes), looks=looks + 1)
    figures = metrics.measure(y, ours, threshold=thresholds[0], groups=groups, count=resamples)
    against, difference = {}, {}
    if theirs is not None:
        against = metrics.measure(y, theirs, threshold=thresholds[1], groups=groups, count=resamples)
        difference = metrics.difference(y, ours, theirs, thresholds=thresholds, groups=groups, count=resamples)
    parts, said = _by_subgroup(y, ours, theirs, groups, subgroups, resamples)
    return Scores(
        candidate=ids[0],
        release=ids[1],
        held_out=int(y.size),
        held_out_sha256=held_out_sha256,
        figures=tuple(figures.items()),
        against=tuple(against.items()),
        difference=tuple(difference.items()),
        subgroups=parts,
        notes=(*notes, *said),
        present=int(y.sum()),
        looks=looks + 1,
    )


def _by_subgroup(
    y: NDArray[np.int_],
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64] | None,
    groups: Sequence[str] | None,
    subgroups: Sequence[str | None] | None,
    resamples: int,
) -> tuple[tuple[tuple[str, tuple[tuple[str, Interval], ...]], ...], tuple[str, ...]]:
    if subgroups is None or not any(subgroups):
        return (), ("no subgroup is recorded for these cases",)
    if len(subgroups) != y.size:
        raise ValueError(f"{len(subgroups)} subgroups for {y.size} cases; allowed: one a case, or None")
    names = np.array([s or "" for s in subgroups])
    found, notes = [], []
    for name in sorted(set(names.tolist()) - {""}):
        inside = names == name
        present, absent = int(y[inside].sum()), int((1 - y[inside]).sum())
        if min(present, absent) < MIN_SUBGROUP:
            notes.append(f"{name}: {present} present, {absent} absent, too few to score")
            continue
        members = None if groups is None else [g for g, i in zip(groups, inside, strict=True) if i]
        rows = [("auroc", metrics.measure(y[inside], ours[inside], groups=members, count=resamples)["auroc"])]
        if theirs is not None:
            paired = metrics.difference(y[inside], ours[inside], theirs[inside], groups=members, count=resamples)
            rows.append(("auroc_difference", paired["auroc"]))
        found.append((name, tuple(rows)))
    unnamed = int((names == "").sum())
    if unnamed:
        notes.append(f"{unnamed} cases without a recorded subgroup")
    return tuple(found), tuple(notes)


def _probabilities(given: ArrayLike, y: NDArray[np.int_], whose: str) -> NDArray[np.float64]:
    p = np.asarray(given, np.float64)
    if p.shape != y.shape:
        raise ValueError(f"{whose} has answers of shape {p.shape} for {y.size} cases; allowed: one a case")
    if not (np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()):
        raise NotBetter(f"{whose} gives answers that are no probabilities", "numbers in 0..1", "train it again")
    return p
