"""Rules that hold a sentence against the facts it cites: invention, side, presence, number, unit, omission."""

from __future__ import annotations

import re

from ..terms import Assertion, Parsed, Quantity
from ..terms.quantities import UNITS, same_unit
from ..terms.tokens import root
from . import rules_cues, rules_omission, rules_places, rules_values
from .cited import SIDE_WORDS, Claim, Fact
from .found import Found, contradicted, unknown
from .relate import related, surface

_SAME_SIDE = re.compile(r"\b(left|right)\b[^.;]{0,25}\bthan\b(?:(?!left|right)[^.;]){0,15}\b\1\b", re.IGNORECASE)

_ONLY = re.compile(r"\b(?:only|just|solely|exclusively)\s+(?:on\s+)?(?:the\s+)?(?:left|right)\b", re.IGNORECASE)
_SIGNS = frozenset(
    {"fluid collection", "opacity", "lucency", "lesion", "airspace opacity", "signal abnormality", "abnormal air"}
)
# Words of form that the lexicon gives to one finding, and that readers use of any.
_SHOWS = frozenset(
    root(w)
    for w in (
        "stone", "perforated", "hyperdensity", "hypodensity", "density", "thickening", "thickened", "dilated",
        "widening", "narrowing", "defect", "fragment", "swelling", "irregularity", "deformity", "sclerosis", "lucency",
        "stranding", "prominence", "gas", "air", "fluid",
    )
)  # fmt: skip
# Words that are a place as much as a side.
_POINTERS = {root(w) for w in ("lesion", "abnormality", "finding", "change", "density", "opacity", "process", "signal")}
# Of both lungs or none, so that their fact gives no side.
_DIFFUSE = frozenset(
    {"emphysema", "chronic obstructive pulmonary disease", "hyperinflation", "pulmonary edema", "low lung volumes",
     "pulmonary vascular congestion", "flattened diaphragm", "cystic fibrosis"}
)  # fmt: skip
_PAIRED = {"bibasilar", "biapical", "bibasal", "bihilar"}
_FLUID = {root(w) for w in ("free", "fluid", "collection")}
_FLUIDS = {
    "pleural effusion",
    "ascites",
    "pericardial effusion",
    "joint effusion",
    "hemoperitoneum",
    "fluid collection",
}
_SCORE = re.compile(r"\b(?:score|probability)\s*(?:of|is|:|=)?\s*$", re.IGNORECASE)


def evidence(claim: Claim) -> Found | None:
    """No sentence without evidence."""
    if not claim.cited.facts and not claim.cited.evidence:
        return contradicted("evidence", "the sentence rests on nothing: it cites no finding and no evidence")
    return None


def facts(claim: Claim) -> Found | None:
    """Each assertion against the facts: invented, side, negation, number and unit, in that order."""
    doubt: Found | None = None
    for assertion in claim.parsed.assertions:
        found = _one(claim, assertion)
        if found is not None and found.verdict == "contradicted":
            return found
        doubt = doubt or found
    return doubt


def silent(claim: Claim) -> Found | None:
    """What is said to be not assessed must be what the gate says was not assessed."""
    for mention in claim.parsed.findings:
        words = set(claim.parsed.words[mention.start : mention.end])
        if mention.silent and not words <= claim.cited.words:
            return contradicted("invented", f"says that {mention.name} was not assessed; nothing cited says so")
    return None


