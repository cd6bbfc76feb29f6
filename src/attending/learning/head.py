"""The head: standardised logistic regression, its strength chosen and its scores calibrated out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # C: from next to nothing learned to as good as unpenalised
FOLDS = 5
FAR = (
    10.0  # a number that hardly varied in training lies thousands of spreads away on one new image, and drowns the rest
)
LEAST_SLOPE = 1e-3  # a calibration that turns the ranking around says "no better than chance", not "read it backwards"


@dataclass(frozen=True, eq=False)
class Head:
    """probability = sigmoid(slope * (weights . clip((vector - mean) / scale) + intercept) + offset), clipped to FAR.

    mean, scale, weights  (d,) float64.   strength  the chosen C.   threshold  the operating point.
    out_of_fold  (n,) calibrated probabilities of the training cases by models that did not see them.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercept: float
    slope: float
    offset: float
    strength: float
    threshold: float
    out_of_fold: NDArray[np.float64]

    def probability(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """(n, d) -> (n,) in 0..1."""
        score = standardised(np.asarray(vectors, np.float64), self.mean, self.scale) @ self.weights + self.intercept
        return sigmoid(self.slope * score + self.offset)


def fit(vectors: NDArray[Any], labels: NDArray[Any], groups: Sequence[str], *, seed: int = 0) -> Head:
    """Train a head. vectors (n, d), labels (n,) of both classes, groups (n,) the patient of each.

    For every strength and fold a model is trained on the other folds (no patient in two) and scores this one; the
    strength with the least class-balanced log loss is kept, its out-of-fold scores give the calibration (Platt 1999,
    with his smoothed targets), and the kept model is trained on everything. The operating point is the out-of-fold
    threshold of the greatest balanced accuracy. The same input gives the same head.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    x, y = np.asarray(vectors, np.float64), np.asarray(labels, int)
    # Matrices this small are slower on several threads, many times so where the cores have other work.
    with threadpool_limits(1):
        return _fit(x, y, groups, seed)


def _fit(x: NDArray[np.float64], y: NDArray[np.int_], groups: Sequence[str], seed: int) -> Head:
    folds = _folds(x, y, groups, seed)
    scores = {c: np.zeros(y.size) for c in STRENGTHS}
    for train, test in folds:
        mean, scale = _standard(x[train])
        for c in STRENGTHS:
            weights, intercept = _regression(standardised(x[train], mean, scale), y[train], c)
            scores[c][test] = standardised(x[test], mean, scale) @ weights + intercept
    strength = min(STRENGTHS, key=lambda c: (_balanced_loss(y, scores[c]), c))
    slope, offset = _platt(scores[strength], y)
    out_of_fold = sigmoid(slope * scores[strength] + offset)
    mean, scale = _standard(x)
    weights, intercept = _regression(standardised(x, mean, scale), y, strength)
    return Head(mean, scale, weights, intercept, slope, offset, strength, _operating_point(y, out_of_fold), out_of_fold)


def standardised(x: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, d) in spreads from the mean, at most FAR."""
    return np.asarray(np.clip((x - mean) / scale, -FAR, FAR))


def sigmoid(score: NDArray[Any]) -> NDArray[np.float64]:
    """The logistic function of float64 scores, without overflow."""
    from scipy.special import expit

    return np.asarray(expit(np.asarray(score, np.float64)))


def _folds(
    x: NDArray[np.float64], y: NDArray[np.int_], groups: Sequence[str], seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    from sklearn.model_selection import StratifiedGroupKFold

    names = np.asarray(groups)
    most = min(
        len(np.unique(names[y == k])) for k in (0, 1)
    )  # a fold without one of the classes cannot be learned from
    for count in range(min(FOLDS, most), 1, -1):
        splits = list(StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(x, y, names))
        if all(len(np.unique(y[train])) == 2 for train, _ in splits):
            return splits
    raise ValueError(f"{most} patients of the rarer class; allowed: at least two")


def _standard(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x)
    return np.asarray(scaler.mean_), np.asarray(scaler.scale_)


def _regression(x: NDArray[np.float64], y: NDArray[np.int_], c: float) -> tuple[NDArray[np.float64], float]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, class_weight="balanced", max_iter=5000).fit(x, y)
    return np.asarray(model.coef_[0]), float(model.intercept_[0])


def _balanced_loss(y: NDArray[np.int_], score: NDArray[np.float64]) -> float:
    loss = np.logaddexp(0, np.where(y == 1, -score, score))
    return float((loss[y == 1].mean() + loss[y == 0].mean()) / 2)


def _platt(score: NDArray[np.float64], y: NDArray[np.int_]) -> tuple[float, float]:
    """slope and offset of sigmoid(slope * score + offset) on smoothed targets, which keep it finite where the scores
    part the classes: every case enters as present with its target's weight and as absent with the rest."""
    from sklearn.linear_model import LogisticRegression

    present = int(y.sum())
    target = np.where(y == 1, (present + 1) / (present + 2), 1 / (y.size - present + 2))
    spread = float(score.std()) or 1.0
    model = LogisticRegression(C=1e6, max_iter=5000).fit(
        np.tile(score / spread, 2)[:, None],
        np.repeat([1, 0], y.size),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    slope = float(model.coef_[0, 0]) / spread
    if slope >= LEAST_SLOPE:
        return slope, float(model.intercept_[0])
    share = float(target.mean())
    return LEAST_SLOPE, float(np.log(share / (1 - share)) - LEAST_SLOPE * score.mean())


def _operating_point(y: NDArray[np.int_], p: NDArray[np.float64]) -> float:
    """The threshold of the greatest balanced accuracy, midway between the two probabilities that it parts."""
    from sklearn.metrics import roc_curve

    fall_out, recall, thresholds = roc_curve(y, p, drop_intermediate=False)
    best = int(np.argmax(recall - fall_out))
    at = float(min(thresholds[best], 1.0))
    below = p[p < at]
    return float((at + below.max()) / 2) if below.size else at
