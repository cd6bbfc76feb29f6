"""The Python door: the command line's verbs as methods of one object, and nothing that the rooms could do themselves.

from attending import Hospital

with Hospital() as hospital:
    for item in hospital.read(["study/"]):
        print(item.id, item.status)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputRefused, Refusal, SiteError

if TYPE_CHECKING:
    from . import flow, models
    from .doctor import Fact
    from .records import Reading, Release, Review, Study
    from .site import Site
    from .store import Store

__all__ = ["Hospital"]


class Hospital:
    """One hospital's folder (``ATTENDING_HOME``) and what can be done in it. Made on first use; no ``init`` needed."""

    def __init__(self, home: str | Path | None = None) -> None:
        from . import site

        self.home = Path(home).expanduser() if home else site.default_home()

    def __enter__(self) -> Hospital:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @cached_property
    def site(self) -> Site:
        from . import site

        return site.load(self.home)

    @cached_property
    def store(self) -> Store:
        from .store import Store

        return Store.open(self.home)

    @cached_property
    def cache(self) -> Path:
        from . import site

        return site.cache_dir()

    def close(self) -> None:
        """Let go of the language model and the database."""
        self._put_down()
        if "store" in self.__dict__:
            self.store.close()
        self.__dict__.pop("store", None)

    def _put_down(self) -> None:
        """Close the language model; the next reading takes up what the site and the approved releases name then."""
        equipment = self.__dict__.pop("equipment", None)
        if equipment is not None and equipment.writer is not None:
            equipment.writer.close()

    @cached_property
    def equipment(self) -> flow.Equipment:
        """Everything the site names that is usable here; what is not is named in the readings it would have served."""
        from . import flow

        return flow.equip(self.site, self.store, self.cache)

    def read(
        self,
        paths: Sequence[str | Path],
        *,
        modality: str | None = None,
        view: str | None = None,
        body_part: str | None = None,
        progress: flow.Progress | None = None,
    ) -> Iterator[Reading | Refusal]:
        """Read files and folders; one Reading per study, one Refusal per input that cannot be read, as they come.

        modality and view are needed for pictures and NIfTI files, which carry none. Raises ModalityUndeclared for a
        view or body part that is no known word, and StoreError and SiteError: these concern the hospital.
        """
        from . import deidentify, flow, intake, models

        declared = {k: v for k, v in (("modality", modality), ("view", view), ("body_part", body_part)) if v}
        deidentify.check_declared(declared)
        published = _published(self.cache)
        for group in _by_source(paths, self.cache):
            source = models.entry(group.source) if group.source else None
            given = {**(source.declared if source else {}), **declared}
            for item in intake.each(group.paths, declared=given, limits=self.site.limits):
                if isinstance(item, Refusal):
                    yield item
                    continue
                path, study = item
                origin = _origin(study, source, published)
                try:
                    yield flow.read_study(
                        study,
                        self.store,
                        self.site,
                        self.equipment,
                        source=origin.id if origin else None,
                        use=origin.use if origin else "care",
                        progress=progress,
                    )
                except InputRefused as refused:
                    yield Refusal(path, refused)

    def show(self, id: str, version: int | None = None) -> Reading:
        """The reading with this id, its latest version unless one is named."""
        return self.store.reading(id, version)

    def readings(self) -> list[Any]:
        """Every reading's id, version, status, modality and created, newest first."""
        return list(self.store.readings())

    def sign(
        self,
        id: str,
        by: str,
        *,
        edited: Mapping[str, Any] | None = None,
        ratings: Mapping[str, int] | None = None,
        seconds: float | None = None,
    ) -> tuple[Review, Reading]:
        """Correct and sign; see flow.sign_reading."""
        from . import flow

        return flow.sign_reading(self.store, self.site, id, by, edited=edited, ratings=ratings, seconds=seconds)

    def export(self, id: str, to: str | Path, by: str | None = None) -> tuple[list[Path], tuple[str, ...]]:
        """Write source, SEG, SR, FHIR and page into a new folder; gives the files, and what is missing and why."""
        from . import flow

        return flow.export_reading(self.store, self.site, id, Path(to), by or self.only_person())

    def learn(self, **how: Any) -> tuple[Release, ...]:
        """Train candidates from the reviews and prove each against the release in use; see flow.learn."""
        from . import flow

        return flow.learn(self.store, self.site, self.cache, **how)

    def releases(self, task: str | None = None) -> tuple[Release, ...]:
        """Candidates and releases, newest first."""
        return tuple(reversed(self.store.releases(task)))

    def release(self, id: str) -> Release:
        return self.store.release(id)

    def approve(self, id: str, by: str) -> Release:
        """Let a proven candidate in; see flow.approve."""
        from . import flow

        release = flow.approve(self.store, self.site, id, by)
        self._put_down()
        return release

    def rollback(self, task: str | None, by: str) -> Release:
        """Back to the release before; see flow.rollback."""
        from . import flow

        release = flow.rollback(self.store, self.site, task, by)
        self._put_down()
        return release

    def audit_entries(self) -> Iterator[dict[str, Any]]:
        """Every entry of the audit log, oldest first."""
        return self.store.audit_entries()

    def verify_audit(self) -> int:
        """The number of entries of a whole audit log; raises AuditBroken naming the first bad one."""
        return self.store.verify_audit()

    def public(self, reading: Reading) -> dict[str, Any]:
        """A reading as the JSON contract has it (docs/json.md), with where its files are."""
        from . import exporting, flow

        files = {name.split(".")[0]: str(path) for name, path in self.files(reading).items()}
        return exporting.public(reading, files, flow.review_of(self.store, reading))

    def files(self, reading: Reading) -> dict[str, Path]:
        """File name -> path of what was written with a reading: page.html, report.json, thumbnail.png."""
        return dict(self.store.files(reading.id, reading.version))

    def identity(self, id: str, by: str) -> Any:
        """Whom a reading is of, for a person with the role; audited. Raises RoleRefused."""
        from . import exporting

        person = self.site.person(by)
        if not {"radiologist", "privacy"} & set(person.roles):
            self.site.person(by, "radiologist")
        return exporting.identity(self.store.vault_get(id, by=person.name, why="show --identified"))

    def models(self) -> tuple[Any, ...]:
        """Every model with its card, whether it is usable here, and if not why and what to do."""
        from . import models

        return models.installed(self.site, self.cache)

    def card(self, id: str) -> Any:
        from . import models

        return models.card_of(id, self.cache, self.site)

    def default_models(self) -> tuple[str, ...]:
        """The models that the site names."""
        named = self.site.models
        return tuple(id for id in (named.writer, named.head, named.tumour, named.encoder) if id != "none")

    def pull(self, id: str, progress: flow.Progress | None = None) -> Path:
        """Fetch, verify and convert a model or data set; the only method that uses the network."""
        from . import models, site

        tell = (lambda fraction, words: progress(words, fraction)) if progress else None
        return models.pull(id, self.cache, site.mirror_dir(), tell, self.site.models.accept_unlicensed)

    def adopt(self, id: str, folder: str | Path, progress: flow.Progress | None = None) -> Path:
        """Take up a model's folder that was brought here by other means; records the hashes of its files."""
        from . import models

        tell = (lambda fraction, words: progress(words, fraction)) if progress else None
        return models.adopt(id, Path(folder).expanduser(), self.cache, tell, self.site.models.accept_unlicensed)

    def check(self, id: str, **how: Any) -> Any:
        """The results of the conformance test on a model, admitted or not; see proving.check."""
        from . import proving

        return proving.check(id, self.site, self.cache, **how)

    def verify(self, id: str, data: str, progress: flow.Progress | None = None) -> Any:
        """A model or head, measured on a labelled data set beside what its card claims; see verifying.verify."""
        from . import verifying

        return verifying.verify(id, data, self.site, self.store, self.cache, progress)

    def init(self) -> Path:
        """Write the commented site.toml; never over an existing one."""
        from . import site

        return site.write_default(self.home)

    def doctor(self) -> list[Fact]:
        """What is installed, what is usable here, and what to do about the rest."""
        from .doctor import facts

        more = self.site.models
        named = (*self.default_models(), more.tissue, *more.detectors, more.reader)
        return facts(self.home, self.cache, self.models(), named)

    def only_person(self) -> str:
        """The one person that an empty site knows; a site with people needs a name."""
        people = self.site.people
        if len(people) == 1:
            return people[0].name
        raise SiteError(
            f"nobody named, and site.toml lists {len(people)} people",
            "a name of site.toml",
            "add --by NAME",
        )


