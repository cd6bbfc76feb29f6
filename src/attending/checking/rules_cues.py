"""Rules that do not trust the reach of a cue: a denial or doubt that no cited fact bears out, numbers on the wrong side
or under the wrong noun."""

from __future__ import annotations

import re

from ..records import Presence
from ..terms import Assertion, Quantity
from ..terms.quantities import UNITS
from ..terms.scope import AGED, IN, LIKELY, kinds
from ..terms.tokens import root, stems
from .cited import Claim, Fact
from .found import Found, contradicted, unknown
from .rules_values import graded, measured_texts

_DENIALS = frozenset(
    {
        "no", "not", "without", "never", "neither", "nor", "none", "absent", "absence", "negative", "denied", "deny",
        "excluded", "excludes", "exclude", "isn't", "aren't", "wasn't", "weren't", "doesn't", "don't", "didn't",
        "can't",
        "hasn't", "haven't", "cannot", "lack", "lacking", "fail", "failed", "gone", "disappeared", "nil", "nothing",
        "resolved", "removed", "cleared", "unlikely", "nowhere", "hardly", "barely", "false", "untrue", "refuted",
        "disproved", "disproven", "unfounded", "ruled", "rule",
    }
)  # fmt: skip
_HEDGES = frozenset(
    {
        "may", "might", "could", "possible", "possibly", "probable", "probably", "suspected", "suspicious", "suspicion",
        "questionable", "perhaps", "maybe", "presumed", "presumably", "potential", "potentially", "equivocal", "likely",
        "unlikely", "uncertain", "unclear", "doubtful", "query", "whether", "if", "?", "seem", "seemingly", "tentative",
        "tentatively", "presumptive", "conceivably", "conceivable", "plausible", "questioned", "suspect",
        "indeterminate",
        "apparently", "versus", "vs", "can't", "arguably", "unconfirmed", "unproven", "hypothetical",
    }
)  # fmt: skip
_STRONG = _HEDGES - {"unlikely", "seem", "seemingly"}
_SOFT = re.compile(
    r"\b(?:consistent with|compatible with|keeping with|line with|suggest(?:s|ed|ing|ive|ion)?|borderline|top[- ]normal"
    r"|upper (?:limits? of )?normal|indicative of|typical (?:of|for)|characteristic (?:of|for)|pattern of|assumed"
    r"|impression of|point(?:s|ing)? to)\b",
    re.IGNORECASE,
)
_SOFT_DENIAL = re.compile(
    r"\b(?:unlikely|less likely|doubtful|top[- ]normal|upper (?:limits? of )?normal|not (?:typical|suspicious)"
    r"|improbable|without convincing|no (?:definite|convincing|clear|gross))\b",
    re.IGNORECASE,
)
# Other words than denials that say that something is not so.
_SPARED = re.compile(
    r"\b(?:non|un)\w{4,}|\b\w+-free\b|\b(?:spar(?:ed|es|ing)|free|preserved?|intact|normal|unremarkable|congruent"
    r"|\w+ectomy|resected|agenesis|aplasia|missing|amputat\w+|spared|relaxed|full|perfused|compressible|patent|clear|sharp|symmetric(?:al)?|stable|adequate|physiological|regular|smooth|open"
    r"|respect(?:s|ed|ing)|satisfactory|correct|maintained|healthy|within|midline|aligned|expanded|thin|narrow)\b",
    re.IGNORECASE,
)
# What follows "not" where a doubt is meant and no denial.
_NOT_SURE = frozenset(
    {
        "certain", "definite", "definitive", "definitely", "confirmed", "conclusive", "sure", "clear", "proven",
        "exclude",
        "excluded", "ruled", "rule", "entirely", "completely", "specific", "diagnostic", "established", "be", "fully",
        "absolutely", "firm",
    }
)  # fmt: skip
_DOUBTING = frozenset({"cannot", "unlikely", "excluded", "exclude", "can't", "ruled", "rule"})
_CAUSES = frozenset(
    {"positional", "accentuated", "exaggerated", "artifactual", "projectional", "positioning", "projection",
     "technique", "rotation", "splinting", "helpful", "superimposed", "superimposition", "overlapping"}
)  # fmt: skip
_CHANGES = {root(w) for w in ("improved", "increased", "decreased", "worsened", "progression", "changed", "resolved")}

