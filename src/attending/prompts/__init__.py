"""Versioned prompt templates. ``prompt`` renders one; its id and version go into what was made with it.

A template file is NAME.vN.jinja and is never changed once released: a better one gets the next number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["Prompt", "prompt", "prompts"]

_FILE = re.compile(r"^(?P<name>[a-z_]+)\.v(?P<version>\d+)\.jinja$")


@dataclass(frozen=True)
class Prompt:
    """id is "name.vN". Blocks of the template become chat messages."""

    name: str
    version: int

    @property
    def id(self) -> str:
        return f"{self.name}.v{self.version}"

    def messages(self, **values: Any) -> list[dict[str, str]]:
        """Chat messages: what is stable first and what changes last, so that a prefix cache holds.

        In a template a line ``--- role`` opens the next message. Values left out raise jinja2.UndefinedError.
        """
        text = _environment().get_template(f"{self.id}.jinja").render(**values)
        out: list[dict[str, str]] = []
        for block in re.split(r"^--- ", text, flags=re.MULTILINE)[1:]:
            role, _, content = block.partition("\n")
            out.append({"role": role.strip(), "content": content.strip()})
        return out


def prompts() -> tuple[Prompt, ...]:
    """Every template shipped, by name and version."""
    found = [_FILE.match(f.name) for f in files(__package__).iterdir()]
    return tuple(sorted((Prompt(m["name"], int(m["version"])) for m in found if m), key=lambda p: (p.name, p.version)))


def prompt(name: str, version: int | None = None) -> Prompt:
    """A template by name, the newest version where none is given. Raises KeyError for an unknown one."""
    known = [p for p in prompts() if p.name == name and version in (None, p.version)]
    if not known:
        raise KeyError(f"no prompt {name!r} of version {version}; known: {', '.join(p.id for p in prompts())}")
    return known[-1]


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Prompts are plain text for a model, never HTML.
    return Environment(loader=PackageLoader("attending", "prompts"), undefined=StrictUndefined, autoescape=False)
