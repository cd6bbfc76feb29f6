"""Comparing: a study with its prior, a lesion with what it was, one model with another.

``alike`` says whether two studies may be compared and in which order; ``lesions`` matches what two masks show and says
how it changed, with the uncertainty of the difference; ``readings`` matches the measurements of two readings;
``second`` lays two models side by side.
"""

from .growth import Change, Growth, growth, size_criterion
from .lesions import Matched, lesions
from .priors import Pair, alike, matching
from .readings import Pairing, readings
from .second import Disagreement, second

__all__ = [
    "Change",
    "Disagreement",
    "Growth",
    "Matched",
    "Pair",
    "Pairing",
    "alike",
    "growth",
    "lesions",
    "matching",
    "readings",
    "second",
    "size_criterion",
]
