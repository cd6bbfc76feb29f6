"""One whole turn on real pictures: PneumoniaMNIST through an encoder, a head, the comparison and the gate."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attending import learning, models, reviewing, site
from attending.errors import NotBetter, NothingToLearn
from attending.evaluating import Policy, compare, gate, judged
from attending.records import CaseFacts, Image, ImageFacts, Release, Scores

KEY = b"k" * 32
WHEN = "2026-01-31T09:30:00+00:00"
SET = "pneumoniamnist"
PNEUMONIA = learning.LABELS[SET]


@pytest.fixture(scope="module")
def npz(mirror: Path) -> Path:
    return mirror / "data" / SET / "pneumoniamnist_val_test.npz"


@pytest.fixture(scope="module")
def turn(npz: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    from PIL import Image as Picture

    encoder = models.load("skimage-descriptors", site.load(tmp_path_factory.mktemp("home")), cache)
    cases, images, reviews = {}, [], []
    for row in learning.labelled(npz):
        voxels = np.asarray(Picture.open(io.BytesIO(row.png)))[None].astype(np.uint16)
        facts = ImageFacts("i1", voxels.shape, None, None, "CR", view="AP", body_part="CHEST")
        id = row.name.removesuffix(".png")
        cases[id] = CaseFacts(id, id, "picture", (facts,), pixels_checked=False, use="teach", source=SET)
        images.append(Image(facts, voxels))
        reviews.append(reviewing.imported(id, PNEUMONIA.value, row.label, SET, WHEN))
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
def test_pictures_of_the_set_are_what_the_file_holds(npz: Path) -> None:
    from PIL import Image as Picture

    rows = list(learning.labelled(npz))
    with np.load(npz) as file:
        assert len(rows) == len(file["val_images"]) + len(file["test_images"])
        assert (np.asarray(Picture.open(io.BytesIO(rows[0].png))) == file["val_images"][0]).all()
        assert [r.label for r in rows[-50:]] == file["test_labels"][-50:].reshape(-1).tolist()
    assert (rows[0].name, rows[-1].name) == ("val-0000.png", "test-0623.png")
    assert [r.png for r in learning.labelled(npz)] == [r.png for r in rows]


@pytest.mark.parametrize("content", [b"", b"no set", b"PK\x03\x04broken"])
def test_a_broken_set_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(NothingToLearn, match="the labelled set cannot be read"):
        list(learning.labelled(path))


def test_a_set_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, val_images=np.zeros((3, 28, 28, 3), np.uint8), val_labels=np.zeros((3, 1), np.uint8))
    with pytest.raises(NothingToLearn, match=r"the val part has images of shape \(3, 28, 28, 3\)"):
        list(learning.labelled(path, splits=("val",)))


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
def test_a_tenth_of_the_labels_flipped_is_not_let_in_as_better(turn: dict[str, object]) -> None:
    """Half-poisoned sets too: the gate lets none in that is shown worse, and none that may be worse by the margin."""
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
