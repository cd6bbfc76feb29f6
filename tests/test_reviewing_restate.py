"""A corrected finding carries its sentences with it; the expert's own words are kept, and warned of at most."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reviewing_signature import (
    DIAMETER,
    EFFUSION,
    GLIOMA,
    KEY,
    MODEL,
    NODULE,
    WHEN,
    drop,
    edited,
    put,
    reading,
    reword,
    sign,
)

from attending.checking import check_sentence
from attending.errors import EditRefused
from attending.exporting.public import public
from attending.records import (
    Code,
    Evidence,
    Finding,
    Judged,
    Measurement,
    Producer,
    Reading,
    Review,
    Sentence,
    dumps,
    loads,
)
from attending.reviewing import review, verify

MENINGIOMA = Code("SCT", "302820008", "Intracranial meningioma")
HIPPOCAMPUS = Code("SCT", "5366008", "Hippocampus")
VOLUME = Code("SCT", "118565006", "Volume")


def text(final: Reading, id: str) -> str:
    return next(s.text for s in final.draft.sentences if s.id == id)


def other(before: Reading, change: Callable[[Any], object]) -> tuple[Review, Reading]:
    """Another reading, its report.json changed and signed."""
    document = json.loads(json.dumps(public(before)))
    change(document)
    return review(before, document, {}, by="demo", when=WHEN, key=KEY)


def about(before: Reading, *findings: Finding, says: str, section: Any = "findings") -> Reading:
    """The reading with one sentence that rests on these findings and their evidence, in place of all it had."""
    evidence = tuple(Evidence(f"e{n}", "finding", f.code.meaning, MODEL, about=f.id) for n, f in enumerate(findings, 1))
    cited = tuple(i for f, e in zip(findings, evidence, strict=True) for i in (f.id, e.id))
    sentence = Sentence("s1", says, section, cited, MODEL, says)
    return replace(
        before,
        findings=findings,
        evidence=evidence,
        not_assessed=(),
        draft=replace(before.draft, sentences=(sentence,)),
        verdict=replace(before.verdict, judged=(Judged("s1", "supported", "facts", "agrees"),)),
    )


def test_a_flip_alone_restates_every_sentence_that_rests_on_it() -> None:
    signed, final = sign(edited(put("findings", 0, "presence", "absent")))
    assert [(e.kind, e.target, e.before, e.after, e.note) for e in signed.edits] == [
        ("finding_flipped", "f1", "present", "absent", ""),
        ("sentence_changed", "s1", "A glioma is present.", "No glioma.", "restated by rule from finding f1"),
        ("sentence_changed", "s5", "Impression: glioma.", "No glioma.", "restated by rule from finding f1"),
    ]
    glioma, first = final.findings[0], final.draft.sentences[0]
    assert (glioma.presence, glioma.region, glioma.score) == ("absent", None, 0.97)
    assert (first.rests_on, first.producer, first.plain) == (("f1", "x1"), Producer(), "No glioma.")
    (expert,) = [e for e in final.evidence if e.kind == "expert"]
    assert (expert.id, expert.about) == ("x1", "f1")
    judged = final.verdict.judged[0]
    assert (judged.verdict, judged.rule) == ("supported", "expert")
    assert judged.reason == "restated by rule from what the signing expert corrected"
    assert (judged.struck[0].text, judged.struck[0].producer) == ("A glioma is present.", MODEL)
    assert signed.labels[0] == (GLIOMA.value, "absent")
    assert final.draft.sentences[1:4] == reading().draft.sentences[1:4]
    assert final.verdict.judged[1:4] == reading().verdict.judged[1:4]
    assert final.verdict.alerts == ()
    assert verify(signed, final) and loads(Review, dumps(signed)) == signed


def test_unclear_is_said_as_unclear() -> None:
    _, final = sign(edited(put("findings", 0, "presence", "uncertain")))
    assert (text(final, "s1"), text(final, "s5")) == ("Glioma is uncertain.", "Possible glioma.")
    assert final.findings[0].region is not None


def test_what_was_denied_is_stated() -> None:
    signed, final = sign(edited(put("findings", 2, "presence", "present")))
    assert text(final, "s3") == "Left pleural effusion is present."
    assert (EFFUSION.value, "present") in signed.labels


def test_a_side_is_corrected_alone() -> None:
    signed, final = sign(edited(put("findings", 2, "side", "right")))
    assert [(e.kind, e.target, e.after) for e in signed.edits] == [
        ("side_corrected", "f3", "right"),
        ("sentence_changed", "s3", "No right pleural effusion."),
    ]
    _, final = sign(edited(put("findings", 0, "side", "left")))
    assert (text(final, "s1"), text(final, "s5")) == ("Left glioma is present.", "Left glioma.")
    _, final = sign(edited(put("findings", 2, "side", None)))
    assert text(final, "s3") == "No pleural effusion."


def test_a_side_that_the_code_denies_is_refused() -> None:
    before = about(
        reading(), Finding("f1", Code("SCT", "1", "Left hippocampus lesion"), "present"), says="It is there."
    )
    with pytest.raises(EditRefused, match="finding f1 has the side 'right', its code says left"):
        other(before, put("findings", 0, "side", "right"))


def test_a_value_is_corrected_alone() -> None:
    signed, final = sign(edited(put("findings", 1, "measurements", 0, "value", 15.25)))
    assert [(e.kind, e.target, e.before, e.after) for e in signed.edits] == [
        ("value_corrected", "m1", "12.4 mm", "15.25 mm"),
        (
            "sentence_changed",
            "s2",
            "A nodule of 1.2 cm is seen.",
            "Solitary nodule of lung is present, diameter 15.25 mm.",
        ),
    ]
    assert final.findings[1].measurements[0].value == 15.25
    assert final.draft.sentences[1].rests_on == ("f2", "x1")
    assert final.evidence[-1].about == "m1"


def test_a_sentence_without_the_corrected_value_stays() -> None:
    before = about(
        reading(), Finding("f1", NODULE, "present", measurements=(Measurement(DIAMETER, 12.4, "mm", "m1"),)),
        says="Solitary nodule of lung.", section="impression",
    )  # fmt: skip
    signed, final = other(before, put("findings", 0, "measurements", 0, "value", 15))
    assert [e.kind for e in signed.edits] == ["value_corrected"]
    assert final.draft.sentences == before.draft.sentences


def test_a_sentence_over_several_findings_is_built_from_all_of_them() -> None:
    before = about(
        reading(),
        Finding("f1", GLIOMA, "absent", score=0.01, producer=MODEL),
        Finding("f2", MENINGIOMA, "absent", score=0.02, producer=MODEL),
        says="No glioma (model score 0.01, uncalibrated); no intracranial meningioma (model score 0.02, uncalibrated).",
    )
    _, final = other(before, put("findings", 1, "presence", "present"))
    assert text(final, "s1") == ("No glioma (model score 0.01, uncalibrated); intracranial meningioma is present.")
    assert final.draft.sentences[0].rests_on == ("f2", "x1", "f1", "e1")
    _, final = other(before, lambda d: d["findings"].pop(0))
    assert text(final, "s1") == "No intracranial meningioma (model score 0.02, uncalibrated)."
    assert final.draft.sentences[0].rests_on == ("x1", "f2", "e2")


def test_volumes_are_restated_side_by_side() -> None:
    left, right = (
        Finding(f"f{n}", HIPPOCAMPUS, "present", side=side, measurements=(Measurement(VOLUME, ml, "ml", f"m{n}"),))
        for n, side, ml in ((1, "left", 3.14), (2, "right", 3.41))
    )
    before = about(reading(), left, right, says="Volumes: left hippocampus 3.1 ml, right hippocampus 3.4 ml.")
    _, final = other(before, put("findings", 1, "measurements", 0, "value", 2.75))
    assert text(final, "s1") == "Volumes: left hippocampus 3.1 ml, right hippocampus 2.75 ml."
    _, final = other(before, put("findings", 0, "presence", "absent"))
    assert text(final, "s1") == "Volumes: left hippocampus is absent, right hippocampus 3.4 ml."
    before = about(reading(), left, says="The left hippocampus has a volume of 3.1 ml.")
    _, final = other(before, put("findings", 0, "measurements", 0, "value", 2.75))
    assert text(final, "s1") == "Volume: left hippocampus 2.75 ml."
    _, final = other(before, put("findings", 0, "presence", "uncertain"))
    assert text(final, "s1") == "Left hippocampus is uncertain."


def test_sides_that_were_swapped_are_put_right_together_or_warned_of() -> None:
    left, right = (
        Finding(f"f{n}", HIPPOCAMPUS, "present", side=side, measurements=(Measurement(VOLUME, ml, "ml", f"m{n}"),))
        for n, side, ml in ((1, "left", 3.14), (2, "right", 3.41))
    )
    before = about(reading(), left, right, says="Volumes: left hippocampus 3.1 ml, right hippocampus 3.4 ml.")

    def swap(d: dict[str, Any]) -> None:
        put("findings", 0, "side", "right")(d)
        put("findings", 1, "side", "left")(d)

    _, final = other(before, swap)
    assert text(final, "s1") == "Volumes: right hippocampus 3.1 ml, left hippocampus 3.4 ml."
    assert final.verdict.alerts == ()
    _, final = other(before, put("findings", 0, "side", "right"))
    assert final.verdict.alerts == ("findings f1 and f2 are both coded as right hippocampus",)


def test_a_sentence_that_says_more_than_its_findings_is_not_restated() -> None:
    before = reading()
    said = before.draft.sentences[0]
    sentences = (replace(said, rests_on=("e1", "e4")), *before.draft.sentences[1:])
    before = replace(before, draft=replace(before.draft, sentences=sentences))
    flip = put("findings", 0, "presence", "absent")
    with pytest.raises(
        EditRefused, match=r"sentence s1 rests on finding f1, which you corrected, on e4: no rule .*take out s1 in"
    ):
        other(before, flip)

    def with_words(d: dict[str, Any]) -> None:
        flip(d)
        reword(d, "s1", "No glioma on this axial MR slice.")

    _, final = other(before, with_words)
    assert text(final, "s1") == "No glioma on this axial MR slice."
    assert final.draft.sentences[0].rests_on == ("x2", "x1")


def test_the_expert_s_own_words_are_kept_and_the_others_restated() -> None:
    def change(d: dict[str, Any]) -> None:
        put("findings", 0, "presence", "absent")(d)
        reword(d, "s1", "What looked like a glioma is an artefact.")

    signed, final = sign(edited(change))
    assert text(final, "s1") == "What looked like a glioma is an artefact."
    assert final.draft.sentences[0].rests_on == ("x2", "x1")
    assert text(final, "s5") == "No glioma."
    assert [(e.target, e.note) for e in signed.edits if e.kind == "sentence_changed"] == [
        ("s1", ""),
        ("s5", "restated by rule from finding f1"),
    ]


@pytest.mark.parametrize("words", ["There is no glioma.", "No growth of the known glioma."])
def test_words_that_read_as_the_contrary_are_kept_with_a_warning(words: str) -> None:
    signed, final = sign(edited(lambda d: reword(d, "s1", words)))
    assert text(final, "s1") == words
    assert final.findings[0].presence == "present"
    (alert,) = final.verdict.alerts
    assert alert.startswith("sentence s1 reads as glioma absent, finding f1 is coded as present")
    assert alert in public(final, review=signed)["alerts"]
    assert verify(signed, final)


def test_words_that_agree_raise_no_warning() -> None:
    for add in ("There is a right pleural effusion.", "Glioma cannot be excluded.", "The sinuses are clear."):
        _, final = sign(edited(lambda d, add=add: d["sentences"].append({"text": add})))
        assert final.verdict.alerts == ()
    _, final = sign(edited(lambda d: d["sentences"].append({"text": "There is a left pleural effusion."})))
    assert final.verdict.alerts[0].startswith(
        "sentence s6 reads as pleural effusion present, finding f3 is coded as abs"
    )


def test_a_finding_taken_out_takes_its_sentences_with_it() -> None:
    signed, final = sign(edited(lambda d: d["findings"].pop(0)))
    assert [(e.kind, e.target, e.before, e.note) for e in signed.edits] == [
        ("finding_removed", "f1", "Glioma (SCT 393564001) present", ""),
        ("sentence_removed", "s1", "A glioma is present.", "rested only on finding f1, taken out"),
        ("sentence_removed", "s5", "Impression: glioma.", "rested only on finding f1, taken out"),
    ]
    assert [s.id for s in final.draft.sentences] == ["s2", "s3", "s4"]
    assert [j.sentence for j in final.verdict.judged] == ["s2", "s3", "s4"]
    assert [f.id for f in final.findings] == ["f2", "f3"]
    assert GLIOMA.value not in dict(signed.labels)
    assert final.evidence[0] == replace(reading().evidence[0], about=None)
    assert (final.evidence[-1].kind, final.evidence[-1].text) == (
        "expert",
        "The signing expert took out: Glioma (the draft said present)",
    )


def test_the_last_sentence_does_not_go_unsaid() -> None:
    before = about(reading(), Finding("f1", GLIOMA, "present"), says="A glioma is present.")
    with pytest.raises(EditRefused, match="no sentence is left after the findings that you took out"):
        other(before, lambda d: d["findings"].clear())


def test_an_added_finding_is_stated() -> None:
    code = {"scheme": "SCT", "value": "233604007", "meaning": "Pneumonia"}
    measured = {"code": {"scheme": "SCT", "value": "81827009", "meaning": "Diameter"}, "value": 31.5, "unit": "mm"}
    added = {"code": code, "presence": "present", "side": "right", "measurements": [measured]}
    signed, final = sign(edited(lambda d: d["findings"].append(added)))
    assert [(s.id, s.text, s.section) for s in final.draft.sentences if s.id in ("s6", "s7")] == [
        ("s6", "Right pneumonia is present, diameter 31.5 mm.", "findings"),
        ("s7", "Right pneumonia.", "impression"),
    ]
    assert [s.id for s in final.draft.sentences] == ["s1", "s2", "s3", "s6", "s4", "s5", "s7"]
    assert final.draft.sentences[3].rests_on == ("f4", "x1")
    assert [j.sentence for j in final.verdict.judged] == [s.id for s in final.draft.sentences]
    assert [(e.kind, e.note) for e in signed.edits] == [
        ("finding_added", ""),
        ("sentence_added", "stated by rule from finding f4"),
        ("sentence_added", "stated by rule from finding f4"),
    ]
    assert ("233604007", "present") in signed.labels

    def with_words(d: dict[str, Any]) -> None:
        d["findings"].append(added)
        d["sentences"].append({"text": "Consolidation on the right, in keeping with pneumonia."})

    _, final = sign(edited(with_words))
    assert [s.id for s in final.draft.sentences] == ["s1", "s2", "s3", "s4", "s5", "s6"]


def test_an_added_finding_beside_its_denial_is_warned_of() -> None:
    mass = Code("99ATTENDING", "intracranial-mass", "Intracranial mass")
    before = about(reading(), Finding("f1", mass, "absent"), says="No intracranial mass.")
    code = {"scheme": "SCT", "value": "393564001", "meaning": "Glioma"}
    _, final = other(before, lambda d: d["findings"].append({"code": code, "presence": "present"}))
    assert [s.text for s in final.draft.sentences] == ["No intracranial mass.", "Glioma is present."]
    assert final.verdict.alerts[0].startswith("sentence s1 reads as")


def test_answered_questions_and_alerts_go() -> None:
    before = reading()
    findings = (replace(before.findings[0], presence="uncertain"), *before.findings[1:])
    verdict = replace(
        before.verdict,
        questions=("Is glioma present? The model's score lies between the site's thresholds.", "Is it fasting?"),
        alerts=("solitary nodule of lung is stated as present: look at this first",),
    )
    before = replace(before, findings=findings, verdict=verdict)

    def answer(d: dict[str, Any]) -> None:
        put("findings", 0, "presence", "present")(d)
        put("findings", 1, "presence", "absent")(d)

    _, final = other(before, answer)
    assert (final.verdict.questions, final.verdict.alerts) == (("Is it fasting?",), ())
    _, final = other(before, lambda d: None)
    assert final.verdict == before.verdict


def test_a_taken_out_sentence_stays_out() -> None:
    def change(d: dict[str, Any]) -> None:
        put("findings", 0, "presence", "absent")(d)
        drop("s5")(d)

    _, final = sign(edited(change))
    assert [s.id for s in final.draft.sentences] == ["s1", "s2", "s3", "s4"]


presences = st.sampled_from(["present", "absent", "uncertain"])
sides = st.sampled_from([None, "left", "right"])


@given(st.tuples(presences, presences, presences), st.tuples(sides, sides, sides), st.floats(0.5, 500))
@settings(max_examples=150, deadline=None)
def test_whatever_is_corrected_the_report_agrees_with_its_findings(
    presence: tuple[str, ...], side: tuple[str | None, ...], value: float
) -> None:
    document = edited()
    for n in range(3):
        document["findings"][n].update(presence=presence[n], side=side[n])
    if presence[1] != "absent":
        document["findings"][1]["measurements"][0]["value"] = value
    typed = copy.deepcopy(document)
    signed, final = sign(document)
    assert document == typed
    assert verify(signed, final) and loads(Reading, dumps(final)) == final
    ids = {e.id for e in final.evidence} | {f.id for f in final.findings}
    held = {f.id: f for f in final.findings}
    for sentence in final.draft.sentences:
        assert sentence.rests_on and set(sentence.rests_on) <= ids
        if sentence.text not in {s.text for s in reading().draft.sentences}:
            facts = [held[i] for i in sentence.rests_on if i in held]
            assert check_sentence(sentence.text, facts, (), final.case).verdict == "supported", sentence.text
    assert final.verdict.alerts == ()
