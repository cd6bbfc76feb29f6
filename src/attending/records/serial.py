"""Records to JSON and back. Every document carries its schema number and kind; a newer schema is refused."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from ..errors import UnknownVersion

SCHEMA = 1
R = TypeVar("R")


_ADAPTERS: dict[Any, Any] = {}


def _adapter(kind: Any) -> Any:
    """pydantic's reader and writer of one record class, built once: building takes longer than using it."""
    from pydantic import TypeAdapter

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def dumps(record: Any) -> str:
    """One frozen JSON-able record as canonical JSON: sorted keys, no spaces, so that equal records hash alike.

    Raises ValueError for NaN and infinities: JSON has no words for them.
    """
    body = _adapter(type(record)).dump_python(record, mode="json")
    return json.dumps(
        {"schema": SCHEMA, "kind": type(record).__name__, "record": body},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )


def loads(kind: type[R], text: str | bytes) -> R:
    """The inverse of ``dumps``.

    Raises UnknownVersion for another schema number or kind, ValueError for what is no JSON (NaN included), and
    pydantic's ValidationError (a ValueError) for a body that does not fit.
    """
    document = json.loads(text, parse_constant=_refuse)
    given: dict[str, Any] = document if isinstance(document, dict) else {}
    if given.get("schema") != SCHEMA or given.get("kind") != kind.__name__ or "record" not in given:
        raise UnknownVersion(
            f"a {given.get('kind')!r} document of schema {given.get('schema')!r}",
            f"{kind.__name__!r} documents of schema {SCHEMA}",
            "open it with the version of attending that wrote it, or upgrade this one",
        )
    record: R = _adapter(kind).validate_python(given["record"])
    return record


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} in a document; JSON has finite numbers only")
