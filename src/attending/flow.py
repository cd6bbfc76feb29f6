"""The stories that cross several rooms, each a page of plain statements: with ``records``, the whole program.

Reading   Study -> Case -> Findings -> Draft -> Verdict -> Reading -> Review -> results
Learning  Review* -> TrainingSet -> Candidate -> Scores -> Release -> (approved by a person) -> the next reading
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import (
    checking,
    deidentify,
    drafting,
    evaluating,
    exporting,
    intake,
    learning,
    models,
    reviewing,
    tasks,
    teaching,
)
from .equipment import Equipment, approval, equip
from .errors import (
    AlreadySigned,
    IdentifierInText,
    NothingToLearn,
    PluginFailed,
    ReleaseRefused,
    StoreError,
    UnknownRelease,
)
from .records import CaseFacts, Reading, Release, Review, Study

if TYPE_CHECKING:
    from .site import Site
    from .store import Store

Progress = Callable[[str, float], None]

__all__ = ["Equipment", "approve", "equip", "export_reading", "learn", "read_study", "rollback", "sign_reading"]


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
        instances = deidentify.instances(study, store.secret("instances"))
        store.register_instances(instances, case.id)
    if store.has_final(case.id):
        store.vault_put(study, case.id, instances)  # the audit entry of this reading
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
        releases=tuple(id for id in equipment.releases if any(f.producer.version == id for f in found.findings)),
    )
    with clock.room("exporting", progress, 0.9):
        images = {image.id: image for image in case.images}
        files = exporting.page(reading, images, found.arrays)
    with clock.room("store", progress, 0.97):
        store.vault_put(study, case.id, instances)
        reading = _kept(reading, store, images, found.arrays, files)
    if progress:
        progress("done", 1.0)
    return reading


def _kept(reading: Reading, store: Store, images: Any, arrays: Any, files: Mapping[str, bytes]) -> Reading:
    """The reading, kept; under a later version where another process read the same study meanwhile, and the signed
    one where somebody signed it meanwhile."""
    while True:
        try:
            store.save_reading(reading, arrays, {i: image.voxels for i, image in images.items()}, files)
            return reading
        except AlreadySigned:
            return store.final(reading.id)
        except StoreError:
            free = store.next_version(reading.id)
            if free == reading.version:
                raise
            reading = replace(reading, version=free)
            files = exporting.page(reading, images, arrays)


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
    # Numbers to the last digit: the edits give them rounded.
    known = {m.value for f in reading.findings for m in f.measurements}
    typed = [f"{m.value:.15g}" for f in final.findings for m in f.measurements if m.value not in known]
    leaked = deidentify.find_identifiers(" \n ".join([*(e.after or "" for e in review.edits), *typed]), study)
    if leaked:
        raise IdentifierInText(
            f"the edits carry {len(leaked)} identifier(s) of the patient: {', '.join(sorted(leaked))}",
            "text without names, numbers, dates of birth or institutions; the export adds them from the vault",
            "take them out of the edited report and sign again",
        )
    files = exporting.page(final, store.images(reading), store.arrays(reading), review=review)
    store.save_review(review, final, files)
    return review, final


def export_reading(store: Store, site: Site, id: str, to: Path, by: str) -> tuple[list[Path], tuple[str, ...]]:
    """Rejoin a reading with its study, by role and with an audit entry, and write every form of it to a new folder."""
    person = site.person(by, "radiologist")
    reading = store.reading(id)
    exporting.may_leave(reading)
    study = intake.decode(store.vault_get(id, by=person.name, why="export"))
    review = review_of(store, reading)
    written, notes = exporting.export(
        reading, study, store.images(reading), store.arrays(reading), review, to, organization=site.name
    )
    store.audit("export", reading=id, version=reading.version, by=person.name, files=len(written))
    return written, notes


def learn(
    store: Store,
    site: Site,
    cache: Path,
    *,
    task: str | None = None,
    sources: Sequence[str] = (),
    shots: int | None = None,
    progress: Progress | None = None,
    poison: bool = False,
) -> tuple[Release, ...]:
    """Reviews become candidates, each proven against the release in use on cases that neither was trained on.

    task     the finding's code value or meaning; None for every finding that reviews call present and absent.
    sources  admit only reviews of these sources; empty for signed ones and every pulled teaching set.
    shots    learn from at most so many imported examples, and from all that people signed; None for no limit.
    poison   flip the training labels, to show that the gate refuses what came of it.

    Nothing is used before ``approve``. Raises NothingToLearn where no finding has enough reviews.
    """
    encoder: models.Encoder = models.load(site.models.encoder, site, cache)
    cases: dict[str, CaseFacts] = {}
    for entry in teaching.teaching_sets(cache):
        if not sources or f"imported:{entry.id}" in sources:
            tell = _inside(progress, 0.0, 0.6)
            cases |= teaching.import_labels(entry, store, site, cache, encoder, now(), tell)
    cases |= teaching.signed_cases(store, encoder)
    reviews = [r for r in store.reviews() if r.source != "person" or teaching.holds(store, r)]
    vectors = {(v.case, v.image): v.array for v in store.vectors(encoder.space)}
    releases, nothing = [], []
    for n, code in enumerate(found := teaching.tasks_of(task, reviews, store, cache)):
        if progress:
            progress(f"learning {code.meaning}", 0.6 + 0.4 * n / len(found))
        try:
            training = learning.training_set(
                reviews,
                cases,
                vectors,
                code,
                encoder=encoder.space,
                key=store.secret("split"),
                sources=sources,
                clean=[entry.id for entry in teaching.teaching_sets(cache)],
            )
            if shots is not None:
                training = learning.few(training, shots)
            if poison:
                training = learning.flipped(training)
            learned = learning.train(training, vectors, cases, code, created=now(), min_train=site.learning.min_train)
        except NothingToLearn as too_few:
            nothing.append(too_few)
            continue
        releases.append(_proven(learned, vectors, store, site))
    if not releases:
        raise nothing[0] if nothing else teaching.no_task(task)
    return tuple(releases)


def _proven(learned: learning.Learned, vectors: Any, store: Store, site: Site) -> Release:
    """Candidate and release in use judge the same held-out cases; the gate decides whether a person may approve it."""
    current = next(iter(store.approved(learned.candidate.task)), None)
    theirs = None
    if current is not None:
        if current.candidate.encoder != learned.candidate.encoder:
            vectors = {(v.case, v.image): v.array for v in store.vectors(current.candidate.encoder)}
        # Without a vector of the release's encoder for every held-out case nothing is compared; the gate says so.
        with suppress(PluginFailed):
            theirs = learning.predict(store.get_bytes(current.candidate.weights), learned.held_out_vectors(vectors))
    scores = evaluating.compare(
        learned.probabilities,
        theirs,
        learned.labels,
        ids=(learned.candidate.id, current.id if current and theirs is not None else None),
        held_out_sha256=learning.held_out_sha256(learned.training),
        thresholds=(learned.threshold, float(dict(current.candidate.card)["threshold"]) if current else 0.5),
        groups=learned.groups,
        subgroups=learned.subgroups,
        looks=len(store.releases(learned.candidate.task)),
    )
    refused = evaluating.gate(
        scores, evaluating.Policy(site.learning.min_held_out), replaces=current.id if current else None
    )
    release = evaluating.judged(learned.candidate, scores, refused, current.id if current else None)
    try:
        store.save_release(release, learned.weights)
        return release
    except StoreError:
        # Learned before, or by another process meanwhile.
        kept = next((r for r in store.releases(release.candidate.task) if r.id == release.id), None)
        if kept is None:
            raise
    compared = kept.scores is not None and kept.scores.release == scores.release
    if kept.status == "approved" or (compared and kept.status != "retired"):
        return kept
    # The same candidate against another release than when it was kept, or one that was taken back: proven anew.
    store.set_release(release)
    return release


def approve(store: Store, site: Site, id: str, by: str) -> Release:
    """A person lets a proven candidate in; the next reading uses it.

    Raises UnknownPerson and RoleRefused, UnknownRelease, and NotBetter or ThinlyTested for what was not proven against
    the release that is in use now.
    """
    person = site.person(by, "approver")
    release = store.release(id)
    if release.status in ("approved", "retired"):
        raise ReleaseRefused(
            f"this release is {release.status} already", "a candidate that waits for a person",
            "see `attending release list`; `attending release rollback` goes back to the one before",
        )  # fmt: skip
    current = next(iter(store.approved(release.candidate.task)), None)
    policy = evaluating.Policy(site.learning.min_held_out)
    refused = evaluating.gate(release.scores, policy, replaces=current.id if current else None)
    if refused is not None:
        raise refused
    approved = _signed(replace(release, previous=current.id if current else None), person.name, store)
    store.set_release(*((replace(current, status="retired"),) if current else ()), approved, by=person.name)
    return approved


def rollback(store: Store, site: Site, task: str | None, by: str) -> Release:
    """Back to the release before, bit for bit; to none where there was none. Returns the release that left.

    Raises UnknownPerson and RoleRefused, and UnknownRelease where no release of the task is in use.
    """
    person = site.person(by, "approver")
    in_use = [r for r in store.approved() if task is None or task.lower() in _names(r)]
    if len(in_use) != 1:
        raise UnknownRelease(
            f"{len(in_use)} releases in use" + (f" for {task!r}" if task else ""),
            "one release to go back from",
            "name it with --task; `attending release list` shows what is in use",
        )
    (current,) = in_use
    left = replace(current, status="retired", why=f"{current.why}; rolled back by {person.name} at {now()}")
    back = (_signed(store.release(current.previous), person.name, store),) if current.previous else ()
    store.set_release(left, *back, by=person.name, event="rollback")
    return left


def _signed(release: Release, by: str, store: Store) -> Release:
    """The release in use, with who let it in, when, and their Ed25519 signature over its canonical JSON."""
    ready = replace(release, status="approved", approved_by=by, approved_at=now())
    return replace(ready, signature=store.signing_key(by).sign(approval(ready)).hex())


def _names(release: Release) -> tuple[str, ...]:
    return release.candidate.task.lower(), dict(release.candidate.card).get("code_meaning", "").lower()


def review_of(store: Store, reading: Reading) -> Review | None:
    """The signed review that made a final reading, proven to be of this very reading; None for a draft."""
    return next(
        (r for r in store.reviews(reading=reading.id) if r.signature and teaching.signed_by_them(store, r, reading)),
        None,
    )


def now() -> str:
    """The moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _inside(progress: Progress | None, low: float, high: float) -> Progress | None:
    """Progress of one room, mapped into its share of the whole."""
    if progress is None:
        return None
    return lambda what, fraction: progress(what, low + (high - low) * min(max(fraction, 0.0), 1.0))
