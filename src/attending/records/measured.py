"""Measured: one number taken from a mask, with what it is worth and where its ends lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .finding import Code

Point3 = tuple[float, float, float]


@dataclass(frozen=True)
class Measured:
    """One number with its stated uncertainty.

    unit         UCUM: "mm", "mm2", "ml", "1", "[hnsf'U]", "{voxels}".
    uncertainty  half the width of the 95 % interval that sampling by voxels leaves, in the same unit; None where it is
                 not stated. It does not hold what another reader would have outlined.
    derivation   how a value was drawn from many (mean, standard deviation ...), coded; None for a plain measure.
    ends         end points of a line, patient LPS millimetres; empty where there are none.
    plane        z index of the plane it was taken on, or None.
    """

    code: Code
    value: float
    unit: str
    uncertainty: float | None = None
    derivation: Code | None = None
    ends: tuple[Point3, ...] = ()
    plane: int | None = None
    method: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"a measure of {self.value}; a measure is a finite number")
