"""One turn: reviews to a candidate and what it says of cases that it never saw."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NothingToLearn, PluginFailed
from ..records import Candidate, CaseFacts, Code, Example, ImageFacts, Review, TrainingSet
from .examples import HELD_OUT, Vectors, training_set
from .graph import TOLERANCE, predict, to_onnx
from .head import Head, fit

MIN_TRAIN = 20
COVERAGES = (0.8, 0.85, 0.9, 0.95, 0.99)
MIN_PER_CLASS = 5  # one of each class in each of the five folds
LIMITS = (
    "Trained on few labelled images; admits images like those it was trained on and no others. Its probability holds "
    "at the share of present cases in its training set. Not validated for clinical use."
)


@dataclass(frozen=True, eq=False)
class Learned:
    """What one turn made. weights: ONNX bytes. held_out: (n,) probabilities, labels (n,) 0 or 1, groups and subgroups
    one a case, all in the order of ``training.held_out``. threshold: the candidate's operating point."""

    training: TrainingSet
    candidate: Candidate
    weights: bytes
    probabilities: NDArray[np.float64]
    labels: NDArray[np.int_]
    groups: tuple[str, ...]
    subgroups: tuple[str | None, ...]
    threshold: float

    def held_out_vectors(self, vectors: Vectors) -> NDArray[np.float32]:
        """(n, d): what a release that stands to be replaced must be asked about, with ``predict``."""
        return stack(self.training.held_out, vectors)


def learn(
    reviews: Iterable[Review],
    cases: Mapping[str, CaseFacts],
    vectors: Vectors,
    code: Code,
    *,
    encoder: str,
    key: bytes,
    created: str,
    sources: Collection[str] = (),
    clean: Collection[str] = (),
    held_out: float = HELD_OUT,
    min_train: int = MIN_TRAIN,
) -> Learned:
    """The whole turn on plain data; the arguments are ``training_set``'s and ``train``'s. Raises NothingToLearn."""
    training = training_set(
        reviews, cases, vectors, code, encoder=encoder, key=key, sources=sources, clean=clean, held_out=held_out
    )
    return train(training, vectors, cases, code, created=created, min_train=min_train)


def train(
    training: TrainingSet,
    vectors: Vectors,
    cases: Mapping[str, CaseFacts],
    code: Code,
    *,
    created: str,
    min_train: int = MIN_TRAIN,
) -> Learned:
    """Train the head of a training set and let it judge the held-out cases.

    created  when (ISO 8601). The weights depend on the training set alone: learning twice gives the same bytes.
    Raises NothingToLearn with the counts where there are fewer than ``min_train`` examples or 5 patients of a class,
    and PluginFailed where the encoder's vectors are not finite rows of one width.
    """
    _enough(training, code, min_train)
    x, y = stack(training.train, vectors), np.array([e.label for e in training.train])
    head = fit(x, y, [e.group for e in training.train])
    facts = {"task": training.task, "encoder": training.encoder, "training": training.sha256}
    weights = to_onnx(head, facts)
    if np.abs(predict(weights, x) - head.probability(x)).max() > TOLERANCE:
        raise PluginFailed("the exported head differs from the trained one", f"within {TOLERANCE}", "report this")
    sha256 = hashlib.sha256(weights).hexdigest()
    candidate = Candidate(
        id=hashlib.sha256(f"{training.task}{training.sha256}{sha256}".encode()).hexdigest()[:16],
        task=training.task,
        encoder=training.encoder,
        weights=sha256,
        training=training.sha256,
        sources=tuple(sorted({e.source for e in training.train})),
        created=created,
        card=_card(training, cases, code, head, min_train),
    )
    return Learned(
        training=training,
        candidate=candidate,
        weights=weights,
        probabilities=predict(weights, stack(training.held_out, vectors)),
        labels=np.array([e.label for e in training.held_out], int),
        groups=tuple(e.group for e in training.held_out),
        subgroups=tuple(e.subgroup for e in training.held_out),
        threshold=head.threshold,
    )


