"""What a sentence rests on, in the checker's own terms: facts with names, side, site and numbers; words of evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ..records import CaseFacts, Evidence, Finding, Presence, Side
from ..terms import Assertion, Lexicon, Parsed, Quantity, lexicon, quantities
from ..terms.scope import kinds
from ..terms.tokens import root, stems

# Which parts of the body a declared body part or view lets a study show. None: no restriction is known.
REGIONS = {
    "HEAD": "head", "BRAIN": "head", "SKULL": "head", "CHEST": "chest", "LUNG": "chest", "THORAX": "chest",
    "ABDOMEN": "abdomen", "PELVIS": "abdomen", "KNEE": "bone", "SHOULDER": "bone", "HAND": "bone", "FOOT": "bone",
    "HIP": "bone", "ELBOW": "bone", "WRIST": "bone", "ANKLE": "bone", "EXTREMITY": "bone",
}  # fmt: skip


_PLACED = {
    "fracture",
    "bone abnormality",
    "spine abnormality",
    "bowel abnormality",
    "aortic abnormality",
    "degenerative change",
}
_MEASURES = {
    "volume", "size", "diameter", "length", "width", "thickness", "density", "total", "whole", "the", "left", "right",
    "and", "structure", "region", "area", "height", "proper", "ratio", "index", "angle",
}  # fmt: skip
SIDE_WORDS = {"left": "left", "right": "right", "leftward": "left", "rightward": "right"}
# Words that are a side by themselves: parts of the body of one side alone, curves named by their convexity.
ANATOMICAL_SIDES = {
    **dict.fromkeys(("lingula", "lingular", "levoscoliosis", "levocurvature", "levoconvex",
                     "levorotatory", "lul", "lll",
                     "luq", "llq", "lif", "spleen", "splenic", "sinistral", "descending"), "left"),
    **dict.fromkeys(("dextroscoliosis", "dextrocurvature", "dextroconvex", "dextrorotatory", "rul", "rml", "rll", "ruq",
                     "rlq", "rif", "liver", "hepatic", "appendix", "appendiceal", "gallbladder", "cecum", "azygo",
                     "cecal", "minor"), "right"),
}  # fmt: skip
_COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Fact:
    """One cited finding. numbers: (value, unit); names: preferred names it goes by; broader: all their ancestors;
    measured: the words that name each of its measurements."""

    id: str
    label: str
    names: frozenset[str]
    broader: frozenset[str]
    organs: frozenset[str]
    sites: frozenset[str]
    presence: Presence
    side: Side | None
    numbers: tuple[tuple[float, str], ...] = ()
    calibrated: bool = False
    derived: bool = False
    measured: tuple[frozenset[str], ...] = ()


@dataclass(frozen=True)
class Cited:
    """facts: of cited findings; said: of what other cited evidence says in words; words: stems of all of it."""

    facts: tuple[Fact, ...]
    said: tuple[Fact, ...]
    evidence: tuple[Evidence, ...]
    words: frozenset[str]
    organs: frozenset[str]
    numbers: tuple[Quantity, ...]
    texts: tuple[str, ...]
    priors: bool
    roots: frozenset[str] = frozenset()
    sides: frozenset[str] = frozenset()

    def says(self, word: str) -> bool:
        """Is a word, in any inflection, among those of what is cited?"""
        if word in self.words or root(word) in self.roots:
            return True
        return any(long <= self.roots for long in lexicon().stands_for.get(word, ()))


@dataclass
class Claim:
    """A sentence beside what it rests on: what every rule is given."""

    text: str
    parsed: Parsed
    cited: Cited
    modality: str | None
    region: str | None
    matched: set[str] = field(default_factory=set)

    @property
    def book(self) -> Lexicon:
        return self.parsed.book

    @property
    def places(self) -> tuple[str, ...]:
        """Everything cited in which a level of the spine may be named."""
        return (*self.cited.texts, *(s for f in self.cited.facts for s in (f.label, *f.sites)))

    @property
    def everything(self) -> tuple[Fact, ...]:
        return (*self.cited.facts, *self.cited.said)


def claim(text: str, facts: Sequence[Finding], evidence: Sequence[Evidence], case: CaseFacts | None) -> Claim:
    cited = _cited(tuple(facts), tuple(evidence))
    modality, region = _place(case)
    heads = {f.label: _head(f.label) for f in cited.facts if unheard_of(f.label)}
    words = dict.fromkeys(stems(text))
    near = {label: [w for w in words if head and root(w) == root(head)] for label, head in heads.items()}
    meant = tuple((f.label, w) for w in words for f in cited.facts if _stands_for(w, f.label))
    unheard = meant + tuple((label, word) for label, alike in near.items() for word in (alike or [""]))
    return Claim(text, Parsed(text, lexicon().knowing(unheard, region)), cited, modality, region)


@lru_cache(maxsize=20_000)
def _stands_for(word: str, label: str) -> bool:
    """Is an abbreviation of several meanings meant as what is cited: "RA" of an arthritis, not of an atrium?"""
    long = lexicon().stands_for.get(word, ())
    return len(long) > 1 and any(meant and meant <= {root(w) for w in stems(label)} for meant in long)


@lru_cache(maxsize=4096)
def _head(label: str) -> str:
    """What an unheard-of name says beside the part of the body: the torsion of "testicular torsion"."""
    parsed, book = Parsed(label), lexicon()
    held = {i for m in parsed.found for i in range(m.start, m.end)} | {
        i for i, w in enumerate(parsed.words) if any(len(p) == 1 for p, _ in book.wordings.get(w, ()))
    }
    rest = [w for i, w in enumerate(parsed.words) if i not in held and w not in _MEASURES]
    return rest[0] if len(rest) == 1 and rest[0] not in book.common and len(rest[0]) > 3 else ""


@lru_cache(maxsize=4096)
def unheard_of(label: str) -> bool:
    """Does the lexicon know neither a finding nor a part of the body in a fact's name?"""
    parsed = Parsed(label)
    if not parsed.assertions and not any("finding" in kinds(m) for m in parsed.found):
        held = {i for m in parsed.found for i in range(m.start, m.end)}
        rest = [w for i, w in enumerate(parsed.words) if i not in held and w not in _MEASURES and len(w) > 2]
        if rest and any(w.isalpha() for w in rest):
            return True
    return not any(kinds(m) & {"finding", "organ", "normal"} for m in parsed.found) and not parsed.assertions


