"""demo: the main job on real studies, from nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .common import note, progress, say


def add_to(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            envvar="ATTENDING_HOME",
            help="The folder that the demo makes and writes into.",
            show_default="./attending-demo",
        ),
    ] = None,
) -> None:
    """Pull the demo's models and studies, read them, sign, learn, and write an index page.

    It takes a few minutes on two cores.
    """
    from ..demo import run

    with progress("demo") as bar:
        result = run(home or Path("attending-demo"), say=note, progress=bar)
    say(f"open {result.index}")
    sys.exit(0 if result.read else 1)
