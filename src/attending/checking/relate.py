"""Which cited facts an assertion can be about: by name, by its own words, by kinship, or because it follows."""

from __future__ import annotations

from functools import lru_cache

from ..terms import Assertion
from ..terms.tokens import root, roots, stems
from .cited import Claim, Fact, spoken

# Wordings that name a kind and no disease. With words of place they may stand for whatever is cited of that kind.
BROAD = frozenset(
    {
        "abnormality", "lesion", "tumor", "neoplasm", "mass", "disease", "opacity", "density", "process", "finding",
        "change", "infection", "collection", "hemorrhage", "hematoma", "fracture", "enlargement", "abnormal",
        "opacification", "bleed", "fluid", "blood", "clot",
        "infective", "infectious", "device", "catheter", "tube", "line", "lead",
        "calcification", "pathology",
    }
)  # fmt: skip
_BROAD_ROOTS = frozenset(root(w) for w in BROAD)
_LINKS = frozenset({"of", "in", "the", "and", "or", "a", "an", "with", "focal", "acute", "to", "at", "within"})
# Words that readers use for one and the same shadow.
SYNONYMS = frozenset(
    {"airspace opacity", "infiltrate", "opacity", "lung collapse", "atelectasis", "vertebral fracture"}
)
_TISSUES = frozenset(root(w) for w in ("tendon", "ligament", "wall", "tissue"))
# "The chest is normal" says more than that one disease of it is absent.
WHOLES = frozenset({"chest", "head", "brain", "abdomen", "pelvis", "spine", "bone", "neck", "soft tissue"})


def surface(claim: Claim, a: Assertion) -> frozenset[str]:
    """Roots of the words by which a sentence names a finding, without sides and links."""
    return _surface(claim.text[a.span[0] : a.span[1]])


@lru_cache(maxsize=20_000)
def _surface(text: str) -> frozenset[str]:
    return frozenset(root(s) for s in stems(text) if s not in _LINKS and s not in {"left", "right", "is", "are"})


@lru_cache(maxsize=4096)
def label_roots(label: str) -> frozenset[str]:
    return frozenset(roots(label))


def related(claim: Claim, a: Assertion) -> list[Fact]:
    """Facts that an assertion can be about: of the same name, or of which it follows."""
    everything = claim.everything
    if a.kind == "structure":
        own = [f for f in everything if a.finding in f.organs or a.finding in f.names or a.finding in f.sites]
        told = a.finding in claim.cited.organs  # by what is said beside the finding
        return own or [f for f in claim.cited.facts if told and f.numbers]
    same = [f for f in everything if a.finding in f.names]
    if same and any(not f.derived for f in same):
        return same
    if a.kind == "normal":
        return same or normal(claim, a)
    said = surface(claim, a)
    own = [f for f in claim.cited.facts if said and _by_words(said, f)]
    own += [f for f in claim.cited.facts if f not in own and _narrowed(claim, a, f, said)]
    own += [f for f in claim.cited.facts if f not in own and _kin(claim, a, f)]
    if not own and not same:
        own = [f for f in claim.cited.facts if _by_own_words(claim, said, f)]
    if own or same:
        return [*own, *same]
    if a.presence == "absent":
        above = set(claim.book.ancestors(a.finding))
        return [f for f in everything if f.presence == "absent" and f.names & above]
    if not _generic(claim, a):
        return []
    return [f for f in everything if f.presence != "absent" and a.finding in f.broader]


def _by_words(said: frozenset[str], f: Fact) -> bool:
    """The fact's own words, with those of its place: "umbilical hernia" of a hernia at the umbilicus."""
    label = label_roots(f.label)
    said = said if said - _TISSUES <= _BROAD_ROOTS | {"tear"} else said - _TISSUES
    return said <= label or (bool(said & label) and said <= label.union(*(label_roots(s) for s in f.sites)))


