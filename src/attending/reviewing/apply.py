"""An edited report put onto its reading: the changed reading, and what changed, as structured differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from typing import Any

from ..records import Code, Edit, Evidence, Finding, Judged, Measurement, Producer, Reading, Sentence, Struck
from ..records.reading import Section
from .agreement import names_finding, still_asked, twins, warnings
from .document import WantedFinding, WantedSentence, check_frame, findings, refused, sentences
from .restate import added, carriers, outdated, restated, rested


@dataclass
class Changes:
    """What has been changed so far. taken: every id in use; experts: finding id -> the expert's evidence about it.

    own  the sentences that the expert worded; corrected  finding id -> (as drafted, as it is now or None if removed).
    """

    when: str
    taken: set[str]
    edits: list[Edit] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    experts: dict[str, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    own: list[Sentence] = field(default_factory=list)
    corrected: dict[str, tuple[Finding, Finding | None]] = field(default_factory=dict)

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
    kept = {item.old.id for item in wanted_findings if item.old}
    for gone in (f for f in reading.findings if f.id not in kept):
        _removed(gone, changes)
    items = {item.old.id: item for item in wanted_findings if item.old}
    draft, judged = _sentences(reading, wanted, items, changes)
    draft, judged = _unsaid(reading, draft, judged, changes)
    if reading.draft.sentences and not draft:
        raise refused("no sentence is left after the findings that you took out", "at least one", "say what was seen")
    verdict = replace(
        reading.verdict,
        judged=judged,
        questions=still_asked(reading.verdict.questions, changes.corrected.values()),
        alerts=(
            *still_asked(reading.verdict.alerts, changes.corrected.values()),
            *_warnings(draft, changes),
        ),
    )
    changed = replace(
        reading,
        findings=tuple(changes.findings),
        evidence=(*_evidence(reading, changes), *changes.evidence),
        draft=replace(reading.draft, sentences=draft),
        verdict=verdict,
    )
    return changed, tuple(changes.edits)


def _evidence(reading: Reading, changes: Changes) -> Iterable[Evidence]:
    """The draft's evidence: what was about a measurement that is gone is about its finding, or about nothing."""
    there = {f.id for f in changes.findings} | {m.id for f in changes.findings for m in f.measurements}
    owner = {m.id: f.id for f in reading.findings for m in f.measurements if m.id}
    for item in reading.evidence:
        about = item.about if item.about in there else owner.get(item.about or "")
        drafted = item.about in owner or any(f.id == item.about for f in reading.findings)
        yield replace(item, about=about if about in there else None) if drafted else item


def _warnings(draft: tuple[Sentence, ...], changes: Changes) -> tuple[str, ...]:
    """What the expert's own sentences say against any finding, and the others against those that were touched."""
    own = {s.id for s in changes.own}
    touched = set(changes.experts)
    others = [s for s in draft if s.id not in own and s.section in ("findings", "impression")]
    return tuple(
        dict.fromkeys(
            (
                *warnings(changes.own, changes.findings),
                *warnings(others, [f for f in changes.findings if f.id in touched]),
                *twins(
                    changes.findings, (f for f, (old, new) in changes.corrected.items() if new and new.side != old.side)
                ),
            )
        )
    )


def _removed(old: Finding, changes: Changes) -> None:
    changes.edits.append(Edit("finding_removed", old.id, _said(old), None))
    changes.corrected[old.id] = (old, None)
    text = f"The signing expert took out: {old.code.meaning} (the draft said {old.presence})"
    changes.expert(text, None, old.id)


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
    if old.id in changes.experts:
        changes.corrected[old.id] = (old, new)


