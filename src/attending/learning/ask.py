"""Which cases to review next."""

from __future__ import annotations

from collections.abc import Mapping


def ask(probabilities: Mapping[str, float], count: int) -> tuple[str, ...]:
    """The ``count`` cases whose calibrated probability is nearest to one half, nearest first; ties by id."""
    return tuple(sorted(probabilities, key=lambda case: (abs(probabilities[case] - 0.5), case))[:count])
