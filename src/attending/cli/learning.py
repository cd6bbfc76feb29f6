"""learn and release: from reviews to a model that a person let in, and back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .common import By, Home, Json, emit, note, progress, say

if TYPE_CHECKING:
    from ..records import Release

release_app = typer.Typer(no_args_is_help=True, help="Releases: list, show, approve, rollback.")


def add_to(app: typer.Typer) -> None:
    app.command()(learn)
    app.add_typer(release_app, name="release")


def learn(
    task: Annotated[
        str | None, typer.Option(help="The finding to learn.", show_default="every task with reviews")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="Admit only reviews of these sources ('person', 'imported:NAME')."),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(
            min=1, help="Learn from at most so many imported examples; signed ones all count.", show_default="all"
        ),
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Train a head from the reviews and prove it on held-out cases. Nothing is used before `release approve`."""
    from ..api import Hospital

    refused = 0
    with Hospital(home) as hospital, progress("learning") as bar:
        for release in hospital.learn(task=task, sources=tuple(source or ()), shots=shots, progress=bar):
            refused += release.status == "refused"
            tell(release, as_json)
            if release.status == "candidate" and not as_json:
                note(f"to use it: attending release approve {release.id} --by NAME")
    sys.exit(1 if refused else 0)


@release_app.command("list")
def list_releases(as_json: Json = False, home: Home = None) -> None:
    """List candidates and releases, newest first."""
    from ..api import Hospital

    with Hospital(home) as hospital:
        rows = hospital.releases()
    for release in rows:
        if as_json:
            tell(release, True)
        else:
            say(f"{release.id}  {release.status:9}  {_task(release)}  {release.why}")
    if not rows and not as_json:
        note("no releases yet: `attending learn`")


@release_app.command("show")
def show_release(id: str, as_json: Json = False, home: Home = None) -> None:
    """Show one release: its card, its scores against the release it replaces, who approved it."""
    from ..api import Hospital

    with Hospital(home) as hospital:
        tell(hospital.release(id), as_json)


@release_app.command()
def approve(id: str, by: By, as_json: Json = False, home: Home = None) -> None:
    """Let a candidate in: the next reading uses it. Refused for one that was not proven."""
    from ..api import Hospital

    with Hospital(home) as hospital:
        tell(hospital.approve(id, by), as_json)


@release_app.command()
def rollback(
    by: By,
    task: Annotated[str | None, typer.Option(help="The task.", show_default="the only one in use")] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Go back to the release before, bit for bit (or to none)."""
    from ..api import Hospital

    with Hospital(home) as hospital:
        tell(hospital.rollback(task, by), as_json)


@release_app.command()
def drift(
    task: Annotated[str | None, typer.Option(help="The task.", show_default="every release in use")] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Compare the images that a release in use has read with those that it learned from; exit 1 on an alert."""
    from .. import drifting
    from ..api import Hospital
    from ..errors import UnknownRelease

    alarmed = False
    with Hospital(home) as hospital:
        in_use = [r for r in hospital.store.approved() if task is None or task.lower() in _task(r).lower()]
        if not in_use:
            raise UnknownRelease("no release of that task is in use", "a release that a person approved",
                                 "see `attending release list`")  # fmt: skip
        for release in in_use:
            seen = drifting.watch(release, hospital.store, hospital.site, hospital.cache)
            alarmed = alarmed or seen.alarmed
            if as_json:
                emit(id=release.id, task=release.candidate.task, calibration=seen.calibration, seen=seen.seen,
                     looks=seen.looks, told_apart=round(seen.told_apart, 4), p=seen.p, alarmed=seen.alarmed,
                     words=seen.words)  # fmt: skip
            else:
                say(f"{release.id}  {_task(release)}  {seen.words}")
    sys.exit(1 if alarmed else 0)


FIGURES = {
    "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "ece": "calibration error",
}
"""How people call the figures; the others are called what they are."""


def _task(release: Release) -> str:
    """The finding in words beside its code value."""
    return f"{dict(release.candidate.card).get('code_meaning', '')} {release.candidate.task}".strip()


def tell(release: Release, as_json: bool) -> None:
    from ..api import release_fields

    fields = release_fields(release)
    if as_json:
        emit(**fields)
        return
    say(f"{release.id}  {release.status}  {_task(release)}  {release.why}".rstrip())
    scores = release.scores
    if scores:
        for group, rows in (
            ("candidate", scores.figures),
            ("release", scores.against),
            ("difference", scores.difference),
        ):
            for name, i in rows:
                figure = f"{i.value:.3f} [{i.low:.3f}, {i.high:.3f}]"
                say(f"  {group:10} {FIGURES.get(name, name):18} {figure}  n={scores.held_out}")
        for text in scores.notes:
            say(f"  {text}")
