"""Questions: answered from the reading with citations, "cannot tell" otherwise, or refused with one clear message."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attending import answering
from attending.errors import QuestionRefused
from attending.records import (
    NO_PATIENT,
    CaseFacts,
    Code,
    Draft,
    Evidence,
    Finding,
    ImageFacts,
    Measurement,
    NotAssessed,
    Producer,
    Reading,
    Region,
    Verdict,
)

VOLUME, SHARE = Code("SCT", "118565006", "Volume"), Code("99ATTENDING", "share", "Share of brain volume")
NET, DETECTOR = Producer("net", "1"), Producer("detector", "2")


def head(volume: float = 1258.1, date: str | None = "2020-05-10", id: str = "a" * 16, patient: str = "p") -> Reading:
    facts = ImageFacts(
        "i1", (160, 256, 200), None, (1.0, 0.9, 1.2), "MR", "CORONAL", "HEAD", sequence="T1", axis="space"
    )
    box = (10, 20, 30, 100, 120, 130)
    findings = (
        Finding("f1", Code("SCT", "12738006", "Brain"), "present", region=Region("mask", "i1", "k", 1, box),
                measurements=(Measurement(VOLUME, volume, "ml", "m1"),), producer=NET),
        Finding("f2", Code("SCT", "66720007", "Lateral Ventricle"), "present", region=Region("mask", "i1", "k", 2, box),
                measurements=(Measurement(VOLUME, 20.44, "ml", "m2"), Measurement(SHARE, 1.62, "%", "m3")),
                producer=NET),
        Finding("f3", Code("SCT", "127024001", "Neoplasm of pituitary gland"), "present", score=0.97, producer=DETECTOR,
                site=Code("SCT", "128319008", "Intracranial structure")),
        Finding("f4", Code("SCT", "393564001", "Glioma"), "absent", score=0.01, producer=DETECTOR),
        Finding("f5", Code("SCT", "60046008", "Pleural effusion"), "present", 0.93, side="left", producer=DETECTOR),
    )  # fmt: skip
    evidence = (
        Evidence("e1", "gate", "Declared MR, body part HEAD."),
        Evidence("e2", "finding", "Neoplasm of pituitary gland present: score 0.97, not calibrated.", about="f3"),
        Evidence("e3", "finding", "Glioma absent: score 0.01.", about="f4"),
        Evidence("e4", "finding", "Left pleural effusion present: probability 0.93, calibrated.", about="f5"),
    )
    case = CaseFacts(id, patient, "dicom", (facts,), date, 54, "F")
    left = (NotAssessed("anything else on this study", "no admitted model", "e1"),)
    return Reading(id, 1, "2026-01-01T00:00:00+00:00", case, findings, evidence, left, (), Draft(()), Verdict(()))


@pytest.mark.parametrize(
    ("question", "words", "cited"),
    [
        ("How large is the brain?", "Brain: volume 1258 ml", "m1"),
        ("brain volume in ml?", "Brain: volume 1258 ml", "m1"),
        ("What is the volume of the lateral ventricles?", "Lateral ventricle: volume 20.44 ml", "m2"),
        ("What share of the brain are the lateral ventricles?", "share of brain volume 1.62 %", "m3"),
        ("What modality is used to take this image?", "The modality is MR", "e1"),
        ("Is this a CT?", "No. The modality is MR", "e1"),
        ("Is this an MRI scan?", "Yes. The modality is MR", "e1"),
        ("Is this T2 weighted?", "No. The sequence is T1", "e1"),
        ("Is this a coronal plane?", "Yes. The view is CORONAL", "e1"),
        ("Which part of the body does this image belong to?", "The body part is HEAD", "e1"),
        ("How old is the patient?", "54 years", "e1"),
        ("How many slices are there?", "160 planes of 200 x 256 pixels; a pixel is 1 x 0.9 mm, planes 1.2 mm", "e1"),
        ("Is there a glioma?", "No. Glioma absent", "e3"),
        ("Is there a tumour?", "Yes. Neoplasm of pituitary gland present", "f3"),
        ("Is there a pleural effusion?", "Yes. Left pleural effusion present", "e4"),
        ("On which side is the effusion?", "left", "f5"),
        ("What abnormalities were found?", "Neoplasm of pituitary gland present", "e2"),
        ("How sure is the glioma?", "score 0.01", "e3"),
        ("Which model measured the brain?", "By net 1", "f1"),
        ("What was not assessed?", "anything else on this study (no admitted model)", "e1"),
        ("Is the pituitary normal?", "Not normal", "f3"),
        ("What is the function of the liver?", "bile", "fact:function-liver"),
        ("Which is bigger, the brain or the lateral ventricle?", "Brain, 1258 ml", "m1"),
        ("Does the image use radiation?", "no ionising radiation", "fact:radiation-mr"),
    ],
)  # fmt: skip
def test_it_answers_from_the_reading_and_cites(question: str, words: str, cited: str) -> None:
    answer = answering.answer(question, head())
    assert answer.status == "answered", answer.text
    assert words in answer.text
    assert cited in answer.rests_on


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("Is the lateral ventricle normal?", "no cited reference range"),
        ("How big is the left lateral ventricle?", "both sides together"),
        ("Is there a haemorrhage?", "nothing of the kind (intracranial hemorrhage) was looked for"),
        ("Is there a pituitary tumour on the left?", "no side was found out"),
        ("How large is the pituitary tumour?", "was not measured so"),
        ("How large is the glioma?", "glioma was not found"),
        ("How many tumours are there?", "for the image as a whole"),
        ("How many kidneys in this image?", "for the image as a whole"),
        ("How should it be treated?", "treatment and prognosis are not in the study"),
        ("What colour is the lesion?", "how something looks was not measured"),
        ("Has it changed since the prior?", "no earlier study of this patient"),
        ("What is the meaning of life?", "no rule understands this question"),
        ("What is the function of the main organ in this picture?", "can only be seen"),
    ],
)
def test_it_says_cannot_tell_and_what_would_be_needed(question: str, why: str) -> None:
    answer = answering.answer(question, head())
    assert answer.status == "cannot_tell", answer.text
    assert why in answer.text
    assert "Needed: " in answer.text


@pytest.mark.parametrize(
    ("question", "seen"),
    [
        ("", "the question is empty"),
        ("???", "the question is empty"),
        ("Wie gross ist das Gehirn?", "not in English"),
        ("¿Dónde está el tumor cerebral izquierdo?", "not in English"),
        ("这张图片的成像方式是什么?", "not in English"),
        ("What about Mr Smith?", "names a person"),
        ("Does John Miller have a tumour?", "names a person"),
        ("Does John Smith have a tumour?", "names a person"),
        ("How large is the brain of Peter Gray?", "names a person"),
        ("How large is the brain of patient 12345678?", "names a person"),
        ("And the next patient?", "names a person"),
        ("Is the brain larger than in 0123456789abcdef?", "another study"),
        ("a" * 501, "501 characters"),
    ],
)
def test_it_refuses_what_is_no_question_about_this_study(question: str, seen: str) -> None:
    with pytest.raises(QuestionRefused, match=seen):
        answering.answer(question, head())


def test_a_refusal_never_repeats_the_question() -> None:
    with pytest.raises(QuestionRefused) as refused:
        answering.refuse("Does Zyxwvut Qponmlk have a tumour?")
    assert "Zyxwvut" not in str(refused.value)


@pytest.mark.parametrize(
    "question",
    ["What is the mr weighting in this image?", "Is there Cushing's disease?", "pneumothorax?", "any masses"],
)
def test_it_does_not_refuse_ordinary_questions(question: str) -> None:
    answering.refuse(question)


def test_a_change_is_told_against_the_latest_earlier_study_of_the_patient() -> None:
    now = head(1300.0, "2020-05-10")
    before = head(1250.0, "2020-04-10", "b" * 16)
    long_before = head(1000.0, "2019-04-10", "c" * 16)
    other = head(5.0, "2020-05-01", "d" * 16, patient="q")
    later = head(9.0, "2020-06-01", "e" * 16)
    answer = answering.answer("Has the brain grown since the prior?", now, [other, long_before, later, before])
    assert answer.status == "answered"
    assert "volume 1300 ml, 1250 ml 30 days before: +50 ml (+4.0%)" in answer.text
    assert f"{'b' * 16}:m1" in answer.rests_on
    unnamed = replace(now, case=replace(now.case, notes=(NO_PATIENT,)))
    assert answering.answer("Has the brain grown?", unnamed, [before]).status == "cannot_tell"


def test_experts_word_comes_before_the_models() -> None:
    reading = head()
    said = Evidence("x1", "expert", "The signing expert states: Glioma present.", about="f4")
    signed = replace(
        reading,
        findings=tuple(replace(f, presence="present") if f.id == "f4" else f for f in reading.findings),
        evidence=(*reading.evidence, said),
    )
    answer = answering.answer("Is there a glioma?", signed)
    assert answer.text == "Yes. The signing expert states: Glioma present."
    assert answer.rests_on == ("f4", "x1")


@given(st.text(max_size=80))
def test_any_text_is_answered_not_told_or_refused_and_every_answer_cites(text: str) -> None:
    try:
        answer = answering.answer(text, head())
    except QuestionRefused:
        return
    assert answer.status == "cannot_tell" or answer.rests_on


def test_every_fact_has_a_source_and_dates() -> None:
    assert answering.facts()
    for fact in answering.facts():
        assert fact.source and fact.date <= fact.expires
        assert fact.kind in {"function", "range", "radiation"}
