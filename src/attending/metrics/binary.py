"""Figures of a yes/no model, each for one data set or for many resamples of it at once.

Shapes: labels (n,) 0 or 1; probabilities (n,) in 0..1; weights (b, n), how often each case was drawn in each of b
resamples. scikit-learn gives the single figures; the resampled ones are the same sums written over a weight matrix,
because a thousand calls into scikit-learn take seconds where one matrix product takes milliseconds (a test holds the
two together).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FIGURES = ("auroc", "balanced_accuracy", "sensitivity", "specificity", "brier", "ece")
BINS = 10  # equal-width probability bins of the calibration error, the usual choice since Guo et al. 2017
Vector = NDArray[np.float64]


def checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int8], Vector]:
    """Labels as int8 (n,) and probabilities as float64 (n,).

    Raises ValueError for no cases, differing lengths, labels other than 0 and 1, probabilities outside 0..1 or not
    finite.
    """
    y, p = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if y.ndim != 1 or p.shape != y.shape or not y.size:
        raise ValueError(f"labels have shape {y.shape} and probabilities {p.shape}; allowed: one (n,) each, n > 0")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("a label is neither 0 nor 1; allowed: 1 present, 0 absent")
    if not (np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1):
        raise ValueError("a probability is not a number in 0..1; allowed: finite values in 0..1")
    return y.astype(np.int8), p


def auroc(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Area under the ROC curve, ties counted half; None where there is one class only."""
    y, p = checked(labels, probabilities)
    if len(np.unique(y)) < 2:
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, p))


def sensitivity(labels: ArrayLike, probabilities: ArrayLike, threshold: float = 0.5) -> float | None:
    """Share of the present cases at or above the threshold; None where none is present."""
    y, p = checked(labels, probabilities)
    return float((p[y == 1] >= threshold).mean()) if (y == 1).any() else None


def specificity(labels: ArrayLike, probabilities: ArrayLike, threshold: float = 0.5) -> float | None:
    """Share of the absent cases below the threshold; None where none is absent."""
    y, p = checked(labels, probabilities)
    return float((p[y == 0] < threshold).mean()) if (y == 0).any() else None


def balanced_accuracy(labels: ArrayLike, probabilities: ArrayLike, threshold: float = 0.5) -> float | None:
    """Mean of sensitivity and specificity; None where there is one class only."""
    found, spared = sensitivity(labels, probabilities, threshold), specificity(labels, probabilities, threshold)
    return None if found is None or spared is None else (found + spared) / 2


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance of the probability from the label, 0 best."""
    y, p = checked(labels, probabilities)
    return float(np.mean((p - y) ** 2))


def ece(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Expected calibration error over 10 equal-width bins of the probability of presence, 0 best."""
    y, p = checked(labels, probabilities)
    return float(resampled("ece", y, p, np.ones((1, y.size)), 0.5)[0])


def resampled(figure: str, y: NDArray[np.int8], p: Vector, weights: Vector, threshold: float) -> Vector:
    """One figure for each row of weights (b, n) -> (b,). Every row must hold a case of each class it needs."""
    if figure == "auroc":
        return _auroc(y, p, weights)
    if figure == "brier":
        return _mean(weights, (p - y) ** 2)
    if figure == "ece":
        bins = np.minimum((p * BINS).astype(int), BINS - 1)
        gap = weights @ (np.eye(BINS)[bins] * (p - y)[:, None])
        return np.asarray(np.abs(gap).sum(axis=1) / weights.sum(axis=1))
    if figure == "sensitivity":
        return _mean(weights[:, y == 1], (p[y == 1] >= threshold).astype(np.float64))
    if figure == "specificity":
        return _mean(weights[:, y == 0], (p[y == 0] < threshold).astype(np.float64))
    if figure == "balanced_accuracy":
        return (
            resampled("sensitivity", y, p, weights, threshold) + resampled("specificity", y, p, weights, threshold)
        ) / 2
    raise ValueError(f"no figure named {figure!r}; allowed: {', '.join(FIGURES)}")


def defined(figure: str, y: NDArray[Any]) -> bool:
    """Whether the figure exists for these labels."""
    needs = {"auroc": {0, 1}, "balanced_accuracy": {0, 1}, "sensitivity": {1}, "specificity": {0}}
    return needs.get(figure, set()) <= set(np.unique(y).tolist())


def _mean(weights: Vector, values: Vector) -> Vector:
    return np.asarray((weights @ values) / weights.sum(axis=1))


def _auroc(y: NDArray[np.int8], p: Vector, weights: Vector) -> Vector:
    order = np.argsort(p, kind="stable")
    starts = np.flatnonzero(np.diff(p[order], prepend=-1.0))  # first case of each distinct probability
    present = np.add.reduceat(weights[:, order] * (y[order] == 1), starts, axis=1)
    absent = np.add.reduceat(weights[:, order] * (y[order] == 0), starts, axis=1)
    below = np.cumsum(absent, axis=1) - absent / 2
    return np.asarray((present * below).sum(axis=1) / (present.sum(axis=1) * absent.sum(axis=1)))
