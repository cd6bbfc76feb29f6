"""What a rule found: nothing (None), or a verdict with its name and the reason in words."""

from __future__ import annotations

from dataclasses import dataclass

from ..records.reading import Judgement


@dataclass(frozen=True)
class Found:
    verdict: Judgement
    rule: str
    reason: str


def contradicted(rule: str, reason: str) -> Found:
    return Found("contradicted", rule, reason)


def unknown(rule: str, reason: str) -> Found:
    return Found("unknown", rule, reason)
