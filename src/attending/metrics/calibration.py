"""Recalibration at a site: one temperature, or Platt's line, learned on the site's own labelled cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = 1e-6
"""Probabilities are kept this far from 0 and 1 before their logit is taken."""


@dataclass(frozen=True)
class Calibration:
    """calibrated = sigmoid(slope * logit(p) + offset). A temperature T is slope 1/T and offset 0.

    method  "platt" or "temperature"; cases  how many labelled cases it was learned on.
    """

    slope: float
    offset: float
    method: str
    cases: int

    def __call__(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Probabilities (n,) -> calibrated (n,); the order of cases is kept."""
        from scipy.special import expit

        return np.asarray(expit(self.slope * _logit(probabilities) + self.offset))


def calibrate(labels: ArrayLike, probabilities: ArrayLike, method: str = "platt") -> Calibration:
    """Learn a calibration. labels (n,) 0 or 1, both present; probabilities (n,).

    "temperature": Guo et al. 2017, the T > 0 of the least log loss. "platt": Platt 1999, slope and offset with his
    smoothed targets; it also mends a share of present cases that differs from the training's. A slope below 0 (a model
    that ranks backwards here) is not learned: the slope is then the least positive one. Raises ValueError for one class
    or other shapes.
    """
    y, p = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    if y.shape != p.shape or y.ndim != 1 or set(np.unique(y)) != {0.0, 1.0}:
        raise ValueError(f"labels of shape {y.shape} with values {np.unique(y)[:4]}; allowed: (n,) with both 0 and 1")
    if method not in ("platt", "temperature"):
        raise ValueError(f"method {method!r}; allowed: platt, temperature")
    from scipy.optimize import minimize

    score = _logit(p)
    present = y.sum()
    target = np.where(y == 1, (present + 1) / (present + 2), 1 / (y.size - present + 2)) if method == "platt" else y

    def loss(parameters: NDArray[Any]) -> float:
        z = np.exp(parameters[0]) * score + (parameters[1] if method == "platt" else 0.0)
        return float(np.mean(np.logaddexp(0, z) - target * z))

    start = np.zeros(2 if method == "platt" else 1)
    bounds = [(-7.0, 5.0), (-30.0, 30.0)][: start.size]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    return Calibration(float(np.exp(found[0])), float(found[1]) if method == "platt" else 0.0, method, int(y.size))


def _logit(probabilities: ArrayLike) -> NDArray[np.float64]:
    p = np.clip(np.asarray(probabilities, np.float64), LEAST, 1 - LEAST)
    return np.asarray(np.log(p) - np.log1p(-p))
