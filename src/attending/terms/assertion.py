"""What a sentence says of one finding, as a record."""

from __future__ import annotations

from dataclasses import dataclass

from ..records import Code, Presence, Side
from .quantities import Quantity


@dataclass(frozen=True)
class Assertion:
    """What a sentence says of one finding.

    finding    preferred name, lower case (for a measured structure, the structure's name).
    site       preferred name of the part of the body, lower case; sites has all that are named.
    span       character places of the finding's words in the sentence.
    kind       "finding"; "normal" where a statement of normality denies it; "structure" for a measured body part.
    more       the side that is said to be the worse one ("bilateral effusions, left greater than right").
    """

    finding: str
    code: Code
    presence: Presence
    side: Side | None
    site: str | None
    span: tuple[int, int]
    quantities: tuple[Quantity, ...] = ()
    sites: tuple[str, ...] = ()
    kind: str = "finding"
    more: str | None = None


def side_of(sides: set[str]) -> Side | None:
    if "bilateral" in sides or sides >= {"left", "right"}:
        return "bilateral"
    return "left" if "left" in sides else "right" if "right" in sides else None


def merge(assertions: list[Assertion]) -> list[Assertion]:
    """One assertion for a finding that a statement of normality and its own mention both give."""
    seen: dict[tuple[object, ...], Assertion] = {}
    for a in assertions:
        seen.setdefault((a.finding, a.presence, a.side, a.site, tuple(q.span for q in a.quantities)), a)
    return list(seen.values())
