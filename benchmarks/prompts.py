"""Prompted segmentation: Dice, surface Dice and clicks to Dice 0.9 of every engine and prompt mode on real CT and MR.

    python benchmarks/prompts.py [--quick] [--dims 2 3] [--engines ID ...] [--mricron FOLDER] [--json FILE] [--defaults]

Cases: the mirror's CT and MR with TotalSegmentator's label maps (the labels are another model's output, not an
expert's) and Debian's ch2 with AAL (an atlas: its outlines are regions, not edges). All engines answer the same prompts
in one run, target by target. First clicks, boxes and scribbles are simulated from the label; each further click goes
into the engine's own largest error. Surface Dice (NSD) is at one voxel. Split by case: constants of ``classical`` were
set on the development cases. Intervals: 95 %, bootstrap over structures within cases, mean of the cases' means. Two
cases a split say little of other scanners and bodies.

--defaults writes which engine is used in which mode: the best of the installed ones, mean over all cases' Dice.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import prompt_cases as pc
from prompt_baselines import BASELINES

from attending import models, site
from attending.errors import AttendingError, NotAdmitted
from attending.records import Image, Masked, Prompts
from attending.tasks.segmenting import Session, Tools

STATIC = ("box", "jittered box", "scribble")
COUNTED = (1, 3, 5)
MOST_CLICKS = 10
GOAL = 0.9
DEFAULTS = Path(__file__).resolve().parent.parent / "src/attending/tasks/segmenting/engines.json"
NAMED = {"1 point": "point", "3 points": "points", "box": "box", "scribble": "scribble"}
"""The benchmark's modes that decide, and what the data file calls them."""


class Through:
    """An engine as users meet it: through a segmenting session, which carries a mask on one plane through a volume."""

    def __init__(self, plugin: Any, tools: Tools) -> None:
        self.plugin, self.tools, self.modes = plugin, tools, plugin.modes

    def session(self, image: Image) -> Through:
        refused = models.admit(self.plugin.card, image.facts)
        if refused:
            raise NotAdmitted(refused, "what its card names", "leave it out")
        self.held = Session(image, self.tools, model=self.plugin.card.id)
        return self

    def predict(self, prompts: Prompts) -> Masked:
        got = self.held.add(prompts)
        self.held.undo()
        return got

    def close(self) -> None:
        self.held.close()


def engines_here(wanted: list[str], threads: int) -> dict[str, Any]:
    """Every installed Prompted model that loads, and the baselines."""
    here, cache = site.load(site.default_home()), site.cache_dir()
    out: dict[str, Any] = {}
    for status in models.installed(here, cache):
        id = status.card.id
        if "Prompted" not in status.card.protocols or id == "echo" or (wanted and id not in wanted):
            continue
        try:
            if not status.usable:
                raise RuntimeError(status.why)
            out[id] = Through(models.load(id, here, cache), Tools(here, cache))
        except (AttendingError, RuntimeError) as why:
            print(f"{id} is left out: {why}")
    return out | {name: made() for name, made in BASELINES.items() if not wanted or name in wanted}


def rows_of(target: pc.Target, engines: dict[str, Any], seed: int, clicks: int) -> list[dict[str, Any]]:
    """One row for each engine and mode on one target."""
    rows: list[dict[str, Any]] = []
    spacing = target.image.facts.spacing
    assert spacing is not None

    def row(engine: str, mode: str, mask: Any, seconds: float, **more: Any) -> None:
        rows.append(
            {
                "case": target.case, "structure": target.name, "dims": target.dims, "engine": engine, "mode": mode,
                "dice": pc.dice(mask, target.mask), "nsd": pc.nsd(mask, target.mask, spacing),
                "seconds": seconds, **more,
            }
        )  # fmt: skip

    for name, engine in engines.items():
        try:
            session = engine.session(target.image)
        except AttendingError as why:
            print(f"  {name} does not take {target.id}: {why.seen}")
            continue
        for mode in STATIC:
            if mode.split()[-1] in engine.modes:
                started = time.perf_counter()
                got = session.predict(pc.prompts_for(target, mode, seed)).mask
                row(name, mode, got, time.perf_counter() - started)
        if "point" in engine.modes:
            rng = np.random.default_rng([seed, 7, *target.id.encode()])
            points = list(pc.prompts_for(target, "1 point", seed).points)
            best, reached = 0.0, None
            for count in range(1, clicks + 1):
                started = time.perf_counter()
                got = session.predict(Prompts(points=tuple(points))).mask
                seconds = time.perf_counter() - started
                best = pc.dice(got, target.mask)
                if reached is None and best >= GOAL:
                    reached = count
                if count in COUNTED:
                    row(name, f"{count} point{'s' * (count > 1)}", got, seconds)
                more = pc.correcting_click(target.mask, got, rng)
                if (reached is not None and count >= max(COUNTED)) or more is None:
                    for missing in [c for c in COUNTED if c > count]:
                        row(name, f"{missing} points", got, seconds)
                    break
                if any(p.voxel == more.voxel for p in points):
                    continue
                points.append(more)
            rows.append(
                {
                    "case": target.case, "structure": target.name, "dims": target.dims, "engine": name,
                    "mode": "clicks to 0.9", "clicks": reached or clicks + 1, "reached": reached is not None,
                }
            )  # fmt: skip
        session.close()
    return rows


