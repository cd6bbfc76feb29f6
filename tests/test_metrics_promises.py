"""Calibration, conformal sets and the drift alert keep what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from attending import learning, metrics


def sample(seed: int, n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Labels and overconfident probabilities of a model whose true slope is 0.5."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-0.5 * logit - 0.4))).astype(int)
    return labels, 1 / (1 + np.exp(-logit))


def test_calibration_finds_the_true_slope_and_lowers_the_error() -> None:
    labels, p = sample(0, 20_000)
    platt = metrics.calibrate(labels, p)
    assert platt.slope == pytest.approx(0.5, abs=0.05)
    assert platt.offset == pytest.approx(0.4, abs=0.05)
    new_labels, new_p = sample(1, 20_000)
    assert metrics.ece(new_labels, platt(new_p)) < 0.03 < metrics.ece(new_labels, new_p)
    temperature = metrics.calibrate(labels, p, "temperature")
    assert temperature.offset == 0.0
    assert (np.argsort(temperature(new_p)) == np.argsort(new_p)).all()


def test_calibration_refuses_one_class_and_does_not_read_backwards() -> None:
    with pytest.raises(ValueError, match="both 0 and 1"):
        metrics.calibrate([1, 1], [0.2, 0.4])
    labels, p = sample(2)
    assert metrics.calibrate(1 - labels, p).slope > 0


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_conformal_sets_cover_as_asked_over_resplits(coverage: float) -> None:
    labels, p = sample(3, 1000)
    rows = np.stack([1 - p, p], axis=1)
    reached = []
    for seed in range(100):
        order = np.random.default_rng(seed).permutation(1000)
        known, new = order[:500], order[500:]
        at = metrics.conformal_threshold(labels[known], rows[known], coverage)
        reached.append(metrics.conformal_sets(rows[new], at)[np.arange(500), labels[new]].mean())
    assert np.mean(reached) == pytest.approx(coverage, abs=0.01)


def test_the_conformal_rank_is_the_textbooks() -> None:
    labels, rows = np.zeros(9, int), np.stack([np.linspace(0.1, 0.9, 9), 1 - np.linspace(0.1, 0.9, 9)], axis=1)
    # ceil(10 * 0.8) = 8th smallest of the scores 0.1 ... 0.9
    assert metrics.conformal_threshold(labels, rows, 0.8) == pytest.approx(0.8)
    assert metrics.conformal_threshold(labels, rows, 0.95) == 1.0  # too few cases: everything is let in
    with pytest.raises(ValueError, match="coverage"):
        metrics.conformal_threshold(labels, rows, 1.0)


def test_the_rare_class_is_covered_by_itself() -> None:
    rng = np.random.default_rng(4)
    labels = (rng.random(4000) < 0.1).astype(int)
    p = np.clip(np.where(labels == 1, rng.normal(0.4, 0.2, 4000), rng.normal(0.1, 0.1, 4000)), 0, 1)
    rows = np.stack([1 - p, p], axis=1)
    known, new = slice(0, 2000), slice(2000, None)
    both = metrics.conformal_sets(rows[new], metrics.class_thresholds(labels[known], rows[known], 0.9))
    rare = labels[new] == 1
    assert both[rare, 1].mean() == pytest.approx(0.9, abs=0.05)
    plain = metrics.conformal_sets(rows[new], metrics.conformal_threshold(labels[known], rows[known], 0.9))
    assert plain[rare, 1].mean() < 0.7


def test_the_drift_alert_fires_on_a_shift_and_not_without_one() -> None:
    rng = np.random.default_rng(5)
    calibration = rng.normal(size=(300, 30))
    same, shifted = metrics.Drift(calibration), metrics.Drift(calibration)
    assert not [same.see(v) for v in rng.normal(size=(300, 30))][-1]
    assert [shifted.see(v) for v in rng.normal(0.4, 1, size=(100, 30))][-1]
    assert shifted.told_apart > 0.7
    with pytest.raises(ValueError, match="at least 40"):
        metrics.Drift(calibration[:20])


@pytest.mark.parametrize("kind", ["prototype", "linear", "knn"])
@pytest.mark.parametrize("shots", [1, 5, 20])
def test_few_shot_heads_learn_from_few_and_from_unequal_classes(kind: str, shots: int) -> None:
    rng = np.random.default_rng(6)
    centres = rng.normal(0, 3, size=(3, 50))
    x = np.concatenate([c + rng.normal(size=(shots * (1 + 3 * k), 50)) for k, c in enumerate(centres)])
    y = np.repeat(["a", "b", "c"], [shots, shots * 4, shots * 7])
    new = np.concatenate([c + rng.normal(size=(50, 50)) for c in centres])
    p = learning.few_shot(kind, x, y)(new)
    assert p.shape == (150, 3)
    assert np.allclose(p.sum(1), 1)
    assert (p.argmax(1) == np.repeat([0, 1, 2], 50)).mean() > 0.9


def test_few_shot_refuses_one_class() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        learning.few_shot("knn", np.zeros((3, 2)), ["a", "a", "a"])
