"""A language model words the facts, one at a time. What it may not change is held in slots; what it breaks is not used.

Numbers with their units enter the prompt as [N1], [N2] ... and are filled in afterwards, so that a small model cannot
miscopy them. A slot lost or doubled, a broken schema, an empty answer, a loop, a stall or an exception gives the
deterministic wording. Whether the words are true is not judged here: that is the checker's work.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..prompts import Prompt, prompt
from ..records import CaseFacts, Draft, Finding, Findings, Judged, Measurement, Producer, Sentence
from . import plain
from .facts import Item, given, is_structure, items

if TYPE_CHECKING:
    from ..models.protocols import Writer
    from ..site import Site

# A page must not wait for a stalled model: after this many seconds of one reading the rest is worded by rule.
PATIENCE = 3.0
_SLOT = re.compile(r"\[N(\d+)\]")


@dataclass(frozen=True)
class Fact:
    """One fact as a prompt line, and what its slots stand for."""

    line: str
    slots: tuple[str, ...]


def fact_of(finding: Finding, brief: bool = False) -> Fact:
    """A finding as a prompt line; brief leaves out numbers, as in an impression."""
    state = "measured" if is_structure(finding) else finding.presence
    parts = [f"{state}: {plain.named(finding)}{plain.where(finding)}"]
    slots: list[str] = []
    if not brief:
        for m in given(finding) if finding.presence != "absent" else ():
            slots.append(plain.quantity(m))
            parts.append(f"{_what(m)} [N{len(slots)}]")
        if finding.probability is not None:
            slots.append(plain.number(finding.probability, "1"))
            parts.append(f"probability [N{len(slots)}]")
        elif finding.score is not None:
            slots.append(plain.number(finding.score, "1"))
            parts.append(f"model score [N{len(slots)}]")
    return Fact(", ".join(parts), tuple(slots))


def _what(m: Measurement) -> str:
    meaning = m.code.meaning.lower()
    return meaning if len(meaning) < 30 and meaning != "as written" else "size"


def schema_of(fact: Fact) -> dict[str, Any]:
    """The answer's JSON schema. Its pattern holds each slot once and in order: a number cannot be lost or made up."""
    plain_run = r"[A-Za-z ,()'-]*" if fact.slots else r"[A-Za-z ,'-]*"
    pattern = "^[A-Z]" + plain_run + "".join(rf"\[N{n}\]{plain_run}" for n in range(1, len(fact.slots) + 1)) + r"\.$"
    return {
        "type": "object",
        "properties": {"text": {"type": "string", "pattern": pattern}},
        "required": ["text"],
        "additionalProperties": False,
    }


def word_all(
    draft: Draft, listed: tuple[Item, ...], writer: Writer, site: Site | None, progress: Callable[..., None] | None
) -> Draft:
    """The draft with its findings and impression worded by the model, where it can."""
    by_ids = {item.rests_on: item for item in listed}
    todo = [s for s in draft.sentences if _may_word(s, by_ids.get(s.rests_on))]
    began, out, fell = time.monotonic(), {}, []
    limit = PATIENCE * _timeout(site)
    for done, s in enumerate(todo):
        if progress is not None:
            progress("wording the findings", done / max(1, len(todo)))
        if time.monotonic() - began > limit:
            fell.append(f"{s.id}: no time left")
            continue
        which = _prompt(s)
        text, why = _word(writer, site, which, fact_of(by_ids[s.rests_on].findings[0], s.section == "impression"))
        if text is None:
            fell.append(f"{s.id}: {why}")
        else:
            out[s.id] = replace(s, text=text, producer=_producer(writer, which))
    notes = (f"worded by rule after the model failed ({'; '.join(fell)})",) if fell else ()
    sentences = tuple(out.get(s.id, s) for s in draft.sentences)
    return replace(
        draft, sentences=sentences, writer=_producer(writer, prompt("word_fact")), notes=(*draft.notes, *notes)
    )


def rewriter(
    case: CaseFacts, found: Findings, writer: Writer | None, site: Site | None = None
) -> Callable[[Sentence, Judged], Sentence | None] | None:
    """What ``checking.verify`` calls to have a struck sentence worded again; None where no model may write."""
    if writer is None:
        return None
    listed = items(found)
    return lambda sentence, judged: reword(sentence, judged, listed, writer, site)