def _one(claim: Claim, a: Assertion) -> Found | None:
    near = related(claim, a)
    if not near and (near := _shown_by(claim, a)):
        return None if a.presence == "absent" else _of_sign(claim, a, near)
    if not near and _names_a_measurement(claim, a):
        return _of_measurement(claim, a)
    if not near:
        return _unrelated(claim, a)
    here = [f for f in near if a.site and a.site in (*f.sites, *f.organs)]
    if here and all(f.sites or f.organs for f in near):
        near = here
    side = [f for f in near if _side_fits(claim, a, f)]
    if not side:
        said = " and ".join(sorted({f.side or "no side" for f in near}))
        return contradicted("side", f"says {a.side} {a.finding}; what is cited says {said}")
    agree = side if a.kind == "structure" else [f for f in side if f.presence == a.presence]
    if not agree:
        agree = [f for f in side if rules_cues.between(claim, a, f.presence)]
    if not agree and a.presence == "uncertain" and _slashed(claim, a):
        agree = [f for f in side if f.presence == "present"]
    if not agree and (_pointer(claim, a, side) or _adjective(claim, a)):
        return None
    if not agree:
        return contradicted("negation", f"states {a.finding} as {a.presence}; what is cited says {side[0].presence}")
    agree = [f for f in agree if f.side == a.side] or agree
    elsewhere = [f for f in near if a.site in f.sites and f not in agree and f.side != a.side]
    if a.side and elsewhere and not any(a.site in f.sites for f in agree) and any(f.sites for f in agree):
        return contradicted("side", f"says {a.side} {a.site}; what is cited says {elsewhere[0].side}")
    anywhere = a.presence == "absent" and not any(f.sites for f in agree)  # what is nowhere is not there either
    doubt = None if a.kind == "normal" or anywhere else rules_places.site(claim, a, agree)
    if doubt is not None and doubt.verdict == "contradicted":
        return doubt
    for quantity in a.quantities:
        if quantity.unit not in {"1", "%"} and _SCORE.search(claim.text[: quantity.span[0]]):
            return contradicted("unit", f"calls {quantity.written} a score; it is a measurement")
        if (found := _number(claim, quantity, agree, a.finding)) is not None and not _others(claim, quantity, a, agree):
            return found
    if a.more is not None and (found := _more(claim, a)) is not None:
        return found
    claim.matched |= {f.id for f in agree}
    return doubt


def _shown_by(claim: Claim, a: Assertion) -> list[Fact]:
    """ "Fluid in the bursa", "a lucent line": a mere sign, where nothing else in the sentence names a cited finding."""
    if a.kind != "finding":
        return []
    rest = [b for b in claim.parsed.assertions if b is not a]
    if a.presence == "absent":  # "no lesion suspicious for cancer"
        if surface(claim, a) <= _FLUID:
            return [f for f in claim.cited.facts if f.presence == "absent" and f.names & _FLUIDS]
        pointed = re.match(r"\s*(?:suspicious|suspected|suggest|concerning|worrisome|typical)", claim.text[a.span[1] :])
        absent = [f for f in claim.cited.facts if f.presence == "absent"]
        return absent if pointed and surface(claim, a) <= _POINTERS else []
    if (a.finding not in _SIGNS and not surface(claim, a) <= _SHOWS) or a.side == "bilateral":
        return []
    open_facts = [f for f in claim.cited.facts if f.presence != "absent" and not f.names & claim.book.organs.keys()]
    taken = {f.id for b in rest if b.presence != "absent" for f in related(claim, b)}
    return [f for f in open_facts if f.id not in taken]


def _of_sign(claim: Claim, a: Assertion, near: list[Fact]) -> Found | None:
    wrong = (_number(claim, q, near, a.finding) for q in a.quantities)
    if a.side and not any(a.side == f.side for f in near):
        return contradicted("side", f"says {a.side} {a.finding}; what is cited says {near[0].side or 'no side'}")
    cited = {s for f in near for s in (*f.sites, *f.organs)} | set(claim.cited.organs)
    if any(not rules_places.placed(claim, s, cited) for s in a.sites):
        return contradicted("invented", f"names {a.finding}, which is not among what is cited")
    return next((found for found in wrong if found is not None), None)


def _slashed(claim: Claim, a: Assertion) -> bool:
    """ "Fibrosis/scarring": two names of what is there as well as a choice of one."""
    return "/" in {claim.text[a.span[0] - 1 : a.span[0]], claim.text[a.span[1] : a.span[1] + 1]}


