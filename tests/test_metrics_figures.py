"""The figures against scikit-learn, the intervals against counting, the degenerate cases against NaN."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from attending import metrics
from attending.metrics.binary import FIGURES, resampled
from attending.records import Interval

cases = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20).map(lambda k: k / 20)), min_size=2, max_size=40)


def split(rows: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([y for y, _ in rows]), np.array([p for _, p in rows])


@given(cases, st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_every_weighted_figure_is_the_figure_of_the_repeated_cases(rows: list[tuple[int, float]], seed: int) -> None:
    y, p = split(rows)
    weights = np.random.default_rng(seed).integers(1, 4, size=(1, y.size)).astype(float)
    many_y, many_p = np.repeat(y, weights[0].astype(int)), np.repeat(p, weights[0].astype(int))
    single = {
        "auroc": metrics.auroc(many_y, many_p),
        "balanced_accuracy": metrics.balanced_accuracy(many_y, many_p, 0.45),
        "sensitivity": metrics.sensitivity(many_y, many_p, 0.45),
        "specificity": metrics.specificity(many_y, many_p, 0.45),
        "brier": metrics.brier(many_y, many_p),
        "ece": metrics.ece(many_y, many_p),
    }
    for figure in FIGURES:
        if single[figure] is not None:
            assert resampled(figure, y.astype(np.int8), p, weights, 0.45)[0] == pytest.approx(single[figure], abs=1e-12)


@given(cases)
@settings(max_examples=60, deadline=None)
def test_the_figures_agree_with_scikit_learn(rows: list[tuple[int, float]]) -> None:
    y, p = split(rows)
    assert metrics.brier(y, p) == pytest.approx(sk.brier_score_loss(y, p, pos_label=1), abs=1e-12)
    if len(set(y.tolist())) == 2:
        assert metrics.balanced_accuracy(y, p, 0.5) == pytest.approx(sk.balanced_accuracy_score(y, p >= 0.5))
        assert metrics.auroc(y, p) == pytest.approx(sk.roc_auc_score(y, p))


def test_calibration_error_by_hand() -> None:
    # Bin 0.2..0.3 holds two cases at 0.25 of which one is present (gap 0.25); bin 0.9..1 one case at 1.0, present.
    assert metrics.ece([0, 1, 1], [0.25, 0.25, 1.0]) == pytest.approx(2 / 3 * 0.25)


@given(cases)
@settings(max_examples=60, deadline=None)
def test_intervals_hold_their_value_and_are_never_nan(rows: list[tuple[int, float]]) -> None:
    y, p = split(rows)
    found = metrics.measure(y, p, count=100)
    for interval in found.values():
        assert all(math.isfinite(v) for v in (interval.value, interval.low, interval.high))
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
    for interval in metrics.difference(y, p, 1 - p, count=50).values():
        assert interval.low <= interval.value <= interval.high


def test_one_class_has_no_ranking() -> None:
    assert metrics.auroc([1, 1], [0.2, 0.9]) is None
    assert metrics.balanced_accuracy([0, 0], [0.2, 0.9]) is None
    assert metrics.sensitivity([0, 0], [0.2, 0.9]) is None
    assert set(metrics.measure([1, 1], [0.2, 0.9], count=50)) == {"sensitivity", "brier", "ece"}
    assert set(metrics.difference([0, 0], [0.2, 0.9], [0.1, 0.1], count=50)) == {"specificity", "brier", "ece"}


def test_a_perfect_ranking_of_few_cases_is_not_certain() -> None:
    few = metrics.measure([0, 1] * 5, [0.1, 0.9] * 5, count=200)["auroc"]
    many = metrics.measure([0, 1] * 200, [0.1, 0.9] * 200, count=200)["auroc"]
    assert few.value == many.value == 1.0
    assert few.low < 0.75 < 0.98 < many.low


@pytest.mark.parametrize(
    ("labels", "probabilities", "words"),
    [
        ([], [], r"shape \(0,\)"),
        ([0, 1], [0.5], "one \\(n,\\) each"),
        ([0, 2], [0.5, 0.5], "neither 0 nor 1"),
        ([0, 1], [0.5, math.nan], "not a number in 0..1"),
        ([0, 1], [0.5, 1.5], "not a number in 0..1"),
    ],
)
def test_wrong_input_is_refused(labels: list[int], probabilities: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metrics.measure(labels, probabilities)


def test_wilson_by_the_book() -> None:
    # Newcombe 1998, example: 81 of 263, 95 % score interval 0.2553 to 0.3662.
    found = metrics.wilson(81, 263)
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    assert metrics.wilson(0, 0) is None
    assert metrics.wilson(0, 10).low == 0.0  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"11 hits of 10; allowed: 0\.\.10"):
        metrics.wilson(11, 10)


def test_resamples_draw_whole_patients_and_keep_the_classes() -> None:
    y = np.array([1, 1, 0, 0, 0, 1])
    groups = ["a", "a", "b", "b", "c", "d"]
    weights = np.concatenate(list(metrics.resamples(y, groups, count=300, seed=3)))
    assert weights.shape == (300, 6)
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 2] == weights[:, 3]).all()
    assert (weights[:, y == 1].sum(axis=1) > 0).all() and (weights[:, y == 0].sum(axis=1) > 0).all()
    again = np.concatenate(list(metrics.resamples(y, groups, count=300, seed=3)))
    assert (weights == again).all()


def test_two_images_of_each_patient_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    p = np.clip(0.3 * y + 0.7 * rng.random(80), 0, 1)
    twice_y, twice_p = np.tile(y, 2), np.tile(p, 2)
    patients = [str(i) for i in range(80)] * 2
    once = metrics.measure(y, p)["auroc"]
    grouped = metrics.measure(twice_y, twice_p, groups=patients)["auroc"]
    naive = metrics.measure(twice_y, twice_p)["auroc"]

    def width(interval: Interval) -> float:
        return interval.high - interval.low

    assert width(grouped) == pytest.approx(width(once), rel=0.1)
    assert width(naive) < 0.85 * width(once)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # Normal scores one standard deviation apart: the true AUROC is 0.7602.
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = np.repeat([0, 1], 60)
        p = 1 / (1 + np.exp(-(rng.normal(size=120) + y)))
        found = metrics.measure(y, p, count=400, seed=seed)["auroc"]
        hits += found.low <= 0.7602 <= found.high
    assert 0.90 <= hits / 200 <= 0.99


def test_a_paired_difference_is_narrower_than_an_unpaired_one() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 300)
    a = np.clip(0.3 * y + 0.7 * rng.random(300), 0, 1)
    b = np.clip(a + rng.normal(0, 0.02, 300), 0, 1)
    paired = metrics.difference(y, a, b)["auroc"]
    one = metrics.measure(y, a)["auroc"]
    assert paired.high - paired.low < (one.high - one.low) / 3
    same = metrics.difference(y, a, a)
    assert all((i.value, i.low, i.high) == (0, 0, 0) for i in same.values())


def test_dice() -> None:
    empty, one = np.zeros((2, 3, 4), bool), np.zeros((2, 3, 4), bool)
    one[0, 0, 0] = True
    assert metrics.dice(empty, empty) is None
    assert metrics.dice(empty, one) == 0.0
    assert metrics.dice(one, one) == 1.0
    two = one.copy()
    two[0, 0, 1] = True
    assert metrics.dice(one, two) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="one grid for both"):
        metrics.dice(one, one[0])
    a, b = np.array([0, 1, 1, 2]), np.array([0, 1, 3, 0])
    assert metrics.dices(a, b) == {1: pytest.approx(2 / 3), 2: 0.0, 3: 0.0}


@given(st.lists(st.booleans(), min_size=8, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_dice_is_symmetric(a: list[bool], b: list[bool]) -> None:
    first, second = np.array(a).reshape(2, 2, 2), np.array(b).reshape(2, 2, 2)
    assert metrics.dice(first, second) == metrics.dice(second, first)


@pytest.mark.parametrize(("hits", "of"), list(product((0, 1, 5), (5, 50))))
def test_wilson_holds_the_share(hits: int, of: int) -> None:
    found = metrics.wilson(hits, of)
    assert found is not None and 0 <= found.low <= hits / of <= found.high <= 1