_CLASSES: dict[str, str] = {
    **dict.fromkeys(("score", "probability", "likelihood", "chance", "confidence"), "score"),
    **dict.fromkeys(("density", "attenuation"), "density"),
    **dict.fromkeys(("volume",), "volume"),
    **dict.fromkeys(
        ("diameter", "depth", "thickness", "length", "width", "height", "deep", "thick", "wide", "long"), "length"
    ),
    **dict.fromkeys(("size", "dimension", "extent"), "size"),
    **dict.fromkeys(("angle", "tilt", "angulation"), "angle"),
    **dict.fromkeys(("ratio", "index"), "ratio"),
}
_BY_UNIT = {"mm": "length", "ml": "volume", "[hnsf'U]": "density", "deg": "angle"}
_BEFORE = re.compile(
    r"\b([a-z]+)s?(?:\s+(?:of|is|was|are|were|about|approximately|around|measures|measured|measuring|at|estimated|to|be|"
    r"as|equals?|only|up|roughly|nearly))*\s*[:=(]?\s*$",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"^\s*(?:in\s+)?(?:\w+\s+)?(deep|thick|wide|long|diameter|thickness|depth|width|length|volume)\b", re.I
)
_LIKELIHOOD = re.compile(r"\b(?:probability|likelihood|chance)\s+(?:of|for)\s+(?:\w+\s+){0,4}", re.IGNORECASE)
_NOTHING = re.compile(r"\b(?:no|nothing|without)(?:\s+\w+){0,3}\s+suggest\w*", re.IGNORECASE)
_SCORE_OF = re.compile(r"\b(?:scores?|probability)\s+(?:of|for)\b", re.IGNORECASE)
_LIMIT = re.compile(
    r"\b(below|under|above|over|exceeds|between)\s+(?:\w+\s+){0,3}(?:threshold|cut-?off)", re.IGNORECASE
)
_NO_CHANCE = re.compile(r"\bno\s+(?:\w+\s+)?(?:probability|chance|likelihood|possibility|score)\b", re.IGNORECASE)
_BOTH = re.compile(r"\b(left|right)\s*(?:and|,|/|&)\s*(?:the\s+)?(left|right)\b", re.IGNORECASE)
_LEVEL = re.compile(r"\b([CTLS]\d{1,2})\b", re.IGNORECASE)
_LEVELS = re.compile(r"\b([CTLS])(\d{1,2})\s?(?:-|–|/|to|on)\s?[CTLS]?(\d{1,2})\b", re.IGNORECASE)
_TO_LEVEL = re.compile(r"\b[CTLS]\d{1,2}\s?(?:to|-|–|/)\s?(T[12])\b", re.IGNORECASE)
_GRADE = re.compile(r"\b((?:grade|stage|type|segment|class)\s+(?:\d+[ab]?|[ivx]+))\b", re.IGNORECASE)
_NTHS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth",
)  # fmt: skip
_NTH = {f"{n}{'st' if n == 1 else 'nd' if n == 2 else 'rd' if n == 3 else 'th'}": w for n, w in enumerate(_NTHS, 1)}
_ORDINAL = re.compile(rf"\b({'|'.join((*_NTHS, *_NTH))})\b", re.IGNORECASE)
_WORD_NUMBERS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12,
}  # fmt: skip


def between(claim: Claim, a: Assertion, cited: Presence) -> bool:
    """ "Suggests", "consistent with", "borderline" state a present or a possible finding, "unlikely" an absent or a
    doubtful one: either is as cited, unless a stronger word of doubt stands there too."""
    if (limit := _LIMIT.search(claim.text)) is not None and _SCORE_OF.search(claim.text[: a.span[0]]):
        side = limit.group(1).lower()
        return cited == ("absent" if side in {"below", "under"} else "uncertain" if side == "between" else "present")
    odds = [m for m in _LIKELIHOOD.finditer(claim.text[: a.span[0]]) if m.end() >= a.span[0] - 1]
    if odds and any(q.unit in {"1", "%"} for q in claim.parsed.quantities):
        return a.presence == "uncertain"  # "the probability of pneumonia is 0.84" leaves it to the number
    pair = {a.presence, cited}
    words = claim.parsed.words
    if _STRONG & set(words) or pair == {"present", "absent"}:
        return False
    cue = _SOFT if pair == {"present", "uncertain"} else _SOFT_DENIAL
    idle = [m.span() for m in _NOTHING.finditer(claim.text)]
    for hit in cue.finditer(claim.text):
        if any(low <= hit.start() < high for low, high in idle):
            continue
        low, high = sorted((hit.end(), a.span[0]) if hit.end() <= a.span[0] else (a.span[1], hit.start()))
        gap = claim.text[low:high]
        if not re.search(r"[;.](?!\d)", gap) and (hit.end() <= a.span[0] or high - low < 60):
            return True
    return False