def _by_own_words(claim: Claim, said: frozenset[str], f: Fact) -> bool:
    """All that names it beside a part of the body is the fact's own, and the rest is cited: "level in the antrum"."""
    own = spoken(stems(f.label))
    places = {root(w) for o in claim.parsed.organs for w in claim.parsed.words[o.start : o.end]}
    rest = said - places
    if rest <= _BROAD_ROOTS:
        return False
    return (
        bool(rest) and rest <= own | claim.cited.roots and bool(rest & own) and said <= own | claim.cited.roots | places
    )


def _narrowed(claim: Claim, a: Assertion, f: Fact, said: frozenset[str]) -> bool:
    """A narrower name whose every word is cited: "airspace opacity" of an opacity that the notes call airspace."""
    kin = claim.book.kin.get(a.finding, frozenset())
    wider = {n for n in f.names if a.finding in claim.book.kin.get(n, ())}
    kin |= claim.book.kin_worded.get(a.finding, frozenset())
    known = bool(wider) or bool(f.names & {*claim.book.ancestors(a.finding), *kin})
    return bool(said) and said <= claim.cited.roots and known


def _kin(claim: Claim, a: Assertion, f: Fact) -> bool:
    kin = claim.book.kin.get(a.finding, frozenset())
    if a.finding not in SYNONYMS:  # a narrower name is no synonym of a broader one
        kin -= frozenset(claim.book.ancestors(a.finding))
    broad = a.finding in claim.book.terms and claim.book.terms[a.finding].region == "any"
    if f.names & kin or (f.presence != "absent" and broad and f.broader & kin and _generic(claim, a)):
        return True
    denied = a.presence == f.presence == "absent"
    return denied and bool(f.names & claim.book.kin_denied.get(a.finding, frozenset()))


def normal(claim: Claim, a: Assertion) -> list[Fact]:
    """A normal part of the body follows from a denial of what may be wrong with it."""
    book = claim.book
    denied = set(book.organs[a.site].denies) if a.site else {a.finding}
    above = {b for d in denied for b in book.ancestors(d)}
    absent = [f for f in claim.everything if f.presence == "absent" and f.names & (denied | above)]
    if absent or a.presence != "absent":
        return absent
    named = [f for f in claim.everything if f.presence == "absent" and akin(claim.text[slice(*a.span)], f.label)]
    if named:
        return named
    clear = a.site == "chest" and "clear" in claim.parsed.words
    if a.site in WHOLES and not clear and a.site not in {"bone", "spine", "soft tissue"}:
        return []
    kin = {k for d in denied for k in (*book.kin.get(d, ()), *book.kin_denied.get(d, ()))}
    found = [f for f in claim.everything if f.presence == "absent" and (f.broader & denied or f.names & kin)]
    if found or a.site is None:
        return found
    return [f for f in claim.everything if f.presence == "absent" and a.site in {*f.organs, *f.sites}]


@lru_cache(maxsize=20_000)
def akin(words: str, label: str) -> bool:
    """Does a name come from the words of a part of the body: "sacroiliitis" from "sacroiliac joints"?"""
    return any(
        len(one) > 4 and len(other) > 4 and one[:5] == other[:5]
        for one in stems(words)
        for other in stems(label)
        if other not in {"abnormality", "enlargement"}
    )


def _generic(claim: Claim, a: Assertion) -> bool:
    """Only a broad word may stand for a cited finding: "brain tumor" for a glioma, never "lytic lesion"."""
    words = set(stems(claim.text[a.span[0] : a.span[1]])) - _LINKS
    if words == set(stems(a.finding)) - _LINKS:
        return True
    if len(words) == 1 and words & claim.book.stands_for.keys():
        return True
    place = {w for o in claim.book.organs for w in _organ_words(claim, o)} if words - BROAD else set()
    return bool(words & BROAD) and words - BROAD <= place | set(stems(a.finding)) | claim.cited.words


def _organ_words(claim: Claim, organ: str) -> frozenset[str]:
    return claim.book.organ_words.get(organ, frozenset())
