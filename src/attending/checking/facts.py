"""A true sentence as facts: what a person's or a public report's sentence asserts, in the records a checker takes."""

from __future__ import annotations

from ..records import Code, Evidence, Finding, Measurement
from ..terms import lexicon, parse


def facts_of_text(text: str, prefix: str = "t") -> tuple[tuple[Finding, ...], tuple[Evidence, ...]]:
    """Findings built from the assertions of a sentence, and one piece of evidence per finding that carries its words.

    The evidence is of kind "expert": somebody said so. Used where a signed sentence becomes evidence, and to measure
    the checker on sentences known to be true.
    """
    book = lexicon()
    made: list[Finding] = []
    for at, a in enumerate(parse(text), 1):
        site = book.organs[a.site].code if a.site in book.organs else None
        numbers = tuple(
            Measurement(Code("99ATTENDING", "as-written", "as written"), q.value, q.unit, f"{prefix}{at}m{n}")
            for n, q in enumerate(a.quantities, 1)
        )
        made.append(Finding(f"{prefix}{at}", a.code, a.presence, side=a.side, site=site, measurements=numbers))
    evidence = tuple(Evidence(f"{f.id}e", "expert", text, about=f.id) for f in made)
    return tuple(made), evidence or (Evidence(f"{prefix}e", "expert", text),)