def denial(claim: Claim) -> Found | None:
    """A word of denial or doubt must have a denied or doubtful fact behind it, wherever its reach is thought to end."""
    facts = claim.cited.facts
    if not facts:
        return None
    if (hit := _NO_CHANCE.search(claim.text)) is not None and not claim.cited.says("no"):
        return contradicted("judgement", f"says {hit.group().lower()!r}; a score or a fact is cited")
    held = {f.presence for f in facts} | {f.presence for f in claim.cited.said}
    words = claim.parsed.words
    if "absent" not in held:
        free = _pseudo(claim)
        for at, word in enumerate(words):
            if word not in _DENIALS or at in free or word in claim.cited.words:
                continue
            after = words[at + 1 : at + 3]
            if "uncertain" in held and (_NOT_SURE & set(after) or word in _DOUBTING):
                continue
            return contradicted("negation", f"says {word!r}; nothing that is cited is absent")
        return _unchanged(claim)
    if "uncertain" in held or "present" in held:
        return None
    told = any(
        q.agrees(v, u) for q in claim.parsed.quantities for f in facts for v, u, k in _measures(f) if k != "score"
    )
    if not told and not _denying(claim) and not quoted(claim) and not ("stable" in words or "unchanged" in words):
        return contradicted("negation", f"denies nothing; what is cited says {facts[0].label} is absent")
    return None


def polarity(claim: Claim) -> Found | None:
    """A cited finding that the sentence names only with the opposite sign, or an absent one that nothing denies."""
    for fact in claim.cited.facts:
        if fact.presence == "uncertain" or fact.id in claim.matched:
            continue
        opposite = "absent" if fact.presence == "present" else "present"
        named = [a for a in claim.parsed.assertions if a.finding in fact.names]
        rivals = [f for f in claim.cited.facts if f.presence == opposite and f.names & {a.finding for a in named}]
        places = {(a.site, a.side) for a in named if a.site or len(named) == 1}
        if named and all(a.presence == opposite for a in named) and len(places) > len(rivals):
            return contradicted("negation", f"states {named[0].finding} as {opposite}; {fact.label} is cited otherwise")
        elsewhere = {s for r in rivals for s in (*r.sites, *r.organs)}
        if any(a.presence == opposite and a.site in fact.sites and a.site not in elsewhere for a in named):
            return contradicted("negation", f"states {named[0].finding} as {opposite}; {fact.label} is cited otherwise")
        told = any(q.agrees(v, u) for q in claim.parsed.quantities for v, u in fact.numbers) or quoted(claim)
        if fact.presence == "absent" and not told and not _denying(claim) and not left_out(claim, fact):
            return contradicted("negation", f"denies nothing; what is cited says {fact.label} is absent")
    return None


def left_out(claim: Claim, fact: Fact) -> bool:
    """An absent finding of which the sentence has no word, where all that it says is of the other facts."""
    others = [f for f in claim.cited.facts if f is not fact]
    if fact.presence != "absent" or not others or any(a.finding in fact.names for a in claim.parsed.assertions):
        return False
    own = {root(w) for w in stems(fact.label)}
    theirs = {
        root(w) for f in others for t in (f.label, *f.sites, *(" ".join(m) for m in f.measured)) for w in stems(t)
    }
    studies = {i for m in claim.parsed.studies for i in range(m.start, m.end)}
    said = {
        root(w)
        for i, w in enumerate(claim.parsed.words)
        if w.isalpha() and len(w) > 2 and i not in studies and w not in claim.book.common
    }
    return not said & (own - theirs) and said <= theirs


def quoted(claim: Claim) -> bool:
    """Does the sentence say in so many words what is said beside the facts ("expected flow voids")?"""
    words = " ".join(claim.parsed.words)
    for note in (n for t in claim.cited.texts for n in t.split(";")):
        said = stems(note)
        if len(said) > 1 and ":" not in said and (at := words.find(" ".join(said))) >= 0:
            return not _DENIALS & set(words[:at].split()[-4:])
    return False


def _denying(claim: Claim) -> bool:
    if any(kinds(m) & {"neg-pre", "neg-post", "normal", "skip"} for m in claim.parsed.found):
        return True
    return bool(set(claim.parsed.words) & _DENIALS) or _SPARED.search(claim.text) is not None


