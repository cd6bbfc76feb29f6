"""What the commands share: options, JSON Lines, messages, progress."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ..errors import AttendingError

SCHEMA = 1

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="ATTENDING_HOME",
        help="The hospital's folder.",
        show_default="the user data folder",
        readable=False,  # the store says more of a folder that cannot be read than a usage error does
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout, one object a line.")]
By = Annotated[str, typer.Option("--by", help="Who does it: a name of site.toml (an empty site knows 'demo').")]


def emit(**fields: Any) -> None:
    """One JSON object on one line of stdout, with the schema number."""
    line = json.dumps({"schema": SCHEMA, **fields}, ensure_ascii=False) + "\n"
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a file name that is no text, or a terminal without the letters: JSON has escapes
        line = json.dumps({"schema": SCHEMA, **fields}) + "\n"
    sys.stdout.write(line)
    sys.stdout.flush()


def say(text: str = "") -> None:
    """A line for people who asked for no JSON, seen at once in a pipe too; letters the terminal lacks are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line beside the result."""
    sys.stderr.write(text + "\n")


def error_fields(error: AttendingError) -> dict[str, str]:
    return {"code": error.code, "seen": error.seen, "allowed": error.allowed, "do": error.do}


def fail(error: AttendingError, *, as_json: bool) -> NoReturn:
    """Say what was seen, what was allowed and what to do; exit 1."""
    if as_json:
        emit(error=error_fields(error))
    message(error)
    sys.exit(1)


def message(error: AttendingError, what: str = "refused") -> None:
    note(f"{what}: {error.seen}\n  allowed: {error.allowed}\n  do: {error.do}")


@contextmanager
def progress(title: str) -> Iterator[Callable[[str, float], None]]:
    """A progress bar on stderr; silent where stderr is no terminal."""
    if not sys.stderr.isatty() or os.environ.get("CI"):
        yield lambda what, fraction: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[room]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0, room="")
        yield lambda what, fraction: bar.update(task, completed=fraction, room=what)
