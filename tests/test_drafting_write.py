"""The deterministic writer, and a model's wording through slots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from attending import checking, drafting
from attending.models.protocols import Written
from attending.prompts import prompt, prompts
from attending.records import (
    CaseFacts,
    Code,
    Draft,
    Evidence,
    Finding,
    Findings,
    ImageFacts,
    Measurement,
    NotAssessed,
)

VOLUME = Code("SCT", "118565006", "Volume")
SHARE = Code("99ATTENDING", "share-of-brain", "Share of brain volume")
CASE = CaseFacts("c", "p", "dicom", (ImageFacts("i1", (1, 64, 64), None, None, "MR", "AXIAL", "HEAD"),))


def found(*findings: Finding, quality: tuple[str, ...] = (), left: tuple[NotAssessed, ...] = ()) -> Findings:
    evidence = [Evidence("g1", "gate", "MR, axial: what it shows was looked at.")]
    evidence += [Evidence(f"q{n}", "quality", text) for n, text in enumerate(quality, 1)]
    for f in findings:
        evidence.append(Evidence(f"e{f.id}", "finding", f"{f.code.meaning} {f.presence}.", about=f.id))
        evidence += [Evidence(f"e{m.id}", "measurement", f"{m.value} {m.unit}", about=m.id) for m in f.measurements]
    return Findings(findings, tuple(evidence), left, tuple(f"q{n}" for n in range(1, len(quality) + 1)))


def pathology(id: str, meaning: str, presence: str, **more: Any) -> Finding:
    return Finding(id, Code("99ATTENDING", meaning.lower(), meaning), presence, **more)  # type: ignore[arg-type]


def structure(id: str, meaning: str, ml: float, side: str | None = None) -> Finding:
    numbers = (Measurement(VOLUME, ml, "ml", f"{id}m1"), Measurement(SHARE, ml / 12, "%", f"{id}m2"))
    return Finding(id, Code("SCT", meaning, meaning), "present", side=side, measurements=numbers)  # type: ignore[arg-type]


def texts(draft: Draft, section: str) -> list[str]:
    return [s.text for s in draft.sentences if s.section == section]


class Scripted:
    """A Writer that says what it is told to; the seam that the protocol gives."""

    def __init__(self, *answers: Any) -> None:
        self.card = SimpleNamespace(id="scripted", version="1")
        self.answers = list(answers)
        self.asked: list[Sequence[dict[str, str]]] = []

    def write(
        self, messages: Sequence[dict[str, str]], *, schema: Any = None, max_tokens: int = 60, timeout_s: float = 20.0
    ) -> Written:
        self.asked.append(messages)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Written):
            return answer
        return Written(answer if answer.startswith("!") else json.dumps({"text": answer}), 1, 0, 1, 0.0, "done")

    def close(self) -> None:
        """Nothing to free."""


def test_a_tumour_study() -> None:
    draft = drafting.write(
        CASE,
        found(
            pathology("f1", "Intracranial meningioma", "absent", score=0.01),
            pathology("f2", "Glioma", "present", score=0.9712),
            pathology("f3", "Neoplasm of pituitary gland", "uncertain", score=0.5),
        ),
    )
    assert texts(draft, "findings") == [
        "Glioma is present (model score 0.97, uncalibrated).",
        "Neoplasm of pituitary gland is possible (model score 0.50, uncalibrated).",
        "No intracranial meningioma (model score 0.01, uncalibrated).",
    ]
    assert texts(draft, "impression") == ["Glioma.", "Possible neoplasm of pituitary gland."]
    assert draft.sentences[0].rests_on == ("f2", "ef2")
    assert all(s.plain == s.text and s.rests_on for s in draft.sentences)


def test_the_urgent_comes_first() -> None:
    one = pathology("f1", "Scoliosis", "present")
    two = pathology("f2", "Pneumothorax", "present", side="left")
    assert texts(drafting.write(CASE, found(one, two)), "impression") == ["Left pneumothorax.", "Scoliosis."]


def test_volumes_are_grouped_and_each_number_is_cited() -> None:
    names = ("Thalamus", "Putamen", "Hippocampus", "Amygdala")
    parts = [structure(f"f{n}{s[0]}", name, 3.0 + n, s) for n, name in enumerate(names) for s in ("left", "right")]
    draft = drafting.write(CASE, found(structure("b", "Brain", 1258.3), *parts))
    first, *rest = texts(draft, "findings")
    assert first == "Volume: brain 1258 ml."
    assert rest[0].startswith("Volumes: left thalamus 3.0 ml, right thalamus 3.0 ml")
    assert len(rest) == 2
    cited = {i for s in draft.sentences for i in s.rests_on}
    assert {f"e{f.id}m1" for f in parts} <= cited
    assert not texts(draft, "impression")


def test_quality_and_not_assessed_rest_on_the_gate() -> None:
    left = (NotAssessed("lungs", "no admitted model", "g1"), NotAssessed("heart", "no admitted model", "g1"))
    draft = drafting.write(CASE, found(quality=("The film is clipped.", "The film is clipped."), left=left))
    assert texts(draft, "quality") == ["The film is clipped."]
    assert draft.sentences[0].rests_on == ("q1", "q2")
    assert texts(draft, "not_assessed") == ["Not assessed: lungs, heart (no admitted model)."]
    assert draft.sentences[-1].rests_on == ("g1",)


@pytest.mark.parametrize("presence", ["present", "absent", "uncertain"])
@pytest.mark.parametrize("side", [None, "left", "bilateral"])
def test_deterministic_sentences_pass_the_checker(presence: str, side: str | None) -> None:
    size = (Measurement(Code("SCT", "410668003", "Length"), 12.37, "mm", "m1"),)
    for meaning in ("Glioma", "Subdural hematoma", "Infarct", "White matter lesion", "Hydrocephalus"):
        facts = found(pathology("f1", meaning, presence, side=side, measurements=size, score=0.4321))
        _, verdict = checking.verify(drafting.write(CASE, facts), CASE, facts)
        assert {j.verdict for j in verdict.judged} == {"supported"}, verdict


def test_the_model_words_and_numbers_come_through_slots() -> None:
    writer = Scripted("There is a glioma (model score [N1]).", "There is a glioma.")
    facts = found(pathology("f1", "Glioma", "present", score=0.9712))
    draft = drafting.write(CASE, facts, writer)
    assert texts(draft, "findings") == ["There is a glioma (model score 0.97)."]
    assert draft.sentences[0].producer.model == "scripted"
    assert draft.sentences[0].producer.prompt == "word_fact.v1"
    assert draft.sentences[0].plain == "Glioma is present (model score 0.97, uncalibrated)."
    assert "0.97" not in str(writer.asked)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("There is a glioma.", "lost or doubled a number"),
        ("A glioma [N1] [N1].", "lost or doubled a number"),
        ("A glioma [N2].", "lost or doubled a number"),
        ("! no json", "broke the schema"),
        ("   ", "wrote nothing"),
        (RuntimeError("boom"), "writer failed"),
        (Written('{"text": "A gl', 1, 0, 60, 1.0, "length"), "did not come to an end"),
        (Written("", 1, 0, 0, 20.0, "time"), "took too long"),
    ],
)
def test_a_broken_answer_gives_the_deterministic_sentence(answer: Any, why: str) -> None:
    facts = found(pathology("f1", "Glioma", "present", score=0.9712))
    draft = drafting.write(CASE, facts, Scripted(answer))
    assert draft.sentences[0].text == draft.sentences[0].plain
    assert draft.sentences[0].producer.model is None
    assert why in draft.notes[0]


def test_what_a_model_may_not_word() -> None:
    writer = Scripted("Anything [N1].")
    left = (NotAssessed("lungs", "no admitted model", "g1"),)
    drafting.write(CASE, found(quality=("The film is clipped.",), left=left), writer)
    assert writer.asked == []


def test_the_stable_part_of_the_prompt_comes_first() -> None:
    writer = Scripted("There is [N1].")
    drafting.write(CASE, found(pathology("f1", "Glioma", "present"), pathology("f2", "Fracture", "present")), writer)
    first, second = writer.asked[0], writer.asked[1]
    assert first[:-1] == second[:-1]
    assert first[-1] != second[-1]
    assert first[-1]["role"] == "user"


def test_the_rewriting_is_told_why() -> None:
    writer = Scripted("No glioma.", "No glioma.", "There is a glioma.")
    facts = found(pathology("f1", "Glioma", "present"))
    draft = drafting.write(CASE, facts, writer)
    draft, verdict = checking.verify(draft, CASE, facts, drafting.rewriter(CASE, facts, writer))
    assert "states glioma as absent" in writer.asked[2][-1]["content"]
    assert draft.sentences[0].text == "There is a glioma."
    assert verdict.judged[0].struck[0].text == "No glioma."


def test_prompts_are_versioned_and_known_by_name() -> None:
    assert [p.id for p in prompts()] == ["word_fact.v1", "word_freely.v1", "word_impression.v1"]
    assert prompt("word_fact").messages(fact="present: x", struck="", reason="")[0]["role"] == "system"
    with pytest.raises(KeyError, match="no prompt 'other'"):
        prompt("other")


def test_a_real_small_model_is_caught_or_right(pulled: Any) -> None:
    from attending.models.llama import LlamaWriter
    from attending.models.protocols import Setup

    card: Any = SimpleNamespace(id="smollm2-135m-instruct", version="1")
    writer = LlamaWriter(Setup("smollm2-135m-instruct", card, pulled("smollm2-135m-instruct"), 2))
    facts = found(
        pathology("f1", "Glioma", "present", score=0.97),
        pathology("f2", "Neoplasm of pituitary gland", "uncertain", score=0.55),
        pathology("f3", "Midline shift", "present", side="left"),
    )
    try:
        draft = drafting.write(CASE, facts, writer)
        assert any(s.producer.model for s in draft.sentences)
        final, verdict = checking.verify(draft, CASE, facts, drafting.rewriter(CASE, facts, writer))
    finally:
        writer.close()
    assert {j.verdict for j in verdict.judged} == {"supported"}
    assert all(s.text for s in final.sentences)


def test_a_calibrated_probability_is_called_one() -> None:
    from attending.drafting import plain

    calibrated = Finding("f1", Code("99ATTENDING", "p", "Pneumonia"), "present", score=0.8, probability=0.91)
    scored = Finding("f1", Code("99ATTENDING", "p", "Pneumonia"), "present", score=0.91)
    assert plain.finding(calibrated) == "Pneumonia is present (probability 0.91)."
    assert plain.finding(scored) == "Pneumonia is present (model score 0.91, uncalibrated)."


def test_an_impression_is_worded_from_examples_without_numbers() -> None:
    system, *examples = prompt("word_impression").messages(fact="present: pneumonia", struck="", reason="")
    assert "no number" in system["content"]
    assert not any("[N" in m["content"] or "score" in m["content"] for m in examples)
