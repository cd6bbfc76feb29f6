"""Rules on values that have an owner: grades of schemes, numbers of two findings, of now and before, of two sides."""

from __future__ import annotations

import re

from ..terms import Quantity
from ..terms.tokens import root, stems
from .cited import ANATOMICAL_SIDES, SIDE_WORDS, Claim, Fact
from .found import Found, contradicted, unknown

_SCHEMES = (
    "(?:pi|ti|bi|li|lung|o)-?rads|aspects|fazekas|garden|weber|salter[- ]harris(?: type)?|schatzker"
    "|bosniak|kellgren[- ]lawrence(?: grade)?|modic(?: type)?|pfirrmann(?: grade)?|goutallier(?: grade)?"
    "|stanford(?: type)?"
    "|hinchey(?: stage)?|pauwels|mason|neer|outerbridge|meyerding(?: grade)?|aast(?: grade)?|hunt and hess|fisher"
    "|chiari"
    "|scheltens|graf(?: type)?|gartland(?: type)?|debakey(?: type)?|fleischner|agatston(?: score)?|genant(?: grade)?"
    "|grade|stage|type|class|category|segment"
)
_VALUE = r"(?:\d+[a-c]?|[ivx]+|[a-d])"
_SCHEME = re.compile(
    rf"\b(?P<s>{_SCHEMES})s?(?: (?:score|grade|category|of|is|type|stage|class))*\s*:?\s*"
    rf"(?P<v>{_VALUE}(?:(?:\s*,\s*|\s+and\s+|\s*/\s*)\d+(?!\.?\d|\s*(?:mm|cm|ml)))*)\b",
    re.IGNORECASE,
)
_ROMAN = {
    "i": "1",
    "ii": "2",
    "iii": "3",
    "iv": "4",
    "v": "5",
    "vi": "6",
    "vii": "7",
    "viii": "8",
    "ix": "9",
    "x": "10",
}
_GENERAL = {"grade", "stage", "type", "class", "category", "segment"}
_BEFORE = re.compile(
    r"\b(?:previously|prior|formerly|earlier|was|from|before|compared (?:with|to))\W+(?:[a-z]+\W+){0,2}$", re.I
)
_PAST = {"previous", "prior", "earlier", "former", "old", "baseline"}
_COMMON = {root(w) for w in ("volume", "size", "diameter", "length", "width", "thickness", "of", "the", "and", "left",
                             "right", "total", "depth", "height", "density", "area", "abnormality")}  # fmt: skip


def graded(texts: tuple[str, ...]) -> set[tuple[str, str]]:
    out = set()
    for text in texts:
        for hit in _SCHEME.finditer(text):
            scheme = re.sub(r"[- ]|(?:grade|type|stage|score)$", "", hit["s"].lower()) or hit["s"].lower()
            values = re.findall(_VALUE, hit["v"].lower().replace("and", " "))
            out |= {(scheme, _ROMAN.get(value, value)) for value in values}
    return out


def measured_texts(claim: Claim) -> tuple[str, ...]:
    """Measurements in words: "grade 3"."""
    return tuple(
        f"{e.text.split(':')[0]} {e.text.split(':')[1].split()[0]}"
        for e in claim.cited.evidence
        if e.kind == "measurement" and ":" in e.text and e.text.split(":")[1].split()
    )


def schemes(claim: Claim) -> Found | None:
    """A grade of a named scheme must be the cited one."""
    told = graded((claim.text,))
    if not told:
        return None
    cited = graded((*claim.places, *measured_texts(claim)))
    bare = {v for _, v in cited} | {f"{v:g}" for f in claim.everything for v, u in f.numbers if u in {"1", "{score}"}}
    for scheme, value in sorted(told - cited):
        if scheme in _GENERAL and value in bare:
            continue
        if any(s == scheme for s, _ in cited):
            return contradicted("number", f"says {scheme} {value}; what is cited says otherwise")
        if value not in bare and scheme not in _GENERAL:
            return unknown("number", f"says {scheme} {value}; nothing cited says so")
    return None


def mixed(claim: Claim) -> Found | None:
    """Of findings that are measured each, a number must not stand with the name of another one."""
    facts = [f for f in claim.cited.facts if any(u != "1" for _, u in f.numbers)]
    if len({f.label for f in facts}) < 2:
        return None
    whole = every = {f.id: _names(f) for f in facts}
    shared = {r for a in facts for b in facts if a.label != b.label for r in every[a.id] & every[b.id]}
    every = {i: rs - shared for i, rs in every.items()}
    spans = [q.span for q in claim.parsed.quantities]
    if not spans:
        return None
    gaps = [claim.text[(spans[n - 1][1] if n else 0) : spans[n][0]] for n in range(len(spans))]
    # A name in full stands before its number, even where each of its words is another finding's too.
    first = _roots(gaps[0])
    if not any(every[i] & first or (names and names <= first) for i, names in whole.items()):
        gaps = [claim.text[s[1] : (spans[n + 1][0] if n + 1 < len(spans) else None)] for n, s in enumerate(spans)]
        if not any(rs & _roots(gaps[0]) for rs in every.values()):
            return None
    for q, gap in zip(claim.parsed.quantities, gaps, strict=True):
        owners = {f.label for f in facts if _agrees(q, f)}
        named = {f.label for f in facts if every[f.id] & _roots(gap)}
        if owners and len(named) == 1 and not owners & named and q.unit != "1":
            return contradicted("number", f"gives {q.written.strip()} for {min(named)}; it is of {min(owners)}")
    return None


