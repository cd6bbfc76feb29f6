"""Reviews and vectors to a TrainingSet: who may teach, one example a case, no patient on both sides."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ..errors import NothingToLearn
from ..records import NO_PATIENT, CaseFacts, Code, Example, ImageFacts, Review, TrainingSet, array_key

HELD_OUT = 0.3  # share of patients kept for testing: 100 held-out cases need about 340, and 70 % is left to learn from
RADIOGRAPHS = {"CR": "DX"}  # computed and digital radiographs are one kind of picture to a head

Vectors = Mapping[tuple[str, str], NDArray[Any]]


@dataclass(frozen=True)
class Label:
    """What the reviews of one case come to for one finding."""

    value: int
    review: Review


def training_set(
    reviews: Iterable[Review],
    cases: Mapping[str, CaseFacts],
    vectors: Vectors,
    code: Code,
    *,
    encoder: str,
    key: bytes,
    sources: Collection[str] = (),
    clean: Collection[str] = (),
    held_out: float = HELD_OUT,
) -> TrainingSet:
    """One example for each reviewed case that may teach, split by patient.

    reviews  signed ones (source "person") and imported ones ("imported:NAME"), in any order.
    cases    case id -> its facts; a review of a case that is not here is left out.
    vectors  (case id, image id) -> (d,) float32, finite, all from ``encoder`` (its space).
    code     the finding to learn: reviews speak of it by ``code.value``.
    key      the hospital's secret for the split (32 bytes). The side of a patient is a keyed hash of the patient alone:
             it never changes as cases are added, so that a held-out patient is never trained on, by any candidate.
    sources  the sources admitted; empty for all.     clean  data sets whose catalog entry declares their pixels clean.

    One patient's images are on one side; where no patient is known an image stands for itself (the case's id is a hash
    of its bytes), and what has the very vector of a held-out picture is not learned from. A person's label outranks
    imported ones and the later person the earlier; where imported labels disagree the case is left out. What was left
    out is counted in ``notes``. Raises NothingToLearn where nothing is left.
    """
    left_out: Counter[str] = Counter()
    labels = _labels(reviews, code, set(sources), left_out)
    chosen: list[tuple[CaseFacts, ImageFacts, Label]] = []
    for id, label in sorted(labels.items()):
        facts = cases.get(id)
        image = _image(facts, vectors) if facts else None
        reason = _excluded(facts, image, label, clean)
        if reason or facts is None or image is None:
            left_out[reason or "the case is not kept here"] += 1
            continue
        chosen.append((facts, image, label))
    chosen = _one_modality(chosen, left_out)
    examples = [_example(facts, image, label, vectors[facts.id, image.id]) for facts, image, label in chosen]
    notes = [f"left out: {count} where {reason}" for reason, count in sorted(left_out.items())]
    if not examples:
        raise NothingToLearn(
            f"no review of {code.meaning} that may teach" + (f" ({'; '.join(notes)})" if notes else ""),
            "signed or imported reviews, present or absent, of cases licensed for care or teaching, checked pixels",
            "sign readings that name this finding, or pull a labelled data set",
        )
    tested = [e for e in examples if in_test(e.group, key, held_out)]
    kept_apart = {e.vector for e in tested}
    taught = [e for e in examples if not in_test(e.group, key, held_out)]
    train = [e for e in taught if e.vector not in kept_apart]
    if len(train) < len(taught):
        notes.append(f"left out: {len(taught) - len(train)} where the same picture is held out")
    alone = sum(_alone(facts) for facts, _, _ in chosen)
    if alone:
        notes.append(f"split by image, not by patient, for {alone} of {len(chosen)} cases: no patient is known")
    sides = [len({e.group for e in part}) for part in (train, tested)]
    notes.append(f"split by patient: {sides[0]} groups to learn from, {sides[1]} held out")
    return _sealed(code.value, encoder, train, tested, tuple(notes))


def group_of(facts: CaseFacts) -> str:
    """What the split keeps together: the patient, or the case where its file names none."""
    return f"image:{facts.id}" if _alone(facts) else f"patient:{facts.patient}"


def in_test(group: str, key: bytes, share: float) -> bool:
    """Whether a group is held out: the keyed hash of its name, as a number in 0..1, falls below the share."""
    digest = hmac.new(key, f"held-out:{group}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def flipped(training: TrainingSet) -> TrainingSet:
    """The same training set with every label to learn from turned around; the held-out part stays true.

    A drill: what learns from it must be refused by the gate. Its hash and notes say what it is.
    """
    poisoned = [replace(e, label=1 - e.label) for e in training.train]
    return _sealed(
        training.task, training.encoder, poisoned, training.held_out, ("drill: labels flipped", *training.notes)
    )


def few(training: TrainingSet, shots: int) -> TrainingSet:
    """The same training set with at most ``shots`` imported examples to learn from, half of each class where there are
    enough; what people signed all stays.

    Which ones is decided by a hash of their ids, so that a smaller number is a part of a larger one. The held-out part
    stays whole.
    """
    imported = [e for e in training.train if e.source != "person"]
    ranked = sorted(imported, key=lambda e: hashlib.sha256(f"shots:{e.group}:{e.image}".encode()).digest())
    present, absent = ([e for e in ranked if e.label == label] for label in (1, 0))
    few_present = max(shots // 2, shots - len(absent))
    chosen = [*present[:few_present], *absent[: shots - min(few_present, len(present))]]
    people = [e for e in training.train if e.source == "person"]
    note = f"few-shot: {len(chosen)} of {len(imported)} imported examples to learn from"
    return _sealed(training.task, training.encoder, [*people, *chosen], training.held_out, (*training.notes, note))


def held_out_sha256(training: TrainingSet) -> str:
    """The hash of the held-out cases with their labels: two candidates are compared on equal ones only."""
    rows = sorted([e.case, e.image, e.group, e.label] for e in training.held_out)
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def _labels(reviews: Iterable[Review], code: Code, sources: set[str], left_out: Counter[str]) -> dict[str, Label]:
    """Case -> label; what cannot be used is counted."""
    by_case: dict[str, list[Review]] = defaultdict(list)
    for r in reviews:
        if not any(value == code.value for value, _ in r.labels):
            continue
        if sources and r.source not in sources:
            left_out[f"the source {r.source} is not admitted"] += 1
        elif r.source == "person" and not r.signature:
            left_out["a person's review is not signed"] += 1
        else:
            by_case[r.reading].append(r)
    found: dict[str, Label] = {}
    for case, given in by_case.items():
        people = [r for r in given if r.source == "person"]
        voices = [max(people, key=lambda r: (r.when, r.id))] if people else sorted(given, key=lambda r: (r.when, r.id))
        said = {_presence(r, code) for r in voices}
        if len(said) > 1:
            left_out["imported labels disagree"] += 1
        elif said == {"uncertain"}:
            left_out["the review says uncertain"] += 1
        else:
            found[case] = Label(int(said == {"present"}), voices[0])
    return found


def _presence(review: Review, code: Code) -> str:
    said = {presence for value, presence in review.labels if value == code.value}
    return "present" if "present" in said else "uncertain" if "uncertain" in said else "absent"


def _excluded(facts: CaseFacts | None, image: ImageFacts | None, label: Label, clean: Collection[str]) -> str | None:
    if facts is None:
        return "the case is not kept here"
    if facts.use not in ("care", "teach"):
        return f"the licence allows {facts.use!r} only"
    if not facts.pixels_checked and facts.source not in clean:
        return "pixels are not checked for burned-in text"
    if facts.source and label.review.source not in ("person", f"imported:{facts.source}"):
        return "an imported label is about a case of another source"
    return None if image else "no image of the case has a vector"


def _image(facts: CaseFacts, vectors: Vectors) -> ImageFacts | None:
    """The first image with a vector: one example a case, because a label is the case's and copies are no new cases."""
    return next((i for i in facts.images if (facts.id, i.id) in vectors), None)


