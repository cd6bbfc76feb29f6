"""Whether the report agrees with itself after the edit: what the person must look at, in words. Nothing is refused.

``terms`` reads English report sentences and can misread one ("no growth of the known glioma"), so that a sentence that
seems to say the contrary of a coded finding is worth a warning and never a refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..records import Finding, Sentence
from .restate import named

if TYPE_CHECKING:
    from ..terms import Assertion


def warnings(sentences: Iterable[Sentence], found: Sequence[Finding]) -> tuple[str, ...]:
    """One line for each sentence that reads as the contrary of every finding that it can mean."""
    from .. import terms

    meant_by = [(f, name) for f in found for name in _terms(f)]
    out: dict[str, str] = {}
    for sentence in sentences:
        for said in terms.parse(sentence.text):
            contrary = {"present": "absent", "absent": "present"}.get(said.presence)
            meant = [f for f, name in meant_by if _means(said, name)]
            if said.side and any(f.side for f in meant):
                meant = [f for f in meant if f.side in (said.side, "bilateral", None)]
            if said.kind != "structure" and meant and all(f.presence == contrary for f in meant):
                out.setdefault(
                    sentence.id,
                    f"sentence {sentence.id} reads as {said.finding} {said.presence}, finding {meant[0].id} is coded "
                    f"as {contrary}: the coded findings go to the registry and to the learners",
                )
    return tuple(out.values())


def twins(found: Sequence[Finding], touched: Iterable[str]) -> tuple[str, ...]:
    """One line for each finding that the expert's correction made the same as another: code, side and site."""
    out, seen = [], set(touched)
    for n, one in enumerate(found):
        for other in found[n + 1 :]:
            same = (one.code.value, one.side, one.site) == (other.code.value, other.side, other.site)
            if same and seen & {one.id, other.id}:
                out.append(f"findings {one.id} and {other.id} are both coded as {named(one)}")
    return tuple(out)


def names_finding(sentences: Iterable[Sentence], finding: Finding) -> bool:
    """Whether one of the sentences speaks of the finding, by the lexicon or by the noun of its name."""
    from .. import terms

    known = _terms(finding)
    head = re.split(r" (?:of|in|due) ", finding.code.meaning.lower())[0].split()[-1:]
    for sentence in sentences:
        if known & {said.finding for said in terms.parse(sentence.text)}:
            return True
        if head and re.search(rf"\b{re.escape(head[0])}", sentence.text, re.IGNORECASE):
            return True
    return False


def still_asked(texts: Iterable[str], changed: Iterable[tuple[Finding, Finding | None]]) -> tuple[str, ...]:
    """Questions and alerts of the draft without those that the expert's correction of a finding has answered."""
    answered = []
    for old, new in changed:
        if new is None or new.presence != old.presence:
            label = re.escape(named(old))
            answered.append(re.compile(rf"(is {label} present\?|{label} is stated as present)", re.IGNORECASE))
    return tuple(t for t in texts if not any(a.match(t) for a in answered))


def _terms(finding: Finding) -> set[str]:
    """The lexicon's names for a finding; empty where it knows none."""
    from .. import terms

    return {a.finding for a in terms.parse(finding.code.meaning) if a.kind == "finding"}


def _means(said: Assertion, name: str) -> bool:
    """Whether an assertion speaks of the finding with this name: to deny a tumour is to deny every kind of tumour."""
    from .. import terms

    return said.finding == name or (said.presence == "absent" and said.finding in terms.lexicon().ancestors(name))
