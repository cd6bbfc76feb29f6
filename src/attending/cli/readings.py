"""read, show, list, sign, export: one study from file to signature."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import By, Home, Json, emit, error_fields, message, note, progress, say

if TYPE_CHECKING:
    from ..api import Hospital
    from ..records import Reading


PATIENT = {"name": "Patient", "patient_id": "Patient ID", "birth_date": "Born"}
"""The words beside an identified reading."""

SECTIONS = {"findings": "Findings", "impression": "Impression", "quality": "Quality", "not_assessed": "Not assessed"}


def add_to(app: typer.Typer) -> None:
    app.command()(read)
    app.command()(show)
    app.command("list")(list_readings)
    app.command()(sign)
    app.command()(export)


def read(
    paths: Annotated[list[str], typer.Argument(help="Files or folders: DICOM, NIfTI, PNG, JPEG, TIFF.")],
    modality: Annotated[str | None, typer.Option(help="For pictures and NIfTI: CT, MR, CR, DX, US ...")] = None,
    view: Annotated[str | None, typer.Option(help="For pictures and NIfTI: PA, AP, AXIAL ...")] = None,
    body_part: Annotated[str | None, typer.Option(help="For pictures and NIfTI: HEAD, CHEST ...")] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Read studies (files or folders: DICOM, NIfTI, PNG, JPEG, TIFF) into checked drafts.

    Exit 0: all read; 1: some inputs refused; 3: nothing could be read.
    """
    from ..api import Hospital
    from ..errors import AttendingError, Refusal

    done = refused = 0
    with Hospital(home) as hospital, progress("reading") as bar:
        try:
            for item in hospital.read(paths, modality=modality, view=view, body_part=body_part, progress=bar):
                if isinstance(item, Refusal):
                    refused += 1
                    if as_json:
                        emit(error=error_fields(item.error), input=item.input)
                    message(item.error, f"{item.input}: refused")
                else:
                    done += 1
                    tell(hospital, item, as_json)
        except AttendingError as error:  # the hospital's, not one input's: what follows was not read either
            refused += 1
            if as_json:
                emit(error=error_fields(error))
            message(error)
    if not as_json:
        note(f"{done} read, {refused} refused")
    sys.exit(3 if not done else 1 if refused else 0)


