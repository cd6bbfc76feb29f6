"""Docs are tested: an undocumented error, command or room fails."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

from attending.cli import app
from attending.errors import all_errors, snake

ROOT = Path(__file__).resolve().parent.parent


def test_every_error_code_is_a_heading_and_every_heading_a_code() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/errors.md").read_text(), re.M)
    assert sorted(headings) == sorted(snake(e.__name__) for e in all_errors())


def test_every_error_class_is_drawn_in_the_tree() -> None:
    import attending.errors

    drawn = set(re.findall(r"[├└]── (\w+)", str(attending.errors.__doc__)))
    assert drawn == {e.__name__ for e in all_errors()} - {"AttendingError"}


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs/commands.md").read_text()
    missing = [name for name in commands() if f"`attending {name}" not in text]
    assert not missing


def commands() -> list[str]:
    root = typer.main.get_command(app)
    found = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [f"{name} {sub}" for sub in inner] if inner else [name]
    return found


def test_every_room_is_on_the_map() -> None:
    text = (ROOT / "docs/rooms.md").read_text()
    rooms = {p.parent.name for p in (ROOT / "src/attending").glob("*/__init__.py")}
    assert not {room for room in rooms if f"`{room}" not in text}


def test_every_room_says_what_it_is_for_and_what_it_shows() -> None:
    import importlib

    for path in sorted((ROOT / "src/attending").glob("*/__init__.py")):
        room = importlib.import_module(f"attending.{path.parent.name}")
        assert room.__doc__, path
        if path.parent.name != "cli":
            assert set(room.__all__) <= set(dir(room)), path


def test_every_key_of_a_release_is_documented() -> None:
    from attending.api import release_fields
    from attending.records import Candidate, Interval, Release, Scores

    figures = (("auroc", Interval(0.9, 0.8, 1.0)),)
    candidate = Candidate("c", "1", "e/1", "w", "t", ("person",), "2026-01-01T00:00:00+00:00")
    fields = release_fields(Release("c", candidate, Scores("c", None, 1, "h", figures), "candidate"))
    keys = {*fields, *(f"scores.{key}" for key in fields["scores"])}
    text = (ROOT / "docs/json.md").read_text()
    assert not {key for key in keys if f"`{key}`" not in text}
