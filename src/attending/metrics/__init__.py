"""How good, and how sure: figures of a yes/no model with intervals, paired differences, and overlap of masks.

``measure`` gives every figure of one model on one set of cases; ``difference`` gives one model minus another on the
same cases and the same resamples. A figure that is not defined (one class only) is left out of the answer, or None
where a single one was asked for; it is never NaN. Wrong shapes and values raise ValueError.
Maps of what a score rests on are judged by ``rank_likeness``, ``points_at`` and ``area`` (of deletion curves).
``calibrate``, ``conformal_threshold`` and ``Drift`` turn scores into probabilities, sets with a stated coverage, and an
alarm.
"""

from .binary import FIGURES, auroc, balanced_accuracy, brier, ece, sensitivity, specificity
from .calibration import Calibration, calibrate
from .conformal import class_thresholds, conformal_p, conformal_sets, conformal_threshold
from .drift import Drift
from .heat import area, mean_of, points_at, rank_likeness, share_inside
from .intervals import difference, measure, percentile, resamples, wilson
from .overlap import dice, dices

__all__ = [
    "FIGURES",
    "Calibration",
    "Drift",
    "area",
    "auroc",
    "balanced_accuracy",
    "brier",
    "calibrate",
    "class_thresholds",
    "conformal_p",
    "conformal_sets",
    "conformal_threshold",
    "dice",
    "dices",
    "difference",
    "ece",
    "mean_of",
    "measure",
    "percentile",
    "points_at",
    "rank_likeness",
    "resamples",
    "sensitivity",
    "share_inside",
    "specificity",
    "wilson",
]