def _adjective(claim: Claim, a: Assertion) -> bool:
    """ "Postsurgical effusion": a cited word that describes the finding behind it."""
    close = any(b.span[0] - a.span[1] == 1 for b in claim.parsed.assertions)
    return (
        close
        and surface(claim, a) <= claim.cited.roots
        and claim.text[: a.span[1]].endswith(("al", "ic", "ous", "ive"))
    )


def _pointer(claim: Claim, a: Assertion, near: list[Fact]) -> bool:
    """ "Lesions suspicious for demyelination": the broad word claims no finding of its own."""
    if a.presence != "present" or not surface(claim, a) <= _POINTERS:
        return False
    ids = {f.id for f in near}
    doubted = [b for b in claim.parsed.assertions if b.presence == "uncertain" and b is not a]
    return any(f.id in ids for b in doubted for f in related(claim, b))


def _others(claim: Claim, q: Quantity, a: Assertion, near: list[Fact]) -> bool:
    """Is a number that stands between two findings that of the next one, or of the other side of the same structure?"""
    labels = {f.label for f in near}
    if q.unit == "1" and _score_of(claim, q, near):
        return True
    named = {n for b in claim.parsed.assertions for n in (b.finding, *claim.book.ancestors(b.finding))}
    owners = [f for f in claim.cited.facts if f not in near and any(q.agrees(v, u) for v, u in f.numbers)]
    if rules_values.named_owner(claim, q, near):
        return True
    if any(not f.names & named for f in owners) and q.unit != "1":
        return True  # of a finding that stands there under no name of its own
    if any(f.label in labels and any(q.agrees(v, u) for v, u in f.numbers) for f in claim.cited.facts):
        return a.kind == "structure" or (
            len(near) == 1 and near[0].side is not None
        )  # the rule "pairs" holds it against its side
    nearby = [b for b in claim.parsed.assertions if b.span[0] > q.span[0] and a.span[0] < q.span[0]]
    if not nearby or re.search(r"[;.)]", claim.text[q.span[1] : nearby[0].span[0]]):
        return False
    return any(q.agrees(v, u) for f in related(claim, nearby[0]) for v, u in f.numbers)


def _score_of(claim: Claim, q: Quantity, near: list[Fact]) -> bool:
    """A score in a list ("effusion, cardiomegaly, ratio 0.61, score 0.88") may be that of the other finding."""
    if not _SCORE.search(claim.text[: q.span[0]]):
        return False
    scored = [f for f in claim.cited.facts if any(words & {"score", "probability"} for words in f.measured)]
    return not any(f in scored for f in near) and any(q.agrees(v, u) for f in scored for v, u in f.numbers)


def _names_a_measurement(claim: Claim, a: Assertion) -> bool:
    """ "Density 64 HU" names what was measured of a cited finding, not an opacity."""
    said = surface(claim, a)
    if a.finding in claim.book.terms and claim.book.terms[a.finding].urgent and not a.quantities:
        return False
    return any(said <= {root(w) for w in words} for f in claim.cited.facts for words in f.measured)


def _of_measurement(claim: Claim, a: Assertion) -> Found | None:
    said = surface(claim, a)
    near = [f for f in claim.cited.facts if any(said <= {root(w) for w in words} for words in f.measured)]
    wrong = (_number(claim, q, near, a.finding) for q in a.quantities)
    return next((found for found in wrong if found is not None), None)


def _unrelated(claim: Claim, a: Assertion) -> Found | None:
    above = set(claim.book.ancestors(a.finding))
    if a.presence != "absent" and (
        denied := next((f for f in claim.everything if f.presence == "absent" and f.names & above), None)
    ):
        return contradicted("negation", f"states {a.finding}; what is cited denies {denied.label}")
    if a.presence == "absent":
        stated = next((f for f in claim.everything if f.presence == "present" and a.finding in f.broader), None)
        if stated is not None:
            return contradicted("negation", f"denies {a.finding}; what is cited states {stated.label}")
    told = [f for f in claim.cited.facts if all(any(q.agrees(v, u) for v, u in f.numbers) for q in a.quantities)]
    if a.kind == "structure" and any(rules_omission.defines(claim, f) for f in told):
        return None
    if a.kind == "structure":
        return contradicted("invented", f"gives a number for {a.finding}, which nothing cited measures")
    if a.kind == "normal" and rules_cues.quoted(claim):
        return None
    if a.kind == "normal":
        return contradicted("judgement", f"calls {a.site} normal; nothing cited says so")
    verb = {"present": "names", "absent": "denies", "uncertain": "raises"}[a.presence]
    return contradicted("invented", f"{verb} {a.finding}, which is not among what is cited")