def _sentences(
    reading: Reading, wanted: tuple[WantedSentence, ...], items: Mapping[str, WantedFinding], changes: Changes
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
            again = _again(reading, old, items, changes)
            if again:
                draft.append(replace(again, section=want.section))
                if again != old:
                    judged.append(_restated_verdict(again, old, verdicts.get(old.id)))
                elif old.id in verdicts:
                    judged.append(verdicts[old.id])
            continue
        id = old.id if old else changes.fresh("s")
        expert = changes.expert(f"The signing expert states: {want.text}", None, None)
        there = [i for i in want.rests_on or () if i not in changes.corrected or changes.corrected[i][1]]
        cited = dict.fromkeys((expert, *_corrections(reading, old, changes), *there))
        if old and want.text == old.text:
            changes.edits.append(Edit("sentence_changed", id, _rests(old.rests_on), _rests(tuple(cited))))
        elif old:
            changes.edits.append(Edit("sentence_changed", id, old.text, want.text))
        else:
            changes.edits.append(Edit("sentence_added", id, None, want.text))
        draft.append(Sentence(id, want.text, want.section, tuple(cited), Producer(), want.text))
        changes.own.append(draft[-1])
        judged.append(_expert_verdict(id, old, want.text, verdicts.get(id)))
    return tuple(draft), tuple(judged)


def _again(reading: Reading, old: Sentence, items: Mapping[str, WantedFinding], changes: Changes) -> Sentence | None:
    """An untouched sentence as it stands after the corrections of its findings: itself, restated, or None for gone."""
    about = rested(reading, old)
    fixed = [f for f in about if f.id in changes.corrected and outdated(old, *changes.corrected[f.id])]
    if not fixed:
        return old
    text = restated(reading, old, items)
    which = "finding " + ", ".join(f.id for f in fixed)
    if text is None:
        changes.edits.append(Edit("sentence_removed", old.id, old.text, None, f"rested only on {which}, taken out"))
        return None
    corrected = [f.id for f in about if f.id in changes.corrected]
    cited = [i for f in corrected for i in ((f,) if changes.corrected[f][1] else ())]
    cited += [x for f in corrected for x in changes.experts.get(f, ())]
    cited += [i for i in old.rests_on if not any(i in carriers(reading, changes.corrected[f][0]) for f in corrected)]
    new = replace(old, text=text, rests_on=tuple(dict.fromkeys(cited)), producer=Producer(), plain=text)
    changed = (old.text, text) if text != old.text else (_rests(old.rests_on), _rests(new.rests_on))
    changes.edits.append(Edit("sentence_changed", old.id, *changed, f"restated by rule from {which}"))
    return new


def _restated_verdict(new: Sentence, old: Sentence, verdict: Judged | None) -> Judged:
    struck = verdict.struck if verdict else ()
    if new.text != old.text:
        why = "a finding that it rests on was corrected by the signing expert"
        struck = (*struck, Struck(old.text, "expert", why, old.producer))
    return Judged(new.id, "supported", "expert", "restated by rule from what the signing expert corrected", struck)


def _unsaid(
    reading: Reading, draft: tuple[Sentence, ...], judged: tuple[Judged, ...], changes: Changes
) -> tuple[tuple[Sentence, ...], tuple[Judged, ...]]:
    """With a sentence for each finding that the expert added or corrected and that neither they nor the draft word."""
    said = {f.id for s in reading.draft.sentences for f in rested(reading, s)}
    sentences, verdicts = list(draft), list(judged)
    for finding in changes.findings:
        experts = changes.experts.get(finding.id, ())
        if not experts or finding.id in said or names_finding(changes.own, finding):
            continue
        summed_up = finding.presence != "absent" and any(s.section == "impression" for s in sentences)
        sections: tuple[Section, ...] = ("findings", "impression") if summed_up else ("findings",)
        for section in sections:
            text = added(finding, section)
            new = Sentence(changes.fresh("s"), text, section, (finding.id, *experts), Producer(), text)
            places = [n for n, s in enumerate(sentences, 1) if s.section == section]
            sentences.insert(max(places, default=0), new)
            changes.edits.append(
                Edit("sentence_added", new.id, None, text, f"stated by rule from finding {finding.id}")
            )
            why = "stated by rule from what the signing expert added"
            verdicts.append(Judged(new.id, "supported", "expert", why))
    order = {s.id: n for n, s in enumerate(sentences)}
    return tuple(sentences), tuple(sorted(verdicts, key=lambda j: order.get(j.sentence, len(order))))


def _expert_verdict(id: str, old: Sentence | None, text: str, verdict: Judged | None) -> Judged:
    struck = verdict.struck if verdict else ()
    if old and old.text != text:
        struck = (*struck, Struck(old.text, "expert", "reworded by the signing expert", old.producer))
    return Judged(id, "supported", "expert", "the signing expert's own word", struck)


def _corrections(reading: Reading, old: Sentence | None, changes: Changes) -> list[str]:
    """The expert evidence on findings that the sentence used to rest on."""
    if old is None:
        return []
    return [x for f in rested(reading, old) for x in changes.experts.get(f.id, ())]


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
