"""Rules that read a sentence clause by clause: which part of it denies, what an exception adds, what a state adds."""

from __future__ import annotations

from ..terms.scope import kinds
from ..terms.tokens import root, stems
from . import rules_cues
from .cited import Claim, Fact, spoken
from .found import Found, contradicted, unknown

_ENDS = {",", ";", ".", ":", "but", "however", "although", "with", "so", "while", "whereas"}
_FORWARD = {"no", "without", "not", "nor", "neither", "nil", "never", "free", "negative", "absence", "lack", "cannot"}
_DENIALS = _FORWARD | {
    "none", "absent", "excluded", "resolved", "normal", "unremarkable", "intact", "clear", "preserved", "gone",
    "patent", "unlikely", "non", "spared", "sparing", "removed", "cleared", "longer", "nothing", "maintained", "isn't",
    "doesn't",
}  # fmt: skip
_VAGUE = {
    root(w)
    for w in (
        "of", "the", "a", "an", "in", "at", "on", "and", "or", "to", "left", "right", "abnormality", "abnormal",
        "change",
        "finding", "disease", "acute", "focal", "process", "lesion", "size", "sign", "structure", "enlargement",
        "upper", "lower", "medial", "lateral", "anterior", "posterior", "lobe",
    )
}  # fmt: skip
_DEGREES = {
    root(w)
    for w in (
        "low", "high", "increased", "reduced", "decreased", "enlarged", "enlargement", "prominent", "dilated",
        "elevated",
        "large", "small", "dilatation", "thickening", "thickened", "widening", "narrowing",
    )
}  # fmt: skip
_FORM = {"obscured", "indistinct", "accentuated", "obscure", "accentuation", "open", "full", "wide", "long"}
_EXCEPT = {"except", "apart", "beyond", "save", "barring", "bar", "besides"}
_OPPOSITE = ("un", "non", "in", "dis")


def segments(words: list[str]) -> list[tuple[int, int]]:
    out, start = [], 0
    for at, word in enumerate([*words, "."]):
        if word in _ENDS:
            if at > start:
                out.append((start, at))
            start = at + 1
    return out


def clauses(claim: Claim) -> Found | None:
    """A fact whose own words stand in one clause: that clause must deny it where it is absent, and only there."""
    words = claim.parsed.words
    facts = claim.cited.facts
    parts = segments(words)
    for fact in facts:
        own, rest = _own(claim, fact)
        if not own or fact.id in claim.matched or fact.presence == "uncertain":
            continue
        holds = [(a, b) for a, b in parts if own <= spoken(words[a:b])]
        if len(holds) != 1 or any(_rival(claim, fact, other, words, holds[0], own | rest) for other in facts):
            continue
        low, high = holds[0]
        first = next(i for i in range(low, high) if spoken([words[i]]) & own)
        denied = bool(_FORWARD & set(words[low:first]))
        told = (
            denied
            or bool(_DENIALS & set(words[low:high]))
            or any("normal" in kinds(m) for m in claim.parsed.found if low <= m.start < high)
        )
        before = bool(_FORWARD & set(words[:first]))
        if fact.presence == "present" and denied and not _free(claim, low, first):
            return contradicted("negation", f"denies {fact.label}, which is cited as present")
        if fact.presence == "absent" and not told and not before and not _shared(words, high):
            return contradicted("negation", f"states {fact.label}; what is cited denies it")
    return None


def doubts(claim: Claim) -> Found | None:
    """A doubtful fact that is named without any word of doubt."""
    if rules_cues.hedged(claim) or any(a.presence == "uncertain" for a in claim.parsed.assertions):
        return None
    words = claim.parsed.words
    for fact in claim.cited.facts:
        own, rest = _own(claim, fact)
        if fact.presence != "uncertain" or fact.id in claim.matched or not own | rest:
            continue
        label = {root(w) for w in stems(fact.label)}
        if label <= spoken(words):
            return contradicted("negation", f"states {fact.label}; what is cited is in doubt")
    return None


def made_normal(claim: Claim) -> Found | None:
    """ "Normal lung volumes" where low ones are cited."""
    words = claim.parsed.words
    for fact in claim.cited.facts:
        label = {root(w) for w in stems(fact.label)}
        rest = label - _DEGREES
        if fact.presence != "present" or rest == label or not rest or fact.id in claim.matched:
            continue
        for low, high in [(max(0, m.start - 4), m.end + 3) for m in claim.parsed.found if "normal" in kinds(m)]:
            here = {root(w) for w in words[low:high]}
            absent = any(f.presence == "absent" and {root(w) for w in stems(f.label)} & here for f in claim.cited.facts)
            if rest <= here and not label & _DEGREES & here and not absent:
                return contradicted("negation", f"calls normal what is cited as {fact.label}")
    return None


def _own(claim: Claim, fact: Fact) -> tuple[frozenset[str], frozenset[str]]:
    """Roots of a fact's name that tell it apart, and those of its place."""
    label = spoken(stems(fact.label)) - _VAGUE
    organs = {root(w) for o in fact.organs for w in claim.book.organ_words.get(o, ())}
    own = frozenset(root(w) for w in stems(fact.label)) - _VAGUE
    return own - organs, frozenset(label | {root(w) for s in fact.sites for w in stems(s)})