def reword(
    sentence: Sentence, judged: Judged, listed: tuple[Item, ...], writer: Writer, site: Site | None = None
) -> Sentence | None:
    """The one rewriting: the writer is told what was wrong. None where it cannot do better than the rule."""
    item = next((i for i in listed if i.rests_on == sentence.rests_on), None)
    if item is None or not _may_word(sentence, item):
        return None
    which = _prompt(sentence)
    fact = fact_of(item.findings[0], sentence.section == "impression")
    text, _ = _word(writer, site, which, fact, sentence.text, judged.reason)
    if text is None or text == sentence.text:
        return None
    return replace(sentence, text=text, producer=_producer(writer, which))


def _may_word(sentence: Sentence, item: Item | None) -> bool:
    """A model words single facts. Lists of numbers have no words to find."""
    return sentence.section in {"findings", "impression"} and item is not None and len(item.findings) == 1


def _prompt(sentence: Sentence) -> Prompt:
    """An impression has examples of its own, without numbers: a model that has seen scores writes "a score of ."."""
    return prompt("word_impression" if sentence.section == "impression" else "word_fact")


def _producer(writer: Writer, which: Prompt) -> Producer:
    return Producer(writer.card.id, writer.card.version, which.id)


def _timeout(site: Site | None) -> float:
    return float(site.drafting.timeout_s) if site is not None else 20.0


def _word(
    writer: Writer, site: Site | None, which: Prompt, fact: Fact, struck: str = "", reason: str = ""
) -> tuple[str | None, str]:
    """(text, "") or (None, why not)."""
    messages = which.messages(fact=fact.line, struck=_emptied(struck, fact), reason=reason)
    tokens = site.drafting.max_tokens if site is not None else 60
    try:
        written = writer.write(messages, schema=schema_of(fact), max_tokens=tokens, timeout_s=_timeout(site))
    except Exception as failed:  # a writer is a plugin: whatever it raises, the reading goes on
        return None, f"the writer failed ({type(failed).__name__})"
    if written.stopped != "done":
        return None, {"length": "it did not come to an end", "time": "it took too long"}[written.stopped]
    try:
        text = json.loads(written.text)["text"]
    except (ValueError, KeyError, TypeError):
        return None, "it broke the schema"
    if not isinstance(text, str) or not text.strip():
        return None, "it wrote nothing"
    return filled(text, fact)


def filled(text: str, fact: Fact) -> tuple[str | None, str]:
    """Slots replaced by their numbers; (None, why) where one is lost, doubled or made up."""
    used = [int(n) for n in _SLOT.findall(text)]
    if sorted(used) != list(range(1, len(fact.slots) + 1)):
        return None, "it lost or doubled a number"
    text = _SLOT.sub(lambda m: fact.slots[int(m.group(1)) - 1], text)
    return plain.sentence(" ".join(text.split())), ""


def freely(finding: Finding, writer: Writer, site: Site | None = None) -> str | None:
    """What a model writes of a finding when it is handed the number too, without slots, schema and examples.

    Never part of a draft: it shows what the slots and the checker are for. None where the model gives no sentence.
    """
    parts = [f"{plain.named(finding)}{plain.where(finding)} {finding.presence}"]
    parts += [f"{_what(m)} {plain.quantity(m)}" for m in given(finding)]
    if finding.score is not None:
        parts.append(f"score {plain.number(finding.score, '1')}")
    messages = prompt("word_freely").messages(fact=", ".join(parts))
    try:
        text = " ".join(writer.write(messages, max_tokens=80, timeout_s=_timeout(site)).text.split())
    except Exception:  # a writer is a plugin: whatever it raises, there is just nothing to show
        return None
    first = re.match(r".+?[.!?](?= [A-Z]|$)", text)
    return first.group() if first else None


def _emptied(text: str, fact: Fact) -> str:
    """A struck wording with its numbers back in slots, so that the model does not see them to miscopy."""
    for n, slot in enumerate(fact.slots, 1):
        text = text.replace(slot, f"[N{n}]", 1)
    return text
