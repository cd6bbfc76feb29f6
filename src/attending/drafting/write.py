"""Facts to a draft. The facts are decided before; here they are only put into sentences, each with what it rests on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..records import CaseFacts, Draft, Evidence, Findings, NotAssessed, Producer, Sentence
from . import plain
from .facts import Item, items

if TYPE_CHECKING:
    from ..models.protocols import Writer
    from ..site import Site

MAX_IMPRESSION = 4  # an impression is read first and must stay short
Progress = Callable[[str], None]


def write(
    case: CaseFacts,
    found: Findings,
    writer: Writer | None = None,
    site: Site | None = None,
    progress: Callable[..., None] | None = None,
) -> Draft:
    """The draft of one reading; never raises for what a writer does.

    writer  words the sentences of the findings and the impression, one at a time; None for the deterministic writer.
            Sentences on quality and on what was not assessed are never worded by a model. A prompt holds meanings of
            codes, sides and marks for numbers: nothing of a header, a description or burned-in text can enter one.
    """
    listed = items(found)
    sentences = [_finding(i, item) for i, item in enumerate(listed, 1)]
    sentences += _impression(listed, len(sentences), found)
    draft = Draft(tuple(_numbered([*sentences, *_quality(found), *_context(found), *_not_assessed(found)])))
    if writer is None:
        return draft
    from .worded import word_all

    return word_all(draft, listed, writer, site, progress)


def _numbered(sentences: list[Sentence]) -> list[Sentence]:
    return [replace(s, id=f"s{n}") for n, s in enumerate(sentences, 1)]


def _finding(number: int, item: Item) -> Sentence:
    text = plain_text(item)
    return Sentence(f"s{number}", text, "findings", item.rests_on, Producer(), text)


def plain_text(item: Item) -> str:
    """The deterministic wording of one fact."""
    if item.kind == "absent":
        return plain.absent(item.findings)
    if item.kind == "volumes":
        return plain.volumes(item.findings)
    return plain.finding(item.findings[0])


def _impression(listed: tuple[Item, ...], count: int, found: Findings) -> list[Sentence]:
    """Most urgent first; one line when nothing is present; none where nothing was looked at."""
    out: list[Sentence] = []
    stated = [i for i in listed if i.kind == "finding"]
    for item in stated[:MAX_IMPRESSION]:
        f = item.findings[0]
        verb = "Possible " if f.presence == "uncertain" else ""
        text = plain.sentence(f"{verb}{plain.named(f)}{plain.where(f)}")
        out.append(Sentence("", text, "impression", item.rests_on, Producer(), text))
    if not stated:
        denied = [i for i in listed if i.kind == "absent"]
        if denied:
            item = denied[0]
            names = [plain.named(f) for f in item.findings]
            text = plain.sentence("no " + (names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]))
            out.append(Sentence("", text, "impression", item.rests_on, Producer(), text))
    return out


def _quality(found: Findings) -> list[Sentence]:
    """One sentence for each quality fact, resting on every image that shows it."""
    evidence = {e.id: e for e in found.evidence}
    return _said([evidence[i] for i in found.quality if i in evidence])


def _context(found: Findings) -> list[Sentence]:
    """What a reader must know of how the numbers were made."""
    return _said([e for e in found.evidence if e.kind == "context"])


def _said(evidence: list[Evidence]) -> list[Sentence]:
    """Evidence in its own words, a sentence at a time, each said once."""
    holders: dict[str, list[str]] = {}
    for item in evidence:
        for text in re.split(r"(?<=[.!?])\s+(?=\S)", item.text.strip()):
            holders.setdefault(plain.sentence(text), []).append(item.id)
    return [Sentence("", text, "quality", tuple(ids), Producer(), text) for text, ids in holders.items()]


def _not_assessed(found: Findings) -> list[Sentence]:
    """What nobody looked at, grouped by reason, each resting on the gate's evidence."""
    groups: dict[str, list[NotAssessed]] = {}
    for item in found.not_assessed:
        groups.setdefault(item.why, []).append(item)
    out = []
    for why, group in groups.items():
        what = ", ".join(dict.fromkeys(n.what for n in group))
        text = plain.sentence(f"not assessed: {what} ({why.rstrip('.')})")
        evidence = tuple(dict.fromkeys(n.evidence for n in group))
        out.append(Sentence("", text, "not_assessed", evidence, Producer(), text))
    return out
