"""Readings: measurements of two readings matched by what was measured, of what, where and on which side."""

from __future__ import annotations

from dataclasses import dataclass

from ..records import Code, Finding, Measurement, Reading, Side

SAME_MODEL = "measured by one model in one version"


@dataclass(frozen=True)
class Pairing:
    """One measurement in both readings. finding: id in this reading; measurement, prior: ids. The numbers are as the
    readings hold them; difference = value - before."""

    code: Code
    of: Code
    side: Side | None
    site: Code | None
    unit: str
    value: float
    before: float
    finding: str
    measurement: str
    prior: str
    notes: tuple[str, ...] = ()

    @property
    def difference(self) -> float:
        return self.value - self.before

    @property
    def percent(self) -> float | None:
        return 100 * self.difference / abs(self.before) if self.before else None


@dataclass(frozen=True)
class Presences:
    """A finding that was judged in both readings, and how."""

    code: Code
    side: Side | None
    now: str
    before: str
    finding: str
    prior: str


Key = tuple[str, str, str, str, str, str]


def readings(now: Reading, before: Reading) -> tuple[tuple[Pairing, ...], tuple[Presences, ...]]:
    """What both readings measured, and what both judged. Twice the same measurement in one reading is matched by none:
    nothing says which is which."""
    mine, theirs = _measurements(now), _measurements(before)
    pairs = []
    for key, (finding, measurement) in mine.items():
        other = theirs.get(key)
        if other is None:
            continue
        whose, old = other
        notes = () if finding.producer == whose.producer else ("measured by another model or version than the prior",)
        pairs.append(
            Pairing(
                measurement.code,
                finding.code,
                finding.side,
                finding.site,
                measurement.unit,
                measurement.value,
                old.value,
                finding.id,
                measurement.id,
                old.id,
                notes,
            )
        )
    judged = {(f.code.scheme, f.code.value, f.side or "", _site(f)): f for f in before.findings}
    found = []
    for f in now.findings:
        old_finding = judged.get((f.code.scheme, f.code.value, f.side or "", _site(f)))
        if old_finding is not None and (f.presence, old_finding.presence) != ("present", "present"):
            found.append(Presences(f.code, f.side, f.presence, old_finding.presence, f.id, old_finding.id))
    return tuple(pairs), tuple(found)


def _measurements(reading: Reading) -> dict[Key, tuple[Finding, Measurement]]:
    once: dict[Key, tuple[Finding, Measurement]] = {}
    twice: set[Key] = set()
    for finding in reading.findings:
        for m in finding.measurements:
            key = (
                m.code.scheme,
                m.code.value,
                m.unit,
                f"{finding.code.scheme} {finding.code.value}",
                finding.side or "",
                _site(finding),
            )
            if key in once:
                twice.add(key)
            once[key] = (finding, m)
    return {key: found for key, found in once.items() if key not in twice}


def _site(finding: Finding) -> str:
    return f"{finding.site.scheme} {finding.site.value}" if finding.site else ""