def stack(examples: Iterable[Example], vectors: Vectors) -> NDArray[np.float32]:
    """(n, d) float32 of examples. Raises PluginFailed where one is missing or they are not finite rows of one width."""
    examples = tuple(examples)
    missing = sum((e.case, e.image) not in vectors for e in examples)
    if missing:
        raise PluginFailed(
            f"{missing} of {len(examples)} images have no vector of this encoder",
            "a vector of each image, of one encoder",
            "encode them again with the encoder that the head was trained on",
        )
    rows = [np.asarray(vectors[e.case, e.image]) for e in examples]
    if len({row.shape for row in rows}) > 1 or any(row.ndim != 1 for row in rows):
        raise PluginFailed(
            "vectors of different shapes", "one (d,) vector an image, of one encoder", "encode them again"
        )
    x = np.stack(rows).astype(np.float32) if rows else np.zeros((0, 0), np.float32)
    if not np.isfinite(x).all():
        raise PluginFailed(
            "a vector that is not finite", "finite numbers", "check the encoder with `attending models check`"
        )
    return x


def _enough(training: TrainingSet, code: Code, min_train: int) -> None:
    counts = Counter(e.label for e in training.train)
    patients = {k: len({e.group for e in training.train if e.label == k}) for k in (1, 0)}
    if len(training.train) < min_train or min(patients.values()) < MIN_PER_CLASS:
        why = f" ({'; '.join(training.notes)})" if training.notes else ""
        raise NothingToLearn(
            f"{len(training.train)} examples of {code.meaning} to learn from: {counts[1]} present, {counts[0]} absent"
            f"{why}",
            f"at least {min_train} examples, of each class from at least {MIN_PER_CLASS} patients",
            "sign more readings that say whether it is present, or pull a labelled data set",
        )


def _card(
    training: TrainingSet, cases: Mapping[str, CaseFacts], code: Code, head: Head, min_train: int
) -> tuple[tuple[str, str], ...]:
    """What the head is and which images it may see, as (key, words); lists are joined by ", ".

    admits  catalog ids of the data sets whose cases it admits, empty for any: patients' studies are admitted only where
            at least ``min_train`` of them taught it.
    """
    from .. import metrics

    images = [(e, cases[e.case], _facts(cases[e.case], e.image)) for e in training.train]
    care = sum(facts.source is None for _, facts, _ in images)
    admits = {facts.source for _, facts, _ in images if facts.source} if care < min_train else set()
    y = np.array([e.label for e in training.train])
    ranked = metrics.auroc(y, head.out_of_fold)
    at = head.threshold
    return tuple(
        {
            "title": f"{code.meaning}: logistic head on {training.encoder}",
            "code_scheme": code.scheme,
            "code_value": code.value,
            "code_meaning": code.meaning,
            "encoder": training.encoder,
            "sources": _words({e.source for e, _, _ in images}),
            "admits": _words(admits),
            "training": training.sha256,
            "examples": f"{len(y)} ({int(y.sum())} present, {int((1 - y).sum())} absent)",
            "use": "teach" if admits else "care",
            "modalities": _words({image.modality for _, _, image in images}),
            "views": _words({image.view for _, _, image in images}),
            "body_parts": _words({image.body_part for _, _, image in images}),
            "sequences": _words({image.sequence for _, _, image in images}),
            "dims": _words({"2" if image.shape[0] == 1 else "3" for _, _, image in images}),
            "min_matrix": str(min(min(image.shape[1:3]) for _, _, image in images)),
            "max_matrix": str(max(max(image.shape[1:3]) for _, _, image in images)),
            "colour": "yes" if any(image.colour for _, _, image in images) else "no",
            "threshold": f"{at:.6f}",
            "strength": f"{head.strength:g}",
            "conformal": json.dumps(_conformal(y, head.out_of_fold)),
            "out_of_fold": f"AUROC {ranked:.3f}; at the operating point sensitivity "
            f"{metrics.sensitivity(y, head.out_of_fold, at):.3f}, specificity "
            f"{metrics.specificity(y, head.out_of_fold, at):.3f}",
            "intended_use": f"{code.meaning}, on images like those it learned from",
            "training_data": f"{len(y)} cases reviewed by {_words({e.source for e, _, _ in images})}; "
            f"training set {training.sha256[:16]}",
            "limits": LIMITS,
            "notes": "; ".join(training.notes),
        }.items()
    )


def _conformal(y: NDArray[np.int_], p: NDArray[np.float64]) -> dict[str, list[float]]:
    """coverage -> thresholds of absent and present, each class covered by itself, from out-of-fold probabilities."""
    from .. import metrics

    rows = np.stack([1 - p, p], axis=1)
    return {str(c): [round(float(t), 6) for t in metrics.class_thresholds(y, rows, c)] for c in COVERAGES}


def _facts(case: CaseFacts, image: str) -> ImageFacts:
    return next(i for i in case.images if i.id == image)


def _words(values: Iterable[Any]) -> str:
    return ", ".join(sorted(str(v) for v in values if v is not None))
