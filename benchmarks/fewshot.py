"""Few-shot heads on PneumoniaMNIST: k examples a class, calibration before and after, coverage, and the drift alert.

    python benchmarks/fewshot.py [--encoder efficientnet-lite0 ...] [--draws 20] [--json FILE]

1. For k = 1, 5, 10, 20, 50 examples of each class from the validation split: AUROC and balanced accuracy of the three
   heads (prototype, linear, k-NN) on the official test split, mean over draws with an interval over draws and cases.
2. Expected calibration error, Brier score and log loss of the linear head (k = 50) on the test split before and after
   Platt and temperature calibration on other validation cases.
3. Conformal coverage asked (80, 90, 95 %) and reached: averaged over 100 random resplits of the validation split's
   remaining cases into calibration and test (exchangeable: within 1 point), and on the official test split, which is
   another distribution: its gap is the shift.
4. The drift alert: alarms in 40 streams of validation cases (wanted: at most 1), and after how many cases of the
   official test split it fires.

28x28 pictures without patient ids: split by image. A teaching set; nothing here says anything of patients.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from closed_loop import the_set, vectors_of
from numpy.typing import NDArray

from attending import learning, metrics, site
from attending.learning.fewshot import KINDS

SHOTS = (1, 5, 10, 20, 50)
COVERAGES = (0.8, 0.9, 0.95)
RESPLITS = 100
STREAMS = 40
CASES = 200  # of a stream


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--encoder", action="append")
    options.add_argument("--draws", type=int, default=20, help="random choices of the k examples")
    options.add_argument("--json", type=Path)
    asked = options.parse_args()
    images, labels, pool = the_set()
    print(f"PneumoniaMNIST, {pool.sum()} validation and {(~pool).sum()} test images; {platform.processor() or ''} "
          f"Python {platform.python_version()}")  # fmt: skip
    out: dict[str, Any] = {}
    for encoder in asked.encoder or ["skimage-descriptors", "efficientnet-lite0"]:
        start = time.perf_counter()
        vectors = vectors_of(images, encoder, site.cache_dir() / "closed-loop")
        print(f"\n# {encoder}, {vectors.shape[1]} numbers")
        out[encoder] = {
            "shots": shots(vectors, labels, pool, asked.draws),
            "calibration": calibration(vectors, labels, pool, asked.draws),
            "coverage": coverage(vectors, labels, pool),
            "drift": drift(vectors, pool),
        }
        print(f"{time.perf_counter() - start:.0f} s")
    if asked.json:
        asked.json.write_text(json.dumps(out, indent=1))
    return 0


def drawn(labels: NDArray[Any], pool: NDArray[Any], k: int, seed: int) -> NDArray[Any]:
    """k cases of each class of the validation split, and never the same for two seeds but by chance."""
    rng = np.random.default_rng([k, seed])
    return np.concatenate([rng.permutation(np.flatnonzero(pool & (labels == c)))[:k] for c in (0, 1)])


def shots(x: NDArray[Any], y: NDArray[Any], pool: NDArray[Any], draws: int) -> dict[str, Any]:
    test, rows = ~pool, {}
    print("\n| k a class | " + " | ".join(f"{kind} AUROC | balanced accuracy" for kind in KINDS) + " |")
    print("|---|" + "---|---|" * len(KINDS))
    for k in SHOTS:
        cells = []
        for kind in KINDS:
            figures: dict[str, list[float]] = {"auroc": [], "balanced_accuracy": []}
            for seed in range(draws):
                some = drawn(y, pool, k, seed)
                p = learning.few_shot(kind, x[some], y[some], background=x[pool])(x[test])[:, 1]
                again = np.random.default_rng([9, seed]).integers(0, test.sum(), test.sum())
                for name in figures:
                    value = getattr(metrics, name)
                    figures[name] += [value(y[test], p) or 0.5, value(y[test][again], p[again]) or 0.5]
            for name, both in figures.items():
                values, resampled = np.array(both[::2]), np.array(both[1::2])
                interval = metrics.percentile(float(values.mean()), resampled)
                rows[f"{kind} {k} {name}"] = [interval.value, interval.low, interval.high]
                cells.append(f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]")
        print(f"| {k} | " + " | ".join(cells) + " |")
    return rows


def calibration(x: NDArray[Any], y: NDArray[Any], pool: NDArray[Any], draws: int) -> dict[str, Any]:
    """Linear head of 50 a class, calibrated on half of the remaining validation cases; judged on the other half, and on
    the official test split."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(draws):
        some = drawn(y, pool, 50, seed)
        rest = np.random.default_rng(seed).permutation(np.setdiff1d(np.flatnonzero(pool), some))
        known, same = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        predict = learning.few_shot("linear", x[some], y[some], background=x[pool])
        seen = predict(x[known])[:, 1]
        for place, cases in (("validation", same), ("test", np.flatnonzero(~pool))):
            new = predict(x[cases])[:, 1]
            for name in ("before", "platt", "temperature"):
                p = new if name == "before" else metrics.calibrate(y[known], seen, name)(new)
                clipped = np.clip(p, 1e-6, 1 - 1e-6)
                loss = -np.mean(np.where(y[cases] == 1, np.log(clipped), np.log1p(-clipped)))
                row = [metrics.ece(y[cases], p), metrics.brier(y[cases], p), float(loss)]
                found.setdefault((place, name), []).append(row)
    print(
        "\n| linear head, k = 50 | judged on | expected calibration error | Brier | log loss |\n|---|---|---|---|---|"
    )
    for (place, name), rows in found.items():
        mean = np.mean(rows, axis=0)
        print(f"| {name} | {place} | {mean[0]:.3f} | {mean[1]:.3f} | {mean[2]:.3f} |")
    return {f"{place} {name}": np.mean(rows, axis=0).tolist() for (place, name), rows in found.items()}


