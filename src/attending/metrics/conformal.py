"""Split conformal prediction: sets of classes that hold the truth as often as was asked, whatever the model.

Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005); the score is 1 minus the probability of the
true class (Sadinle, Lei and Wasserman 2019). The promise holds for cases exchangeable with the calibration cases: over
the draw of both, the truth is in the set with probability at least ``coverage``. On a shifted stream it does not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def conformal_threshold(labels: ArrayLike, probabilities: ArrayLike, coverage: float) -> float:
    """The largest score that a class in the set may have: the ceil((n + 1) coverage)-th smallest calibration score.

    labels (n,) class numbers, probabilities (n, k) rows over the classes, coverage in 0..1. 1.0, which lets every class
    in, where n is too small for the coverage. Raises ValueError for other shapes, values and an empty calibration set.
    """
    y, p = _checked(labels, probabilities)
    if not 0 < coverage < 1:
        raise ValueError(f"a coverage of {coverage}; allowed: between 0 and 1")
    scores = np.sort(1 - p[np.arange(len(y)), y])
    rank = math.ceil((len(y) + 1) * coverage)
    return float(scores[rank - 1]) if rank <= len(y) else 1.0


def class_thresholds(labels: ArrayLike, probabilities: ArrayLike, coverage: float) -> NDArray[np.float64]:
    """One threshold a class (Mondrian): each class is covered as asked by itself, also the rare one. -> (k,)."""
    y, p = _checked(labels, probabilities)
    return np.array(
        [conformal_threshold(y[y == k], p[y == k], coverage) if (y == k).any() else 1.0 for k in range(p.shape[1])]
    )


def conformal_sets(probabilities: ArrayLike, threshold: ArrayLike) -> NDArray[np.bool_]:
    """(n, k): whether each class is in the set. threshold: one number, or (k,) of ``class_thresholds``."""
    return np.asarray(1 - np.asarray(probabilities, np.float64) <= np.asarray(threshold, np.float64) + 1e-12)


def conformal_p(calibration: ArrayLike, scores: ArrayLike, rng: np.random.Generator | None = None) -> NDArray[Any]:
    """Conformal p-value of each score against calibration scores: how rarely a calibration case was as strange.

    With ``rng`` ties are broken at random, and for an exchangeable stream the p-values are uniform on (0, 1].
    """
    known, new = np.sort(np.asarray(calibration, np.float64)), np.asarray(scores, np.float64)
    above = known.size - np.searchsorted(known, new, side="right")
    equal = known.size - np.searchsorted(known, new, side="left") - above
    share = 1.0 if rng is None else rng.random(new.shape)
    return np.asarray((above + share * (equal + 1)) / (known.size + 1))


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    y, p = np.asarray(labels), np.asarray(probabilities, np.float64)
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(y):
        raise ValueError(f"labels of shape {y.shape} and probabilities of shape {p.shape}; allowed: (n,) and (n, k)")
    if not np.isfinite(p).all() or (p < 0).any() or (p > 1 + 1e-6).any():
        raise ValueError("probabilities outside 0..1")
    if (y < 0).any() or (y >= p.shape[1]).any():
        raise ValueError(f"class numbers outside 0..{p.shape[1] - 1}")
    return y.astype(int), p