def denies(claim: Claim) -> bool:
    """Does a word of denial stand anywhere in the sentence?"""
    return bool(set(claim.parsed.words) & _DENIALS)


def hedged(claim: Claim) -> bool:
    """Does a word of doubt stand anywhere in the sentence?"""
    text = _NOTHING.sub(" ", claim.text)
    if any(kinds(m) & {"unc-pre", "unc-post"} for m in claim.parsed.found) or _SOFT.search(text):
        return True
    return bool(_HEDGES & set(claim.parsed.words)) or _LIKELIHOOD.search(claim.text) is not None


def doubt(claim: Claim) -> Found | None:
    """A hedge where every cited fact is firm."""
    facts = claim.cited.facts
    if not facts or any(f.presence == "uncertain" for f in (*facts, *claim.cited.said)):
        return None
    free = _pseudo(claim) | {i for m in claim.parsed.found if "neg-pre" in kinds(m) for i in range(m.start, m.end)}
    for at, word in enumerate(claim.parsed.words):
        if word in {"unlikely", "doubtful", "improbable"} and any(f.presence == "absent" for f in facts):
            continue
        if word in LIKELY and claim.parsed.words[at + 1 : at + 2] in (*IN, *AGED):
            continue  # "probably within the middle lobe": the place alone is in doubt
        if _CAUSES & set(claim.parsed.words[at + 1 : at + 4]):
            continue  # "possibly positional", "may be accentuated by the projection": the finding itself is firm
        if word in _HEDGES and at not in free and not claim.cited.says(word):
            return contradicted("negation", f"says {word!r}; what is cited is firm")
    return None


def _pseudo(claim: Claim) -> set[int]:
    return {i for m in claim.parsed.found if kinds(m) & {"pseudo", "skip"} for i in range(m.start, m.end)}


def _unchanged(claim: Claim) -> Found | None:
    """ "No improvement" where an improvement is cited."""
    if {"no", "not", "without", "unchanged", "stable"} & claim.cited.words:
        return None
    for mention in claim.parsed.found:
        if "pseudo" not in kinds(mention):
            continue
        for word in claim.parsed.words[mention.start : mention.end + 1]:
            if root(word) in _CHANGES and root(word) in claim.cited.roots:
                return contradicted("negation", f"says {mention.name!r}; what is cited says {word!r}")
    return None


# numbers ----------------------------------------------------------------------------------------------------------


def nouns(claim: Claim) -> Found | None:
    """The noun beside a number must be what was measured: a diameter is no score, a volume no density."""
    cited = [(v, u, kind) for f in claim.cited.facts for v, u, kind in _measures(f)]
    for q in claim.parsed.quantities:
        said = _noun(claim.text, q)
        fitting = [kind for v, u, kind in cited if _agrees(q, v, u)]
        if said is None or not fitting or None in fitting:
            continue
        if not any(said == kind or (said == "size" and kind in {"length", "volume"}) for kind in fitting):
            return contradicted("unit", f"calls {q.written.strip()} a {said}; what is cited is a {fitting[0]}")
    return None


def _agrees(q: Quantity, value: float, unit: str) -> bool:
    if q.unit == "%" and unit == "1":
        return abs(value - q.value / 100) <= q.tolerance / 100 + 1e-9
    return q.agrees(value, unit)


def _measures(fact: Fact) -> list[tuple[float, str, str | None]]:
    out = []
    for n, (value, unit) in enumerate(fact.numbers):
        ucum = UNITS.get(unit.lower(), (unit, 1.0))[0]
        if n < len(fact.measured):
            named = next((_CLASSES[w] for w in sorted(fact.measured[n]) if w in _CLASSES), None)
            kind = named if named not in {None, "size"} else _BY_UNIT.get(ucum)
        else:
            kind = "score"
        out.append((value, unit, kind))
    return out


def _noun(text: str, q: Quantity) -> str | None:
    after = _AFTER.match(text[q.span[1] :])
    before = _BEFORE.search(text[: q.span[0]])
    if before is not None and before.group(1).lower() == "density" and "measur" in before.group().lower():
        return None  # "a calcific density measuring 25 mm" is a thing
    if before is not None and before.group(1).lower() in _CLASSES:
        return _CLASSES[before.group(1).lower()]
    if before is not None and before.group(1).lower().rstrip("s") in _CLASSES:
        return _CLASSES[before.group(1).lower().rstrip("s")]
    return _CLASSES.get(after.group(1).lower()) if after is not None else None


