"""Does the stream still look like the calibration cases? A classifier tries to tell them apart.

Classifier two-sample test (Lopez-Paz and Oquab 2017): at every look a logistic regression is asked, out of fold, which
vectors are the stream's. Where the two are alike it can only guess; where it ranks them better than chance, by a
Mann-Whitney test, the stream has left the calibration set. The chance of a false alarm is spent over the looks, so that
it holds for the stream as a whole however long it is watched. Labels are not needed; a shift that does not show in
the vectors is not seen.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = 40
"""Cases that calibration and stream each need."""
EVERY = 50
"""Cases between looks."""
AXES = 20
FOLDS = 5


@dataclass
class Drift:
    """Fed one vector after another. ``alarmed`` stays true once the alarm was reached.

    calibration  (n, d) vectors of the calibration cases, n at least 40.
    alarm   the chance of a false alarm, ever: look k of the stream is given alarm / (k (k + 1)).
    every   cases between looks; the last ``window`` cases are compared.
    p, told_apart  the last look's p-value, and the AUROC of telling the stream from the calibration cases (0.5: alike).
    """

    calibration: NDArray[Any]
    alarm: float = 0.01
    every: int = EVERY
    window: int = 400
    seen: int = 0
    looks: int = 0
    p: float = 1.0
    told_apart: float = 0.5
    alarmed: bool = False
    _recent: deque[NDArray[Any]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        vectors = np.asarray(self.calibration, np.float64)
        if vectors.ndim != 2 or len(vectors) < LEAST:
            raise ValueError(f"calibration vectors of shape {vectors.shape}; allowed: (n, d), n at least {LEAST}")
        self._mean, scale = vectors.mean(0), vectors.std(0)
        self._scale = np.where(scale > 1e-6 * (scale.max() or 1.0), scale, np.inf)  # what never varies says nothing
        self._known = self._standard(vectors)
        self._recent = deque(maxlen=self.window)

    def _standard(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        # Clipped: one wild number must not drown the others.
        return np.asarray(np.clip((vectors - self._mean) / self._scale, -10, 10))

    def see(self, vector: ArrayLike) -> bool:
        """One more case (d,); whether the alarm has been reached."""
        self._recent.append(self._standard(np.asarray(vector, np.float64)))
        self.seen += 1
        if self.seen % self.every == 0 and len(self._recent) >= LEAST:
            self.looks += 1
            self.p, self.told_apart = self._compare(np.stack(list(self._recent)))
            self.alarmed = self.alarmed or self.p <= self.alarm / (self.looks * (self.looks + 1))
        return self.alarmed

    def _compare(self, stream: NDArray[np.float64]) -> tuple[float, float]:
        from scipy.stats import mannwhitneyu
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

        both = np.concatenate([self._known, stream])
        whose = np.repeat([0, 1], [len(self._known), len(stream)])
        axes = min(AXES, both.shape[1], len(both) // 2)
        regression = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
        model = make_pipeline(PCA(axes, random_state=0), StandardScaler(), regression)
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        with threadpool_limits(1):
            said = cross_val_predict(model, both, whose, cv=folds, method="decision_function")
        test = mannwhitneyu(said[whose == 1], said[whose == 0], alternative="greater")
        return float(test.pvalue), float(test.statistic / ((whose == 1).sum() * (whose == 0).sum()))
