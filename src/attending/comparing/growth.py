"""Growth: what changed between two measurements, how sure that is, and how fast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..imaging import measure_codes as c
from ..imaging.measure_mask import CERTAIN, Measures
from ..records import Code

Verdict = Literal["larger", "smaller", "no change beyond the uncertainty"]
PROGRESSION = (0.20, 5.0)
"""RECIST 1.1, 4.3.1: at least a fifth and at least 5 mm above the smallest sum of diameters."""
RESPONSE = 0.30
MEASURABLE_MM = 10.0
"""RECIST 1.1, 3.1: the least longest diameter of a target lesion on CT of at most 5 mm planes."""


@dataclass(frozen=True)
class Change:
    """One measure at two times. uncertainty: half the 95 % interval of the difference, in the same unit."""

    code: Code
    unit: str
    before: float
    after: float
    uncertainty: float

    @property
    def difference(self) -> float:
        return self.after - self.before

    @property
    def percent(self) -> float | None:
        return 100 * self.difference / self.before if self.before else None

    @property
    def verdict(self) -> Verdict:
        if abs(self.difference) <= self.uncertainty:
            return "no change beyond the uncertainty"
        return "larger" if self.difference > 0 else "smaller"


@dataclass(frozen=True)
class Growth:
    """doubling_days: the volume doubling time with its 95 % interval (halving time where it shrank, negative numbers);
    None where the change is not certain or the days are unknown. An open end of the interval is None."""

    changes: tuple[Change, ...]
    doubling_days: float | None = None
    doubling_low: float | None = None
    doubling_high: float | None = None

    def get(self, code: Code) -> Change | None:
        return next((change for change in self.changes if change.code == code), None)


def growth(now: Measures, before: Measures, days: int | None) -> Growth:
    """The change of volume and diameters from one measurement to the next.

    Each was measured on its own grid, so an error of registration moves neither. The uncertainty of each joins what
    sampling by voxels leaves and half a voxel of doubt about where the border was drawn, all around (95 %), and the two
    studies' add up in squares. It does not hold that two readers may mean two different things by one lesion.
    """
    changes = []
    doubling: tuple[float | None, float | None, float | None] = (None, None, None)
    if now.volume_ml is not None and before.volume_ml is not None:
        doubt = math.hypot(_volume_doubt(now), _volume_doubt(before))
        volume = Change(c.VOLUME, "ml", before.volume_ml, now.volume_ml, doubt)
        changes.append(volume)
        if days and volume.verdict != "no change beyond the uncertainty":
            doubling = _doubling(now, before, days)
    for code in (c.LONG_AXIS, c.PERPENDICULAR, c.LONGEST_3D):
        pair = now.get(code), before.get(code)
        if pair[0] is not None and pair[1] is not None:
            doubts = [
                math.hypot(m.uncertainty or 0.0, 2 * _rim(side))
                for m, side in zip(pair, (now, before), strict=True)
                if m
            ]
            changes.append(Change(code, "mm", pair[1].value, pair[0].value, math.hypot(*doubts)))
    return Growth(tuple(changes), *doubling)


def _volume_doubt(side: Measures) -> float:
    return math.hypot(CERTAIN * (side.sampling_ml or 0.0), side.half_voxel_ml or 0.0)


def _rim(side: Measures) -> float:
    """Millimetres of half a voxel, as a mean over the surface."""
    area = side.get(c.SURFACE_AREA)
    return 1000 * (side.half_voxel_ml or 0.0) / area.value if area and area.value else 0.0


def _doubling(now: Measures, before: Measures, days: int) -> tuple[float | None, float | None, float | None]:
    """Exponential growth (Schwartz, Cancer 1961;14:1272-1294): days x ln 2 / ln(V2 / V1)."""
    assert now.volume_ml and before.volume_ml
    rate = math.log(now.volume_ml / before.volume_ml)
    doubt = math.hypot(_volume_doubt(now) / now.volume_ml, _volume_doubt(before) / before.volume_ml)
    sign = 1.0 if rate > 0 else -1.0
    fast, slow = rate + sign * doubt, rate - sign * doubt
    return days * math.log(2) / rate, days * math.log(2) / fast, days * math.log(2) / slow if slow * rate > 0 else None


def size_criterion(sums: Sequence[tuple[float, float]]) -> str:
    """What (before, after) longest diameters of the same lesions, mm, say of RECIST 1.1's size criteria, in words.

    A measurement, no diagnosis: new lesions, lesions that cannot be measured and the smallest sum on record count too,
    and are not known here.
    """
    before, after = (sum(values) for values in zip(*sums, strict=True)) if sums else (0.0, 0.0)
    if before <= 0:
        return "no diameter to compare"
    share = (after - before) / before
    if after == 0:
        return "none of the compared lesions is left"
    if share >= PROGRESSION[0] and after - before >= PROGRESSION[1]:
        return (
            "the sum of diameters reaches the size criterion for progression (at least 20 % and 5 mm above the prior)"
        )
    if share <= -RESPONSE:
        return "the sum of diameters reaches the size criterion for partial response (at least 30 % below the prior)"
    return "the sum of diameters reaches neither size criterion"
