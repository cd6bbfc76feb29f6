"""From the words of a question to the findings of a reading, and back to the evidence that says them."""

from __future__ import annotations

from functools import lru_cache

from ..records import Answer, Evidence, Finding, Measurement, NotAssessed, Reading
from ..terms import lexicon
from ..terms.tokens import stems
from .question import GENERAL, Question, understand


def cannot(reading: Reading, why: str, needed: str, rests_on: tuple[str, ...] = (), more: str = "") -> Answer:
    """ "Cannot tell", why, and what would be needed; more is what is known all the same."""
    text = f"Cannot tell: {why}. {more + '. ' if more else ''}Needed: {needed}."
    return Answer(text, "cannot_tell", rests_on)


def answered(text: str, rests_on: tuple[str, ...], notes: tuple[str, ...] = ()) -> Answer:
    return Answer(text.rstrip(".") + ".", "answered", tuple(dict.fromkeys(rests_on)), notes=notes)


@lru_cache(maxsize=4096)
def names_of(meaning: str) -> tuple[frozenset[str], frozenset[str]]:
    """(findings, parts of the body) of the lexicon that a code's meaning names, with the broader ones of each."""
    said = understand(meaning)
    book = lexicon()

    def wider(names: tuple[str, ...]) -> frozenset[str]:
        return frozenset(n for name in names for n in (name, *book.ancestors(name)))

    return wider(said.findings), wider(said.organs)


def is_structure(finding: Finding) -> bool:
    """A part of the body that was outlined or measured, not something found wrong with it."""
    return not names_of(finding.code.meaning)[0] and bool(names_of(finding.code.meaning)[1]) and bool(
        finding.measurements or (finding.region and finding.region.kind == "mask")
    )  # fmt: skip


# "Tumour" asks for every kind of it; the lexicon keeps most kinds apart.
KINDS_OF = {"tumor": ("tumor", "neoplasm", "glioma", "meningioma", "adenoma", "carcinoma", "metastas", "lymphoma")}


def _named(asked: set[str], names: frozenset[str]) -> bool:
    return bool(asked & names) or any(part in n for a in asked for part in KINDS_OF.get(a, ()) for n in names)


def matches(words: str, meaning: str) -> bool:
    """Whether what is asked for in words is what a code means, or something broader."""
    if words.strip().lower() == meaning.lower():
        return True
    asked = understand(words)
    findings, organs = names_of(meaning)
    if asked.findings:
        return _named(set(asked.findings), findings) and (not asked.organs or bool(set(asked.organs) & organs))
    return bool(set(asked.organs) & organs) and not findings


def about(question: Question, reading: Reading, closest: bool = True) -> list[Finding]:
    """The findings that the question names; those of a kind it names in general where it names no other.

    closest   of several structures only the one that the words fit best; False where the question names several.
    """
    out = []
    for finding in reading.findings:
        findings, organs = names_of(finding.code.meaning)
        if finding.site is not None:
            organs |= names_of(finding.site.meaning)[1]
        organs |= frozenset(o for name in findings for o in lexicon().lies_in.get(name, ()))
        named = set(question.findings) - GENERAL
        if named:
            if not _named(named, findings):
                continue
            # "pituitary tumour": the part of the body must fit too, where the finding names one of its own
            own = names_of(finding.code.meaning)[1]
            if question.organs and own and not set(question.organs) & organs and not _inside(question.organs, own):
                continue
            out.append(finding)
        elif question.organs:
            if is_structure(finding):
                if own_name(finding) in question.organs or len(_words(finding) & question.words) > 1:
                    out.append(finding)
            elif set(question.organs) & organs:
                out.append(finding)
        elif question.findings and not is_structure(finding):
            out.append(finding)
    out = _closest(question, out) if closest else out
    return [f for f in out if question.side is None or f.side in (None, question.side, "bilateral")]


def _closest(question: Question, found: list[Finding]) -> list[Finding]:
    """Of structures, those whose words the question has most of: "brain" is not "cerebral grey matter"."""
    structures = [f for f in found if is_structure(f)]
    if len(structures) < 2:
        return found

    def fit(finding: Finding) -> tuple[int, bool]:
        words = _words(finding)
        return len(words & question.words), words <= question.words

    best = max(fit(f) for f in structures)
    return [f for f in found if not is_structure(f) or fit(f) == best]


def _words(finding: Finding) -> frozenset[str]:
    return frozenset(stems(finding.code.meaning)) - {"of", "the", "structur"}


def _inside(wanted: tuple[str, ...], own: frozenset[str]) -> bool:
    """The finding's part of the body lies in the one asked for: a pituitary tumour is a brain tumour."""
    book = lexicon()
    return any(w in book.ancestors(o) for w in wanted for o in own)


@lru_cache(maxsize=4096)
def _own(meaning: str) -> str:
    said = understand(meaning)
    return said.organs[0] if said.organs else meaning.lower()


def own_name(finding: Finding) -> str:
    return _own(finding.code.meaning)


def says(finding: Finding, reading: Reading) -> Evidence | None:
    """The evidence that says whether a finding is there: the signing expert's before the model's."""
    of_it = [e for e in reading.evidence if e.about == finding.id]
    return next((e for e in reversed(of_it) if e.kind == "expert"), next(iter(of_it), None))


def tells(measurement: Measurement, reading: Reading) -> Evidence | None:
    of_it = [e for e in reading.evidence if e.about == measurement.id]
    return next((e for e in reversed(of_it) if e.kind == "expert"), next(iter(of_it), None))


def cites(*items: Finding | Measurement | Evidence | NotAssessed | None) -> tuple[str, ...]:
    """The ids of what an answer rests on, in order."""
    return tuple(item.evidence if isinstance(item, NotAssessed) else item.id for item in items if item is not None)


def gate(reading: Reading, image: int = 0) -> Evidence | None:
    """The gate's evidence on an image: what the study says it is and what its pixels agree with."""
    gates = [e for e in reading.evidence if e.kind == "gate"]
    return gates[image] if image < len(gates) else None


def name(finding: Finding) -> str:
    """As a sentence begins: side and meaning."""
    words = f"{finding.side} {finding.code.meaning.lower()}" if finding.side else finding.code.meaning.lower()
    return words[:1].upper() + words[1:]


def number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def unread(reading: Reading) -> str:
    """What was not looked at, as the reading says it."""
    return "; ".join(f"{n.what} ({n.why})" for n in reading.not_assessed)
