"""Models that a site adds in site.toml: servers, folders of ONNX or MONAI, and environments of their own.

Each is a table that may be there many times ([[servers]], [[folders]], [[environments]]); docs/own-models.md says what
each key means, and a test compares. A field without a default must be given.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from ..errors import SiteError

USES = ("care", "teach", "view")


def _key(meaning: str, default: Any = MISSING, of: tuple[str, ...] = ()) -> Any:
    metadata = {"meaning": meaning, "of": of}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Server:
    """A model behind an OpenAI-compatible server (vLLM, SGLang, Ollama, llama-server)."""

    id: str = _key("the name that models.writer or models.reader says")
    url: str = _key("its address up to /chat/completions: http://127.0.0.1:8000/v1")
    model: str = _key("the model's name there")
    protocols: tuple[str, ...] = _key(
        "Writer (words facts), Reader (answers about images), or both", ("Writer",), ("Writer", "Reader")
    )
    licence: str = _key("SPDX expression of the model's licence; without one the licence gate refuses it", "")
    key_env: str = _key("environment variable that holds the key", "")
    allow_remote: bool = _key(
        "true: the address may be another machine's (https only); it is sent de-identified cases", False
    )
    use: str = _key("what its licence allows", "care", USES)
    modalities: tuple[str, ...] = _key("images that a Reader may see; none named: any", ())
    views: tuple[str, ...] = _key("the same for views", ())
    body_parts: tuple[str, ...] = _key("the same for body parts", ())


@dataclass(frozen=True)
class Folder:
    """A folder with a model file and its card.toml, or a MONAI bundle."""

    id: str = _key("the model's id; for ONNX the one of its card.toml")
    path: str = _key("the folder; a relative one lies below the hospital's folder")
    kind: str = _key(
        "onnx: a card.toml beside an ONNX file; monai: a MONAI bundle; gguf: a language model with its projector",
        "onnx",
        ("onnx", "monai", "gguf"),
    )
    licence: str = _key("SPDX expression, for monai and gguf; without one the licence gate refuses it", "")
    python: str = _key("for monai: another interpreter that has torch and monai; else this one's", "")


@dataclass(frozen=True)
class Environment:
    """A program with libraries that clash with ours, in a Python environment of its own."""

    id: str = _key("the model's id")
    program: str = _key("which adapter runs it", of=("totalsegmentator", "nninteractive", "torchxrayvision"))
    python: str = _key("the environment's interpreter: /opt/totalsegmentator/bin/python")
    weights: str = _key(
        "the folder of its weights, as its own download places them; nothing is ever downloaded here", ""
    )
    task: str = _key("a name for what it does, shown as its version; nninteractive: no-autozoom", "")
    licence: str = _key("SPDX expression of the weights' licence; without one the licence gate refuses it", "")


TABLES: dict[str, type[Any]] = {"servers": Server, "folders": Folder, "environments": Environment}


def tables(document: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The three lists of a site.toml. Raises SiteError for an unknown key, a wrong type, and an id given twice."""
    found = {
        name: tuple(_row(name, kind, row) for row in _rows(name, document.get(name, [])))
        for name, kind in TABLES.items()
    }
    ids = [row.id for rows in found.values() for row in rows]
    twice = sorted({id for id in ids if ids.count(id) > 1})
    if twice:
        raise SiteError(
            f"site.toml names the model {twice[0]} twice",
            "each id once",
            "rename one of servers, folders, environments",
        )
    return found


def _rows(name: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise SiteError(f"site.toml gives {name} a value", f"tables [[{name}]]", "see docs/own-models.md")
    return value


def _row(name: str, kind: type[Any], row: dict[str, Any]) -> Any:
    known = {f.name: f for f in fields(kind)}
    for key in row:
        if key not in known:
            raise SiteError(
                f"site.toml has an unknown key {name + '.' + key!r}",
                ", ".join(known),
                "take it out, or see docs/own-models.md",
            )
    for key, f in known.items():
        if f.default is MISSING and key not in row:
            raise SiteError(
                f"site.toml has [[{name}]] without {key}", ", ".join(known), f"add {key}, see docs/own-models.md"
            )
    return kind(**{key: _value(f"{name}.{key}", known[key], value) for key, value in row.items()})


def _value(name: str, f: Field[Any], value: Any) -> Any:
    kind = {"str": "a text", "bool": "true or false", "tuple[str, ...]": "a list of texts"}[str(f.type)]
    right = {
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "tuple[str, ...]": isinstance(value, list) and all(isinstance(v, str) for v in value),
    }[str(f.type)]
    if not right or (f.default is MISSING and not str(value).strip()):
        raise SiteError(f"site.toml gives {name} = {value!r}", kind, "see docs/own-models.md")
    allowed = f.metadata["of"]
    for word in (value if isinstance(value, list) else [value]) if allowed else ():
        if word not in allowed:
            raise SiteError(f"site.toml gives {name} = {word!r}", " or ".join(allowed), "mend it in site.toml")
    return tuple(value) if isinstance(value, list) else value
