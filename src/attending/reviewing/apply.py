"""An edited report put onto its reading: the changed reading, and what changed, as structured differences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from ..records import Code, Edit, Evidence, Finding, Judged, Measurement, Producer, Reading, Sentence, Struck
from .document import WantedFinding, WantedSentence, check_frame, findings, refused, sentences

if TYPE_CHECKING:
    from ..terms import Assertion

SIDE_WORDS = {"left": r"\bleft\b", "right": r"\bright\b", "bilateral": r"\b(bilateral\w*|both)\b"}


@dataclass
class Changes:
    """What has been changed so far. taken: every id in use; experts: finding id -> the expert's evidence about it."""

    when: str
    taken: set[str]
    edits: list[Edit] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    experts: dict[str, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def fresh(self, prefix: str) -> str:
        number = 1
        while f"{prefix}{number}" in self.taken:
            number += 1
        self.taken.add(f"{prefix}{number}")
        return f"{prefix}{number}"

    def expert(self, text: str, about: str | None, finding: str | None) -> str:
        """New evidence: the expert's own word. finding is the finding that it is about, directly or by a value."""
        id = self.fresh("x")
        self.evidence.append(Evidence(id, "expert", text, about=about, date=self.when))
        if finding:
            self.experts.setdefault(finding, []).append(id)
        return id


def apply(reading: Reading, edited: Mapping[str, Any], when: str) -> tuple[Reading, tuple[Edit, ...]]:
    """The reading with the expert's changes (still a draft), and the differences. Raises EditRefused."""
    check_frame(reading, edited)
    wanted_findings, wanted = findings(reading, edited), sentences(reading, edited)
    ids = {f.id for f in reading.findings} | {e.id for e in reading.evidence} | {s.id for s in reading.draft.sentences}
    changes = Changes(when, ids | {m.id for f in reading.findings for m in f.measurements})
    for item in wanted_findings:
        _finding(item, changes)
    _refuse_stale(reading, wanted_findings, wanted)
    _refuse_contrary(changes.findings, wanted)
    draft, judged = _sentences(reading, wanted, changes)
    gone = {m.id: f.id for f in reading.findings for m in f.measurements if m.id}
    gone = {m: f for m, f in gone.items() if not any(k.id == m for c in changes.findings for k in c.measurements)}
    kept = tuple(replace(e, about=gone[e.about]) if e.about in gone else e for e in reading.evidence)
    changed = replace(
        reading,
        findings=tuple(changes.findings),
        evidence=(*kept, *changes.evidence),
        draft=replace(reading.draft, sentences=draft),
        verdict=replace(reading.verdict, judged=judged),
    )
    return changed, tuple(changes.edits)


def _finding(item: WantedFinding, changes: Changes) -> None:
    old, new = item.old, item.new
    if old is None:
        twin = next((f for f in changes.findings if (f.code.value, f.side) == (new.code.value, new.side)), None)
        if twin and twin.site == new.site:
            raise refused(
                f"a new finding repeats finding {twin.id} ({twin.code.meaning})",
                "one finding for each code, side and site",
                f"change the presence or the values of finding {twin.id} instead",
            )
        new = replace(new, id=changes.fresh("f"), notes=("added by the signing expert",))
        new = replace(new, measurements=tuple(replace(m, id=changes.fresh("m")) for m in new.measurements))
        said = _said(new)
        changes.edits.append(Edit("finding_added", new.id, None, said))
        changes.expert(f"The signing expert states: {said}", new.id, new.id)
        changes.findings.append(new)
        return
    if new.presence != old.presence:
        changes.edits.append(Edit("finding_flipped", old.id, old.presence, new.presence))
        text = f"The signing expert states: {old.code.meaning} {new.presence} (the draft said {old.presence})"
        changes.expert(text, old.id, old.id)
        note = f"presence changed from {old.presence} to {new.presence} by the signing expert"
        new = replace(new, notes=(*old.notes, note))
        if new.presence == "absent":  # what is not there has neither a place nor a size; the draft version keeps both
            new = replace(new, region=None, measurements=())
    if new.side != old.side:
        changes.edits.append(Edit("side_corrected", old.id, old.side, new.side))
        text = f"The signing expert states: {old.code.meaning}, side {new.side or 'none'} (the draft said {old.side})"
        changes.expert(text, old.id, old.id)
    for before, after in zip(old.measurements, new.measurements, strict=False):
        if before.value != after.value:
            target = after.id or old.id
            changes.edits.append(Edit("value_corrected", target, _value(before), _value(after)))
            text = f"The signing expert states: {after.code.meaning} {_value(after)} (the draft said {_value(before)})"
            changes.expert(text, target, old.id)
    changes.findings.append(new)


def _sentences(
    reading: Reading, wanted: tuple[WantedSentence, ...], changes: Changes
) -> tuple[tuple[Sentence, ...], tuple[Judged, ...]]:
    verdicts = {j.sentence: j for j in reading.verdict.judged}
    kept = [w.old.id for w in wanted if w.old]
    before = [s.id for s in reading.draft.sentences]
    removed = [s for s in reading.draft.sentences if s.id not in kept]
    changes.edits += [Edit("sentence_removed", s.id, s.text, None) for s in removed]
    stayed = _in_order([id for id in before if id in kept], kept)
    draft: list[Sentence] = []
    judged: list[Judged] = []
    for place, want in enumerate(wanted, 1):
        old = want.old
        if old and (want.section != old.section or old.id not in stayed):
            where = f"{old.section}, {before.index(old.id) + 1}"
            changes.edits.append(Edit("sentence_moved", old.id, where, f"{want.section}, {place}"))
        if old and not want.reworded:
            draft.append(replace(old, section=want.section))
            if old.id in verdicts:
                judged.append(verdicts[old.id])
            continue
        id = old.id if old else changes.fresh("s")
        expert = changes.expert(f"The signing expert states: {want.text}", None, None)
        cited = dict.fromkeys((expert, *_corrections(reading, old, changes), *(want.rests_on or ())))
        if old and want.text == old.text:
            changes.edits.append(Edit("sentence_changed", id, _rests(old.rests_on), _rests(tuple(cited))))
        elif old:
            changes.edits.append(Edit("sentence_changed", id, old.text, want.text))
        else:
            changes.edits.append(Edit("sentence_added", id, None, want.text))
        draft.append(Sentence(id, want.text, want.section, tuple(cited), Producer(), want.text))
        judged.append(_expert_verdict(id, old, want.text, verdicts.get(id)))
    return tuple(draft), tuple(judged)


def _expert_verdict(id: str, old: Sentence | None, text: str, verdict: Judged | None) -> Judged:
    struck = verdict.struck if verdict else ()
    if old and old.text != text:
        struck = (*struck, Struck(old.text, "expert", "reworded by the signing expert", old.producer))
    return Judged(id, "supported", "expert", "the signing expert's own word", struck)


def _corrections(reading: Reading, old: Sentence | None, changes: Changes) -> list[str]:
    """The expert evidence on findings that the sentence used to rest on."""
    if old is None:
        return []
    return [
        x for f in reading.findings if set(old.rests_on) & _carriers(reading, f) for x in changes.experts.get(f.id, ())
    ]


def _carriers(reading: Reading, finding: Finding) -> set[str]:
    """Every id that stands for the finding: its own, its measurements', and the evidence that is about any of them."""
    own = {finding.id, *(m.id for m in finding.measurements if m.id)}
    return own | {e.id for e in reading.evidence if e.about in own}


def _refuse_stale(reading: Reading, found: tuple[WantedFinding, ...], wanted: tuple[WantedSentence, ...]) -> None:
    """Raises EditRefused naming every untouched sentence that rests on what the expert corrected."""
    stale: dict[str, str] = {}
    for want in wanted:
        if want.old is None or want.reworded:
            continue
        for item in found:
            reason = item.old and _stale(reading, item.old, item.new, want.old)
            if reason:
                stale.setdefault(want.old.id, reason)
    if stale:
        (first, reason), *others = stale.items()
        more = "".join(f"; so does {id}, on {why}" for id, why in others)
        raise refused(
            f"sentence {first} still rests on {reason}{more}",
            "a report that agrees with itself: no sentence is rewritten in your name",
            f"reword or take out {', '.join(stale)} in the same edited report",
        )


def _stale(reading: Reading, old: Finding, new: Finding, sentence: Sentence) -> str | None:
    if not set(sentence.rests_on) & _carriers(reading, old):
        return None
    if new.presence != old.presence:
        return f"finding {old.id}, which you changed from {old.presence} to {new.presence}"
    if new.side != old.side and old.side and re.search(SIDE_WORDS[old.side], sentence.text, re.IGNORECASE):
        return f"finding {old.id}, whose side you changed from {old.side} to {new.side or 'none'}"
    for before, after in zip(old.measurements, new.measurements, strict=True):
        if before.value != after.value and _names(sentence.text, before):
            return f"a value of finding {old.id}, which you changed from {_value(before)} to {_value(after)}"
    return None


def _names(text: str, measured: Measurement) -> bool:
    """Whether the text gives the measurement's value, rounded as it gives it; also in cm for mm, in l for ml."""
    numbers = [(float(n), len(n.partition(".")[2])) for n in re.findall(r"\d+(?:\.\d+)?", text.replace(",", ""))]
    values = [
        measured.value,
        *(measured.value / by for unit, by in (("mm", 10), ("ml", 1000)) if measured.unit == unit),
    ]
    return any(abs(number - abs(v)) <= 0.5000001 * 10**-digits for number, digits in numbers for v in values)


def _refuse_contrary(found: list[Finding], wanted: tuple[WantedSentence, ...]) -> None:
    """Raises EditRefused where the expert's own wording says the contrary of a finding as it stands after the edit.

    Findings are what the coded results and the learners see: a text that says "no" beside a finding that says
    "present" would send the one to the colleague and the other to the registry.
    """
    from .. import terms

    named = [(f, name) for f in found for name in _terms(f)]
    for want in wanted:
        for said in terms.parse(want.text) if want.reworded else ():
            contrary = {"present": "absent", "absent": "present"}.get(said.presence)
            meant = [f for f, name in named if _means(said, name)]
            if said.side and any(f.side for f in meant):
                meant = [f for f in meant if f.side in (said.side, "bilateral", None)]
            if said.kind != "structure" and meant and all(f.presence == contrary for f in meant):
                name = f"sentence {want.old.id}" if want.old else "a new sentence"
                raise refused(
                    f"{name} says that {said.finding} is {said.presence}, finding {meant[0].id} says {contrary}",
                    "sentences and findings that agree: the text goes to a colleague, the findings to the registry",
                    f"set the presence of finding {meant[0].id} to {said.presence!r} in the edited report, or reword",
                )


def _terms(finding: Finding) -> set[str]:
    """The lexicon's names for a finding; empty where it knows none."""
    from .. import terms

    return {a.finding for a in terms.parse(finding.code.meaning) if a.kind == "finding"}


def _means(said: Assertion, name: str) -> bool:
    """Whether an assertion speaks of the finding with this name: to deny a tumour is to deny every kind of tumour."""
    from .. import terms

    return said.finding == name or (said.presence == "absent" and said.finding in terms.lexicon().ancestors(name))


def _in_order(before: list[str], after: list[str]) -> set[str]:
    """The ids that kept their order: all but the fewest that moved."""
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    return {before[i] for block in blocks for i in range(block.a, block.a + block.size)}


def _said(finding: Finding) -> str:
    """Everything that was typed of a new finding: what is scanned for identifiers must hold all of it."""
    parts = [f"{_coded(finding.code)} {finding.presence}", finding.side or ""]
    parts += [_coded(finding.site)] if finding.site else []
    parts += [f"{_coded(m.code)} {_value(m)}" for m in finding.measurements]
    return ", ".join(p for p in parts if p)


def _coded(code: Code) -> str:
    return f"{code.meaning} ({code.scheme} {code.value})"


def _value(m: Measurement) -> str:
    return f"{m.value:g} {m.unit}"


def _rests(ids: tuple[str, ...]) -> str:
    return "rests on " + (", ".join(ids) or "nothing")
