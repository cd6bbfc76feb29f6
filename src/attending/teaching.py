"""What may teach: pulled teaching sets as cases, vectors and reviews (imported labels, never a person's word), and the
reviews that people signed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import deidentify, intake, models, reviewing, tasks
from .errors import NothingToLearn
from .records import Case, CaseFacts, Code, Reading, Review

if TYPE_CHECKING:
    from .site import Site
    from .store import Store

__all__ = [
    "codes",
    "holds",
    "import_labels",
    "no_task",
    "signed_by_them",
    "signed_cases",
    "tasks_of",
    "teaching_sets",
]

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


def holds(store: Store, review: Review) -> bool:
    """Whether a person's review is still, to the last bit, what they signed: nothing else may teach."""
    return signed_by_them(store, review, store.reading(review.reading, review.version + 1))


def signed_by_them(store: Store, review: Review, final: Reading) -> bool:
    """Whether the person whom the review names signed this very reading, with the key that this home signs for them."""
    key = store.signing_key(review.by).public_key().public_bytes_raw().hex()
    return reviewing.verify(review, final, key)


def signed_cases(store: Store, encoder: models.Encoder) -> dict[str, CaseFacts]:
    """The cases of signed readings, their vectors made where they are not kept yet: of what may teach, and of images
    that the gate lets models see."""
    encoded = {v.case for v in store.vectors(encoder.space)}
    cases: dict[str, CaseFacts] = {}
    for id in sorted({review.reading for review in store.reviews(source="person")}):
        final = store.final(id)
        cases[id] = final.case
        if id in encoded or final.case.use == "view" or not final.case.pixels_checked:
            continue
        seen = {i: image for i, image in sorted(store.images(final).items()) if tasks.may_see(image)}
        if seen:
            store.save_vectors(encoder.space, [(id, i, encoder.encode([image])[0]) for i, image in seen.items()])
    return cases


def tasks_of(task: str | None, reviews: Sequence[Review], store: Store, cache: Path) -> list[Code]:
    """The findings to learn: those that reviews call present and absent, or the one named."""
    seen: dict[str, set[str]] = defaultdict(set)
    for review in reviews:
        for value, presence in review.labels:
            seen[value].add(presence)
    known = {code.value: code for code in codes(cache)}
    for row in store.readings():
        known |= {f.code.value: f.code for f in store.reading(row.id).findings}
    if task is not None:
        return [c for c in known.values() if task.lower() in (c.value.lower(), c.meaning.lower())]
    return [known[value] for value in sorted(seen) if value in known and {"present", "absent"} <= seen[value]]


def no_task(task: str | None) -> NothingToLearn:
    return NothingToLearn(
        "no finding that reviews call present in some cases and absent in others" if task is None
        else f"no finding {task!r} in any review",
        "signed readings or a pulled teaching set that name the finding",
        "sign more readings, or: attending data pull pneumoniamnist",
    )  # fmt: skip


def _cases(entry: models.Entry, store: Store, site: Site, cache: Path) -> Iterator[tuple[Case, int]]:
    """Every labelled image once, as a Case, with its label: 1 present, 0 absent."""
    files = models.files(entry.id, cache)
    labels: dict[str, int] = json.loads(files[LABELS].read_text(encoding="utf-8"))
    opened = intake.open([files[name] for name in labels], declared=entry.declared, limits=site.limits)
    secret = store.secret("deidentify")
    for study in opened.studies:
        case = deidentify.to_case(study, secret, use=entry.use, source=entry.id)
        yield case, int(labels[study.files[0].name])
