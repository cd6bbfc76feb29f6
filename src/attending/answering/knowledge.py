"""The few facts that are not in a study: each with its source, its date, and when it is to be checked again."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Fact:
    """about: the lexicon's name of a part of the body, or a DICOM modality. kind: "function", "range" or "radiation".

    low, high, unit   of a range; measure names what is measured; None where open.
    stale             whether its expiry has passed.
    """

    id: str
    kind: str
    about: str
    text: str
    source: str
    date: str
    expires: str
    measure: str = ""
    low: float | None = None
    high: float | None = None
    unit: str = ""

    @property
    def stale(self) -> bool:
        return datetime.now(UTC).date().isoformat() > self.expires


@cache
def facts() -> tuple[Fact, ...]:
    """Every fact of knowledge.toml."""
    document = tomllib.loads((files(__package__) / "knowledge.toml").read_text(encoding="utf-8"))
    return tuple(Fact(**fact) for fact in document["fact"])


def known(kind: str, about: str, measure: str = "") -> Fact | None:
    return next((f for f in facts() if (f.kind, f.about) == (kind, about) and measure in ("", f.measure)), None)