# side -------------------------------------------------------------------------------------------------------------


def _side_fits(claim: Claim, a: Assertion, fact: Fact) -> bool:
    if a.side is None or a.side == fact.side:
        return True
    siblings = {b.side for b in claim.parsed.assertions if b.finding == a.finding and b.presence == a.presence}
    if a.side == "bilateral" and fact.side is None and _PAIRED & set(claim.parsed.words):
        return True
    if a.side == "bilateral" and fact.side is None and {"both", "bilateral", "bilaterally"} & claim.cited.words:
        return True
    if a.side == "bilateral" and fact.side is None and a.presence == fact.presence == "absent":
        return True
    if a.side == "bilateral" and fact.side is None and fact.names & _DIFFUSE:
        return True
    if fact.side is None and (fact.derived or a.side in claim.cited.sides):
        return a.side in _cited_sides(claim) | claim.cited.sides
    if fact.side is None and a.presence == fact.presence:  # of one knee the cited facts need not all say which
        return {f.side for f in claim.cited.facts if f.side} == {a.side}
    if fact.side == "bilateral":
        if a.presence == fact.presence == "absent" and {"left", "right"} <= set(claim.parsed.words):
            return True
        return siblings >= {"left", "right"}
    if a.side == "bilateral":
        sides = {f.side for f in claim.everything if f.names & fact.names and f.presence == fact.presence}
        return sides >= {"left", "right"}
    return False


def _cited_sides(claim: Claim) -> set[str]:
    sides: set[str] = {f.side for f in claim.cited.facts if f.side}
    return sides | {"bilateral"} if sides >= {"left", "right"} else sides


def side_words(claim: Claim) -> Found | None:
    """A side named anywhere in the sentence must be one that is cited."""
    if (same := _SAME_SIDE.search(claim.text)) is not None:
        return contradicted("side", f"sets the {same.group(1).lower()} side against itself")
    lone = _ONLY.search(claim.text)
    if lone is not None and any(f.side == "bilateral" for f in claim.cited.facts):
        return contradicted("side", f"says {lone.group().lower()!r}; what is cited says bilateral")
    if (single := _one_of_both(claim)) is not None:
        return contradicted("side", f"says {single} alone; what is cited says bilateral")
    inside = {
        i
        for m in claim.parsed.found
        if not m.kind.startswith("side-")
        for i in range(m.start, m.end)
        if i not in m.inner
    }
    told = {SIDE_WORDS[w] for w in claim.cited.words if w in SIDE_WORDS}
    cited = told | claim.cited.sides
    for fact in claim.everything:
        cited |= {"left", "right"} if fact.side == "bilateral" else {fact.side} if fact.side else set()
    named: set[str] = set()
    for at, word in enumerate(claim.parsed.words):
        # "right atrium" is a name: it is wrong only where the evidence speaks of the other one.
        if word in SIDE_WORDS and {"than", "contralateral"} & set(claim.parsed.words[max(0, at - 3) : at]) and cited:
            continue  # "higher than the left" compares
        if word in SIDE_WORDS and (at not in inside or (told and SIDE_WORDS[word] not in told)):
            named.add(SIDE_WORDS[word])
    wrong = sorted(named - cited)
    if not wrong:
        return None
    if cited:
        return contradicted("side", f"says {wrong[0]}; what is cited says {' and '.join(sorted(cited))}")
    return contradicted("side", f"says {wrong[0]}; nothing cited gives a side")


