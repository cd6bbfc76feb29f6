"""The pictures of a pulled data set as cases, with what is known of each: for measuring a model, never for teaching it.

Looking at a set and counting is what every licence here allows (``use`` "view" too); nothing is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from . import deidentify, intake, models
from .errors import UnknownModel
from .records import Case, Code, Image

if TYPE_CHECKING:
    from .site import Site

__all__ = ["Labelled", "codes_of", "data_set", "gate_pictures", "pictures"]

LABELS = "labels.json"
SECRET = bytes(32)
"""The surrogate ids of these cases are kept nowhere, so no secret of the hospital is needed to make them."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """One picture. name is its file's; shows the code values that are known to be present (None: nothing is known)."""

    name: str
    case: Case
    shows: frozenset[str] | None

    @property
    def image(self) -> Image:
        return self.case.images[0]


def data_set(id: str) -> models.Entry:
    """The catalog's data set. Raises UnknownModel, for a model's id too."""
    entry = models.entry(id)
    if entry.kind != "data":
        raise UnknownModel(f"{id!r} is a model, not a data set", "a data set", "see `attending data list`")
    return entry


def codes_of(entry: models.Entry) -> tuple[Code, ...]:
    """The findings that a set's labels speak of; () where it has none."""
    named = [truth.code for truth in entry.truth if truth.code is not None]
    return tuple(dict.fromkeys([*entry.card.labels.values(), *named]))


def pictures(
    entry: models.Entry,
    site: Site,
    cache: Path,
    *,
    secret: bytes = SECRET,
    wanted: Callable[[str], bool] = lambda name: True,
) -> Iterator[Labelled]:
    """Every picture of a pulled set that can be read as one image, by name. Raises NotPulled."""
    files = models.files(entry.id, cache)
    labels: dict[str, int] = json.loads(files[LABELS].read_text(encoding="utf-8")) if LABELS in files else {}
    names = sorted(labels or files)
    given = [files[name] for name in names if wanted(name)]
    for study in intake.open(given, declared=entry.declared, limits=site.limits).studies:
        case = deidentify.to_case(study, secret, use=entry.use, source=entry.id)
        name = study.files[0].name
        if len(case.images) == 1:
            yield Labelled(name, case, _shown(entry, name, labels))


def gate_pictures(entry: models.Entry, card: models.Card, site: Site, cache: Path, most: int = 24) -> tuple[Image, ...]:
    """At most so many pictures of a pulled set that a card admits, spread over the set: what the gate may be shown."""
    files = [name for name in models.files(entry.id, cache) if not name.endswith((".json", ".npz"))]
    some = set(sorted(files)[:: max(1, len(files) // (2 * most))])
    admitted = [
        item.image
        for item in pictures(entry, site, cache, wanted=some.__contains__)
        if models.admit(card, item.image.facts, entry.id) is None
    ]
    return tuple(admitted[:: max(1, len(admitted) // most)][:most])


def _shown(entry: models.Entry, name: str, labels: Mapping[str, int]) -> frozenset[str] | None:
    if name in labels:
        (code,) = entry.card.labels.values()
        return frozenset({code.value}) if labels[name] else frozenset()
    fits = [truth for truth in entry.truth if fnmatch(name, truth.match)]
    return frozenset(t.code.value for t in fits if t.code is not None) if fits else None
