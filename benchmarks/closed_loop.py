"""Closed loop: does asking for the least certain cases teach a head faster than asking for random ones?

Simulated on PneumoniaMNIST: the set's labels answer in the expert's place. Every seed starts both arms from the same
cases; each round a head is trained on what is labelled so far and scored on the official test images, then more cases
are asked for: the least certain ones by the head's own calibrated probability (``learning.ask``), or random ones.

The verdict is fixed beforehand: the paired difference of the mean AUROC over all rounds (the area under the learning
curve), with a 95 % interval from a bootstrap over seeds and test images together. An interval that holds 0 is a null
result and is printed as one. The rows per round show the curve; they are not tested one by one.

Finished seeds are kept; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attending import learning, metrics, models, site
from attending.learning.head import fit
from attending.metrics.binary import resampled
from attending.records import Image, ImageFacts, Interval

ARMS = ("uncertain", "random")
SET = "pneumoniamnist"
BOOTSTRAP = 2000


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=30, help="paired repetitions, at least 15 for a verdict")
    options.add_argument("--rounds", type=int, default=8)
    options.add_argument("--start", type=int, default=10, help="labelled cases at the start, of both classes")
    options.add_argument("--step", type=int, default=10, help="cases asked for each round")
    options.add_argument("--encoder", default="skimage-descriptors")
    options.add_argument("--state", type=Path, help="where finished seeds are kept (default: the user's cache)")
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    if min(asked.seeds, asked.rounds, asked.step) < 1 or asked.start < 4:
        options.error("seeds, rounds and step are at least 1, start at least 4 (two cases of each class)")

    began = time.perf_counter()
    state = asked.state or site.cache_dir() / "closed-loop"
    images, labels, pool = the_set()
    vectors = vectors_of(images, asked.encoder, state)
    sizes = [asked.start + asked.step * r for r in range(asked.rounds + 1)]
    if sizes[-1] > int(pool.sum()):
        options.error(f"{sizes[-1]} cases asked for, the pool has {int(pool.sum())}")
    mark = hashlib.sha256(vectors.tobytes() + json.dumps([sizes, learning_code()]).encode()).hexdigest()[:12]
    runs = []
    for seed in range(asked.seeds):
        runs.append(one_seed(seed, vectors, labels, pool, sizes, state / f"{mark}-{seed:03d}.npy"))
        said(f"seed {seed + 1} of {asked.seeds}")
    said("")
    answers = np.stack(runs)  # (seed, arm, round, test case)
    result = summary(answers, labels[~pool], sizes)
    result |= {
        "encoder": asked.encoder,
        "vector_length": int(vectors.shape[1]),
        "pool": int(pool.sum()),
        "test": int((~pool).sum()),
        "seeds": asked.seeds,
        "seconds": round(time.perf_counter() - began, 1),
        "machine": machine(),
    }
    print(json.dumps(result, indent=2) if asked.json else table(result))
    return 0


def the_set() -> tuple[list[Image], NDArray[np.int_], NDArray[np.bool_]]:
    """Images, labels and which of them belong to the pool (the validation split; the test split is the test)."""
    cache = site.cache_dir()
    models.pull(SET, cache, site.mirror_dir())
    (path,) = [p for p in models.files(SET, cache).values() if p.suffix == ".npz"]
    with np.load(path, allow_pickle=False) as file:
        pictures = np.concatenate([file["val_images"], file["test_images"]])
        labels = np.concatenate([file["val_labels"], file["test_labels"]]).reshape(-1).astype(int)
        pool = np.arange(len(labels)) < len(file["val_labels"])
    images = []
    for number, picture in enumerate(pictures):
        facts = ImageFacts(f"i{number}", (1, *picture.shape), None, None, "CR", view="AP", body_part="CHEST")
        images.append(Image(facts, picture[None].astype(np.uint16)))
    return images, labels, pool


def vectors_of(images: list[Image], encoder: str, state: Path) -> NDArray[np.float32]:
    """(n, d) float32, computed once and kept by the encoder's space."""
    import tempfile

    with tempfile.TemporaryDirectory() as home:
        plugin = models.load(encoder, site.load(Path(home)), site.cache_dir())
    state.mkdir(parents=True, exist_ok=True)
    kept = state / f"vectors-{hashlib.sha256(plugin.space.encode()).hexdigest()[:12]}.npy"
    if kept.exists():
        return np.asarray(np.load(kept, allow_pickle=False))
    parts = []
    for start in range(0, len(images), 64):
        parts.append(plugin.encode(images[start : start + 64]))
        said(f"vectors {min(start + 64, len(images))} of {len(images)}")
    vectors = np.concatenate(parts)
    save(kept, vectors)
    return vectors


