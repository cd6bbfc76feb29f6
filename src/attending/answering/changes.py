"""Changed since? The same measurement of the same structure on an earlier study of the same patient."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from ..records import NO_PATIENT, Answer, Finding, Measurement, Reading
from .looking_up import about, answered, cannot, cites, is_structure, name, number
from .question import Question


def change(question: Question, reading: Reading, priors: Sequence[Reading]) -> Answer:
    """From the latest prior that holds what is asked for; findings by presence, structures by measurement."""
    earlier = _earlier(reading, priors)
    if not earlier:
        return cannot(reading, "no earlier study of this patient is kept here", "a prior, read here (attending read)")
    now = about(question, reading) if question.findings or question.organs else list(reading.findings)
    for prior in earlier:
        pairs = [(f, g) for f in now for g in prior.findings if _same(f, g)]
        told = [words for f, g in pairs if (words := _changed(f, g, reading, prior))]
        if told:
            cited = tuple(i for f, g in pairs[:4] for i in (*_ids(f), *(f"{prior.id}:{i}" for i in _ids(g))))
            notes = ("no uncertainty of these measurements is stated by their model",)
            return answered("; ".join(told[:4]), cited, notes)
    return cannot(reading, "the earlier studies hold nothing of the kind", "the same model on both studies",
                  tuple(f"{p.id}:{p.evidence[0].id}" for p in earlier[:1] if p.evidence))  # fmt: skip


def _earlier(reading: Reading, priors: Sequence[Reading]) -> list[Reading]:
    case = reading.case
    if NO_PATIENT in case.notes or case.date is None:
        return []
    of_them = [p for p in priors if p.case.patient == case.patient and p.id != case.id and p.case.date is not None]
    return sorted(
        (p for p in of_them if str(p.case.date) < str(case.date)), key=lambda p: str(p.case.date), reverse=True
    )


def _same(one: Finding, other: Finding) -> bool:
    return (one.code.scheme, one.code.value, one.side, one.site) == (
        other.code.scheme, other.code.value, other.side, other.site
    )  # fmt: skip


def _changed(now: Finding, then: Finding, reading: Reading, prior: Reading) -> str:
    days = (date.fromisoformat(str(reading.case.date)[:10]) - date.fromisoformat(str(prior.case.date)[:10])).days
    ago = f"{days} day{'' if days == 1 else 's'} before"
    if now.producer.model != then.producer.model:
        return ""
    for m in now.measurements:
        before = next((p for p in then.measurements if _like(m, p)), None)
        if before is not None:
            by = m.value - before.value
            share = f" ({by / before.value:+.1%})" if before.value else ""
            values = f"{number(m.value)} {m.unit}, {number(before.value)} {m.unit} {ago}"
            return f"{name(now)}: {m.code.meaning.lower()} {values}: {by:+.4g} {m.unit}{share}"
    if is_structure(now):
        return ""
    same = "as before" if now.presence == then.presence else f"was {then.presence}"
    return f"{name(now)} {now.presence}, {same} {'' if same == 'as before' else ago}".rstrip() + (
        f", {ago}" if same == "as before" else ""
    )


def _like(one: Measurement, other: Measurement) -> bool:
    return (one.code, one.unit) == (other.code, other.unit)


def _ids(finding: Finding) -> tuple[str, ...]:
    return (*cites(finding), *cites(*finding.measurements[:1]))
