"""Rule on what a sentence leaves out: a cited finding of which it has no word, or its side."""

from __future__ import annotations

from ..terms.scope import kinds
from ..terms.tokens import root, stems
from .cited import ANATOMICAL_SIDES, Claim, Fact, spoken
from .found import Found, contradicted, unknown
from .rules_cues import left_out

_SIDED = {"left", "right", "bilateral", "bilaterally", "both", "leftward", "rightward", "either"}
# Words of a fact's name by which nothing is told apart.
_EMPTY = {
    "of", "the", "left", "right", "and", "in", "a", "to", "at", "abnormality", "finding", "size", "diameter", "length",
    "volume", "abnormal", "model", "score", "number", "change", "upper", "lower", "lobe", "medial", "lateral",
}  # fmt: skip
_WHOLE_DENIED = {
    "abnormality", "cardiopulmonary abnormality", "intracranial abnormality", "abdominal abnormality",
    "bone abnormality",
}  # fmt: skip


def omission(claim: Claim) -> Found | None:
    """A cited finding that the sentence does not mention at all."""
    missing = [f for f in claim.cited.facts if f.id not in claim.matched and not _mentioned(claim, f)]
    missing = [f for f in missing if not left_out(claim, f)]
    if not missing:
        bare = next(
            (f for f in claim.cited.facts if f.side and f.presence != "absent" and not _side_told(claim, f)), None
        )
        return unknown("omission", f"leaves out the side of {bare.label}") if bare else None
    if len(missing) == len(claim.cited.facts):
        return contradicted("omission", f"cites {missing[0].label} and does not mention it")
    return unknown("omission", f"also cites {missing[0].label} and does not mention it")


def _side_told(claim: Claim, fact: Fact) -> bool:
    if fact.derived or any(a.side for a in claim.parsed.assertions):
        return True
    words = set(claim.parsed.words)
    if words & _SIDED or claim.parsed.sides or spoken(words) & {"left", "right"}:
        return True
    if fact.side == "bilateral":  # a plural or a pair names both
        return bool(words & {"symmetric", "symmetrical", "symmetrically", "each", "pair", "diffuse", "diffusely"})
    return any(ANATOMICAL_SIDES.get(w) == fact.side for w in words) or "middle lobe" in " ".join(claim.parsed.words)


def _mentioned(claim: Claim, fact: Fact) -> bool:
    names = {root(n) for n in set(stems(fact.label)) - {"of", "the", "left", "right", "volume", "and", "in"}}
    if names and names <= {root(w) for w in claim.parsed.words}:
        claim.matched.add(fact.id)
        return True
    if _alluded(claim, fact):
        return True
    held = {m.name for m in claim.parsed.findings if not m.silent} | {a.finding for a in claim.parsed.assertions}
    if fact.presence == "absent" and _covered(claim, fact):
        return True
    above = {b for n in held for b in claim.book.ancestors(n)}
    return bool(fact.names & (held | above) or fact.broader & held)


def alluded(claim: Claim, fact: Fact) -> bool:
    """Does a word of the fact's name that is no place, a word that defines it, or its number stand in the sentence?"""
    here = spoken(w for w in claim.parsed.words if w not in _EMPTY)
    places = {root(w) for o in claim.parsed.organs for w in claim.parsed.words[o.start : o.end]}
    defined = {root(w) for n in (*fact.names, *fact.broader) for w in claim.book.defined.get(n, ())}
    own = spoken(w for w in stems(fact.label) if w not in _EMPTY) | defined
    return bool(own & (here - places)) or _measured_so(claim, fact)


def defines(claim: Claim, fact: Fact) -> bool:
    """Does a word that defines the fact stand in the sentence?"""
    words = {root(w) for n in (*fact.names, *fact.broader) for w in claim.book.defined.get(n, ())}
    return bool(words & {root(w) for w in claim.parsed.words})


def _measured_so(claim: Claim, fact: Fact) -> bool:
    return any(q.agrees(v, u) for q in claim.parsed.quantities for v, u in fact.numbers if u != "1" or v > 1)


def _alluded(claim: Claim, fact: Fact) -> bool:
    """A word of the fact's name, its place or what was measured of it, or its number, is in the sentence."""
    here = spoken(claim.parsed.words)
    own = spoken(w for text in (fact.label, *fact.sites) for w in stems(text) if w not in _EMPTY)
    defined = {root(w) for n in (*fact.names, *fact.broader) for w in claim.book.defined.get(n, ())}
    if (own | defined) & here or any(names & set(claim.parsed.words) - _EMPTY for names in fact.measured):
        return True
    if _measured_so(claim, fact):
        return True
    organs = {m.name for m in claim.parsed.organs if m.kind == "organ"}
    organs |= {e.name for m in claim.parsed.organs for e in m.also if e.kind == "organ"}
    wider = {a for o in organs for a in (o, *claim.book.ancestors(o))}
    return bool(wider & (fact.organs | fact.sites))


def _covered(claim: Claim, fact: Fact) -> bool:
    """ "The lungs are clear" denies a cited nodule, edema or consolidation without naming it."""
    if fact.names & _WHOLE_DENIED and any("normal" in kinds(m) for m in claim.parsed.found):
        claim.matched.add(fact.id)
        return True
    normal = {a.finding for a in claim.parsed.assertions if a.kind == "normal" and a.presence == "absent"}
    kin = {k for n in normal for k in (*claim.book.kin.get(n, ()), *claim.book.kin_denied.get(n, ()))}
    return bool(normal) and bool(fact.broader & normal or fact.names & kin)
