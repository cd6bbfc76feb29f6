"""site.toml to a Site, and the commented file to start from."""

from __future__ import annotations

import os
import tomllib
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import SiteError
from .folders import writing
from .settings import ROLES, SCHEMA, SECTIONS, TYPE_WORDS, Person, Site, toml
from .tables import TABLES, tables

FILE = "site.toml"
TOP = ("schema", "name", "people", *SECTIONS, *TABLES)


def load(home: Path) -> Site:
    """The settings in ``home/site.toml``; the defaults where there is no such file.

    Raises SiteError for a file that is not TOML, an unknown key, a wrong type, a value out of bounds or a newer schema.
    """
    document = _document(home / FILE)
    _known(document, TOP, "")
    schema = document.get("schema", SCHEMA)
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        raise SiteError(
            f"site.toml says schema = {schema!r}",
            f"schema {SCHEMA}" if SCHEMA == 1 else f"schema 1 to {SCHEMA}",
            "use the version of attending that wrote it, or start anew with `attending init`",
        )
    values: dict[str, Any] = {name: _section(name, kind, document.get(name, {})) for name, kind in SECTIONS.items()}
    if "name" in document:
        values["name"] = _value("name", "str", {}, document["name"])
    people = _people(document.get("people", []))
    if people:
        values["people"] = people
    values.update(tables(document))
    made = Site(home=home, **values)
    if made.thresholds.absent >= made.thresholds.present:
        raise SiteError(
            f"thresholds.absent = {made.thresholds.absent} and thresholds.present = {made.thresholds.present}",
            "absent below present",
            "mend [thresholds] in site.toml",
        )
    return made


def write_default(home: Path) -> Path:
    """Write the commented ``home/site.toml`` with every setting at its default; returns its path.

    Raises SiteError where the file is there already, HomeReadOnly and DiskFull.
    """
    with writing():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(home / FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise SiteError(
                "site.toml is there already",
                "a folder without one",
                "edit it, or move it away and run `attending init` again",
            ) from None
        with os.fdopen(descriptor, "w", encoding="utf-8") as f:
            f.write(default_text())
            f.flush()
            os.fsync(f.fileno())
    return home / FILE


def default_text() -> str:
    """The commented file. Lines that are commented out show a default; taking the mark away changes nothing."""
    lines = [
        "# Settings of this site. Every line is optional; what is commented out shows the default.",
        "# The file is read once, when a command starts. Unknown keys are refused.",
        "",
        f"schema = {SCHEMA}",
        f"# name = {toml(Site.__dataclass_fields__['name'].default)}  # how pages and reports name this place",
        "",
        "# Who may do what; --by NAME must be one of these. Without any, one person called demo holds every role.",
        *(f"#   {role}: {meaning}" for role, meaning in ROLES.items()),
        "# [[people]]",
        '# name = "A. Reader"',
        '# roles = ["radiologist"]',
    ]
    for section, kind in SECTIONS.items():
        lines += ["", f"# {(kind.__doc__ or '').strip()}", f"[{section}]"]
        for f in fields(kind):
            lines.append(f"# {f.name} = {toml(f.default)}  # {f.metadata['meaning']}")
    lines += ["", "# Models of your own, as tables [[servers]], [[folders]], [[environments]]: see docs/own-models.md"]
    return "\n".join(lines) + "\n"


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UnicodeDecodeError:
        raise SiteError("site.toml is not UTF-8 text", "TOML in UTF-8", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as e:
        raise SiteError(f"site.toml is not TOML: {e}", "TOML", "mend the line that is named") from None
    except OSError as e:
        raise SiteError(
            f"site.toml cannot be read: {os.strerror(e.errno or 0)}", "a readable file", "mend its permissions"
        ) from None


def _known(table: dict[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in allowed:
            near = get_close_matches(key, allowed, n=1)
            raise SiteError(
                f"site.toml has an unknown key {where + key!r}",
                ", ".join(where + name for name in allowed),
                f"write {where + near[0]!r}, or take it out" if near else "take it out, or see docs/site.md",
            )


def _section(name: str, kind: type[Any], table: Any) -> Any:
    if not isinstance(table, dict):
        raise SiteError(f"site.toml gives {name} a value", f"a table [{name}]", "see docs/site.md")
    _known(table, tuple(f.name for f in fields(kind)), f"{name}.")
    return kind(
        **{
            f.name: _value(f"{name}.{f.name}", str(f.type), dict(f.metadata), table[f.name])
            for f in fields(kind)
            if f.name in table
        }
    )


def _value(name: str, kind: str, bounds: dict[str, Any], value: Any) -> Any:
    right = {
        "str": isinstance(value, str),
        "int": type(value) is int,
        "float": type(value) in (int, float),
        "tuple[str, ...]": isinstance(value, list) and all(isinstance(v, str) for v in value),
    }[kind]
    if not right:
        raise SiteError(f"site.toml gives {name} = {value!r}", f"a {TYPE_WORDS[kind]}", "see docs/site.md")
    if kind == "tuple[str, ...]":
        return tuple(value)
    if kind == "float":
        value = float(value)
    low, high, of = bounds.get("low"), bounds.get("high"), bounds.get("of")
    # Written so that not-a-number, which compares false with everything, is refused too.
    if low is not None and high is not None and not low <= value <= high:
        raise SiteError(f"site.toml gives {name} = {value}", f"{low} to {high}", "mend it in site.toml")
    if of is not None and value not in of:
        raise SiteError(f"site.toml gives {name} = {value!r}", " or ".join(map(repr, of)), "mend it in site.toml")
    if kind == "str" and not value.strip():
        raise SiteError(f"site.toml gives {name} an empty text", "a text", "fill it in, or take the line out")
    return value


def _people(tables: Any) -> tuple[Person, ...]:
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise SiteError("site.toml gives people a value", "tables [[people]]", "see docs/site.md")
    people: list[Person] = []
    for table in tables:
        _known(table, ("name", "roles"), "people.")
        for needed in ("name", "roles"):
            if needed not in table:
                raise SiteError(f"a person in site.toml without {needed}", "a name and roles", "add it to [[people]]")
        name = _value("people.name", "str", {}, table["name"])
        roles = _value("people.roles", "tuple[str, ...]", {}, table["roles"])
        for role in roles:
            if role not in ROLES:
                raise SiteError(f"site.toml gives the role {role!r}", ", ".join(ROLES), "mend it under [[people]]")
        if any(person.name == name for person in people):
            raise SiteError("site.toml names one person twice", "each name once", "join the two [[people]] tables")
        people.append(Person(name, roles))
    return tuple(people)
