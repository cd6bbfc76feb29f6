"""Pulled teaching sets as cases, vectors and reviews: imported labels, never a person's word."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import deidentify, intake, models, reviewing
from .records import Case, CaseFacts, Code, Review

if TYPE_CHECKING:
    from .site import Site
    from .store import Store

__all__ = ["import_labels", "teaching_sets"]

LABELS = "labels.json"


def teaching_sets(cache: Path) -> tuple[models.Entry, ...]:
    """Data sets of the catalog that are licensed to teach, labelled, and pulled."""
    return tuple(
        entry
        for entry in models.catalog()
        if entry.kind == "data"
        and entry.use == "teach"
        and entry.card.labels
        and models.status(entry.id, cache) == "pulled"
    )


def import_labels(
    entry: models.Entry,
    store: Store,
    site: Site,
    cache: Path,
    encoder: models.Encoder,
    when: str,
    tell: Callable[[str, float], None] | None = None,
) -> dict[str, CaseFacts]:
    """Keep a vector and a Review ("imported:ID") for every labelled image not kept yet; case id -> its facts."""
    (code,) = entry.card.labels.values()
    source = f"imported:{entry.id}"
    reviewed = {review.reading for review in store.reviews(source=source)}
    encoded = {(vector.case, vector.image) for vector in store.vectors(encoder.space)}
    facts: dict[str, CaseFacts] = {}
    reviews: list[Review] = []
    fresh: list[Case] = []
    for case, label in _cases(entry, store, site, cache):
        facts[case.id] = case.facts
        if case.id not in reviewed:
            reviews.append(reviewing.imported(case.id, code.value, label, entry.id, when))
            reviewed.add(case.id)
        if (case.id, case.images[0].id) not in encoded:
            fresh.append(case)
            encoded.add((case.id, case.images[0].id))
    for start in range(0, len(fresh), 64):
        batch = fresh[start : start + 64]
        vectors = encoder.encode([case.images[0] for case in batch])
        store.save_vectors(encoder.space, [(c.id, c.images[0].id, v) for c, v in zip(batch, vectors, strict=True)])
        if tell:
            tell(f"encoding {entry.id}", (start + len(batch)) / len(fresh))
    if reviews:
        store.save_reviews(reviews)
    return facts


def codes(cache: Path) -> tuple[Code, ...]:
    """The findings that pulled teaching sets label."""
    return tuple(code for entry in teaching_sets(cache) for code in entry.card.labels.values())


def _cases(entry: models.Entry, store: Store, site: Site, cache: Path) -> Iterator[tuple[Case, int]]:
    """Every labelled image once, as a Case, with its label: 1 present, 0 absent."""
    files = models.files(entry.id, cache)
    labels: dict[str, int] = json.loads(files[LABELS].read_text(encoding="utf-8"))
    opened = intake.open([files[name] for name in labels], declared=entry.declared, limits=site.limits)
    secret = store.secret("deidentify")
    for study in opened.studies:
        case = deidentify.to_case(study, secret, use=entry.use, source=entry.id)
        yield case, int(labels[study.files[0].name])
