"""Every installed model that may see a data set, measured side by side: quality, calibration, latency, memory.

Each model runs in a process of its own, one after the other, so that its memory is its own and its end ends nobody
else's. Quality is what ``verifying`` measures; the language-inference set is asked of writers and text encoders.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .site import Site

__all__ = ["INFERENCE", "Row", "bench", "contenders", "plot"]

INFERENCE = "open-i-reports"
ARCHIVE = "NLMCXR_reports.tgz"
PAIRS = 150
TIMEOUT_S = 1800.0
TIMED = ("glance", "detect", "encode", "encode_texts", "answer", "write")


@dataclass(frozen=True)
class Row:
    """One model's line. figures: {metric, of, n, value, low, high}, calibration: {"ece", "brier"} of detectors.

    mib: its files on disk; seconds: the median of one call; peak_mib: of its process, less that of an empty one; why:
    what kept it from being measured, else "".
    """

    id: str
    version: str
    protocols: tuple[str, ...]
    mib: float = 0.0
    figures: tuple[dict[str, Any], ...] = ()
    calibration: tuple[tuple[str, float], ...] = ()
    load_s: float | None = None
    seconds: float | None = None
    calls: int = 0
    peak_mib: float | None = None
    trained_on_it: bool = False
    notes: tuple[str, ...] = ()
    why: str = ""


def contenders(data: str, site: Site, cache: Path) -> list[str]:
    """Ids of the usable models whose kind can be measured on a data set, in the catalog's order."""
    from . import labelled, models

    labelled.data_set(data)
    wanted = {"Writer", "TextEncoder"} if data == INFERENCE else {"Detector", "Encoder", "Reader"}
    return [
        s.card.id
        for s in models.installed(site, cache)
        if s.usable and wanted & set(s.card.protocols) and s.card.id != "echo"
    ]


def bench(
    data: str,
    site: Site,
    cache: Path,
    ids: Sequence[str] = (),
    pairs: int = PAIRS,
    progress: Callable[[str, float], None] | None = None,
) -> Iterator[Row]:
    """Measure models (those of ``contenders`` where none are named), one row each as it is done.

    Raises UnknownModel and NotPulled for the data set. A model that fails is a row that says why.
    """
    from . import models

    models.files(data, cache)  # NotPulled before any process is started
    named = list(ids) or contenders(data, site, cache)
    for n, id in enumerate(named):
        if progress:
            progress(id, n / len(named))
        asked = json.dumps({"id": id, "data": data, "home": str(site.home), "pairs": pairs})
        call = [sys.executable, "-m", "attending.benching"]
        try:
            done = subprocess.run(call, input=asked, capture_output=True, text=True, timeout=TIMEOUT_S)
            said = json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else None
        except subprocess.TimeoutExpired:
            said = {"id": id, "version": "", "protocols": [], "why": f"not done after {TIMEOUT_S:.0f} s"}
        if said is None:
            said = {"id": id, "version": "", "protocols": [], "why": f"its process ended with {done.returncode}"}
        said["calibration"] = tuple(sorted(dict(said.get("calibration", {})).items()))
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in said.items()}
        yield Row(**fields)