def show(
    id: Annotated[str, typer.Argument(help="A reading's id, as `attending list` prints it.")],
    version: Annotated[int | None, typer.Option(help="An earlier version.", show_default="the latest")] = None,
    identified: Annotated[
        bool, typer.Option("--identified", help="Rejoin with the patient (needs --by; audited).")
    ] = False,
    by: Annotated[str | None, typer.Option("--by", help="Who looks: a name of site.toml.")] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show one reading: its sentences, what each rests on, the verdicts, and where its page is.

    ID is a reading's id, as `attending list` prints it.
    """
    from ..api import Hospital

    if identified and not by:
        raise typer.BadParameter("--identified needs --by NAME: whose eyes see the patient is audited")
    with Hospital(home) as hospital:
        reading = hospital.show(id, version)
        identity = hospital.identity(id, str(by)) if identified else None
        if identity and not as_json:
            for label, value in identity:
                say(f"{PATIENT.get(label, label)}: {value or 'not given'}")
        tell(hospital, reading, as_json, identity)


def list_readings(as_json: Json = False, home: Home = None) -> None:
    """List the readings kept here, newest first."""
    from ..api import Hospital

    with Hospital(home) as hospital:
        rows = hospital.readings()
        for row in rows:
            if as_json:
                emit(id=row.id, status=row.status, modality=row.modality, created=row.created)
            else:
                say(f"{row.id}  {row.status:5}  {row.modality:4}  {row.created}")
        if not rows and not as_json:
            note("no readings yet: `attending read PATH...`")


def sign(
    id: Annotated[str, typer.Argument(help="A reading's id.")],
    by: By,
    edit: Annotated[Path | None, typer.Option("--edit", help="The edited report.json.")] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option("--rate", help="AXIS=1..5: accuracy, symptoms, history, severity, urgency, clarity."),
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="How long the review took.")] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Correct a draft and sign it. Only a signature makes a reading final."""
    from ..api import Hospital

    edited = _edited(edit) if edit else None
    with Hospital(home) as hospital:
        review, final = hospital.sign(id, by, edited=edited, ratings=_ratings(rate or []), seconds=seconds)
        if as_json:
            emit(**hospital.public(final))
        else:
            for change in review.edits:
                say(f"{change.kind}: {change.target}" + (f" ({change.note})" if change.note else ""))
            for alert in final.verdict.alerts:
                note(f"alert: {alert}")
            say(f"{id} is final, signed by {review.by} at {review.when}")


def export(
    id: Annotated[str, typer.Argument(help="A reading's id.")],
    to: Annotated[Path, typer.Option("--to", help="A folder that does not exist yet, or is empty.")],
    by: Annotated[str | None, typer.Option("--by", help="Who exports: a name of site.toml.")] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Rejoin a reading with its study and write source, SEG, SR, FHIR, page and volume. Audited."""
    from ..api import Hospital

    with Hospital(home) as hospital:
        written, notes = hospital.export(id, to, by)
    if as_json:
        emit(id=id, files=[str(path) for path in written], notes=list(notes))
        return
    for path in written:
        say(str(path))
    for text in notes:
        note(text)


def tell(hospital: Hospital, reading: Reading, as_json: bool, identity: Any = None) -> None:
    """One reading, as JSON or in words."""
    public = hospital.public(reading)
    if as_json:
        emit(**public, **({"identity": dict(identity)} if identity else {}))
        return
    say(f"{public['id']}  {public['status'].upper()}  {public['modality']} {public['view'] or ''}".rstrip())
    for alert in public["alerts"]:
        say(f"  alert: {alert}")
    section = None
    place = list(SECTIONS).index
    for sentence in sorted(public["sentences"], key=lambda s: place(s["section"])):
        if sentence["section"] != section:
            section = sentence["section"]
            say(f"  {SECTIONS[section]}")
        say(f"    [{sentence['verdict']}] {sentence['text']}  <- {', '.join(sentence['rests_on'])}")
        for struck in sentence.get("struck", ()):
            why = "edited" if struck["rule"] == "expert" else f"struck ({struck['rule']})"
            say(f"        {why}: {struck['text']}")
    for question in public["questions"]:
        say(f"  question: {question}")
    for item in public["not_assessed"]:
        say(f"  not assessed: {item['what']}: {item['why']}")
    if "page" in public["files"]:
        say(f"  page: {public['files']['page']}")
    say(f"  {reading.mark}")


def _edited(path: Path) -> dict[str, Any]:
    """The edited report.json; raises EditRefused where it is no JSON object."""
    from ..errors import EditRefused

    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a mark before the text
    except (OSError, ValueError, RecursionError) as error:
        raise EditRefused(
            "no edit file of that name"
            if isinstance(error, FileNotFoundError)
            else f"the edit file cannot be read as JSON ({type(error).__name__})",
            "the report.json of the reading, edited",
            "copy readings/ID/.../report.json (its path is in `attending show ID --json`), edit it and name it here",
        ) from None
    if not isinstance(document, dict):
        raise EditRefused("the edit file is no JSON object", "the report.json of the reading, edited", "start from it")
    return document


def _ratings(pairs: list[str]) -> dict[str, int]:
    from ..errors import EditRefused
    from ..records import RATING_AXES

    ratings: dict[str, int] = {}
    for pair in pairs:
        axis, _, value = pair.partition("=")
        if axis not in RATING_AXES or value not in {"1", "2", "3", "4", "5"}:
            raise EditRefused(
                f"the rating {pair!r}",
                f"AXIS=1..5 with an axis of {', '.join(RATING_AXES)}",
                "for example --rate accuracy=4",
            )
        ratings[axis] = int(value)
    return ratings
