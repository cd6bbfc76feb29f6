"""One whole turn on real pictures: PneumoniaMNIST through an encoder, a head, the comparison and the gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attending import learning, models, reviewing, site
from attending.errors import NotBetter
from attending.evaluating import Policy, compare, gate, judged
from attending.records import CaseFacts, Code, Image, ImageFacts, Release, Scores

KEY = b"k" * 32
WHEN = "2026-01-31T09:30:00+00:00"
SET = "pneumoniamnist"
PNEUMONIA = Code("SCT", "233604007", "Pneumonia")


@pytest.fixture(scope="module")
def npz(mirror: Path) -> Path:
    return mirror / "data" / SET / "pneumoniamnist_val_test.npz"


@pytest.fixture(scope="module")
def turn(npz: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    encoder = models.load("skimage-descriptors", site.load(tmp_path_factory.mktemp("home")), cache)
    with np.load(npz) as file:
        pictures = np.concatenate([file["val_images"], file["test_images"]])
        labels = np.concatenate([file["val_labels"], file["test_labels"]]).reshape(-1)
    cases, images, reviews = {}, [], []
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        facts = ImageFacts("i1", (1, *picture.shape), None, None, "CR", view="AP", body_part="CHEST")
        id = f"c{number:04d}"
        cases[id] = CaseFacts(id, id, "picture", (facts,), pixels_checked=False, use="teach", source=SET)
        images.append(Image(facts, picture[None].astype(np.uint16)))
        reviews.append(reviewing.imported(id, PNEUMONIA.value, int(label), SET, WHEN))
    vectors = {(id, "i1"): v for id, v in zip(cases, encoder.encode(images), strict=True)}
    how = {"encoder": encoder.space, "key": KEY, "created": WHEN, "clean": {SET}}
    return {"cases": cases, "vectors": vectors, "reviews": reviews, "how": how}


def scored(learned: learning.Learned, release: learning.Learned | None, turn: dict[str, object]) -> Scores:
    asked = learned.held_out_vectors(turn["vectors"])  # type: ignore[arg-type]
    return compare(
        learned.probabilities,
        None if release is None else learning.predict(release.weights, asked),
        learned.labels,
        ids=(learned.candidate.id, release and release.candidate.id),
        held_out_sha256=learning.held_out_sha256(learned.training),
        thresholds=(learned.threshold, release.threshold if release else 0.5),
        groups=learned.groups,
        subgroups=learned.subgroups,
    )


@pytest.mark.mirror
def test_a_turn_of_the_loop(turn: dict[str, object]) -> None:
    reviews, cases, vectors, how = turn["reviews"], turn["cases"], turn["vectors"], turn["how"]
    few = learning.learn(reviews[:150], cases, vectors, PNEUMONIA, **how)  # type: ignore[index, arg-type]
    early = scored(few, None, turn)
    assert "at least 100" in str(gate(early, Policy()))

    first = learning.learn(reviews, cases, vectors, PNEUMONIA, **how)  # type: ignore[arg-type]
    found = scored(first, None, turn)
    assert gate(found, Policy()) is None
    assert found.held_out >= 300 and dict(found.figures)["auroc"].low > 0.85
    assert "no patient is known" in dict(first.candidate.card)["notes"]
    release = judged(first.candidate, found, None, None)
    approved: Release = replace(release, status="approved", approved_by="demo", approved_at=WHEN)
    assert approved.candidate.weights == first.candidate.weights

    again = learning.learn(reviews, cases, vectors, PNEUMONIA, **how)  # type: ignore[arg-type]
    same = scored(again, first, turn)
    assert gate(same, Policy(), replaces=approved.id) is None
    assert {e.case for e in few.training.held_out} <= {e.case for e in first.training.held_out}

    poisoned = learning.train(learning.flipped(first.training), vectors, cases, PNEUMONIA, created=WHEN)  # type: ignore[arg-type]
    bad = scored(poisoned, first, turn)
    refused = gate(bad, Policy(), replaces=approved.id)
    assert isinstance(refused, NotBetter) and "worse than chance" in str(refused)
    assert judged(poisoned.candidate, bad, refused, approved.id).status == "refused"


@pytest.mark.mirror
def test_partly_poisoned_labels_are_refused(turn: dict[str, object]) -> None:
    """With 30 % and 50 % of the training labels flipped, against a release that learned from the true ones."""
    cases, vectors, how = turn["cases"], turn["vectors"], turn["how"]
    good = learning.learn(turn["reviews"], cases, vectors, PNEUMONIA, **how)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    for share in (0.3, 0.5):
        wrong = rng.random(len(good.training.train)) < share
        train = tuple(
            replace(e, label=1 - e.label) if w else e for e, w in zip(good.training.train, wrong, strict=True)
        )
        training = replace(good.training, train=train, sha256=f"{share}")
        bad = learning.train(training, vectors, cases, PNEUMONIA, created=WHEN)  # type: ignore[arg-type]
        assert gate(scored(bad, good, turn), Policy(), replaces=good.candidate.id) is not None