def _rival(claim: Claim, fact: Fact, other: Fact, words: list[str], held: tuple[int, int], own: frozenset[str]) -> bool:
    """Is the clause as much of another fact of the other sign?"""
    if other is fact or other.presence == fact.presence:
        return False
    here = spoken(words[held[0] : held[1]])
    theirs, rest = _own(claim, other)
    return bool(theirs & here) and len((theirs | rest) & here) >= len(own & here)


def _free(claim: Claim, low: int, first: int) -> bool:
    """Does the word of denial belong to an idiom that denies nothing of the finding ("no change in")?"""
    return any(kinds(m) & {"pseudo", "skip"} and low <= m.start < first for m in claim.parsed.found) or any(
        m.presence == "absent" for m in claim.parsed.found if low <= m.start < first and "finding" in kinds(m)
    )


def _shared(words: list[str], end: int) -> bool:
    """ "Thickening and Murphy sign negative", "wall thickening, pericholecystic fluid: none": a denial that follows."""
    return bool({"none", "all", "both", "neither", "excluded", "absent", "any"} & set(words[end:]))


def exceptions(claim: Claim) -> Found | None:
    """What is excepted from a denial must be cited."""
    words = claim.parsed.words
    if any(f.presence != "absent" for f in claim.everything) or not claim.cited.facts:
        return None
    for at, word in enumerate(words):
        other = word == "other" and words[at + 1 : at + 2] == ["than"]
        if word not in _EXCEPT and not other:
            continue
        after = [w for w in words[at + 1 :] if w.isalpha() and w not in claim.book.common]
        after = [w for w in after if not claim.cited.says(w)]
        if after:
            return contradicted("invented", f"excepts {after[0]!r}; nothing cited says so")
    return None


def antonyms(claim: Claim) -> Found | None:
    """ "Displaced" where "undisplaced" is cited, and the other way round."""
    words, cited = claim.parsed.words, claim.cited.words
    for at, word in enumerate(words):
        if len(word) < 5 or claim.cited.says(word):
            continue
        lead = set(words[max(0, at - 2) : at])
        if any(p + word in cited for p in _OPPOSITE) and not lead & _DENIALS:
            return contradicted("negation", f"says {word!r}; what is cited says the opposite")
        bare = next((word[len(p) :] for p in ("un", "non") if word.startswith(p) and len(word) > len(p) + 4), None)
        if bare in cited and not lead & _DENIALS and f"non{bare}" not in cited and f"un{bare}" not in cited:
            absent = any(f.presence == "absent" and bare in stems(f.label) for f in claim.everything)
            denied = {"no", "not", "non", "without"} & cited
            if not absent and not denied:
                return contradicted("negation", f"says {word!r}; what is cited says {bare!r}")
    return None


def states(claim: Claim) -> Found | None:
    """A state ("dilated", "deviated") that no finding took up must be cited."""
    for m in claim.parsed.found:
        name = next((m.name for k in kinds(m) if k == "state"), None)
        if m.kind != "state" or name is None or m.used or m.presence == "absent":
            continue
        words = claim.parsed.words[m.start : m.end]
        if set(words) <= _FORM or all(claim.cited.says(w) for w in words) or _may_be(claim, m.name, set(words)):
            continue
        return unknown("unknown_words", f"says {m.name!r}, which nothing cited says")
    return None


def _may_be(claim: Claim, state: str, words: set[str]) -> bool:
    """Is it a word for a cited finding, or one of mere form?"""
    meant = {f for (_, s), f in claim.book.states.items() if s == state}
    names = {n for f in claim.cited.facts for n in (*f.names, *f.broader)}
    kin = {k for n in meant for k in claim.book.kin.get(n, ())}
    defined = {w for n in names for w in claim.book.defined.get(n, ())}
    return (
        bool((meant | kin) & names) or bool({root(w) for w in words} & {root(w) for w in defined}) or "=normal" in meant
    )


def not_normal(claim: Claim) -> Found | None:
    """ "This film is not within normal limits" where all that is cited is absent."""
    if not claim.cited.facts:
        return None
    if any(f.presence != "absent" for f in claim.everything) or claim.parsed.assertions:
        return _not_even(claim)
    for m in claim.parsed.found:
        low = claim.parsed.words[m.start : m.end]
        if ("normal" in kinds(m) and m.presence == "absent") or (m.kind == "state" and "normal" in low):
            return contradicted("negation", "denies that it is normal; all that is cited is absent")
    return None


def _not_even(claim: Claim) -> Found | None:
    """ "..., but not clear": the only denial is of normality, and an absent finding is left without one."""
    left = [f for f in claim.cited.facts if f.presence == "absent" and f.id not in claim.matched]
    denied = [m for m in claim.parsed.found if "normal" in kinds(m) and m.presence == "absent"]
    cues = [m for m in claim.parsed.found if kinds(m) & {"neg-pre", "neg-post"}]
    firm = [m for m in claim.parsed.found if "normal" in kinds(m) and m.presence != "absent"]
    if left and denied and len(cues) <= len(denied) and not firm:
        return contradicted("negation", f"denies normality; what is cited says {left[0].label} is absent")
    return None
