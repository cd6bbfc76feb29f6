"""The Python door: the command line's verbs as methods of one object, and nothing that the rooms could do themselves.

from attending import Hospital

with Hospital() as hospital:
    for item in hospital.read(["study/"]):
        print(item.id, item.status)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import AttendingError, Refusal, SiteError

if TYPE_CHECKING:
    from . import flow
    from .records import Reading, Release, Review
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
        if "equipment" in self.__dict__ and self.equipment.writer is not None:
            self.equipment.writer.close()
        self.__dict__.pop("equipment", None)
        if "store" in self.__dict__:
            self.store.close()
        self.__dict__.pop("store", None)

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

        modality and view are needed for pictures and NIfTI files, which carry none. Raises StoreError and SiteError:
        these concern the hospital, not one input.
        """
        from . import flow, intake, models

        declared = {k: v for k, v in (("modality", modality), ("view", view), ("body_part", body_part)) if v}
        for group in _by_source(paths, self.cache):
            source = models.entry(group.source) if group.source else None
            opened = intake.open(
                group.paths, declared={**(source.declared if source else {}), **declared}, limits=self.site.limits
            )
            yield from opened.refused
            for study, path in zip(opened.studies, opened.inputs, strict=True):
                try:
                    yield flow.read_study(
                        study,
                        self.store,
                        self.site,
                        self.equipment,
                        source=group.source,
                        use=source.use if source else "care",
                        progress=progress,
                    )
                except _of_the_input() as refused:
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
        """Write SEG, SR, FHIR, page and source into a new folder; returns the files and what could not be written, why."""
        from . import flow

        return flow.export_reading(self.store, self.site, id, Path(to), by or self.only_person())

    def learn(self, **how: Any) -> Release:
        """Train a candidate from the reviews and prove it against the release in use; see flow.learn."""
        from . import flow

        return flow.learn(self.store, self.site, self.cache, **how)

    def releases(self, task: str | None = None) -> tuple[Release, ...]:
        return tuple(self.store.releases(task))

    def approve(self, id: str, by: str) -> Release:
        from . import flow

        self.__dict__.pop("equipment", None)
        return flow.approve(self.store, self.site, id, by)

    def rollback(self, task: str, by: str) -> Release:
        from . import flow

        self.__dict__.pop("equipment", None)
        return flow.rollback(self.store, self.site, task, by)

    def verify_audit(self) -> int:
        """The number of entries of a whole audit log; raises AuditBroken naming the first bad one."""
        return self.store.verify_audit()

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


class _Group:
    def __init__(self, source: str | None, paths: list[str]) -> None:
        self.source, self.paths = source, paths


def _by_source(paths: Sequence[str | Path], cache: Path) -> list[_Group]:
    """Paths grouped by the catalog's data set whose pulled folder they lie in: its licence and facts go with them."""
    groups: dict[str | None, _Group] = {}
    root = cache.resolve()
    for path in paths:
        resolved = Path(path).expanduser().resolve()
        source = resolved.relative_to(root).parts[0] if resolved.is_relative_to(root) and resolved != root else None
        groups.setdefault(source, _Group(source, [])).paths.append(str(path))
    return list(groups.values())


def _of_the_input() -> tuple[type[AttendingError], ...]:
    from .errors import InputRefused

    return (InputRefused,)
