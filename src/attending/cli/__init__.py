"""The command line: one file per group of verbs. Results go to stdout, everything else to stderr.

Nothing heavy is imported until a command runs, so that ``attending --help`` stays quick.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ..errors import AttendingError, OutOfMemory
from . import admin, asking, bench, bundle, catalog, demo, explain, find, learning, measure, readings, segment
from .common import fail, message

app = typer.Typer(
    name="attending",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from ..version import __version__

        sys.stdout.write(f"attending {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Read imaging studies on this machine into checked drafts in which every sentence cites its evidence."""


readings.add_to(app)
asking.add_to(app)
find.add_to(app)
segment.add_to(app)
measure.add_to(app)
explain.add_to(app)
learning.add_to(app)
catalog.add_to(app)
bench.add_to(app)
bundle.add_to(app)
admin.add_to(app)
demo.add_to(app)


def main() -> None:
    """Run the command; an error that a user can mend is one message and exit code 1, never a traceback."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except AttendingError as error:
        fail(error, as_json="--json" in sys.argv)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what was already read is kept\n")
        sys.exit(130)
    except BrokenPipeError:
        _let_go_of_stdout()
        sys.exit(0)
    except OSError as error:
        _let_go_of_stdout()
        # strerror only: the file's name may be somebody's
        why = f"the system refused to read or write ({error.strerror or type(error).__name__})"
        message(AttendingError(why, "files, a disk and an output that work", "mend that and run the command again"))
        sys.exit(1)
    except MemoryError:
        words = ("less memory than this needs", "an image and models that fit", "free memory, or take a smaller image")
        fail(OutOfMemory(*words), as_json="--json" in sys.argv)
    except Exception as error:
        if os.environ.get("ATTENDING_TRACEBACK"):
            raise
        # Only the kind of error and our line: a library's message may quote a header.
        message(AttendingError(f"a mistake of this program: {_where(error)}", "none", REPORT), "stopped")
        sys.exit(1)


REPORT = "report it with that line; ATTENDING_TRACEBACK=1 shows more, which may hold identifiers: keep that to yourself"


def _where(error: BaseException) -> str:
    """The kind of error and the last line of ours that it passed."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "attending" in Path(frame.filename).parts]
    line = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{line}"


def _let_go_of_stdout() -> None:
    """What is still buffered for an output that is gone must not fail a second time when Python ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