def summary(rows: list[dict[str, Any]], key: str) -> tuple[float, float, float]:
    """Mean of the cases' means, and its 95 % interval over structures."""
    groups: dict[str, list[float]] = defaultdict(list)
    for r in rows:
        groups[r["case"]].append(float(r[key]))
    rng = np.random.default_rng(0)
    draws = np.mean([rng.choice(v, (2000, len(v))).mean(1) for v in groups.values()], axis=0)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(np.mean([np.mean(v) for v in groups.values()])), float(low), float(high)


def tell(rows: list[dict[str, Any]], dims: int, most: int) -> None:
    modes = [*(f"{c} point{'s' * (c > 1)}" for c in COUNTED), *STATIC, "text"]
    engines = list(dict.fromkeys(r["engine"] for r in rows))
    for split in ("development", "test"):
        own = [r for r in rows if r["dims"] == dims and pc.SPLIT[r["case"]] == split]
        if not own:
            continue
        cases = sorted({r["case"] for r in own})
        print(
            f"\n{dims}-D, {split} cases ({', '.join(cases)}), {len({(r['case'], r['structure']) for r in own})} targets"
        )
        print(f"{'mode':<14}{'engine':<20}{'Dice':>7}{'95 %':>16}{'NSD':>7}{'ms':>8}   by case")
        for mode in modes:
            for engine in engines:
                some = [r for r in own if r["mode"] == mode and r["engine"] == engine]
                if not some:
                    continue
                mean, low, high = summary(some, "dice")
                ms = 1000 * float(np.median([r["seconds"] for r in some]))
                each = ", ".join(
                    f"{c} {np.mean([r['dice'] for r in some if r['case'] == c]):.2f}"
                    for c in cases
                    if any(r["case"] == c for r in some)
                )
                print(
                    f"{mode:<14}{engine:<20}{mean:7.3f}  [{low:.3f}, {high:.3f}]"
                    f"{summary(some, 'nsd')[0]:7.3f}{ms:8.0f}   {each}"
                )
        for engine in engines:
            some = [r for r in own if r["mode"] == "clicks to 0.9" and r["engine"] == engine]
            if some:
                clicks = sorted(r["clicks"] for r in some)
                share = np.mean([r["reached"] for r in some])
                print(
                    f"{'clicks to 0.9':<14}{engine:<20} median {np.median(clicks):.0f}, "
                    f"reached within {most}: {100 * share:.0f} %"
                )


LEAD = 0.03
WHOLE = "classical"  # works on the volume as a whole


def defaults(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """{"2": {"point": id ...}, "3": ...}: the installed engine with the best mean over all cases' Dice; in volumes one
    that works plane by plane must lead by LEAD, because what is carried on can run out of its structure."""
    table: dict[str, Any] = {}
    for dims in (2, 3):
        for mode, named in NAMED.items():
            scores = {}
            for engine in dict.fromkeys(r["engine"] for r in rows if r["engine"] not in BASELINES):
                some = [r for r in rows if r["dims"] == dims and r["mode"] == mode and r["engine"] == engine]
                if some:
                    scores[engine] = round(summary(some, "dice")[0], 4)
            if scores:
                table.setdefault(str(dims), {})[named] = {
                    "engine": max(scores, key=lambda e: scores[e] + (LEAD if dims == 3 and e == WHOLE else 0.0)),
                    "dice": scores,
                }
    return table


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--quick", action="store_true", help="a third of the structures, one plane each")
    ask.add_argument("--every", type=int, default=1, help="only every Nth of the structures")
    ask.add_argument("--dims", type=int, nargs="+", default=[2, 3], choices=(2, 3))
    ask.add_argument("--engines", nargs="+", default=[], help="ids and baselines; all where absent")
    ask.add_argument("--split", choices=("development", "test"))
    ask.add_argument("--mricron", type=Path, default=pc.MRICRON, help="folder of ch2.nii.gz and aal.nii.gz")
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--json", type=Path, help="every row")
    ask.add_argument("--no-text", action="store_true")
    ask.add_argument("--clicks", type=int, help=f"at most so many clicks; {MOST_CLICKS}, with --quick 5")
    ask.add_argument("--add", type=Path, help="rows of another run with other --dims, for --defaults")
    ask.add_argument("--defaults", action="store_true", help=f"write {DEFAULTS.name}")
    given = ask.parse_args()
    found, left = pc.cases(pc.mirror_folder(), given.mricron)
    for why in left:
        print(f"left out: {why}")
    found = {k: v for k, v in found.items() if given.split in (None, pc.SPLIT[k])}
    if not found:
        sys.exit("no case is here")
    engines = engines_here(given.engines, 2)
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; "
        f"engines: {', '.join(engines)}"
    )
    clicks = given.clicks or (max(COUNTED) if given.quick else MOST_CLICKS)
    rows: list[dict[str, Any]] = []
    for dims in given.dims:
        for target in pc.targets(found, dims, given.quick)[:: given.every]:
            rows += rows_of(target, engines, given.seed, clicks)
        if dims == 3 and not given.no_text:
            from prompt_text import text_rows

            rows += text_rows(found)
        tell(rows, dims, clicks)
        sys.stdout.flush()
    if given.add:
        rows += [r for r in json.loads(given.add.read_text()) if r["dims"] not in given.dims]
    if given.json:
        given.json.write_text(json.dumps(rows))
    if given.defaults:
        DEFAULTS.write_text(
            json.dumps({"schema": 1, "from": "benchmarks/prompts.py --defaults", "dims": defaults(rows)}, indent=1)
            + "\n"
        )


if __name__ == "__main__":
    main()
