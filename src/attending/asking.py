"""The story of a question: the reading, its priors, the tools; a reader model only where the tools cannot tell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from . import answering
from .errors import ModelRefused
from .models import Reader, admit
from .records import DRAFT_MARK, NO_PATIENT, Answer, Producer, Reading

if TYPE_CHECKING:
    from .store import Store

__all__ = ["Answered", "ask", "priors_of"]

MOST_IMAGES = 4
"""Images of a study that a reader model is shown."""
MOST_PRIORS = 500
"""Latest readings that are looked through for the same patient's."""


@dataclass(frozen=True)
class Answered:
    """answer, who gave it (model None for the tools), and for a reader's answer what the tools had said before."""

    question: str
    study: str
    answer: Answer
    producer: Producer
    tools: Answer
    mark: str = DRAFT_MARK


def ask(question: str, reading: Reading, store: Store, reader: Reader | None = None) -> Answered:
    """Answer from findings, measurements, priors and facts; ask the reader model only what these cannot tell.

    reader   a loaded, admitted Reader (it passed the image-dependence gate), or None. It sees up to four images of the
             case and the question; a study that its card does not admit, or a reader that fails, leaves the tools'
             "cannot tell" with the reason.

    Raises QuestionRefused.
    """
    said = answering.answer(question, reading, priors_of(reading, store))
    by_tools = Answered(question, reading.id, said, Producer(), said)
    if reader is None or said.status == "answered":
        return by_tools
    try:
        seen = _asked(question, reading, store, reader)
    except ModelRefused as refused:
        return replace(by_tools, answer=replace(said, notes=(*said.notes, f"{reader.card.id}: {refused.seen}")))
    notes = (*seen.notes, "a reader model's answer: it was not measured here; look at the image")
    return replace(
        by_tools, answer=replace(seen, notes=notes), producer=Producer(reader.card.id, reader.card.version, question)
    )


def _asked(question: str, reading: Reading, store: Store, reader: Reader) -> Answer:
    from .errors import NotAdmitted

    admitted = [f for f in reading.case.images if admit(reader.card, f, reading.case.source) is None]
    if not admitted or not reading.case.pixels_checked:
        why = (
            admit(reader.card, reading.case.images[0], reading.case.source)
            if not admitted
            else "the pixels were not checked for burned-in text, so no prompt may hold them"
        )
        raise NotAdmitted(str(why), reader.card.intended_use or "what the card names", "choose another reader")
    images = store.images(reading)
    shown = [images[f.id] for f in admitted[:MOST_IMAGES] if f.id in images]
    seen = reader.answer(shown, question)
    return replace(seen, rests_on=seen.rests_on or tuple(image.id for image in shown))


def priors_of(reading: Reading, store: Store) -> list[Reading]:
    """The kept readings of the same patient, latest first; none where the study names no patient."""
    if NO_PATIENT in reading.case.notes:
        return []
    rows = [row for row in store.readings() if row.id != reading.id][:MOST_PRIORS]
    kept = (store.reading(row.id) for row in rows)
    return [other for other in kept if other.case.patient == reading.case.patient]
