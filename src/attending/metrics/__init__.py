"""How good, and how sure: figures of a yes/no model with intervals, paired differences, and overlap of masks.

``measure`` gives every figure of one model on one set of cases; ``difference`` gives one model minus another on the
same cases and the same resamples. A figure that is not defined (one class only) is left out of the answer, or None
where a single one was asked for; it is never NaN. Wrong shapes and values raise ValueError.
"""

from .binary import FIGURES, auroc, balanced_accuracy, brier, ece, sensitivity, specificity
from .intervals import difference, measure, percentile, resamples, wilson
from .overlap import dice, dices

__all__ = [
    "FIGURES",
    "auroc",
    "balanced_accuracy",
    "brier",
    "dice",
    "dices",
    "difference",
    "ece",
    "measure",
    "percentile",
    "resamples",
    "sensitivity",
    "specificity",
    "wilson",
]