def _place(case: CaseFacts | None) -> tuple[str | None, str | None]:
    case = getattr(case, "facts", case)
    if case is None or not case.images:
        return None, None
    part = case.images[0].body_part
    return case.modality, REGIONS.get((part or "").upper())


def _cited(facts: tuple[Finding, ...], evidence: tuple[Evidence, ...]) -> Cited:
    book = lexicon()
    known = {f.id for f in facts} | {m.id for f in facts for m in f.measurements if m.id}
    made = tuple(fact for f in facts for fact in facts_of(f))
    texts = [e.text for e in evidence] + [e.source for e in evidence if e.source]
    notes = [n for f in facts for n in f.notes]
    own = [f.code.meaning for f in facts] + [f.site.meaning for f in facts if f.site]
    own += [m.code.meaning for f in facts for m in f.measurements]
    said: list[Fact] = []
    for item in evidence:
        if item.about not in known:
            said += [_of_assertion(item.id, a, book) for a in Parsed(item.text).assertions]
    for note in notes:
        said += [_of_assertion("note", a, book) for a in Parsed(note).assertions]
    # What evidence says in passing of a cited finding ("large effusion") describes it; the finding itself decides.
    said = [s for s in said if not any(_same(s, f, book) for f in made)]
    organs = {o for fact in (*made, *said) for o in (*fact.organs, *fact.sites)}
    organs |= {o for t in (*texts, *notes) for o in organ_names(t)}
    words = {w for t in (*texts, *notes, *own) for w in stems(t)}
    words |= {"".join(w[0] for w in named) for t in own if 2 < len(named := stems(t)) < 6 and "".join(named).isalpha()}
    numbers = tuple(q for t in (*texts, *notes) for q in quantities(t))
    numbers += tuple(Quantity(float(n), "1", (0, 0)) for n, w in enumerate(_COUNTS, 2) if w in words)
    priors = any(e.kind in {"prior", "similar", "expert"} for e in evidence)
    return Cited(
        made, tuple(said), evidence, frozenset(words), frozenset(organs), numbers, (*texts, *notes), priors,
        spoken(words), frozenset(s for n in (*notes, *texts) for s in _told(n)),
    )  # fmt: skip


def spoken(words: Iterable[str]) -> frozenset[str]:
    """Roots of words, with those of what an abbreviation among them may stand for."""
    short = lexicon().stands_for
    return frozenset(r for w in words for r in (root(w), *(x for long in short.get(w, ()) for x in long)))


def _told(text: str) -> set[str]:
    words = stems(text)
    curved = {w for w in words if w.startswith(("levo", "dextro", "lingul")) and w in ANATOMICAL_SIDES}
    return {SIDE_WORDS.get(w) or ANATOMICAL_SIDES[w] for w in words if w in SIDE_WORDS or w in curved}


