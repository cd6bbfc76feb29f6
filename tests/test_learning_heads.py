"""From reviews to a head: who may teach, who is held out, and that the exported head is the trained one."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from attending import learning, metrics, reviewing
from attending.errors import NothingToLearn, PluginFailed
from attending.learning.examples import held_out_sha256, in_test
from attending.learning.graph import predict, to_onnx
from attending.learning.head import fit
from attending.records import NO_PATIENT, CaseFacts, Code, ImageFacts, Review, TrainingSet, array_key, dumps, loads

PNEUMONIA = Code("SCT", "233604007", "Pneumonia")
KEY = bytes(range(32))
WHEN = "2026-01-31T09:30:00+00:00"
SET = "toyset"


def case(id: str, **facts: object) -> CaseFacts:
    image = ImageFacts("i1", (1, 28, 28), None, None, "DX", view="AP", body_part="CHEST")
    base = CaseFacts(id, f"p-{id}", "picture", (image,), use="teach", source=SET)
    return replace(base, **facts)


class World:
    """n cases whose label a plane through the vectors tells, with some noise."""

    def __init__(self, n: int = 300, width: int = 12, seed: int = 0, **facts: object) -> None:
        rng = np.random.default_rng(seed)
        self.ids = [f"c{i:04d}" for i in range(n)]
        self.truth = rng.integers(0, 2, n)
        x = rng.normal(size=(n, width)).astype(np.float32)
        x[:, 0] += 1.5 * self.truth
        self.cases = {id: case(id, **facts) for id in self.ids}
        self.vectors = {(id, "i1"): row for id, row in zip(self.ids, x, strict=True)}
        self.reviews = [
            reviewing.imported(id, PNEUMONIA.value, int(y), SET, WHEN)
            for id, y in zip(self.ids, self.truth, strict=True)
        ]

    def set(self, **how: object) -> TrainingSet:
        return learning.training_set(
            how.pop("reviews", self.reviews), self.cases, self.vectors, PNEUMONIA, encoder="toy/1", key=KEY, **how
        )

    def learn(self, **how: object) -> learning.Learned:
        return learning.learn(
            how.pop("reviews", self.reviews),
            self.cases,
            self.vectors,
            PNEUMONIA,
            encoder="toy/1",
            key=KEY,
            created=WHEN,
            **how,
        )


def person(id: str, presence: str, when: str = WHEN) -> Review:
    return Review(
        f"r-{id}-{when}", id, 1, "demo", when, "person", labels=((PNEUMONIA.value, presence),), signature="ab"
    )


def test_learning_twice_gives_the_same_bytes_and_a_useful_head() -> None:
    world = World()
    first, second = world.learn(), World().learn()
    assert first.weights == second.weights and first.candidate == second.candidate
    assert first.candidate.weights == hashlib.sha256(first.weights).hexdigest()
    auroc = metrics.auroc(first.labels, first.probabilities)
    assert auroc is not None and auroc > 0.75
    assert loads(TrainingSet, dumps(first.training)) == first.training


def test_the_held_out_part_does_not_depend_on_what_else_is_there() -> None:
    few, many = World(n=120).set(), World(n=300).set()
    held = {e.case for e in many.held_out}
    assert {e.case for e in few.held_out} == {c for c in held if c < "c0120"}
    assert not held & {e.case for e in many.train}
    assert 0.2 < len(held) / 300 < 0.4


@given(st.integers(0, 2**32), st.integers(2, 40))
@settings(max_examples=25, deadline=None)
def test_no_patient_is_on_both_sides(seed: int, patients: int) -> None:
    world = World(n=80, seed=seed % 1000)
    rng = np.random.default_rng(seed)
    for id in world.ids:
        world.cases[id] = case(id, kind="dicom", patient=f"p{rng.integers(patients)}", use="care", source=None)
    reviews = [person(id, "present" if y else "absent") for id, y in zip(world.ids, world.truth, strict=True)]
    found = world.set(reviews=reviews)
    assert not {e.group for e in found.train} & {e.group for e in found.held_out}
    assert not any("split by image" in note for note in found.notes)
    for e in found.held_out:
        assert in_test(e.group, KEY, 0.3)


def test_another_hospital_s_key_holds_out_other_patients() -> None:
    sides = {tuple(in_test(f"patient:{i}", bytes([k]) * 32, 0.3) for i in range(50)) for k in range(4)}
    assert len(sides) == 4


def test_where_no_patient_is_known_it_is_said_and_copies_stay_apart() -> None:
    world = World(n=60)
    held = next(e.case for e in world.set().held_out)
    copy = next(e.case for e in world.set().train)
    world.vectors[copy, "i1"] = world.vectors[held, "i1"].copy()
    found = world.set()
    assert copy not in {e.case for e in found.train}
    assert "left out: 1 where the same picture is held out" in found.notes
    assert "split by image, not by patient, for 60 of 60 cases: no patient is known" in found.notes


def test_what_may_not_teach_is_left_out_and_counted() -> None:
    world = World(n=60)
    ids = world.ids
    world.cases[ids[0]] = case(ids[0], use="view")
    world.cases[ids[1]] = case(ids[1], pixels_checked=False)
    world.cases[ids[2]] = case(ids[2], source="otherset")
    del world.cases[ids[3]]
    del world.vectors[ids[4], "i1"]
    ct = ImageFacts("i1", (1, 28, 28), None, None, "CT")
    world.cases[ids[5]] = case(ids[5], images=(ct,))
    world.reviews.append(reviewing.imported(ids[6], PNEUMONIA.value, 1 - int(world.truth[6]), SET, WHEN))
    world.reviews += [person(ids[7], "uncertain"), replace(person(ids[8], "present"), signature="")]
    found = world.set()
    taught = {e.case for e in (*found.train, *found.held_out)}
    assert taught == set(ids[8:])
    for reason in (
        "1 where the licence allows 'view' only",
        "1 where pixels are not checked for burned-in text",
        "1 where an imported label is about a case of another source",
        "1 where the case is not kept here",
        "1 where no image of the case has a vector",
        "1 where the modality is CT, most are DX",
        "1 where imported labels disagree",
        "1 where the review says uncertain",
        "1 where a person's review is not signed",
    ):
        assert f"left out: {reason}" in found.notes
    cleared = world.set(clean={SET})
    assert ids[1] in {e.case for e in (*cleared.train, *cleared.held_out)}


def test_a_person_outranks_an_import_and_the_later_person_the_earlier() -> None:
    world = World(n=60)
    id, label = world.ids[0], int(world.truth[0])
    say = ("absent", "present")
    world.reviews += [person(id, say[1 - label], "2026-03-01T00:00:00+00:00"), person(id, say[label])]
    found = {e.case: e for e in (*world.set().train, *world.set().held_out)}[id]
    assert (found.label, found.source) == (1 - label, "person")
    only = world.set(sources={f"imported:{SET}"})
    found = {e.case: e for e in (*only.train, *only.held_out)}[id]
    assert (found.label, found.source) == (label, f"imported:{SET}")
    assert "left out: 2 where the source person is not admitted" in only.notes


def test_nothing_to_learn_says_how_much_there_is() -> None:
    with pytest.raises(NothingToLearn, match=r"no review of Pneumonia that may teach; allowed: signed or imported"):
        World(n=10).set(reviews=[])
    with pytest.raises(NothingToLearn, match=r"examples of Pneumonia to learn from: \d+ present, \d+ absent"):
        World(n=12).learn()
    one_sided = World(n=100)
    one_sided.reviews = [reviewing.imported(id, PNEUMONIA.value, 1, SET, WHEN) for id in one_sided.ids]
    with pytest.raises(NothingToLearn, match=r"0 absent.*of each class from at least 5 patients"):
        one_sided.learn()


@pytest.mark.parametrize("bad", [np.float32("nan"), np.float32("inf")])
def test_vectors_that_are_not_finite_are_refused(bad: np.float32) -> None:
    world = World(n=100)
    for id in world.ids[:50]:
        world.vectors[id, "i1"] = np.full(12, bad, np.float32)
    with pytest.raises(PluginFailed, match="a vector that is not finite"):
        world.learn()


def test_vectors_of_two_widths_are_refused() -> None:
    world = World(n=100)
    for id in world.ids[:50]:
        world.vectors[id, "i1"] = np.zeros(5, np.float32)
    with pytest.raises(PluginFailed, match="vectors of different shapes"):
        world.learn()


def test_the_exported_head_is_scikit_learn_s() -> None:
    world = World(n=200, width=40)
    x = np.stack([world.vectors[id, "i1"] for id in world.ids]) * np.geomspace(1e-3, 1e3, 40).astype(np.float32)
    x[:, 5] = 7.0  # a constant column
    head = fit(x, world.truth, world.ids)
    pipeline = make_pipeline(
        StandardScaler(), LogisticRegression(C=head.strength, class_weight="balanced", max_iter=5000)
    ).fit(x.astype(np.float64), world.truth)
    expected = 1 / (1 + np.exp(-(head.slope * pipeline.decision_function(x.astype(np.float64)) + head.offset)))
    weights = to_onnx(head, {"task": "233604007"})
    assert np.abs(learning.predict(weights, x) - expected).max() < 1e-6
    assert np.abs(learning.predict(weights, x[:1]) - expected[:1]).max() < 1e-6
    assert learning.predict(weights, x[:0]).shape == (0,)
    with pytest.raises(PluginFailed, match=r"did not run on vectors of shape \(2, 3\)"):
        learning.predict(weights, np.zeros((2, 3)))
    with pytest.raises(PluginFailed, match="did not run"):
        learning.predict(b"no model", x)


def test_probabilities_are_calibrated_though_the_classes_are_not_balanced() -> None:
    rng = np.random.default_rng(4)
    y = (rng.random(3000) < 0.15).astype(int)
    x = rng.normal(size=(3000, 6))
    x[:, 0] += 1.2 * y
    head = fit(x[:1000], y[:1000], [str(i) for i in range(1000)])
    p = head.probability(x[1000:])
    assert abs(p.mean() - 0.15) < 0.03
    assert metrics.ece(y[1000:], p) < 0.04


def test_a_head_of_noise_never_reads_backwards() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        y = np.repeat([0, 1], 15)
        head = fit(rng.normal(size=(30, 50)), y, [str(i) for i in range(30)], seed=seed)
        assert head.slope > 0
        assert 0 < head.threshold <= 1


def test_the_card_says_what_the_head_may_see() -> None:
    learned = World().learn()
    card = dict(learned.candidate.card)
    assert learned.candidate.sources == (f"imported:{SET}",)
    assert (card["admits"], card["use"]) == (SET, "teach")
    assert (card["modalities"], card["views"], card["body_parts"]) == ("DX", "AP", "CHEST")
    assert (card["min_matrix"], card["max_matrix"], card["dims"]) == ("28", "28", "2")
    assert card["training"] == learned.training.sha256
    assert float(card["threshold"]) == pytest.approx(learned.threshold, abs=1e-6)
    assert "Not validated for clinical use" in card["limits"]


def test_patients_are_admitted_only_where_enough_of_them_taught() -> None:
    world = World()
    taught = [e.case for e in world.set().train]
    for few, admits in ((5, SET), (25, "")):
        reviews = list(world.reviews)
        for id in taught[:few]:
            world.cases[id] = case(id, use="care", source=None, kind="dicom", patient=f"p{id}")
            reviews.append(person(id, "present" if world.truth[int(id[1:])] else "absent"))
        learned = world.learn(reviews=reviews)
        card = dict(learned.candidate.card)
        assert (card["admits"], card["use"]) == (admits, "teach" if admits else "care")
        assert learned.candidate.sources == (f"imported:{SET}", "person")


def test_a_poisoned_set_learns_the_contrary_and_leaves_the_test_true() -> None:
    world = World()
    good = world.learn()
    poisoned = learning.flipped(good.training)
    assert poisoned.held_out == good.training.held_out
    assert held_out_sha256(poisoned) == held_out_sha256(good.training)
    assert poisoned.sha256 != good.training.sha256
    bad = learning.train(poisoned, world.vectors, world.cases, PNEUMONIA, created=WHEN)
    auroc = metrics.auroc(bad.labels, bad.probabilities)
    assert auroc is not None and auroc < 0.3


def test_what_a_release_is_asked_is_what_the_candidate_was_asked() -> None:
    world = World()
    learned = world.learn()
    again = learning.predict(learned.weights, learned.held_out_vectors(world.vectors))
    assert (again == learned.probabilities).all()
    assert [array_key(v) for v in learned.held_out_vectors(world.vectors)] == [
        e.vector for e in learned.training.held_out
    ]


def test_ask_names_the_least_certain() -> None:
    assert learning.ask({"a": 0.9, "b": 0.45, "c": 0.55, "d": 0.1}, 3) == ("b", "c", "a")
    assert learning.ask({}, 3) == ()


def test_a_missing_vector_is_named_as_such() -> None:
    world = World()
    learned = world.learn()
    other = {key: vector for key, vector in world.vectors.items() if key[0] < "c0100"}
    with pytest.raises(PluginFailed, match=r"\d+ of \d+ images have no vector of this encoder"):
        learned.held_out_vectors(other)


def test_studies_that_name_no_patient_are_split_one_by_one_and_that_is_said() -> None:
    bare = World(60, kind="dicom", use="care", source=None, notes=(NO_PATIENT,))
    named = World(60, kind="dicom", use="care", source=None)
    assert "split by image, not by patient, for 60 of 60 cases: no patient is known" in signed_set(bare).notes
    assert not any("split by image" in note for note in signed_set(named).notes)


def signed_set(world: World) -> TrainingSet:
    return world.set(reviews=[replace(r, source="person", by="ann", signature="ab") for r in world.reviews])


def test_a_number_that_hardly_varied_in_training_does_not_drown_the_rest() -> None:
    rng = np.random.default_rng(8)
    y = np.arange(200) % 2
    x = rng.normal(size=(200, 20)) + y[:, None] * 0.8
    x[:, 5:15] = (rng.random((200, 10)) < 0.01) * 1e-4  # all but constant; a held-out fold may hold the one that is not
    x[0, 5:15] = 50.0
    head = fit(x, y, [str(i) for i in range(200)])
    assert head.slope > 0.2
    assert np.ptp(head.out_of_fold) > 0.5
    wild = x[:2].copy()
    wild[:, 5:15] = 1e6
    assert np.allclose(predict(to_onnx(head, {}), wild), head.probability(wild.astype(np.float32)), atol=1e-6)