def _one_modality(
    chosen: list[tuple[CaseFacts, ImageFacts, Label]], left_out: Counter[str]
) -> list[tuple[CaseFacts, ImageFacts, Label]]:
    """Only the most frequent kind of image: one head never learns from CT and radiographs alike."""
    if not chosen:
        return chosen
    kinds = Counter(RADIOGRAPHS.get(image.modality, image.modality) for _, image, _ in chosen)
    kind = min(kinds, key=lambda k: (-kinds[k], k))
    for other, count in kinds.items():
        if other != kind:
            left_out[f"the modality is {other}, most are {kind}"] += count
    return [c for c in chosen if RADIOGRAPHS.get(c[1].modality, c[1].modality) == kind]


def _alone(facts: CaseFacts) -> bool:
    return facts.kind != "dicom" or NO_PATIENT in facts.notes  # pictures and NIfTI never name one


def _example(facts: CaseFacts, image: ImageFacts, label: Label, vector: NDArray[Any]) -> Example:
    ref = array_key(vector)
    return Example(
        case=facts.id,
        image=image.id,
        group=group_of(facts),
        vector=ref,
        label=label.value,
        review=label.review.id,
        source=label.review.source,
        subgroup=f"sex {facts.sex}" if facts.sex else None,
    )


def _sealed(
    task: str, encoder: str, train: Iterable[Example], held_out: Iterable[Example], notes: tuple[str, ...]
) -> TrainingSet:
    parts = [tuple(sorted(part, key=lambda e: (e.case, e.image))) for part in (train, held_out)]
    body = json.dumps([task, encoder, *[[asdict(e) for e in part] for part in parts]], sort_keys=True)
    return TrainingSet(task, encoder, parts[0], parts[1], hashlib.sha256(body.encode()).hexdigest(), notes)
