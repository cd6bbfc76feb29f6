"""ask: one question about one study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import Home, Json, emit, note, progress, say

if TYPE_CHECKING:
    from ..api import Hospital
    from ..asking import Answered
    from ..records import Reading


def add_to(app: typer.Typer) -> None:
    app.command()(ask)


def ask(
    study: Annotated[str, typer.Argument(help="A reading's id, or a file or folder, which is read first.")],
    question: Annotated[str, typer.Argument(help="One question in English.")],
    modality: Annotated[str | None, typer.Option(help="For pictures and NIfTI: CT, MR, CR, DX, US ...")] = None,
    view: Annotated[str | None, typer.Option(help="For pictures and NIfTI: PA, AP, AXIAL ...")] = None,
    body_part: Annotated[str | None, typer.Option(help="For pictures and NIfTI: HEAD, CHEST ...")] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Answer a question about a study, with citations, or say "cannot tell" and what would be needed.

    What was measured, found or recorded answers first; a reader model (models.reader in site.toml) only what that
    cannot tell. Exit 0 for an answer and for "cannot tell"; 1 for a question or study that is refused.
    """
    from .. import answering, asking
    from ..api import Hospital

    answering.refuse(question)  # before a study is read for it
    with Hospital(home) as hospital:
        reading = _reading(hospital, study, {"modality": modality, "view": view, "body_part": body_part})
        answered = asking.ask(question, reading, hospital.store, _reader(hospital))
        fields = _fields(answered, reading)
    if as_json:
        emit(**fields)
        return
    say(answered.answer.text)
    for cited in fields["rests_on"]:
        say(f"  {cited['id']}: {cited['text']}" if cited["text"] else f"  {cited['id']}")
    for word in answered.answer.notes:
        say(f"  note: {word}")
    by = answered.producer.model
    say(f"Answered by {by}. {answered.mark}" if by else f"By rules from the reading. {answered.mark}")


def _reading(hospital: Hospital, study: str, declared: dict[str, str | None]) -> Reading:
    from ..errors import Refusal

    if not Path(study).exists():
        return hospital.show(study)
    with progress("reading") as bar:
        for item in hospital.read([study], progress=bar, **declared):
            if isinstance(item, Refusal):
                raise item.error
            note(f"read as {item.id}")
            return item
    raise AssertionError("a path gives a reading or a refusal")


def _reader(hospital: Hospital) -> Any:
    """The reader model that the site names, or None; one that cannot be used is told and left out."""
    from .. import models
    from ..errors import ModelRefused

    if hospital.site.models.reader == "none":
        return None
    try:
        return models.load(hospital.site.models.reader, hospital.site, hospital.cache)
    except ModelRefused as refused:
        note(f"without a reader model: {refused.seen}\n  do: {refused.do}")
        return None


def _fields(answered: Answered, reading: Reading) -> dict[str, Any]:
    texts = {e.id: e.text for e in reading.evidence}
    texts |= {f.id: f"{f.code.meaning} {f.presence}" for f in reading.findings}
    texts |= {m.id: f"{m.code.meaning} {m.value} {m.unit}" for f in reading.findings for m in f.measurements}
    from ..answering import facts

    texts |= {f"fact:{f.id}": f"{f.text}. {f.source} ({f.date})" for f in facts()}
    return {
        "id": answered.study,
        "question": answered.question,
        "status": answered.answer.status,
        "answer": answered.answer.text,
        "rests_on": [{"id": id, "text": texts.get(id, "")} for id in answered.answer.rests_on],
        "score": answered.answer.score,
        "producer": {"model": answered.producer.model, "version": answered.producer.version},
        "notes": list(answered.answer.notes),
        "mark": answered.mark,
    }
