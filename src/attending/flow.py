"""The stories that cross several rooms, each a page of plain statements. Read this file and ``records`` to know the house.

Reading   Study -> Case -> Findings -> Draft -> Verdict -> Reading -> Review -> results
Learning  Review* -> TrainingSet -> Candidate -> Scores -> Release -> (approved by a person) -> the next reading
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import checking, deidentify, drafting, exporting, intake, reviewing, tasks
from .errors import AlreadySigned, IdentifierInText
from .records import Reading, Review, Study

if TYPE_CHECKING:
    from .models import Writer
    from .site import Site
    from .store import Store

Progress = Callable[[str, float], None]

__all__ = ["Equipment", "export_reading", "read_study", "sign_reading"]


@dataclass(frozen=True)
class Equipment:
    """What a reading is made with: loaded plugins that the site names, and the releases a person approved."""

    readers: tasks.Readers
    writer: Writer | None = None
    releases: tuple[str, ...] = ()


@dataclass
class Clock:
    """Wall seconds per room, in the order of the story."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def room(self, name: str, progress: Progress | None, done: float) -> Iterator[None]:
        if progress:
            progress(name, done)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def read_study(
    study: Study,
    store: Store,
    site: Site,
    equipment: Equipment,
    *,
    source: str | None = None,
    use: str = "care",
    progress: Progress | None = None,
) -> Reading:
    """A study goes in; a checked draft in which every sentence cites its evidence is kept, and returned.

    The same bytes give the same id. A study that already has a signed reading is not read over: its final reading is
    returned. Raises SameUidOtherBytes where one of its instances is known with other content, and StoreError. A model
    that fails never loses the reading: what it would have seen is "not assessed".
    """
    clock = Clock()
    with clock.room("deidentify", progress, 0.05):
        case = deidentify.to_case(study, store.secret("deidentify"), source=source, use=use)
        store.register_instances(study, case.id)
    if store.has_final(case.id):
        return store.final(case.id)
    with clock.room("tasks", progress, 0.1):
        found = tasks.find(case, equipment.readers, site, _inside(progress, 0.1, 0.6))
    with clock.room("drafting", progress, 0.6):
        draft = drafting.write(case.facts, found, equipment.writer, site, _inside(progress, 0.6, 0.85))
    with clock.room("checking", progress, 0.85):
        rewrite = drafting.rewriter(case.facts, found, equipment.writer, site)
        draft, verdict = checking.verify(draft, case.facts, found, rewrite)
    reading = Reading(
        id=case.id,
        version=store.next_version(case.id),
        created=now(),
        case=case.facts,
        findings=found.findings,
        evidence=found.evidence,
        not_assessed=found.not_assessed,
        quality=found.quality,
        draft=draft,
        verdict=verdict,
        label_names=found.label_names,
        seconds=tuple((room, round(s, 3)) for room, s in clock.seconds.items()),
        releases=equipment.releases,
    )
    with clock.room("exporting", progress, 0.9):
        images = {image.id: image for image in case.images}
        files = exporting.page(reading, images, found.arrays)
    with clock.room("store", progress, 0.97):
        store.vault_put(study, case.id)
        store.save_reading(reading, found.arrays, {i: image.voxels for i, image in images.items()}, files)
    if progress:
        progress("done", 1.0)
    return reading


def sign_reading(
    store: Store,
    site: Site,
    id: str,
    by: str,
    *,
    edited: Mapping[str, Any] | None = None,
    ratings: Mapping[str, int] | None = None,
    seconds: float | None = None,
) -> tuple[Review, Reading]:
    """The expert corrects and signs: the only way to a final report.

    Raises UnknownPerson and RoleRefused, AlreadySigned, EditRefused, and IdentifierInText where an edit carries an
    identifier of the patient: edits leave the vault and may teach models.
    """
    person = site.person(by, "radiologist")
    reading = store.reading(id)
    if reading.status == "final":
        raise AlreadySigned(
            "this reading is final and signed",
            "one signature per reading; a signed version is never replaced",
            "show it with `attending show ID`",
        )
    review, final = reviewing.review(
        reading,
        edited,
        dict(ratings or {}),
        by=person.name,
        when=now(),
        key=store.signing_key(person.name),
        seconds=seconds,
    )
    study = store.vault_get(id, by=person.name, why="sign: scan the edits for identifiers")
    leaked = deidentify.find_identifiers(" \n ".join(e.after or "" for e in review.edits), study)
    if leaked:
        raise IdentifierInText(
            f"the edits carry {len(leaked)} identifier(s) of the patient: {', '.join(sorted(leaked))}",
            "text without names, numbers, dates of birth or institutions; the export adds them from the vault",
            "take them out of the edited report and sign again",
        )
    files = exporting.page(final, store.images(final), store.arrays(final), review=review)
    store.save_review(review, final, files)
    return review, final


def export_reading(store: Store, site: Site, id: str, to: Path, by: str) -> tuple[list[Path], tuple[str, ...]]:
    """Rejoin a reading with its study, by role and with an audit entry, and write every form of it to a new folder."""
    person = site.person(by, "radiologist")
    reading = store.reading(id)
    exporting.may_leave(reading)
    study = intake.decode(store.vault_get(id, by=person.name, why="export"))
    review = next((r for r in store.reviews(reading=id) if r.version == reading.version and r.signature), None)
    written, notes = exporting.export(reading, study, store.images(reading), store.arrays(reading), review, to)
    store.audit("export", reading=id, version=reading.version, by=person.name, files=len(written))
    return written, notes


def now() -> str:
    """The moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _inside(progress: Progress | None, low: float, high: float) -> Progress | None:
    """Progress of one room, mapped into its share of the whole."""
    if progress is None:
        return None
    return lambda what, fraction: progress(what, low + (high - low) * min(max(fraction, 0.0), 1.0))
