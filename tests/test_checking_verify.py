"""verify: rewritten once, then the deterministic wording; what was struck is kept."""

from __future__ import annotations

from dataclasses import replace

from attending.checking import verify
from attending.drafting import write
from attending.records import (
    CaseFacts,
    Code,
    Draft,
    Evidence,
    Finding,
    Findings,
    ImageFacts,
    Judged,
    NotAssessed,
    Producer,
    Sentence,
)

CASE = CaseFacts("c", "p", "dicom", (ImageFacts("i1", (1, 64, 64), None, None, "MR", "AXIAL", "HEAD"),))
GLIOMA = Finding("f1", Code("SCT", "393564001", "Glioma"), "present", score=0.97)
MENINGIOMA = Finding("f2", Code("SCT", "302820008", "Intracranial meningioma"), "uncertain", score=0.4)
FOUND = Findings(
    (GLIOMA, MENINGIOMA),
    (
        Evidence("e1", "gate", "MR, axial, head: admitted."),
        Evidence("e2", "finding", "Glioma present: score 0.97 by a model, not calibrated.", about="f1"),
        Evidence("e3", "finding", "Intracranial meningioma uncertain: score 0.40 by a model.", about="f2"),
    ),
    (NotAssessed("anything else on this study", "no admitted model", "e1"),),
)
MODEL = Producer("a-model", "1", "word_fact.v1")
PLAIN = "Glioma is present (model score 0.97, uncalibrated)."


def worded(text: str, plain: str = PLAIN, rests_on: tuple[str, ...] = ("f1", "e2")) -> Draft:
    return Draft((Sentence("s1", text, "findings", rests_on, MODEL, plain),), MODEL)


def test_a_true_wording_stays() -> None:
    draft, verdict = verify(worded("There is a glioma."), CASE, FOUND)
    assert draft.sentences[0].text == "There is a glioma."
    assert verdict.judged[0].verdict == "supported"
    assert verdict.judged[0].struck == ()


def test_a_false_wording_is_rewritten_once_with_the_reason() -> None:
    told: list[tuple[str, str]] = []

    def rewrite(sentence: Sentence, judged: Judged) -> Sentence:
        told.append((sentence.text, judged.reason))
        return replace(sentence, text="A glioma is present.")

    draft, verdict = verify(worded("No glioma is seen."), CASE, FOUND, rewrite)
    assert told == [("No glioma is seen.", "states glioma as absent; what is cited says present")]
    assert draft.sentences[0].text == "A glioma is present."
    assert draft.sentences[0].producer == MODEL
    assert [(s.text, s.rule) for s in verdict.judged[0].struck] == [("No glioma is seen.", "negation")]


def test_after_the_second_failure_the_deterministic_wording_stands_in() -> None:
    draft, verdict = verify(worded("No glioma."), CASE, FOUND, lambda s, j: "Left glioma with metastasis.")
    assert draft.sentences[0].text == PLAIN
    assert draft.sentences[0].producer.model is None
    assert verdict.judged[0].verdict == "supported"
    assert [s.text for s in verdict.judged[0].struck] == ["No glioma.", "Left glioma with metastasis."]


def test_a_rewriter_that_fails_costs_nothing() -> None:
    def broken(sentence: Sentence, judged: Judged) -> None:
        raise RuntimeError("gone")

    draft, verdict = verify(worded("No glioma."), CASE, FOUND, broken)
    assert draft.sentences[0].text == PLAIN
    assert len(verdict.judged[0].struck) == 1


def test_a_sentence_without_evidence_or_with_made_up_ids_is_struck() -> None:
    for rests_on, reason in (((), "rests on nothing"), (("f9",), "'f9', which does not exist")):
        draft, verdict = verify(worded("There is a glioma.", "", rests_on), CASE, FOUND)
        assert draft.sentences == ()
        assert verdict.judged[0].rule == "evidence"
        assert reason in verdict.judged[0].reason
        assert any("struck" in a for a in verdict.alerts)


def test_rules_write_and_check_alike() -> None:
    draft, verdict = verify(write(CASE, FOUND), CASE, FOUND)
    assert {j.verdict for j in verdict.judged} == {"supported"}
    assert [j.sentence for j in verdict.judged] == [s.id for s in draft.sentences]


def test_what_a_person_must_look_at() -> None:
    _, verdict = verify(write(CASE, FOUND), CASE, FOUND)
    assert verdict.alerts == ("glioma is stated as present: look at this first",)
    assert verdict.questions[0].startswith("Is intracranial meningioma present?")
    assert verdict.abstentions == ("anything else on this study: no admitted model",)