def named_owner(claim: Claim, q: Quantity, near: list[Fact]) -> bool:
    """Is a number that of another cited finding, whose own word stands just before it: "tumour 61 ml, core 25 ml"?"""
    here = {r for f in near for r in _names(f)}
    lead = _roots(claim.text[max(0, q.span[0] - 30) : q.span[0]].rpartition(",")[2])
    return any(_agrees(q, f) and (_names(f) - here) & lead for f in claim.cited.facts if f not in near)


def _agrees(q: Quantity, fact: Fact) -> bool:
    return any(q.agrees(v, u) for v, u in fact.numbers)


def _names(fact: Fact) -> frozenset[str]:
    return frozenset(root(w) for t in (fact.label, *fact.sites) for w in stems(t)) - _COMMON


def _roots(text: str) -> set[str]:
    return {root(w) for w in stems(text)}


def previous(claim: Claim) -> Found | None:
    """The number of before must not be given for now, nor the other way round."""
    then = [(n, f) for f in claim.cited.facts for n, words in zip(f.numbers, f.measured, strict=False) if words & _PAST]
    if not then:
        return None
    for q in claim.parsed.quantities:
        old = any(q.agrees(*n) for n, _ in then)
        now = any(
            q.agrees(*n)
            for f in claim.cited.facts
            for n, words in zip(f.numbers, f.measured, strict=False)
            if not words & _PAST
        )
        past = _BEFORE.search(claim.text[: q.span[0]]) is not None
        if (past and now and not old) or (not past and old and not now and _stands_first(claim, q)):
            return contradicted("number", f"gives {q.written.strip()} for the wrong time")
    return None


def _stands_first(claim: Claim, q: Quantity) -> bool:
    return bool(claim.parsed.quantities) and q is claim.parsed.quantities[0]


def weights(claim: Claim) -> Found | None:
    """ "Moderate right, trace left": a weight that is cited with one side must not stand with the other."""
    cited: dict[str, set[str]] = {}
    for note in (n for t in claim.cited.texts for n in t.split(";")):
        words = stems(note)
        sides = {SIDE_WORDS.get(w) or ANATOMICAL_SIDES[w] for w in words if w in SIDE_WORDS or w in _LOBES}
        if len(sides) == 1:
            for w in set(words) & _WEIGHTS:
                cited.setdefault(w, set()).update(sides)
    if not cited:
        return None
    words = claim.parsed.words
    for at, word in enumerate(words):
        if word not in cited or len(cited[word]) != 1:
            continue
        near = _beside(words, at)
        if near is not None and near not in cited[word]:
            return contradicted("side", f"says {word!r} of the {near}; what is cited says it of the other side")
    return None


def _beside(words: list[str], at: int) -> str | None:
    for step in range(1, 7):
        for i in (at + step, at - step):
            if 0 <= i < len(words) and (words[i] in SIDE_WORDS or words[i] in _LOBES):
                low, high = sorted((i, at))
                if not {",", ";", "."} & set(words[low:high]):
                    return SIDE_WORDS.get(words[i]) or ANATOMICAL_SIDES[words[i]]
    return None


_LOBES = {"rul", "rml", "rll", "lul", "lll", "lingula", "lingular"}
_WEIGHTS = {
    "trace", "small", "tiny", "minimal", "mild", "moderate", "large", "severe", "marked", "extensive", "massive",
    "slight",
    "old", "new", "acute", "chronic", "larger", "smaller", "largest", "most", "dominant", "worst", "greatest",
}  # fmt: skip


def curves(claim: Claim) -> Found | None:
    """Curves are named by their side: "levoscoliosis" is no "dextroscoliosis"."""
    told = {w[:4] for w in claim.parsed.words if w.startswith(("levo", "dextro"))}
    cited = {w[:4] for w in claim.cited.words if w.startswith(("levo", "dextro"))}
    if told and cited and not told <= cited:
        return contradicted("side", "names the curve of the other side")
    return None


def discs(claim: Claim) -> Found | None:
    """A disc is named by its two vertebrae: "L4/5" is not "L3/4"."""
    told, cited = _pairs((claim.text,)), _pairs(claim.places)
    wrong = sorted(told - cited)
    if cited and wrong and not any(a[0] == b[0] and b[1] <= a[1] and a[2] <= b[2] for a in wrong[:1] for b in cited):
        return contradicted("number", f"says {wrong[0][0]}{wrong[0][1]}/{wrong[0][2]}, which is not the cited level")
    return None


_DISC = re.compile(r"\b([CTLS])(\d{1,2})\s?[-–/]\s?[CTLS]?(\d{1,2})\b", re.IGNORECASE)


def _pairs(texts: tuple[str, ...]) -> set[tuple[str, int, int]]:
    return {(m[1].lower(), int(m[2]), int(m[3])) for t in texts for m in _DISC.finditer(t)}
