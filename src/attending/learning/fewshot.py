"""Few-shot heads on any encoder's vectors: prototypes, nearest neighbours, or the logistic head; a few examples each.

Each is fitted by ``few_shot(kind, vectors, labels)`` and gives class probabilities that are not calibrated; what is
rare among the examples counts as much as what is frequent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("prototype", "linear", "knn")
NEIGHBOURS = 5
SHRINK = 5
"""Cases that the prior spread counts as."""
Predict = Callable[[NDArray[Any]], NDArray[np.float64]]


def few_shot(
    kind: str, vectors: NDArray[Any], labels: NDArray[Any], *, background: NDArray[Any] | None = None, seed: int = 0
) -> Predict:
    """A function from vectors (m, d) to probabilities (m, k) over ``np.unique(labels)``, in its order.

    kind     "prototype": softmax of cosine similarity to the class means (Snell 2017; the vectors standardised, the
             temperature such that the examples are told apart as well as leave-one-out allows). "linear": logistic
             regression, balanced classes, C by the number of examples. "knn": the nearest examples, weighted by
             closeness and by the rarity of their class.
    vectors  (n, d) finite; labels (n,) at least two classes.
    background  (m, d) vectors of unlabelled images of the same kind, by which the numbers are standardised; without
             them the examples must do, whose spread is shrunk towards its mean over the numbers.

    Raises ValueError for an unknown kind or fewer than two classes.
    """
    x, y = np.asarray(vectors, np.float64), np.asarray(labels)
    classes = np.unique(y)
    if kind not in KINDS or len(classes) < 2 or len(x) != len(y):
        raise ValueError(f"kind {kind!r}, {len(classes)} classes; allowed: {', '.join(KINDS)} and at least two classes")
    ordinary = x if background is None else np.asarray(background, np.float64)
    mean, variance = ordinary.mean(0), ordinary.var(0)
    shrink = SHRINK / (SHRINK + len(ordinary))
    scale = np.sqrt((1 - shrink) * variance + shrink * variance.mean())
    scale[scale < 1e-12] = 1.0

    def standard(v: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray((np.asarray(v, np.float64) - mean) / scale)

    fitted = {"prototype": _prototype, "linear": _linear, "knn": _knn}[kind](standard(x), y, classes, seed)
    return lambda v: fitted(standard(v))


def _prototype(x: NDArray[np.float64], y: NDArray[Any], classes: NDArray[Any], seed: int) -> Predict:
    from scipy.special import softmax

    def unit(v: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12))

    means = unit(np.stack([unit(x[y == c]).mean(0) for c in classes]))

    def predict(v: NDArray[Any], temperature: float = 0.1) -> NDArray[np.float64]:
        return np.asarray(softmax(unit(v) @ means.T / temperature, axis=1))

    return predict


def _linear(x: NDArray[np.float64], y: NDArray[Any], classes: NDArray[Any], seed: int) -> Predict:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    # With d in the hundreds and n in the tens, strength grows with the examples: 1 example a class learns a direction.
    strength = 0.001 * len(y) / len(classes)
    with threadpool_limits(1):
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=5000, random_state=seed).fit(x, y)
    return lambda v: np.asarray(model.predict_proba(v))


def _knn(x: NDArray[np.float64], y: NDArray[Any], classes: NDArray[Any], seed: int) -> Predict:
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(x))).fit(x)
    rarity = np.array([1 / (y == c).sum() for c in classes])
    place = np.searchsorted(classes, y)

    def predict(v: NDArray[Any]) -> NDArray[np.float64]:
        distance, index = near.kneighbors(v)
        weight = 1 / np.maximum(distance, 1e-9) * rarity[place[index]]
        votes = np.stack([(weight * (place[index] == k)).sum(1) for k in range(len(classes))], axis=1)
        # One vote of a prior each, so that five neighbours of one class are not certainty.
        votes = votes / votes.sum(1, keepdims=True) * index.shape[1] + 1 / len(classes)
        return np.asarray(votes / votes.sum(1, keepdims=True))

    return predict