def _one_of_both(claim: Claim) -> str | None:
    """One side alone, where all that is cited with a side is present on both."""
    sided = [f for f in claim.cited.facts if f.side]
    if not sided or any(f.side != "bilateral" or f.presence == "absent" for f in sided) or claim.cited.sides:
        return None
    named = {SIDE_WORDS[w] for w in claim.parsed.words if w in SIDE_WORDS}
    both = any(w.startswith("bi") or w in {"both", "either", "each", "pair", "paired"} for w in claim.parsed.words)
    return min(named) if len(named) == 1 and not both else None


def _more(claim: Claim, a: Assertion) -> Found | None:
    """Which of two sides is worse must be what the evidence says."""
    said = {more for t in claim.cited.texts if (more := Parsed(t).more)}
    if a.more in said:
        return None
    if said:
        return contradicted("side", f"calls the {a.more} side the greater; what is cited says the other")
    return unknown("side", f"calls the {a.more} side the greater; nothing cited compares the sides")


# numbers ----------------------------------------------------------------------------------------------------------


def _number(claim: Claim, q: Quantity, near: list[Fact], what: str) -> Found | None:
    if all(f.derived for f in near):
        near = [*near, *claim.cited.facts]
    cited = [n for f in near for n in f.numbers]
    if any(q.agrees(value, unit) for value, unit in cited):
        return None
    comparable = [n for n in cited if same_unit(q.unit, UNITS.get(n[1].lower(), (n[1], 1.0))[0])]
    if not comparable and any(_equal(q, other) for other in claim.cited.numbers):
        return None
    if q.unit == "%" and any(_is_ratio(q, f) for f in near):
        return None
    if (
        q.unit == "%"
        and any(f.calibrated for f in near)
        and any(abs(v - q.value / 100) <= q.tolerance / 100 for v, u in cited if u == "1")
    ):
        return None
    return _wrong_number(q, cited, claim.cited.numbers, what)


def _is_ratio(q: Quantity, fact: Fact) -> bool:
    """A ratio in per cent: "CTR 58 %" of a cardiothoracic ratio of 0.58."""
    pairs = zip(fact.numbers, fact.measured, strict=False)
    return any(
        u == "1"
        and words & {"ratio", "index", "fraction", "ctr"}
        and abs(v - q.value / 100) <= q.tolerance / 100 + 1e-9
        for (v, u), words in pairs
    )


def _equal(q: Quantity, other: Quantity) -> bool:
    return same_unit(q.unit, other.unit) and abs(q.value - other.value) <= max(q.tolerance, 1e-9) * (1 + 1e-9)


def _wrong_number(q: Quantity, cited: list[tuple[float, str]], said: tuple[Quantity, ...], what: str) -> Found:
    bare = float(q.number or "nan")
    half = 0.5 * 10.0 ** -len(q.number.partition(".")[2]) * (1 + 1e-9)
    for value, unit in [*cited, *((float(s.number or "nan"), s.unit) for s in said)]:
        if abs(value - bare) <= half:
            return contradicted("unit", f"writes {q.written}; the cited {value:g} has the unit {unit}")
    if cited:
        values = ", ".join(f"{v:g} {u}" for v, u in cited[:4])
        return contradicted("number", f"writes {q.written} for {what}; cited: {values}")
    return contradicted("number", f"writes {q.written} for {what}; no cited number is equal to it")


def loose_numbers(claim: Claim) -> Found | None:
    """Numbers that belong to no assertion must still be cited."""
    owned = {q.span for a in claim.parsed.assertions for q in a.quantities}
    cited = [n for f in claim.everything for n in f.numbers]
    for q in claim.parsed.quantities:
        if q.span in owned or any(q.agrees(v, u) for v, u in cited) or any(_equal(q, o) for o in claim.cited.numbers):
            continue
        if q.unit == "%" and any(_is_ratio(q, f) for f in claim.cited.facts):
            continue
        if q.unit == "%" and any(f.calibrated and _number(claim, q, [f], "") is None for f in claim.cited.facts):
            continue
        return _wrong_number(q, cited, claim.cited.numbers, "what it measures")
    return None
