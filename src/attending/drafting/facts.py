"""What is worth a sentence, decided in code: the facts of a study, grouped and in reading order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..records import Evidence, Finding, Findings, Measurement
from ..terms import lexicon, parse

MAX_VOLUMES_IN_ONE = 6  # a reader compares at most a handful of numbers in a line
MAX_ABSENT_IN_ONE = 6


@dataclass(frozen=True)
class Item:
    """One sentence to be: the findings it states, and every id that it rests on."""

    kind: str  # "finding", "absent", "volumes"
    findings: tuple[Finding, ...]
    rests_on: tuple[str, ...]
    urgent: bool = False


def items(found: Findings) -> tuple[Item, ...]:
    """Facts in reading order: what is present, what is unclear, what is absent, then what was measured."""
    pathology = [f for f in found.findings if not is_structure(f)]
    structures = [f for f in found.findings if is_structure(f)]
    out = [_item("finding", (f,), found) for f in pathology if f.presence == "present"]
    out.sort(key=lambda i: not i.urgent)
    out += [_item("finding", (f,), found) for f in pathology if f.presence == "uncertain"]
    absent = [f for f in pathology if f.presence == "absent"]
    out += [_item("absent", group, found) for group in _chunks(absent, MAX_ABSENT_IN_ONE)]
    out += [_item("volumes", group, found) for group in volume_groups(structures)]
    return tuple(out)


def is_structure(finding: Finding) -> bool:
    """A measured part of the body, as against something that may be wrong with it."""
    if not finding.measurements or finding.presence != "present":
        return False
    return not any(a.kind == "finding" for a in parse(finding.code.meaning))


def is_urgent(finding: Finding) -> bool:
    terms = lexicon().terms
    return any(a.finding in terms and terms[a.finding].urgent for a in parse(finding.code.meaning))


def is_of_head(finding: Finding) -> bool:
    """Lies in the head by what it is, so that "in the brain" says nothing more."""
    terms = lexicon().terms
    return any(a.finding in terms and terms[a.finding].region == "head" for a in parse(finding.code.meaning))


def volume_groups(structures: Sequence[Finding]) -> Iterable[tuple[Finding, ...]]:
    """The whole brain alone first; then structures, left beside right, a handful to a sentence."""
    whole = [f for f in structures if _is_whole(f)]
    rest = [f for f in structures if not _is_whole(f)]
    yield from ((f,) for f in whole)
    pairs: dict[tuple[str, str], list[Finding]] = {}
    for f in rest:
        unit = f.measurements[0].unit
        pairs.setdefault((unit, structure_name(f)), []).append(f)
    for unit in dict.fromkeys(key[0] for key in pairs):
        group: list[Finding] = []
        for key, pair in pairs.items():
            if key[0] != unit:
                continue
            if group and len(group) + len(pair) > MAX_VOLUMES_IN_ONE:
                yield tuple(group)
                group = []
            group += pair
        if group:
            yield tuple(group)


def _is_whole(finding: Finding) -> bool:
    name = finding.code.meaning.lower()
    return any(w in name for w in ("total", "whole", "intracranial")) or name in {
        "brain",
        "brain volume",
        "volume of brain",
    }


def structure_name(finding: Finding) -> str:
    """The part of the body without side and without "volume of": "Volume of left hippocampus" -> "hippocampus"."""
    name = finding.code.meaning
    words = [w for w in name.replace("-", " ").split() if w.lower() not in {"left", "right", "volume", "of", "the"}]
    text = " ".join(words) or name
    return " ".join(w if sum(c.isupper() for c in w) > 1 else w.lower() for w in text.split())


def carried_by(found: Findings, findings: Iterable[Finding]) -> tuple[Evidence, ...]:
    """The evidence that carries these findings or the measurements that a sentence gives of them."""
    ids = {i for f in findings for i in (f.id, *(m.id for m in given(f) if m.id))}
    return tuple(e for e in found.evidence if e.about in ids)


def given(finding: Finding) -> tuple[Measurement, ...]:
    """Of a structure the first measurement, its volume; of anything else all of them."""
    return finding.measurements[:1] if is_structure(finding) else finding.measurements


def _item(kind: str, findings: tuple[Finding, ...], found: Findings) -> Item:
    evidence = carried_by(found, findings)
    ids = tuple(dict.fromkeys([*(f.id for f in findings), *(e.id for e in evidence)]))
    return Item(kind, findings, ids, any(is_urgent(f) and f.presence != "absent" for f in findings))


def _chunks(findings: list[Finding], size: int) -> Iterable[tuple[Finding, ...]]:
    for at in range(0, len(findings), size):
        yield tuple(findings[at : at + size])