def plot(rows: Sequence[Row], title: str) -> str:
    """An SVG: one line a figure and model, a dot with its interval, latency and memory beside it."""
    from xml.sax.saxutils import escape

    lines = [(row, f) for row in rows for f in row.figures if not row.why]
    height, left, width = 60 + 22 * len(lines), 420, 420
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="1020" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="20" font-size="14">{escape(title)}</text>',
    ]
    for tick in range(6):
        x = left + width * tick / 5
        out.append(f'<line x1="{x}" x2="{x}" y1="32" y2="{height - 18}" stroke="#ddd"/>')
        out.append(f'<text x="{x}" y="{height - 4}" text-anchor="middle">{tick / 5:.1f}</text>')
    for n, (row, f) in enumerate(lines):
        y = 46 + 22 * n
        low, value, high = (left + width * min(max(float(f[key]), 0.0), 1.0) for key in ("low", "value", "high"))
        name = f"{row.id}: {f['metric']}" + (f", {f['of']}" if f["of"] else "")
        out.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(name[:62])}</text>')
        out.append(f'<line x1="{low}" x2="{high}" y1="{y}" y2="{y}" stroke="#46a" stroke-width="2"/>')
        out.append(f'<circle cx="{value}" cy="{y}" r="4" fill="#46a"/>')
        cost = f"{1000 * (row.seconds or 0):.0f} ms, {row.peak_mib or 0:.0f} MiB" + (
            ", trained on it" if row.trained_on_it else ""
        )
        out.append(f'<text x="{left + width + 12}" y="{y + 4}" fill="#555">{escape(cost)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _child() -> None:
    """One model, asked for on stdin; its row as JSON on stdout."""
    from . import models, site
    from .errors import AttendingError

    asked = json.loads(sys.stdin.read())
    where, cache = site.load(Path(asked["home"])), site.cache_dir()
    empty = _peak_mib()
    row: dict[str, Any] = {"id": asked["id"], "version": "", "protocols": []}
    try:
        start = time.perf_counter()
        plugin = models.load(asked["id"], where, cache, unseeing=True)
        row |= {"load_s": time.perf_counter() - start, "version": plugin.card.version}
        row["protocols"] = list(models.protocols_of(plugin))
        known = next((e for e in models.catalog() if e.id == asked["id"]), None)
        paths = models.files(asked["id"], cache).values() if known and known.sources else ()
        row["mib"] = round(sum(p.stat().st_size for p in paths) / 2**20, 1)
        calls = _timed(plugin)
        row |= _inference(plugin, cache, asked["pairs"]) if asked["data"] == INFERENCE else _pictures(
            plugin, asked["data"], where, cache, calls
        )  # fmt: skip
        seconds = sorted(s for s, _ in calls)
        row |= {"seconds": seconds[len(seconds) // 2] if seconds else None, "calls": len(seconds)}
    except AttendingError as refused:
        row["why"] = refused.seen
    except Exception as broken:
        row["why"] = f"it failed with {type(broken).__name__}"
    row["peak_mib"] = round(_peak_mib() - empty, 1)
    sys.stdout.write("\n" + json.dumps(row) + "\n")


def _timed(plugin: Any) -> list[tuple[float, Any]]:
    """(seconds of one item, answer) of every later call of the plugin's methods; a batch counts once for each item."""
    calls: list[tuple[float, Any]] = []

    def wrap(name: str) -> None:
        method = getattr(plugin, name)

        def timed(given: Any, *args: Any, **more: Any) -> Any:
            start = time.perf_counter()
            answer = method(given, *args, **more)
            items = len(given) if name.startswith("encode") else 1
            calls.extend([((time.perf_counter() - start) / max(1, items), answer)] * max(1, items))
            return answer

        setattr(plugin, name, timed)

    for name in TIMED:
        if hasattr(plugin, name):
            wrap(name)
    return calls


def _pictures(plugin: Any, data: str, where: Site, cache: Path, calls: list[tuple[float, Any]]) -> dict[str, Any]:
    from . import labelled, metrics, models, verifying

    found = verifying.measure(plugin, data, where, cache)
    out: dict[str, Any] = {
        "figures": [asdict(f) for f in found.figures],
        "notes": list(found.notes),
        "trained_on_it": found.seen,
    }
    if "Detector" in models.protocols_of(plugin) and any(isinstance(a, tuple) for _, a in calls):
        entry = labelled.data_set(data)
        items = [
            i
            for i in labelled.pictures(entry, where, cache)
            if i.shows is not None and models.admit(plugin.card, i.image.facts, entry.id) is None
        ]
        answers = [a for _, a in calls if isinstance(a, tuple)]
        if len(items) == len(answers):
            sure = [max(a, key=lambda d: d.score) for a in answers]
            right = [float(d.code.value in (i.shows or ())) for d, i in zip(sure, items, strict=True)]
            p = [min(1.0, d.score) for d in sure]
            out["calibration"] = {"ece": metrics.ece(right, p), "brier": metrics.brier(right, p)}
    return out


def _inference(plugin: Any, cache: Path, count: int) -> dict[str, Any]:
    import numpy as np

    from . import inferring, metrics, models

    made = inferring.pairs(models.files(INFERENCE, cache)[ARCHIVE], count)
    truth = [pair.label for pair in made]
    notes = [f"{len(made)} pairs of reports whose id is not divisible by 7; labels by this program's own parser"]
    if hasattr(plugin, "write"):
        said = [inferring.ask(pair, plugin) for pair in made]
        of = truth
        notes.append(f"{sum(s is None for s in said)} answers were no label")
    else:
        # One number a pair, its likeness; a regression on the first half says what it means, the second half judges.
        a, b = (plugin.encode_texts([getattr(p, key) for p in made]) for key in ("premise", "hypothesis"))
        like = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
        from sklearn.linear_model import LogisticRegression

        half = len(made) // 2
        model = LogisticRegression(class_weight="balanced").fit(like[:half, None], truth[:half])
        said, of = list(model.predict(like[half:, None])), truth[half:]
        notes.append("a regression on the likeness of the first half's pairs, judged on the second half")
    figures = []
    for label in ("", *inferring.LABELS):
        judged = [(s, t) for s, t in zip(said, of, strict=True) if label in ("", t)]
        interval = metrics.wilson(sum(s == t for s, t in judged), len(judged))
        if interval is not None:
            metric = "accuracy" if not label else "recall"
            figures.append({"metric": metric, "of": label, "n": len(judged), "value": interval.value,
                            "low": interval.low, "high": interval.high})  # fmt: skip
    return {"figures": figures, "notes": notes}


def _peak_mib() -> float:
    """Greatest resident memory of this process alone: what the system counts for it begins with its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    _child()
