"""Which of two sides is said to be the worse one: "left greater than right", "thicker on the left"."""

from __future__ import annotations

import re

_ORDER = re.compile(
    r"\b(left|right|(?-i:[LR]))\b[^.;,]{0,25}(?:\bthan\b|>)[^.;,]{0,15}\b(left|right|(?-i:[LR]))\b",
    re.IGNORECASE,
)
_WORSE = re.compile(
    r"\b(?:more|thicker|worse|greater|larger|bigger|wider|mainly|chiefly|predominantly|predominating|most|higher|denser)\b"
    r"(?: \w+){0,2} (?:on|at|in) the (left|right)\b(?! \w+ lobe)"
    r"|\bmore (?:on )?(?:the )?(left|right)\b|\b(left|right)[- ](?:predominan\w+|sided predominan\w+|more than)\b",
    re.IGNORECASE,
)
_LETTERS = {"l": "left", "r": "right"}
_BILATERAL = re.compile(r"\b(?:bilateral(?:ly)?|both|bi(?:basilar|apical|basal|hilar))\b", re.IGNORECASE)


def worse(text: str) -> tuple[str | None, tuple[int, int]]:
    """(the worse side, the place in the text where sides name an order and no place of a finding)."""
    pair = _ORDER.search(text)
    if pair is not None:
        one, other = (_LETTERS.get(g.lower(), g.lower()) for g in pair.groups())
        return (None, (0, 0)) if one == other else (one, pair.span())
    worst = _WORSE.search(text)
    if worst is None:
        return None, (0, 0)
    side = next(g for g in worst.groups() if g).lower()
    return side, worst.span() if _BILATERAL.search(text) else (0, 0)