def release_fields(release: Release) -> dict[str, Any]:
    """A release as JSON: docs/json.md."""
    scores = release.scores
    return {
        "id": release.id,
        "status": release.status,
        "task": release.candidate.task,
        "why": release.why,
        "previous": release.previous,
        "approved_by": release.approved_by,
        "approved_at": release.approved_at,
        "weights_sha256": release.candidate.weights,
        "training_sha256": release.candidate.training,
        "sources": list(release.candidate.sources),
        "card": dict(release.candidate.card),
        "scores": None
        if scores is None
        else {
            "held_out": scores.held_out,
            "against_release": scores.release,
            "candidate": {k: asdict(v) for k, v in scores.figures},
            "release": {k: asdict(v) for k, v in scores.against},
            "difference": {k: asdict(v) for k, v in scores.difference},
            "subgroups": {name: {k: asdict(v) for k, v in rows} for name, rows in scores.subgroups},
            "notes": list(scores.notes),
        },
    }


class _Group:
    def __init__(self, source: str | None, paths: list[str]) -> None:
        self.source, self.paths = source, paths


def _published(cache: Path) -> dict[str, models.Entry]:
    """sha256 of every file of the pulled data sets -> the set's entry: a copy elsewhere is under the same licence."""
    from .models import catalog
    from .models.pull import hashes_of

    sets = sorted(
        (e for e in catalog() if e.kind == "data"), key=lambda e: e.use == "view"
    )  # the strictest has the last word
    return {sha256: entry for entry in sets for sha256 in hashes_of(entry, cache).values()}


def _origin(study: Study, folder: models.Entry | None, published: Mapping[str, models.Entry]) -> models.Entry | None:
    """The data set whose licence a study is under, None for a patient's. Bytes decide, not places; but one file of a
    set to view only makes the whole study so, and so does lying in that set's folder."""
    held = [published.get(file.sha256) for file in study.files]
    for entry in (folder, *held):
        if entry is not None and entry.use == "view":
            return entry
    return held[0] if held and all(entry is held[0] for entry in held) else None


def _by_source(paths: Sequence[str | Path], cache: Path) -> list[_Group]:
    """Paths grouped by the catalog's data set whose pulled folder they lie in: its facts go with them."""
    groups: dict[str | None, _Group] = {}
    for path in paths:
        source = _source_of(str(path), cache)
        groups.setdefault(source, _Group(source, [])).paths.append(str(path))
    return list(groups.values())


def _source_of(path: str, cache: Path) -> str | None:
    """The id of the catalog's entry in whose pulled folder a path lies, if any; the path may lead nowhere."""
    import os

    from . import models

    try:
        # Not Path.resolve: it raises for a loop of links, which is for intake to refuse by name.
        below = Path(os.path.realpath(path)).relative_to(os.path.realpath(cache))
    except ValueError:
        return None
    return next((entry.id for entry in models.catalog() if below.parts[:1] == (entry.id,)), None)
