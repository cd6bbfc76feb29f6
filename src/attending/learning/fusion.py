"""Image, text and labs together: early, late or cross-attention fusion behind one interface.

    fused = fuse("late", {"image": vectors, "text": vectors, "labs": numbers}, labels, groups)
    fused.probability({"image": vectors})           # a part may be missing, for all cases or for some
    fused.contributions({"image": ..., "labs": ...}) # what each part added to the log-odds of each case

A part is (n, d) float; a row of NaN is a case that lacks the part, a NaN within a row of labs is a value that was not
measured and stands at its mean. Every fusion is taught with parts left out, so that one that is missing later does not
surprise it. Contributions are exact Shapley values over the parts (Shapley 1953; two to the number of parts subsets),
so they add up to the case's log-odds minus those without any part, whatever the fusion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .head import FOLDS, sigmoid

KINDS = ("early", "late", "cross_attention")
Parts = Mapping[str, NDArray[Any] | None]
Array = NDArray[np.float64]
LEFT_OUT = 3  # copies of the training cases with parts left out at random, beside the whole ones
WIDTH = 32  # of a token, in cross-attention
STEPS = 80


@dataclass(frozen=True, eq=False)
class Fused:
    """A fitted fusion. kind: of KINDS; parts: their names in order; cases: how many it was fitted on."""

    kind: str
    parts: tuple[str, ...]
    cases: int
    _scale: Mapping[str, tuple[Array, Array]]
    _score: Callable[[list[Array], Array], Array]

    def probability(self, given: Parts) -> Array:
        """(n,) probabilities of the label. Raises ValueError for an unknown part, a wrong width, or no part at all."""
        values, there = self._taken(given)
        return sigmoid(self._score(values, there))

    def contributions(self, given: Parts) -> dict[str, Array]:
        """part -> (n,): what it added to each case's log-odds; 0 where the case lacks it."""
        values, there = self._taken(given)
        k = len(self.parts)
        worth: dict[frozenset[int], Array] = {}
        for size in range(k + 1):
            for some in combinations(range(k), size):
                mask = np.zeros_like(there)
                mask[:, some] = there[:, some]
                worth[frozenset(some)] = self._score(values, mask)
        out = {}
        for part in range(k):
            others = [i for i in range(k) if i != part]
            total = np.zeros(len(there))
            for size in range(k):
                weight = factorial(size) * factorial(k - size - 1) / factorial(k)
                for some in combinations(others, size):
                    total += weight * (worth[frozenset({*some, part})] - worth[frozenset(some)])
            out[self.parts[part]] = total
        return out

    def _taken(self, given: Parts) -> tuple[list[Array], Array]:
        unknown = set(given) - set(self.parts)
        held = {name: np.asarray(v, np.float64) for name, v in given.items() if v is not None}
        if unknown or not held or len({len(v) for v in held.values()}) != 1:
            raise ValueError(f"parts {sorted(given)}; allowed: {', '.join(self.parts)}, one at least, one row a case")
        n = len(next(iter(held.values())))
        values, there = [], np.zeros((n, len(self.parts)))
        for k, name in enumerate(self.parts):
            mean, scale = self._scale[name]
            x = held.get(name, np.full((n, mean.size), np.nan))
            if x.shape != (n, mean.size):
                raise ValueError(f"part {name} of shape {x.shape}; allowed: ({n}, {mean.size})")
            there[:, k] = ~np.isnan(x).all(1)
            values.append(np.nan_to_num((x - mean) / scale))
        return values, there


