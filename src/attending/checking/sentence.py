"""One sentence against what it rests on. Knows nothing of who wrote it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..records import CaseFacts, Evidence, Finding, Judged
from ..terms.scope import kinds
from . import rules_clauses, rules_cues, rules_facts, rules_omission, rules_places, rules_values, rules_words
from .cited import Claim, claim
from .found import Found
from .relate import akin

# In this order: the first rule that contradicts decides; else the first that cannot tell; else the facts support it.
RULES: tuple[tuple[str, Callable[[Claim], Found | None]], ...] = (
    ("evidence", rules_facts.evidence),
    ("garble", rules_words.garble),
    ("modality", rules_words.modality),
    ("facts", rules_facts.facts),
    ("polarity", rules_cues.polarity),
    ("denial", rules_cues.denial),
    ("doubt", rules_cues.doubt),
    ("clauses", rules_clauses.clauses),
    ("doubts", rules_clauses.doubts),
    ("made_normal", rules_clauses.made_normal),
    ("exceptions", rules_clauses.exceptions),
    ("antonyms", rules_clauses.antonyms),
    ("not_normal", rules_clauses.not_normal),
    ("pairs", rules_cues.pairs),
    ("mixed", rules_values.mixed),
    ("previous", rules_values.previous),
    ("weights", rules_values.weights),
    ("curves", rules_values.curves),
    ("nouns", rules_cues.nouns),
    ("silent", rules_facts.silent),
    ("side", rules_facts.side_words),
    ("number", rules_facts.loose_numbers),
    ("levels", rules_cues.levels),
    ("schemes", rules_values.schemes),
    ("discs", rules_values.discs),
    ("counts", rules_cues.counts),
    ("judgement", rules_words.judgement),
    ("recommendation", rules_words.recommendation),
    ("anatomy", rules_places.anatomy),
    ("states", rules_clauses.states),
    ("unknown_words", rules_words.unknown_words),
    ("omission", rules_omission.omission),
)


def check_sentence(
    text: str,
    facts: Sequence[Finding],
    evidence: Sequence[Evidence],
    case: CaseFacts | None = None,
    sentence: str = "",
) -> Judged:
    """Is the sentence supported by the facts and evidence that it cites?

    text      one sentence, by anyone: a rule, a language model, a person.
    facts     the findings it rests on; evidence whatever else it cites.
    case      modality and body part for the vocabulary rule; None switches that rule off.
    sentence  the sentence's id, for the verdict.

    "supported": every assertion, side, number and unit follows from what is cited. "contradicted": something does not
    (rule and reason say what). "unknown": it holds words or judgements that cannot be held against what is cited.
    """
    held = claim(text, facts, evidence, case)
    doubt: Found | None = None
    for _, rule in RULES:
        found = rule(held)
        if found is None:
            continue
        if found.verdict == "contradicted":
            return Judged(sentence, "contradicted", found.rule, found.reason)
        doubt = doubt or found
    if doubt is not None:
        return Judged(sentence, "unknown", doubt.rule, doubt.reason)
    return _supported(held, sentence)


def _supported(held: Claim, sentence: str) -> Judged:
    if held.parsed.assertions:
        labels = list(dict.fromkeys(a.finding for a in held.parsed.assertions))
        return Judged(sentence, "supported", "facts", f"agrees with what is cited on {', '.join(labels)}")
    named = held.parsed.findings
    if named and all(m.silent for m in named):
        return Judged(sentence, "supported", "facts", "says what was not assessed")
    if any("normal" in kinds(m) and m.presence == "present" for m in held.parsed.found) and not held.parsed.assertions:
        absent = [f for f in held.cited.facts if f.presence == "absent" and akin(held.text, f.label)]
        if absent and len(absent) == len(held.cited.facts):
            return Judged(sentence, "supported", "facts", "calls normal what is cited as such")
    firm = any(f.presence != "absent" for f in held.cited.facts)
    if firm and rules_cues.denies(held):
        return Judged(sentence, "unknown", "no_assertion", "denies something; what is cited is not absent")
    if held.matched:
        return Judged(sentence, "supported", "facts", "agrees with the cited measurements")
    if held.cited.facts and all(rules_omission.alluded(held, f) for f in held.cited.facts):
        return Judged(sentence, "supported", "words", "names what is cited by its own words")
    if held.cited.facts and rules_cues.quoted(held):
        return Judged(sentence, "supported", "words", "says what is said beside what is cited")
    own = {w for w in held.parsed.words if w.isalpha() and w not in PLAIN}
    if own and held.cited.texts and len(own & held.cited.words) >= 0.6 * len(own):
        return Judged(sentence, "supported", "words", "says what the cited evidence says")
    return Judged(sentence, "unknown", "no_assertion", "states nothing that can be held against what is cited")


PLAIN = frozenset(
    {
        *(
            "the",
            "a",
            "an",
            "of",
            "in",
            "on",
            "at",
            "to",
            "is",
            "are",
            "was",
            "were",
            "be",
            "been",
            "has",
            "have",
            "and",
        ),
        *("or", "with", "for", "this", "that", "these", "there", "it", "its", "by", "from", "as", "no", "not"),
    }
)