def coverage(x: NDArray[Any], y: NDArray[Any], pool: NDArray[Any]) -> dict[str, Any]:
    some = drawn(y, pool, 50, 0)
    rest = np.setdiff1d(np.flatnonzero(pool), some)
    predict = learning.few_shot("linear", x[some], y[some], background=x[pool])
    p, p_test, out = predict(x[rest]), predict(x[~pool]), {}
    print(
        "\n| coverage asked | 100 resplits of validation | official test (shift) | sets of one, test | of two | empty |"
    )
    print("|---|---|---|---|---|---|")
    for asked in COVERAGES:
        reached, shifted, sizes = [], [], []
        for seed in range(RESPLITS):
            order = np.random.default_rng(seed).permutation(len(rest))
            half = len(rest) // 2
            known, new = order[:half], order[half:]
            at = metrics.conformal_threshold(y[rest][known], p[known], asked)
            inside = metrics.conformal_sets(p[new], at)
            reached.append(inside[np.arange(len(new)), y[rest][new]].mean())
            test_sets = metrics.conformal_sets(p_test, at)
            shifted.append(test_sets[np.arange(test_sets.shape[0]), y[~pool]].mean())
            sizes.append([(test_sets.sum(1) == k).mean() for k in (1, 2, 0)])
        one, two, none = np.mean(sizes, axis=0)
        out[str(asked)] = {"resplits": float(np.mean(reached)), "test": float(np.mean(shifted))}
        print(f"| {asked:.2f} | {np.mean(reached):.3f} | {np.mean(shifted):.3f} | {one:.2f} | {two:.2f} | {none:.2f} |")
    return out


def drift(x: NDArray[Any], pool: NDArray[Any]) -> dict[str, Any]:
    """Calibrated on 324 validation cases: streams of the other 200, and the official test split in random order."""
    inside, outside = np.flatnonzero(pool), np.flatnonzero(~pool)
    false, after = 0, []
    for seed in range(STREAMS):
        order = np.random.default_rng(seed).permutation(inside)
        watch = metrics.Drift(x[order[CASES:]])
        false += [watch.see(x[i]) for i in order[:CASES]][-1]
        watch = metrics.Drift(x[order[CASES:]])
        stream = np.random.default_rng(seed + 1).permutation(outside)
        after.append(next((n + 1 for n, i in enumerate(stream) if watch.see(x[i])), None))
    fired = [n for n in after if n is not None]
    typical = f"after {int(np.median(fired))} cases (median)" if fired else "never"
    print(f"\ndrift alert: {false} of {STREAMS} alarms on streams of {CASES} validation cases; on the official test "
          f"split ({len(outside)} cases) {len(fired)} of {STREAMS}, {typical}")  # fmt: skip
    return {"false": false, "fired": len(fired), "median": float(np.median(fired)) if fired else None}


if __name__ == "__main__":
    sys.exit(main())
