"""The lexicon: findings, anatomy, states and cues read once from the data files beside this module.

Each data line is ``name | wordings; ... | ...``; the head of each file says what its columns mean. Wordings are matched
on stems, so that plurals, British spelling, case and hyphens need no entry of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files

from ..records import Code
from .tokens import root, stem, stems

ARTICLES = frozenset({"the", "a", "an"})
_INSIDE = frozenset({"left", "right", "both", "bilateral"})
_BEFORE_SIDE = frozenset({"of", "in", "to", "at", "under", "within", "from", "on", "along", "over"})
FINDING_FILES = ("chest", "devices", "head", "body", "bone", "single")


@dataclass(frozen=True)
class Term:
    """One finding or one part of the body.

    kind        "finding" or "organ".
    region      chest, head, abdomen, bone, spine or any.
    parent      the broader finding, or the part of the body that this one belongs to; "" for none.
    urgent      findings that a reader must be told of at once.
    modalities  of an organ: DICOM terms of the modalities that can show it; empty for all.
    denies      of an organ: the findings that "normal" denies.
    """

    name: str
    kind: str
    code: Code
    region: str
    parent: str = ""
    urgent: bool = False
    modalities: tuple[str, ...] = ()
    denies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """What a wording means: kind is finding, organ, state, or a kind of cues.txt."""

    kind: str
    name: str


@dataclass
class Lexicon:
    """words: every stem of a data file; common: those that are not of a finding's wording alone.

    stands_for: the roots of what each abbreviation may stand for; defined: words that speak of a finding.

    wordings: first stem -> ((all stems, entries), ...), longest first."""

    terms: dict[str, Term] = field(default_factory=dict)
    organs: dict[str, Term] = field(default_factory=dict)
    wordings: dict[str, list[tuple[tuple[str, ...], list[Entry]]]] = field(default_factory=dict)
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    kin: dict[str, frozenset[str]] = field(default_factory=dict)
    kin_worded: dict[str, frozenset[str]] = field(default_factory=dict)
    lies_in: dict[str, frozenset[str]] = field(default_factory=dict)
    kin_denied: dict[str, frozenset[str]] = field(default_factory=dict)
    organ_words: dict[str, frozenset[str]] = field(default_factory=dict)
    words: frozenset[str] = frozenset()
    common: frozenset[str] = frozenset()
    plain_roots: frozenset[str] = frozenset()
    defined: dict[str, frozenset[str]] = field(default_factory=dict)
    stands_for: dict[str, tuple[frozenset[str], ...]] = field(default_factory=dict)

    extra: dict[str, list[tuple[tuple[str, ...], list[Entry]]]] = field(default_factory=dict)

    def find(self, tokens: list[str], at: int) -> tuple[int, list[Entry], tuple[int, ...]]:
        """The longest wording that starts at a token: (number of tokens, entries, places of sides inside), or (0, ...).

        Articles and sides may stand inside a wording: "fluid in the left pleural space".
        """
        best: tuple[int, list[Entry], tuple[int, ...]] = (0, [], ())
        for table in (self.extra, self.wordings) if self.extra else (self.wordings,):
            for phrase, entries in table.get(tokens[at], ()):
                if (end := _fits(phrase, tokens, at)) is not None:
                    if end[0] - at > best[0]:
                        best = (end[0] - at, entries, end[1])
                    break
        return best

    def knowing(self, heard: tuple[tuple[str, str], ...], region: str | None = None) -> Lexicon:
        """This lexicon with findings of a study that it does not know: (name, the one word that may stand for it).

        region  of the study: some words name another part of the body there (the sulci of the brain).
        """
        names = tuple(dict.fromkeys(name for name, _ in heard))
        local = _LOCAL.get(region or "", {})
        if not names and not local:
            return self
        terms = {n: Term(n, "finding", Code("99ATTENDING", n.replace(" ", "-"), n), "any") for n in names}
        more: dict[str, list[tuple[tuple[str, ...], list[Entry]]]] = {}
        for word, organ in local.items():
            more.setdefault(word, []).append(((word,), [Entry("organ", organ)]))
        for name in names:
            if phrase := tuple(s for s in stems(name) if s not in ARTICLES):
                more.setdefault(phrase[0], []).append((phrase, [Entry("finding", name)]))
        for name, head in heard:
            if head:
                more.setdefault(head, []).append(((head,), [Entry("finding", name)]))
        return replace(self, terms={**terms, **self.terms}, extra=more)

    def ancestors(self, name: str) -> tuple[str, ...]:
        """The broader findings of a finding, or the containers of an organ, nearest first."""
        out: list[str] = []
        table = self.terms if name in self.terms else self.organs
        while name in table and table[name].parent and table[name].parent not in out:
            name = table[name].parent
            out.append(name)
        return tuple(out)


def _fits(phrase: tuple[str, ...], tokens: list[str], at: int) -> tuple[int, tuple[int, ...]] | None:
    """(end, places of sides inside) where a wording stands at a place; None where it does not."""
    if len(phrase) == 1:
        return at + 1, ()
    sides: list[int] = []
    here = at + 1
    for n in range(1, len(phrase)):
        while here < len(tokens) and tokens[here] != phrase[n]:
            sided = tokens[here] in _INSIDE and phrase[n - 1] in _BEFORE_SIDE
            if sided or (tokens[here] == "not" and phrase[n - 1] in {"is", "are", "was", "were"}):
                sides.append(here)
            elif tokens[here] not in ARTICLES:
                return None
            here += 1
        if here >= len(tokens):
            return None
        here += 1
    return here, tuple(sides)


_LOCAL = {"head": {"sulcus": "cerebrospinal fluid space"}}


def rows(name: str) -> Iterator[list[str]]:
    """The columns of each line of a data file."""
    text = (files(__package__) / "data" / name).read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            yield [cell.strip() for cell in line.split("|")]


def _several(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]


def _abbreviations(book: Lexicon, collected: dict[tuple[str, ...], list[Entry]]) -> set[str]:
    """Learn each abbreviation as what it stands for; returns those whose meaning the lexicon does not know."""
    plain: set[str] = set()
    for short, long in rows("abbreviations.txt"):
        meant, phrase = tuple(s for s in stems(long) if s not in ARTICLES), (stem(short),)
        book.stands_for[phrase[0]] = (*book.stands_for.get(phrase[0], ()), frozenset(root(s) for s in meant))
        if phrase not in collected and meant in collected:
            collected[phrase] = [e for e in collected[meant] if e.kind in {"finding", "organ"}][:1]
        if not collected.get(phrase):
            collected.pop(phrase, None)
            plain.add(phrase[0])
    return plain


@cache
def lexicon() -> Lexicon:
    """The one lexicon of the process."""
    codes = {name: Code(scheme, value, meaning) for name, scheme, value, meaning in rows("codes.txt")}
    book = Lexicon()
    collected: dict[tuple[str, ...], list[Entry]] = {}

    def learn(wording: str, kind: str, name: str) -> None:
        entries = collected.setdefault(tuple(s for s in stems(wording) if s not in ARTICLES), [])
        entry = Entry(kind, name)
        if entry not in entries and not (kind in {"finding", "organ"} and any(e.kind == kind for e in entries)):
            entries.append(entry)

    def code(name: str) -> Code:
        return codes.get(name) or Code("99ATTENDING", name.replace(" ", "-"), name)

    for file in FINDING_FILES:
        for name, wordings, region, parent, flags in rows(f"findings_{file}.txt"):
            book.terms[name] = Term(name, "finding", code(name), region, parent, flags == "urgent")
            learn(name, "finding", name)
            for wording in _several(wordings):
                learn(wording, "finding", name)
    for name, wordings, region, part, modalities, denies in rows("anatomy.txt"):
        seen_by = () if modalities == "*" else tuple(modalities.split())
        book.organs[name] = Term(name, "organ", code(name), region, part, False, seen_by, tuple(_several(denies)))
        for wording in (name, *_several(wordings)):
            learn(wording, "organ", name)
        book.organ_words[name] = frozenset(s for w in (name, *_several(wordings)) for s in stems(w))
    for organs, states, finding in rows("states.txt"):
        for state in _several(states):
            learn(state, "state", " ".join(stems(state)))
            for organ in _several(organs):
                book.states.setdefault((organ, " ".join(stems(state))), finding)
    for kind, wordings in rows("cues.txt"):
        for wording in _several(wordings):
            learn(wording, kind, wording)
    short = _abbreviations(book, collected)
    for phrase, entries in collected.items():
        if phrase:
            book.wordings.setdefault(phrase[0], []).append((phrase, entries))
    for listed in book.wordings.values():
        listed.sort(key=lambda item: -len(item[0]))
    for finding, others, flag in rows("kin.txt"):
        kin = {"denied": book.kin_denied, "worded": book.kin_worded, "": book.kin}[flag]
        kin[finding] = kin.get(finding, frozenset()) | frozenset(_several(others))
    for finding, told in rows("definitions.txt"):
        book.defined[finding] = frozenset(stem(w) for w in told.split())
    for finding, organs in rows("lies_in.txt"):
        book.lies_in[finding] = frozenset(_several(organs))
    plain = short | {
        word for file in ("words.txt", "common.txt", "english.txt") for row in rows(file) for word in stems(row[0])
    }
    book.plain_roots = frozenset(
        root(word) for file in ("common.txt", "english.txt") for row in rows(file) for word in stems(row[0])
    )
    bare = {
        s
        for phrase, entries in collected.items()
        if any(e.kind not in {"finding", "organ"} for e in entries) or (len(phrase) == 1 and entries[0].kind == "organ")
        for s in phrase
    }
    book.common = frozenset(plain | bare)
    book.words = frozenset(plain | {stem for phrase in collected for stem in phrase})
    return book
