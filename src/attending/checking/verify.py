"""A draft through the checker: each failed wording is rewritten once, then replaced by the deterministic one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from ..records import CaseFacts, Draft, Evidence, Finding, Findings, Judged, Sentence, Struck, Verdict
from ..terms import lexicon
from .cited import facts_of
from .sentence import check_sentence

T = TypeVar("T", Finding, Evidence)
Rewrite = Callable[[Sentence, Judged], Sentence | str | None]


def verify(draft: Draft, case: CaseFacts, found: Findings, rewrite: Rewrite | None = None) -> tuple[Draft, Verdict]:
    """The draft as it may stand, and the verdict on each of its sentences.

    rewrite  given a failed sentence and why, words it again (a Sentence or its text), or None. Called once per failed
             sentence that a model worded; whatever it raises counts as no rewriting.

    Every wording that did not pass is kept in ``Judged.struck`` with its rule and reason. A contradicted sentence that
    has no deterministic wording to stand in for it leaves the draft, and an alert says so.
    """
    facts, evidence = _index(found)
    left = _left_out(found)
    kept: list[Sentence] = []
    judged: list[Judged] = []
    alerts: list[str] = []
    for sentence in draft.sentences:
        now, verdict = _settle(sentence, partial(judge, case=case, facts=facts, evidence=evidence, left=left), rewrite)
        judged.append(verdict)
        if verdict.verdict == "contradicted" and not now.plain:
            alerts.append(f"a sentence was struck and has no deterministic wording: {verdict.reason}")
        else:
            kept.append(now)
    final = replace(draft, sentences=tuple(kept))
    return final, Verdict(tuple(judged), _questions(found), _abstentions(found), (*_alerts(found), *alerts))


def _settle(
    sentence: Sentence,
    judge: Callable[[Sentence], Judged],
    rewrite: Rewrite | None,
) -> tuple[Sentence, Judged]:
    verdict = judge(sentence)
    if verdict.verdict == "supported":
        return sentence, verdict
    worded = sentence.producer.model is not None
    struck: list[Struck] = []
    if worded and rewrite is not None:
        again = _again(sentence, verdict, rewrite)
        if again is not None:
            struck.append(Struck(sentence.text, verdict.rule, verdict.reason, sentence.producer))
            sentence, verdict = again, judge(again)
            if verdict.verdict == "supported":
                return sentence, replace(verdict, struck=tuple(struck))
    if sentence.plain and sentence.plain != sentence.text:
        struck.append(Struck(sentence.text, verdict.rule, verdict.reason, sentence.producer))
        sentence = replace(sentence, text=sentence.plain, producer=type(sentence.producer)())
        verdict = judge(sentence)
    return sentence, replace(verdict, struck=tuple(struck))


def _again(sentence: Sentence, verdict: Judged, rewrite: Rewrite) -> Sentence | None:
    try:
        answer = rewrite(sentence, verdict)
    except Exception:  # a writer is a plugin: whatever it raises, the deterministic wording stands in
        return None
    if isinstance(answer, str):
        answer = replace(sentence, text=answer)
    return None if answer is None or not answer.text.strip() else answer


def judge(
    sentence: Sentence,
    case: CaseFacts,
    facts: dict[str, Finding],
    evidence: dict[str, Evidence],
    left: dict[str, list[Evidence]] | None = None,
) -> Judged:
    """One sentence of a draft by the ids it cites; ids that do not exist are a breach of the evidence rule."""
    if not sentence.rests_on:
        return check_sentence(sentence.text, (), (), case, sentence.id)
    gone = [i for i in sentence.rests_on if i not in facts and i not in evidence]
    if gone:
        return Judged(sentence.id, "contradicted", "evidence", f"cites {gone[0]!r}, which does not exist")
    held = [evidence[i] for i in sentence.rests_on if i in evidence]
    held += [e for i in sentence.rests_on for e in (left or {}).get(i, ())]
    about = [facts[i] for i in sentence.rests_on if i in facts]
    about += [facts[e.about] for e in held if e.about in facts]
    return check_sentence(sentence.text, _unique(about), _unique(held), case, sentence.id)


def _unique(items: list[T]) -> tuple[T, ...]:
    return tuple({item.id: item for item in items}.values())


def _index(found: Findings) -> tuple[dict[str, Finding], dict[str, Evidence]]:
    """By id; a measurement's id leads to its finding."""
    facts = {f.id: f for f in found.findings}
    for f in found.findings:
        for m in f.measurements:
            if m.id and m.id not in facts:
                facts[m.id] = f
    return facts, {e.id: e for e in found.evidence}


def _left_out(found: Findings) -> dict[str, list[Evidence]]:
    """What the gate left out, in words, by the id of the gate's evidence: part of what that evidence says."""
    out: dict[str, list[Evidence]] = {}
    for n, item in enumerate(found.not_assessed, 1):
        text = f"Not assessed: {item.what} ({item.why.rstrip('.')})."
        out.setdefault(item.evidence, []).append(Evidence(f"{item.evidence}.{n}", "gate", text))
    return out


def _questions(found: Findings) -> tuple[str, ...]:
    return tuple(
        f"Is {_label(f)} present? The model's score lies between the site's thresholds."
        for f in found.findings
        if f.presence == "uncertain"
    )


def _abstentions(found: Findings) -> tuple[str, ...]:
    return tuple(f"{n.what}: {n.why}" for n in found.not_assessed)


def _alerts(found: Findings) -> tuple[str, ...]:
    terms = lexicon().terms
    out = []
    for finding in found.findings:
        names = {n for fact in facts_of(finding) for n in fact.names}
        if finding.presence == "present" and any(n in terms and terms[n].urgent for n in names):
            out.append(f"{_label(finding)} is stated as present: look at this first")
    return tuple(dict.fromkeys(out))


def _label(finding: Finding) -> str:
    meaning = (
        finding.code.meaning[:1].lower() + finding.code.meaning[1:]
        if finding.code.meaning[1:2].islower()
        else finding.code.meaning
    )
    return f"{finding.side} {meaning}" if finding.side else meaning
