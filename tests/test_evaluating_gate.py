"""The comparison and the admission gate: the good is let through, the worse, the poisoned and the untested are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attending.errors import NotBetter, ReleaseRefused, ThinlyTested
from attending.evaluating import Policy, compare, gate, judged
from attending.records import Candidate, Interval, Scores, dumps, loads

CANDIDATE = Candidate("c1", "233604007", "toy/1", "00", "11", ("imported:toyset",), "2026-01-31T09:30:00+00:00")


def world(n: int = 400, strength: float = 2.0, seed: int = 0, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(int)
    return y, 1 / (1 + np.exp(-(rng.normal(size=n) + strength * (y - 0.5))))


def scores(p: np.ndarray, q: np.ndarray | None, y: np.ndarray, **how: object) -> Scores:
    return compare(p, q, y, ids=("c1", None if q is None else "r0"), held_out_sha256="ab", resamples=500, **how)


def test_the_first_good_candidate_passes_and_waits_for_a_person() -> None:
    y, p = world()
    found = scores(p, None, y)
    assert gate(found, Policy()) is None
    release = judged(CANDIDATE, found, None, None)
    assert (release.status, release.approved_by) == ("candidate", None)
    assert "there is no release to compare with" in release.why
    assert loads(Scores, dumps(found)) == found


def test_the_same_again_passes() -> None:
    y, p = world()
    found = scores(p, p, y)
    assert all((i.value, i.low, i.high) == (0, 0, 0) for _, i in found.difference)
    assert gate(found, Policy(), replaces="r0") is None


def test_labels_flipped_are_refused_with_and_without_a_release() -> None:
    y, p = world()
    for release in (None, p):
        refused = gate(scores(1 - p, release, y), Policy())
        assert isinstance(refused, NotBetter)
        assert "worse than chance: AUROC 0." in str(refused)
    assert judged(CANDIDATE, scores(1 - p, p, y), refused, "r0").status == "refused"


def test_noise_is_refused_as_no_better_than_chance() -> None:
    y, _ = world()
    for seed in range(20):
        noise = np.random.default_rng(seed + 100).random(y.size)
        assert isinstance(gate(scores(noise, None, y), Policy()), NotBetter)


def test_a_worse_candidate_is_refused_and_the_reason_says_how_much() -> None:
    y, p = world(n=600)
    worse = np.clip(p + np.random.default_rng(9).normal(0, 0.35, y.size), 0, 1)
    refused = gate(scores(worse, p, y), Policy())
    assert isinstance(refused, NotBetter)
    assert "the candidate is worse than the release: auroc differs by -0." in str(refused)


def test_a_candidate_that_ranks_alike_but_is_miscalibrated_is_refused() -> None:
    y, p = world(n=600)
    refused = gate(scores(p**6, p, y, thresholds=(0.5**6, 0.5)), Policy())
    assert isinstance(refused, NotBetter)
    assert "brier differs by" in str(refused)


def test_not_shown_to_be_as_good_is_refused_too() -> None:
    y, p = world(n=120)
    other = world(n=120, strength=2.0, seed=0)[1][np.random.default_rng(3).permutation(120)]
    like = np.where(np.random.default_rng(5).random(120) < 0.85, p, np.clip(other, 0, 1))
    found = scores(like, p, y)
    auroc = dict(found.difference)["auroc"]
    found = replace(found, difference=tuple((k, Interval(-0.01, -0.05, 0.03)) for k, _ in found.difference))
    assert auroc.low <= auroc.value <= auroc.high
    refused = gate(found, Policy())
    assert isinstance(refused, NotBetter)
    assert "not shown to be as good as the release: auroc differs by -0.010 [-0.050, 0.030]" in str(refused)


@pytest.mark.parametrize(
    ("n", "share", "words"),
    [
        (60, 0.5, "60 held-out cases; allowed: at least 100"),
        (200, 0.97, r"present and \d+ absent among the held-out cases; allowed: at least 20 of each"),
        (200, 1.0, "held-out cases of one class only"),
    ],
)
def test_thin_tests_are_refused(n: int, share: float, words: str) -> None:
    y, p = world(n=n, share=share)
    refused = gate(scores(p, None, y), Policy())
    assert isinstance(refused, ThinlyTested)
    with pytest.raises(ThinlyTested, match=words):
        raise refused


def test_untested_is_refused() -> None:
    empty = scores(np.zeros(0), None, np.zeros(0, int))
    for untested in (None, empty):
        refused = gate(untested, Policy())
        assert isinstance(refused, ThinlyTested) and "never tested" in str(refused)


def test_scores_against_another_release_do_not_count() -> None:
    y, p = world()
    for found in (scores(p, None, y), scores(p, p, y)):
        refused = gate(found, Policy(), replaces="r1")
        assert isinstance(refused, ThinlyTested)
        assert "not compared with the release in use" in str(refused)


def test_a_subgroup_that_is_given_up_is_refused() -> None:
    y, p = world(n=1000)
    sexes = ["sex F" if i % 5 == 0 else "sex M" for i in range(1000)]
    harmed = np.where([s == "sex F" for s in sexes], np.random.default_rng(1).random(1000), np.clip(p * 1.02, 0, 1))
    found = scores(harmed, p, y, subgroups=sexes)
    only = replace(found, difference=scores(p, p, y).difference, figures=scores(p, p, y).figures)
    refused = gate(only, Policy())
    assert isinstance(refused, NotBetter)
    assert "worse than the release for sex F: auroc differs by -0." in str(refused)
    alone = scores(np.where([s == "sex F" for s in sexes], 1 - p, p), None, y, subgroups=sexes)
    assert "not better than chance for sex F" in str(gate(alone, Policy()))


def test_small_subgroups_are_named_and_not_scored() -> None:
    y, p = world(n=200)
    sexes = ["sex O"] * 6 + [None] * 4 + ["sex M"] * 190
    found = scores(p, None, y, subgroups=sexes)
    assert [name for name, _ in found.subgroups] == ["sex M"]
    assert any(note.startswith("sex O: ") and "too few to score" in note for note in found.notes)
    assert "4 cases without a recorded subgroup" in found.notes


def test_looks_are_counted() -> None:
    y, p = world()
    found = scores(p, None, y, looks=3)
    assert found.looks == 4
    assert any(note.startswith("look 4 at held-out cases of this task") for note in found.notes)


def test_answers_that_are_no_probabilities_are_refused() -> None:
    y, p = world()
    with pytest.raises(NotBetter, match="the candidate gives answers that are no probabilities"):
        scores(np.where(y == 1, np.nan, p), None, y)
    with pytest.raises(NotBetter, match="the release gives answers that are no probabilities"):
        scores(p, p + 1, y)
    with pytest.raises(ValueError, match=r"shape \(3,\) for 400 cases"):
        scores(p[:3], None, y)


def test_few_patients_with_many_images_do_not_pass_as_many() -> None:
    y, p = world(n=30, strength=1.2, seed=2)
    many, names = np.tile(y, 10), [str(i) for i in range(30)] * 10
    answers = np.tile(p, 10)
    alone = dict(scores(answers, None, many).figures)["auroc"]
    grouped = dict(scores(answers, None, many, groups=names).figures)["auroc"]
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_equal_models_are_rarely_called_worse() -> None:
    refused = 0
    for seed in range(60):
        y, p = world(n=300, seed=seed)
        q = np.clip(p + np.random.default_rng(seed).normal(0, 0.01, 300), 0, 1)
        found: ReleaseRefused | None = gate(scores(q, p, y), Policy())
        refused += found is not None and "worse than the release" in str(found)
    assert refused <= 8
