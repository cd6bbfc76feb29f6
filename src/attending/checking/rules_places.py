"""Rules on places: a part of the body that is named must be cited, implied by the finding, or a mere landmark."""

from __future__ import annotations

import re
from itertools import pairwise

from ..terms import Assertion
from ..terms.tokens import root
from .cited import Claim, Fact
from .found import Found, contradicted, unknown

# The part of the body that a study or a finding is of, and that may be named with it at any time.
_WHOLE = {"head": {"head", "brain"}, "chest": {"chest"}, "abdomen": {"abdomen"}, "spine": {"spine"}}
# Places that readers name by either word.
_NEAR = (
    {"lower lobe of lung", "lung base"}, {"upper lobe of lung", "lung apex"}, {"lung base", "costophrenic angle"},
    {"middle lobe of lung", "mid lung zone"}, {"hilum of lung", "perihilar region"}, {"chest wall", "chest"},
    {"pleura", "costophrenic angle"}, {"mediastinum", "paratracheal region"}, {"superior vena cava", "great vein"},
    {"cerebral artery", "artery"}, {"pulmonary artery", "artery"}, {"abdomen", "pelvis"},
)  # fmt: skip
_LANDMARK = (
    "between|overly|overlying|overlie|overlies|project|projecting|projected|projects|level|superimposed|adjacent|near|behind|"
    "above|below|beneath|through|over|interspace|posterior to|anterior to"
)


def site(claim: Claim, a: Assertion, near: list[Fact]) -> Found | None:
    cited = {s for f in near for s in (*f.sites, *f.organs)} | set(claim.cited.organs)
    own = {s for f in near for s in f.sites if s in claim.book.organs}
    for at, site in enumerate(a.sites):
        if placed(claim, site, cited) or any(implied(claim, site, f) for f in near) or _landmark(claim, site):
            continue
        if _in_their_words(claim, site):
            continue
        if at == 0 or not own:
            return contradicted("invented", f"places {a.finding} in {site}, which nothing cited names")
        return unknown("invented", f"also names {site}, which nothing cited names")
    return None


def _in_their_words(claim: Claim, site: str) -> bool:
    """ "The head mass" where the head of the pancreas is cited: one word may name two parts of the body."""
    for m in claim.parsed.organs:
        words = claim.parsed.words[m.start : m.end]
        if m.name == site and (set(words) <= claim.cited.words or {root(w) for w in words} <= claim.cited.roots):
            return True
    return False


def _landmark(claim: Claim, site: str) -> bool:
    """ "Overlying the seventh rib" tells a reader of the film where to look, not in what the finding lies."""
    if site in {"heart", "diaphragm", "aorta"}:
        return bool({"obscuring", "obscured", "silhouetting", "behind", "obscure"} & set(claim.parsed.words))
    if site not in {"rib", "clavicle", "scapula", "soft tissue", "thoracic spine", "spine", "chest wall", "sternum"}:
        return False
    words = " ".join(claim.parsed.words)
    names = "|".join(sorted((re.escape(w) for w in claim.book.organ_words[site]), key=len, reverse=True))
    return re.search(rf"\b(?:{_LANDMARK})(?: \S+){{0,6}}? (?:{names})\b", words) is not None


def placed(claim: Claim, site: str, cited: set[str]) -> bool:
    """Cited itself, another word for it, or a container of what is cited (the lung of a lower lobe)."""
    if site == "lobe of lung" and any("lung" in claim.book.ancestors(c) for c in cited):
        return True
    if site == "lobe of lung" and "lung" not in cited and cited:  # the lobe of a thyroid, a liver, a brain
        return not any(c == "lung" or "lung" in claim.book.ancestors(c) for c in cited)
    near = {n for group in _NEAR if site in group for n in group}
    return site in cited or bool(near & cited) or any(site in claim.book.ancestors(c) for c in cited)


_LEVELS = {"lumbar spine": "LS", "thoracic spine": "T", "cervical spine": "C", "sacrum": "S", "spine": "CTLS"}


def implied(claim: Claim, organ: str, fact: Fact) -> bool:
    """Does a finding by its nature lie in this part: a glioma in the brain, an effusion in the pleura?"""
    if organ in _LEVELS and any(re.search(rf"\b[{_LEVELS[organ]}]\d", t) for t in (fact.label.upper(), *claim.places)):
        return True
    term = claim.book.organs[organ]
    if organ in fact.organs or any(organ in claim.book.ancestors(o) for o in fact.organs):
        return True
    if organ in {"chest", "abdomen", "head"} and fact.broader & {"medical device", "catheter", "tube"}:
        return True
    regions = {claim.book.terms[n].region for n in fact.names if n in claim.book.terms}
    if organ in _WHOLE.get("".join(regions), ()):
        return True
    parent = claim.book.organs.get(term.parent)
    if parent is not None and set(parent.denies) & set(term.denies):
        return False
    return bool(set(term.denies) & (fact.names | fact.broader))


def anatomy(claim: Claim) -> Found | None:
    """A part of the body that no assertion holds must still be cited."""
    if (second := _and_another(claim)) is not None:
        return unknown("invented", f"also names {second}, which nothing cited names")
    for organ in claim.parsed.organs:
        name = organ.name if organ.kind == "organ" else next(e.name for e in organ.also if e.kind == "organ")
        if placed(claim, name, set(claim.cited.organs)) or any(implied(claim, name, f) for f in claim.everything):
            continue
        if any(name in a.sites or a.kind == "structure" for a in claim.parsed.assertions):
            continue
        words = set(claim.parsed.words[organ.start : organ.end])
        if words <= claim.cited.words or _whole(claim, name):
            continue
        return unknown("invented", f"names {name}, which nothing cited names")
    return None


def _whole(claim: Claim, organ: str) -> bool:
    return organ in _WHOLE.get(claim.region or "", ())


def _and_another(claim: Claim) -> str | None:
    """ "The supraspinatus and the infraspinatus", where the lexicon has one name for both and one of them is cited."""
    words = claim.parsed.words
    if any(f.presence == "absent" for f in claim.cited.facts):
        return None  # a denial may be narrower
    for one, two in pairwise(claim.parsed.found):
        between = words[one.end : two.start]
        if one.kind != "organ" or (two.kind, two.name) != (one.kind, one.name) or "and" not in between:
            continue
        told = [{root(w) for w in words[m.start : m.end]} <= claim.cited.roots for m in (one, two)]
        if len(between) <= 3 and told in ([True, False], [False, True]):
            extra = one if told[1] else two
            return " ".join(words[extra.start : extra.end])
    return None
