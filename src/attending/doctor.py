"""What is installed, what is usable here, and what to do about the rest: the lines of ``attending doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import Status

__all__ = ["Fact", "facts"]


@dataclass(frozen=True)
class Fact:
    """One line of ``doctor``; do is "" where nothing need be done."""

    what: str
    ok: bool
    detail: str
    do: str = ""


def facts(home: Path, cache: Path, models: Sequence[Status], named: Sequence[str]) -> list[Fact]:
    """One line a library, folder and model; named are the ids that the site names."""
    return [*_libraries(), *_folders(home, cache), *_plugins(models, named)]


def _libraries() -> Iterator[Fact]:
    import sys
    from importlib.metadata import PackageNotFoundError, version
    from shutil import which

    yield Fact("python", sys.version_info >= (3, 11), sys.version.split()[0])
    base = ("pydicom", "highdicom", "onnxruntime", "xllamacpp", "scikit-image", "scikit-learn", "simpleitk")
    for name, do in (
        *((name, "make install") for name in base),
        ("torch", "in the source folder: pip install -c constraints.txt '.[torch]'"),
    ):
        try:
            yield Fact(name, True, version(name))
        except PackageNotFoundError:
            optional = " (optional: benchmarks and later training)" if name == "torch" else ""
            yield Fact(name, bool(optional), "not installed" + optional, do)
    for name in ("dciodvfy", "dsrdump", "chromium"):
        found = which(name)
        yield Fact(
            name, True, found or "not installed (optional: some tests)", "" if found else "scripts/install-debian.sh"
        )


def _folders(home: Path, cache: Path) -> Iterator[Fact]:
    import os

    from . import site

    made = home.exists()
    writable = os.access(home if made else _above(home), os.W_OK)
    do = "" if writable else "set ATTENDING_HOME to a folder that you may write to"
    yield Fact("home", writable, f"{home}" + ("" if made else " (made on first use)"), do)
    yield Fact("cache", True, f"{cache}")
    mirror = site.mirror_dir()
    yield Fact("mirror", True, str(mirror) if mirror else "none (ATTENDING_MIRROR)")


MEND = "mend its id in site.toml; see attending models list"


def _plugins(models: Sequence[Status], named: Sequence[str]) -> Iterator[Fact]:
    for status in models:
        id = status.card.id
        detail = "usable" if status.usable else status.why
        yield Fact(f"model {id}" + (" (named by the site)" if id in named else ""), status.usable, detail, status.do)
    known = {"none", *(status.card.id for status in models)}
    for id in dict.fromkeys(id for id in named if id not in known):
        yield Fact(f"model {id} (named by the site)", False, "in no catalog, plugin or table of site.toml", MEND)


def _above(path: Path) -> Path:
    return next(folder for folder in (path, *path.resolve().parents) if folder.exists())