def fuse(kind: str, parts: Parts, labels: NDArray[Any], groups: Sequence[str], *, seed: int = 0) -> Fused:
    """Fit a fusion. parts: name -> (n, d); labels (n,) 0 or 1, both present; groups (n,) the patient of each.

    "early": one logistic regression on all numbers and on which parts are there. "late": one for each part, and one on
    their out-of-fold log-odds. "cross_attention" (torch extra): each part a token, one learned query that attends to
    those that are there. Classes count alike. The same input gives the same fusion. Raises ValueError, ExtraMissing.
    """
    y = np.asarray(labels, int)
    names = tuple(parts)
    held = {name: np.asarray(v, np.float64) for name, v in parts.items() if v is not None}
    if kind not in KINDS or set(np.unique(y)) != {0, 1} or len(held) < len(names) or not names:
        raise ValueError(
            f"kind {kind!r}, labels {np.unique(y)[:3]}; allowed: {', '.join(KINDS)}, 0 and 1, no part None"
        )
    if any(len(v) != len(y) or v.ndim != 2 for v in held.values()) or len(groups) != len(y):
        raise ValueError("parts, labels and groups of different lengths")
    scales, values, there = {}, [], np.zeros((len(y), len(names)))
    for k, name in enumerate(names):
        x = held[name]
        there[:, k] = ~np.isnan(x).all(1)
        if not there[:, k].any():
            raise ValueError(f"part {name} is missing from every case")
        mean = np.nan_to_num(np.nanmean(np.where(there[:, k : k + 1] > 0, x, np.nan), axis=0))
        scale = np.sqrt(np.nan_to_num(np.nanmean((x[there[:, k] > 0] - mean) ** 2, axis=0)))
        scales[name] = (mean, np.where(scale > 1e-12, scale, 1.0))
        values.append(np.nan_to_num((x - mean) / scales[name][1]))
    fitted = {"early": _early, "late": _late, "cross_attention": _cross_attention}[kind]
    return Fused(kind, names, len(y), scales, fitted(values, there, y, np.asarray(groups), seed))


def _thinned(there: Array, seed: int) -> Array:
    """The cases as they are, and copies with parts left out at random; never all of them."""
    rng = np.random.default_rng(seed)
    rows = [there]
    for _ in range(LEFT_OUT):
        mask = there * (rng.random(there.shape) < 0.5)
        keep = mask.sum(1) == 0
        mask[keep] = there[keep]
        rows.append(mask)
    return np.concatenate(rows)


def _early(values: list[Array], there: Array, y: NDArray[Any], groups: NDArray[Any], seed: int) -> Any:
    masks = _thinned(there, seed)
    copies = len(masks) // len(y)
    repeated = [np.tile(v, (copies, 1)) for v in values]

    def joined(v: list[Array], mask: Array) -> Array:
        return np.concatenate([*(x * mask[:, k : k + 1] for k, x in enumerate(v)), mask], axis=1)

    width = sum(v.shape[1] for v in values)
    model = _regression(joined(repeated, masks), np.tile(y, copies), 1.0 / max(1.0, width / 10))
    return lambda v, mask: np.asarray(model.decision_function(joined(v, mask)))


def _late(values: list[Array], there: Array, y: NDArray[Any], groups: NDArray[Any], seed: int) -> Any:
    from sklearn.model_selection import StratifiedGroupKFold

    models, scores = [], np.zeros_like(there)
    for k, x in enumerate(values):
        has = there[:, k] > 0
        strength = 1.0 / max(1.0, x.shape[1] / 10)
        models.append(_regression(x[has], y[has], strength))
        index = np.flatnonzero(has)
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        for train, test in folds.split(x[has], y[has], groups[has]):
            scores[index[test], k] = _regression(x[index[train]], y[index[train]], strength).decision_function(
                x[index[test]]
            )
    masks = _thinned(there, seed)
    copies = len(masks) // len(y)
    stacked = np.tile(scores, (copies, 1)) * masks
    top = _regression(np.concatenate([stacked, masks], axis=1), np.tile(y, copies), 1.0)

    def score(v: list[Array], mask: Array) -> Array:
        each = np.stack([m.decision_function(x) for m, x in zip(models, v, strict=True)], axis=1)
        return np.asarray(top.decision_function(np.concatenate([each * mask, mask], axis=1)))

    return score


def _cross_attention(values: list[Array], there: Array, y: NDArray[Any], groups: NDArray[Any], seed: int) -> Any:
    import importlib.util

    from ..errors import ExtraMissing

    if importlib.util.find_spec("torch") is None:
        raise ExtraMissing(
            "cross-attention fusion needs torch, which is not installed",
            "early and late fusion without it",
            "in the folder of attending's source: pip install -c constraints.txt '.[torch]'",
        )
    from .fusion_torch import attend

    return attend(values, _thinned(there, seed), y, seed, WIDTH, STEPS)


def _regression(x: Array, y: NDArray[Any], strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    with threadpool_limits(1):
        return LogisticRegression(C=0.1 * strength, class_weight="balanced", max_iter=5000).fit(x, y)