def pairs(claim: Claim) -> Found | None:
    """Of two facts that differ by side and number alone, each number must stand with its own side."""
    by_name: dict[str, list[Fact]] = {}
    for fact in claim.cited.facts:
        if fact.side in {"left", "right"} and fact.numbers:
            by_name.setdefault(fact.label, []).append(fact)
    for group in by_name.values():
        if {f.side for f in group} < {"left", "right"}:
            continue
        owned = [(q, sides) for q in claim.parsed.quantities if len(sides := _owners(q, group)) == 1]
        told = _sides_told(claim, [q for q, _ in owned])
        for (q, sides), side in zip(owned, told, strict=True):
            if side is not None and side not in sides:
                return contradicted("side", f"gives {q.written.strip()} for the {side}; it is of the {min(sides)}")
    return None


def _owners(q: Quantity, group: list[Fact]) -> set[str]:
    return {str(f.side) for f in group if any(q.agrees(v, u) for v, u in f.numbers)}


def _sides_told(claim: Claim, numbers: list[Quantity]) -> list[str | None]:
    """For each number the side that it is said of: in order after "left and right", else the side beside it."""
    both = _BOTH.search(claim.text)
    if both is not None and both.group(1).lower() != both.group(2).lower() and len(numbers) == 2:
        first, second = both.group(1).lower(), both.group(2).lower()
        if all(q.span[0] > both.end() for q in numbers) or all(q.span[1] <= both.start() for q in numbers):
            return [first, second]
    places = [(t.start, t.stem) for t in claim.parsed.tokens if t.stem in {"left", "right"}]
    trailing = bool(places and numbers) and numbers[0].span[0] < places[0][0]
    out: list[str | None] = []
    for q in numbers:
        if (own := re.match(r"\s*(?:on|at|in) the (left|right)\b", claim.text[q.span[1] :])) is not None:
            out.append(own.group(1))
            continue
        before = [s for at, s in places if at < q.span[0]]
        after = [s for at, s in places if at >= q.span[1]]
        chosen = (after[:1] or before[-1:]) if trailing else (before[-1:] or after[:1])
        out.append(chosen[0] if chosen else None)
    return out


def levels(claim: Claim) -> Found | None:
    """Levels ("L5"), grades and ordinals ("seventh rib") must be those that are cited, where any of their kind is."""
    for pattern in (_LEVEL, _ORDINAL, _GRADE):
        cited = {m.group(1).lower() for w in (*claim.cited.words, *claim.cited.texts) for m in pattern.finditer(w)}
        cited |= {
            m.group(1).lower() for f in claim.cited.facts for s in (f.label, *f.sites) for m in pattern.finditer(s)
        }
        told = {m.group(1).lower() for m in pattern.finditer(claim.text)}
        if pattern is _GRADE:
            cited |= {m.group(1).lower() for t in measured_texts(claim) for m in pattern.finditer(t)}
            if graded(tuple(told)) <= graded(tuple(cited)):
                continue
        if pattern is _LEVEL and claim.modality == "MR":
            told -= {"t1", "t2"} - {m[1].lower() for m in _TO_LEVEL.finditer(claim.text)}
        if pattern is _ORDINAL:
            told, cited = {_NTH.get(w, w) for w in told}, {_NTH.get(w, w) for w in cited}
        if pattern is _LEVEL:
            cited |= {
                f"{m[1]}{n}".lower() for t in claim.places for m in _LEVELS.finditer(t) for n in m.groups()[1:] if n
            }
        if cited and (wrong := sorted(told - cited)):
            return contradicted("number", f"says {wrong[0]!r}; what is cited says {', '.join(sorted(cited))}")
        if pattern is not _ORDINAL and told and not cited:
            return unknown("number", f"says {sorted(told)[0]!r}; nothing cited says so")
    return None


def counts(claim: Claim) -> Found | None:
    """A number in words ("three nodules") must be cited like one in digits."""
    words = claim.parsed.words
    cited = {q.value for q in claim.cited.numbers} | {v for f in claim.everything for v, _ in f.numbers}
    for at, word in enumerate(words):
        value = _WORD_NUMBERS.get(word)
        if value is None or word in claim.cited.words or value in cited:
            continue
        if {"view", "image", "projection", "film", "level", "radiograph"} & set(words[at + 1 : at + 4]):
            continue
        return unknown("number", f"says {word!r}; nothing cited counts so")
    return None