def _same(said: Fact, fact: Fact, book: Lexicon) -> bool:
    kin = {k for n in said.names for k in book.kin.get(n, ())}
    if said.names & (fact.names | fact.broader):
        return True
    # A sign may be firm where the disease that it points to is not.
    return fact.presence != "uncertain" and bool(fact.names & (said.broader | kin))


def facts_of(finding: Finding) -> Iterable[Fact]:
    """A finding as the checker sees it: by its code where the lexicon has it, and by the words of its meaning."""
    book = lexicon()
    meaning, site_text = finding.code.meaning, finding.site.meaning if finding.site else ""
    organs = set(organs_within(meaning))
    elsewhere = {book.organs[o].region for o in organs} & {"head", "abdomen", "bone", "spine"}
    names = {n for n in _names(meaning) if not (elsewhere and book.terms[n].region == "chest")} | {meaning.lower()}
    presence = finding.presence
    denied = {a.finding for a in Parsed(meaning).assertions if a.kind == "normal" and a.presence == "absent"}
    if denied and presence == "present":  # "normal heart size" as a finding denies what it names
        names, presence = names | denied, "absent"
    if (known := _by_code().get((finding.code.scheme, finding.code.value))) is not None:
        names.add(known)
    sites = set(organ_names(site_text)) | ({site_text.lower()} if site_text else set())
    organs |= {site for a in Parsed(meaning).assertions for site in a.sites}
    organs |= {o for n in names for a in _kinds_of(n, book) for o in book.lies_in.get(a, ())}
    numbers: list[tuple[float, str]] = [(m.value, m.unit) for m in finding.measurements]
    for value in (finding.score, finding.probability):
        if value is not None:
            numbers.append((value, "1"))
    yield Fact(
        finding.id,
        meaning.lower(),
        frozenset(names),
        frozenset(a for n in names for a in book.ancestors(n)),
        frozenset(organs),
        frozenset(sites),
        presence,
        finding.side or side_of(meaning) or side_of(site_text),
        tuple(numbers),
        finding.probability is not None or any("probability" in m.code.meaning.lower() for m in finding.measurements),
        measured=tuple(frozenset(stems(m.code.meaning)) for m in finding.measurements),
    )


def _kinds_of(name: str, book: Lexicon) -> list[str]:
    """A finding and the broader ones that have a place: a nodule is of the lung, a nodule of the thyroid is not."""
    if name not in book.terms:
        return []
    return [name, *(a for a in book.ancestors(name) if book.terms[a].region != "any" or a in _PLACED)]


def _of_assertion(id: str, a: Assertion, book: Lexicon) -> Fact:
    return Fact(
        id, a.finding, frozenset({a.finding}), frozenset(book.ancestors(a.finding)),
        frozenset(a.sites), frozenset(a.sites),
        a.presence, a.side, tuple((q.value, q.unit) for q in a.quantities), False, True,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _names(text: str) -> tuple[str, ...]:
    parsed = Parsed(text)
    made = [a.finding for a in parsed.assertions if a.kind == "finding"]
    return tuple(dict.fromkeys([*made, *(m.name for m in parsed.findings)]))


@lru_cache(maxsize=4096)
def organ_names(text: str) -> tuple[str, ...]:
    """Parts of the body that a text names."""
    parsed = Parsed(text)
    named = [m.name if m.kind == "organ" else next(e.name for e in m.also if e.kind == "organ") for m in parsed.organs]
    return tuple(dict.fromkeys(named))


@lru_cache(maxsize=4096)
def organs_within(text: str) -> tuple[str, ...]:
    """Parts of the body named anywhere in a text, inside the name of a finding as well: the shoulder's rotator cuff."""
    book, words = lexicon(), stems(text)
    found = [
        e.name
        for at in range(len(words))
        for phrase, entries in book.wordings.get(words[at], ())
        for e in entries
        if e.kind == "organ" and tuple(words[at : at + len(phrase)]) == phrase
    ]
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=4096)
def side_of(text: str) -> Side | None:
    words = set(stems(text))
    if words & {"bilateral", "bilaterally", "both"} or {"left", "right"} <= words:
        return "bilateral"
    return "left" if "left" in words else "right" if "right" in words else None


@lru_cache(maxsize=1)
def _by_code() -> dict[tuple[str, str], str]:
    book = lexicon()
    return {(t.code.scheme, t.code.value): t.name for t in book.terms.values()}
