"""bench models: everything installed that may see a data set, side by side."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import Home, Json, emit, note, progress, say

if TYPE_CHECKING:
    from ..benching import Row

bench_app = typer.Typer(no_args_is_help=True, help="Compare what is installed: models.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(bench_app, name="bench")


@bench_app.callback()
def _bench() -> None:
    """Compare what is installed."""


@bench_app.command("models")
def bench_models(
    data: Annotated[str, typer.Option(help="A pulled, labelled data set; open-i-reports for language inference.")],
    model: Annotated[list[str] | None, typer.Option(help="Only these ids; may be repeated.")] = None,
    pairs: Annotated[int, typer.Option(min=9, help="Pairs of the language-inference set.")] = 150,
    plot: Annotated[Path | None, typer.Option(help="Where a plot goes: .svg.")] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Measure every installed model that may see a data set: quality with intervals, calibration, latency, memory.

    Each model runs in a process of its own, one after the other. Exit 1 where nothing was measured, or a model that
    was named was not.
    """
    from .. import benching
    from ..api import Hospital

    if plot is not None and plot.suffix != ".svg":
        raise typer.BadParameter("--plot ends in .svg")
    rows = []
    with Hospital(home) as hospital, progress("measuring") as bar:
        for row in benching.bench(data, hospital.site, hospital.cache, model or (), pairs, bar):
            rows.append(row)
            if as_json:
                emit(data=data, **{**asdict(row), "calibration": dict(row.calibration)})
            else:
                _tell(row)
    if plot is not None:
        plot.write_text(benching.plot(rows, f"{data}: installed models, 95 % intervals"), encoding="utf-8")
        note(f"plot in {plot}")
    if not rows:
        note(f"no installed model can be measured on {data}: see `attending models list`")
    # Among all that is installed some cannot be measured; a model that was asked for by name is owed a figure.
    sys.exit(1 if not rows or (model and any(row.why for row in rows)) else 0)


def _tell(row: Row) -> None:
    if row.why:
        say(f"{row.id}: not measured: {row.why}")
        return
    cost = f"{1000 * row.seconds:.1f} ms each over {row.calls}" if row.seconds is not None else "no call"
    say(f"{row.id} {row.version}: {cost}, {row.peak_mib:.0f} MiB more than an empty process, {row.mib:.0f} MiB of files"
        + (" (trained on this set: no accuracy)" if row.trained_on_it else ""))  # fmt: skip
    for f in row.figures:
        of = f" ({f['of']})" if f["of"] else ""
        say(f"  {f['metric']}{of} {f['value']:.3f} [{f['low']:.3f}, {f['high']:.3f}], n {f['n']}")
    for name, value in row.calibration:
        say(f"  {'expected calibration error' if name == 'ece' else name} {value:.3f}")
    for words in row.notes:
        say(f"  note: {words}")