def one_seed(
    seed: int, vectors: NDArray[Any], labels: NDArray[Any], pool: NDArray[Any], sizes: list[int], kept: Path
) -> NDArray[np.float64]:
    """(arm, round, test case) probabilities; both arms start from the same cases."""
    if kept.exists():
        return np.asarray(np.load(kept, allow_pickle=False))
    rng = np.random.default_rng(seed)
    inside = rng.permutation(np.flatnonzero(pool))
    first = list(inside[: sizes[0]])
    for k in (0, 1):  # at least two of each class, so that the first head exists
        others = [i for i in inside[sizes[0] :] if labels[i] == k]
        for _ in range(2 - int((labels[first] == k).sum())):
            first[next(n for n, i in enumerate(first) if labels[i] != k)] = others.pop(0)
    out = np.zeros((len(ARMS), len(sizes), int((~pool).sum())))
    for a, arm in enumerate(ARMS):
        chooser, known = np.random.default_rng([seed, 1]), list(first)
        for r, size in enumerate([*sizes[1:], 0]):
            head = fit(vectors[known], labels[known], [str(i) for i in known], seed=seed)
            out[a, r] = head.probability(vectors[~pool])
            rest, count = [int(i) for i in inside if i not in set(known)], max(0, size - len(known))
            if arm == "random":
                known += [int(i) for i in chooser.choice(rest, count, replace=False)]
            else:
                sure = dict(zip(map(str, rest), head.probability(vectors[rest]), strict=True))
                known += [int(i) for i in learning.ask(sure, count)]
    save(kept, out)
    return out


def summary(answers: NDArray[np.float64], y: NDArray[Any], sizes: list[int]) -> dict[str, Any]:
    """AUROC per arm and round, differences, and the area under the learning curve; each with its interval."""
    seeds = len(answers)
    y8, ones = y.astype(np.int8), np.ones((1, y.size))
    weights = np.concatenate(list(metrics.resamples(y, count=BOOTSTRAP, seed=1)))
    drawn = np.random.default_rng(2).multinomial(seeds, np.full(seeds, 1 / seeds), size=BOOTSTRAP) / seeds
    value = np.zeros((len(ARMS), len(sizes)))
    draws = np.zeros((BOOTSTRAP, len(ARMS), len(sizes)))
    for a in range(len(ARMS)):
        for r in range(len(sizes)):
            each = [resampled("auroc", y8, answers[s, a, r], weights, 0.5) for s in range(seeds)]
            draws[:, a, r] = (np.stack(each, axis=1) * drawn).sum(axis=1)
            value[a, r] = np.mean([resampled("auroc", y8, answers[s, a, r], ones, 0.5)[0] for s in range(seeds)])
        said(f"bootstrap of {ARMS[a]}")
    said("")
    rounds = [
        {
            "labelled": size,
            **{arm: metrics.percentile(value[a, r], draws[:, a, r]) for a, arm in enumerate(ARMS)},
            "difference": metrics.percentile(value[0, r] - value[1, r], draws[:, 0, r] - draws[:, 1, r]),
        }
        for r, size in enumerate(sizes)
    ]
    area, gain = value.mean(axis=1), (draws[:, 0] - draws[:, 1]).mean(axis=1)
    curve = metrics.percentile(float(area[0] - area[1]), gain)
    if seeds < 15:
        verdict = f"no verdict: {seeds} seeds, at least 15 are needed"
    elif curve.low > 0:
        verdict = "asking for the least certain cases taught faster than random ones"
    elif curve.high < 0:
        verdict = "asking for the least certain cases taught more slowly than random ones"
    else:
        verdict = "null result: no difference shown between the least certain and random cases"
    return {
        "rounds": [{k: plain(v) for k, v in row.items()} for row in rounds],
        "area": {arm: plain(metrics.percentile(area[a], draws[:, a].mean(axis=1))) for a, arm in enumerate(ARMS)},
        "area_difference": plain(curve),
        "verdict": verdict,
    }


def table(result: dict[str, Any]) -> str:
    def cell(i: dict[str, float], sign: str = "") -> str:
        return f"{i['value']:{sign}.3f} [{i['low']:{sign}.3f}, {i['high']:{sign}.3f}]"

    lines = ["| labelled | least certain | random | difference |", "|---|---|---|---|"]
    for row in result["rounds"]:
        lines.append(
            f"| {row['labelled']} | {cell(row['uncertain'])} | {cell(row['random'])} | {cell(row['difference'], '+')} |"
        )
    area = result["area"]
    lines.append(
        f"| area | {cell(area['uncertain'])} | {cell(area['random'])} | {cell(result['area_difference'], '+')} |"
    )
    about = (
        f"AUROC on {result['test']} test images, mean of {result['seeds']} paired seeds, 95 % intervals over seeds and "
        f"test images; pool of {result['pool']}; encoder {result['encoder']} ({result['vector_length']} numbers); "
        f"{result['seconds']} s on {result['machine']}."
    )
    return "\n".join([*lines, "", f"Verdict: {result['verdict']}.", about])


def plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return {"value": round(value.value, 5), "low": round(value.low, 5), "high": round(value.high, 5)}
    return value


def learning_code() -> str:
    """Kept answers belong to one version of the head and of this file."""
    parts = [Path(learning.__file__).parent / "head.py", Path(learning.__file__).parent / "ask.py", Path(__file__)]
    return hashlib.sha256(b"".join(p.read_bytes() for p in parts)).hexdigest()


def save(path: Path, array: NDArray[Any]) -> None:
    with path.with_suffix(".part").open("wb") as file:
        np.save(file, array)
    path.with_suffix(".part").replace(path)


def machine() -> str:
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


def said(text: str) -> None:
    """Progress on stderr: one line that is written over on a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
