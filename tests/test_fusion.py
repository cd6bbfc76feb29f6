"""Image, text and labs fused: better than a part alone, at ease with a missing one, honest of each part's share."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from attending import metrics
from attending.errors import ExtraMissing
from attending.learning import fuse
from attending.learning.fusion import KINDS

TORCH = importlib.util.find_spec("torch") is not None


def cases(seed: int, n: int = 400):
    """Label from image and labs in equal shares; text is noise."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=n), rng.normal(size=n)
    y = (a + b + rng.normal(0, 0.7, n) > 0.5).astype(int)
    image = np.outer(a, rng.normal(size=20)) * 0 + rng.normal(0, 1, (n, 20))
    image[:, :4] += a[:, None]
    labs = rng.normal(0, 1, (n, 5))
    labs[:, 0] += 1.5 * b
    return {"image": image, "text": rng.normal(size=(n, 10)), "labs": labs}, y, [str(i) for i in range(n)]


def kinds():
    return [
        pytest.param(
            kind,
            marks=[] if kind != "cross_attention" or TORCH else pytest.mark.skip(reason="needs the torch extra"),
        )
        for kind in KINDS
    ]


@pytest.mark.parametrize("kind", kinds())
def test_together_is_better_than_each_alone_and_a_missing_part_is_tolerated(kind: str) -> None:
    parts, y, groups = cases(0)
    new, truth, _ = cases(1)
    fused = fuse(kind, parts, y, groups)
    together = metrics.auroc(truth, fused.probability(new))
    for part in ("image", "labs"):
        alone = fuse(kind, {part: parts[part]}, y, groups)
        by_itself = metrics.auroc(truth, alone.probability({part: new[part]}))
        left = metrics.auroc(truth, fused.probability({part: new[part]}))
        assert together > by_itself + 0.03
        assert left > by_itself - 0.03


@pytest.mark.parametrize("kind", kinds())
def test_contributions_add_up_and_noise_contributes_little(kind: str) -> None:
    parts, y, groups = cases(2)
    fused = fuse(kind, parts, y, groups)
    new, _, _ = cases(3)
    new["labs"][0] = np.nan  # this case has no labs
    shares = fused.contributions(new)
    p = fused.probability(new)
    nothing = {name: np.full_like(x, np.nan) for name, x in new.items()}
    base = np.log(fused.probability(nothing) / (1 - fused.probability(nothing)))
    assert np.allclose(base + sum(shares.values()), np.log(p / (1 - p)), atol=1e-5)
    assert shares["labs"][0] == 0
    assert np.abs(shares["text"]).mean() < 0.5 * np.abs(shares["labs"]).mean()


def test_a_value_that_was_not_measured_stands_at_its_mean() -> None:
    parts, y, groups = cases(4)
    fused = fuse("early", parts, y, groups)
    one = {"labs": parts["labs"][:1].copy()}
    whole = fused.probability(one)
    one["labs"][0, 0] = np.nan
    mean = {"labs": parts["labs"][:1].copy()}
    mean["labs"][0, 0] = parts["labs"][:, 0].mean()
    assert fused.probability(one) == pytest.approx(fused.probability(mean))
    assert fused.probability(one) != pytest.approx(whole)


@pytest.mark.parametrize("kind", ["early", "late"])
def test_the_same_input_gives_the_same_fusion(kind: str) -> None:
    parts, y, groups = cases(5, 120)
    assert (fuse(kind, parts, y, groups).probability(parts) == fuse(kind, parts, y, groups).probability(parts)).all()


def test_bad_input_is_refused() -> None:
    parts, y, groups = cases(6, 60)
    with pytest.raises(ValueError, match="allowed: early, late, cross_attention"):
        fuse("middle", parts, y, groups)
    fused = fuse("early", parts, y, groups)
    with pytest.raises(ValueError, match="allowed: image, text, labs"):
        fused.probability({"voice": parts["image"]})
    with pytest.raises(ValueError, match="allowed: image, text, labs"):
        fused.probability({"image": None})
    with pytest.raises(ValueError, match="part image of shape"):
        fused.probability({"image": parts["image"][:, :3]})


@pytest.mark.skipif(TORCH, reason="torch is installed here")
def test_cross_attention_without_torch_says_what_to_do() -> None:
    parts, y, groups = cases(7, 60)
    with pytest.raises(ExtraMissing, match="early and late fusion without it"):
        fuse("cross_attention", parts, y, groups)
