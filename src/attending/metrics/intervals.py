"""Intervals: stratified bootstrap by patient, Wilson for proportions, paired differences on the same resamples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..records import Interval
from .binary import FIGURES, Vector, checked, defined, resampled

RESAMPLES = 2000  # moves the ends of a 95 % interval by about a fiftieth of its width from seed to seed
_CELLS = 4_000_000  # weights held at once (32 MB), so that memory does not grow with the number of cases


def wilson(hits: int, of: int, level: float = 0.95) -> Interval | None:
    """Wilson's score interval of the proportion hits / of; None where ``of`` is 0.

    Raises ValueError where hits lies outside 0..of.
    """
    if not 0 <= hits <= of:
        raise ValueError(f"{hits} hits of {of}; allowed: 0..{of}")
    if of == 0:
        return None
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, spread = hits / of, z * z / of
    middle = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    # The ends are exact at 0 and 1; rounding must not push the figure out of its own interval.
    return Interval(
        share, min(max(0.0, float(middle - half)), share), max(min(1.0, float(middle + half)), share), level
    )


def percentile(value: float, draws: ArrayLike, level: float = 0.95) -> Interval:
    """The percentile interval of bootstrap draws, widened where need be to hold the value itself."""
    low, high = np.quantile(np.asarray(draws, dtype=np.float64), (0.5 - level / 2, 0.5 + level / 2))
    return Interval(value, min(float(low), value), max(float(high), value), level)


def resamples(
    labels: ArrayLike, groups: Sequence[str] | None = None, *, count: int = RESAMPLES, seed: int = 0
) -> Iterator[Vector]:
    """Weight matrices (b, n), b adding up to count: how often each case is drawn in each resample.

    Whole groups (patients) are drawn, because two images of one patient are not two independent cases; and they are
    drawn within strata (patients with present cases only, absent only, both), so that each resample keeps the classes.
    The same labels, groups, count and seed give the same resamples: that is what makes a difference paired.
    """
    y = np.asarray(labels)
    names = [str(i) for i in range(y.size)] if groups is None else [str(g) for g in groups]
    if len(names) != y.size:
        raise ValueError(f"{len(names)} groups for {y.size} cases; allowed: one group for each case")
    _, member = np.unique(names, return_inverse=True)
    total = int(member.max()) + 1
    stratum = (np.bincount(member, y == 1, total) > 0) + 2 * (np.bincount(member, y == 0, total) > 0)
    rng, step = np.random.default_rng(seed), max(1, _CELLS // y.size)
    for start in range(0, count, step):
        rows = min(step, count - start)
        drawn = np.zeros((rows, total))
        for kind in np.unique(stratum):
            inside = np.flatnonzero(stratum == kind)
            drawn[:, inside] = rng.multinomial(inside.size, np.full(inside.size, 1 / inside.size), size=rows)
        yield drawn[:, member]


def measure(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    threshold: float = 0.5,
    groups: Sequence[str] | None = None,
    count: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Every figure of FIGURES that is defined for these cases, with its interval.

    labels and probabilities (n,); groups (n,) names the patient of each case. Sensitivity and specificity have Wilson
    intervals where every case is its own group; all else is the percentile bootstrap. A bootstrap of a perfect (or
    perfectly wrong) ranking has no width, which would claim certainty from a handful of cases: there the bound is
    Wilson's on the rarer class. The calibration error's resamples are biased upwards; that bias is taken off.
    """
    y, p = checked(labels, probabilities)
    names = [f for f in FIGURES if defined(f, y)]
    draws = _draws(names, y, [(p, threshold)], groups, count, seed)[0]
    one = np.ones((1, y.size))
    single = groups is None or len(set(groups)) == y.size
    found: dict[str, Interval] = {}
    for name in names:
        value = float(resampled(name, y, p, one, threshold)[0])
        if name in ("sensitivity", "specificity") and single:
            of = int((y == (name == "sensitivity")).sum())
            proportion = wilson(round(value * of), of, level)
            assert proportion is not None
            found[name] = proportion
        elif name in ("auroc", "balanced_accuracy", "sensitivity", "specificity") and value in (0.0, 1.0):
            rarer = _rarer(y, groups)
            collapsed = wilson(int(value) * rarer, rarer, level)
            assert collapsed is not None
            found[name] = collapsed
        elif name == "ece":
            bias = float(draws[name].mean()) - value
            found[name] = percentile(value, np.clip(draws[name] - bias, 0.0, 1.0), level)
        else:
            found[name] = percentile(value, draws[name], level)
    return found


def difference(
    labels: ArrayLike,
    candidate: ArrayLike,
    release: ArrayLike,
    *,
    thresholds: tuple[float, float] = (0.5, 0.5),
    groups: Sequence[str] | None = None,
    count: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Candidate minus release, per figure, by the paired bootstrap: both are scored on the same resamples.

    labels, candidate and release (n,), the last two probabilities of the same cases; thresholds one for each.
    """
    y, a = checked(labels, candidate)
    _, b = checked(labels, release)
    names = [f for f in FIGURES if defined(f, y)]
    ours, theirs = _draws(names, y, [(a, thresholds[0]), (b, thresholds[1])], groups, count, seed)
    one = np.ones((1, y.size))
    return {
        f: percentile(
            float((resampled(f, y, a, one, thresholds[0]) - resampled(f, y, b, one, thresholds[1]))[0]),
            ours[f] - theirs[f],
            level,
        )
        for f in names
    }


def _draws(
    names: Sequence[str],
    y: NDArray[np.int8],
    models: Sequence[tuple[Vector, float]],
    groups: Sequence[str] | None,
    count: int,
    seed: int,
) -> list[dict[str, Vector]]:
    parts: list[dict[str, list[Vector]]] = [{f: [] for f in names} for _ in models]
    for weights in resamples(y, groups, count=count, seed=seed):
        for part, (p, threshold) in zip(parts, models, strict=True):
            for f in names:
                part[f].append(resampled(f, y, p, weights, threshold))
    return [{f: np.concatenate(chunks) for f, chunks in part.items()} for part in parts]


def _rarer(y: NDArray[np.int8], groups: Sequence[str] | None) -> int:
    names = np.arange(y.size).astype(str) if groups is None else np.asarray(groups)
    return min(len(np.unique(names[y == k])) for k in (0, 1) if (y == k).any())
