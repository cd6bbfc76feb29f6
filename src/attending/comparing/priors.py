"""Priors: which of a patient's studies may be compared with this one, and in which order they were taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from ..errors import NotAlike, OtherPatient
from ..records import NO_PATIENT, CaseFacts

RADIOGRAPHS = ("CR", "DX", "RG")
"""Three names for one thing: a film, a plate, a detector."""


@dataclass(frozen=True)
class Pair:
    """later and earlier of two studies. swapped: they were named the other way round. days between them, or None."""

    swapped: bool
    days: int | None
    notes: tuple[str, ...] = ()


def alike(study: CaseFacts, prior: CaseFacts, days: int | None = None) -> Pair:
    """Whether the two may be compared; which is the later.

    days  between them where the files say no dates (from the prior to the study; may be negative), or None.

    Raises OtherPatient where both name a patient and not the same one; NotAlike for one study twice, another modality,
    or another body part where both are known.
    """
    notes: list[str] = []
    named = [NO_PATIENT not in facts.notes and facts.kind == "dicom" for facts in (study, prior)]
    if all(named) and study.patient != prior.patient:
        raise OtherPatient(
            "the two studies are of two patients",
            "two studies of one patient",
            "check which studies were named; a change from one person to another is no change",
        )
    if not all(named):
        which = "neither study names" if not any(named) else "one study does not name"
        notes.append(f"{which} its patient: that both are of one patient is on your word")
    if study.id == prior.id:
        raise NotAlike("the same study twice", "a study and an earlier one", "name another study as the prior")
    kinds = [_kind(facts.modality) for facts in (study, prior)]
    if "OT" in kinds:
        notes.append("a modality is not declared: that both are of one kind is on your word")
    elif kinds[0] != kinds[1]:
        raise NotAlike(
            f"a {study.modality} and a {prior.modality}", "two studies of one modality", "compare like with like"
        )
    parts = [_part(facts) for facts in (study, prior)]
    if all(parts) and parts[0] != parts[1]:
        raise NotAlike(f"{parts[0]} and {parts[1]}", "two studies of one body part", "compare like with like")
    views = [facts.view for facts in (study, prior)]
    if all(views) and views[0] != views[1]:
        notes.append(f"the views differ ({views[0]} and {views[1]})")
    apart = _days(study, prior, notes) if days is None else days
    swapped = apart is not None and apart < 0
    if swapped:
        notes.append("the study named as prior is the later one: they were taken the other way round")
    if apart == 0:
        notes.append("both studies are of one day")
    return Pair(swapped, None if apart is None else abs(apart), tuple(notes))


def matching(facts: CaseFacts, others: Iterable[CaseFacts]) -> tuple[tuple[CaseFacts, int | None], ...]:
    """The priors of a study among other cases: same patient, modality and body part, earlier or of unknown date.

    Latest first, with the days between; cases of unknown date last. A study that names no patient has no priors.
    """
    if NO_PATIENT in facts.notes or facts.kind != "dicom":
        return ()
    found = []
    for other in others:
        if other.id == facts.id or other.patient != facts.patient or NO_PATIENT in other.notes:
            continue
        try:
            pair = alike(facts, other)
        except NotAlike:
            continue
        if not pair.swapped:
            found.append((other, pair.days))
    return tuple(sorted(found, key=lambda item: (item[1] is None, item[1] or 0)))


def _kind(modality: str) -> str:
    return "DX" if modality in RADIOGRAPHS else modality


def _part(facts: CaseFacts) -> str | None:
    parts = {image.body_part for image in facts.images if image.body_part}
    return next(iter(parts)) if len(parts) == 1 else None


def _days(study: CaseFacts, prior: CaseFacts, notes: list[str]) -> int | None:
    """Dates are shifted by the same days for all studies of one patient, so the difference is the true one."""
    if study.date is None or prior.date is None or study.patient != prior.patient:
        notes.append("the time between the studies is unknown: no rate of growth (say it with --days N)")
        return None
    return (date.fromisoformat(study.date) - date.fromisoformat(prior.date)).days
