"""Records: JSON and back, one text for equal records, other versions refused, frozen to the bottom."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from attending import records
from attending.errors import UnknownVersion
from attending.records import (
    SCHEMA,
    Answer,
    Candidate,
    CaseFacts,
    Code,
    Detection,
    Draft,
    Edit,
    Evidence,
    Example,
    Finding,
    Findings,
    Image,
    ImageFacts,
    Interval,
    Judged,
    LabelMap,
    Measurement,
    NotAssessed,
    Point,
    Producer,
    Reading,
    Region,
    Release,
    Review,
    Scores,
    Sentence,
    SourceFile,
    Stroke,
    Struck,
    Study,
    TrainingSet,
    Verdict,
    array_key,
    dumps,
    loads,
)

DOCUMENTS = (
    Answer, Candidate, CaseFacts, Code, Draft, Edit, Evidence, Example, Finding, ImageFacts, Interval, Judged,
    Measurement, NotAssessed, Point, Producer, Reading, Region, Release, Review, Scores, Sentence, Stroke, Struck,
    TrainingSet, Verdict,
)  # fmt: skip
HOLD_ARRAYS = {
    "Case", "Detection", "Findings", "Image", "LabelMap", "Located", "Masked", "Prompts", "SourceFile", "Stack", "Study"
}  # fmt: skip
# Lone surrogates are no text: UTF-8 cannot hold them, and no door lets them in.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type as records use it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return st.deferred(lambda: st.builds(kind, **{f.name: values(hints[f.name]) for f in dataclasses.fields(kind)}))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of(*(values(a) for a in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(values(a) for a in arguments))
    simple = {str: TEXT, int: st.integers(), float: FINITE, bool: st.booleans(), type(None): st.none()}
    return simple[kind]


@pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda k: k.__name__)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_every_record_comes_back_as_it_was(kind: Any, data: st.DataObject) -> None:
    record = data.draw(values(kind))
    text = dumps(record)
    again = loads(kind, text)
    assert again == record and type(again) is kind
    assert loads(kind, text.encode()) == record
    assert hash(again) == hash(record), "frozen to the bottom: every part can be hashed"
    assert dumps(again) == text, "equal records are one text, and so one sha256"
    assert json.loads(text)["schema"] == SCHEMA and json.loads(text)["kind"] == kind.__name__
    assert dumps(dataclasses.replace(record)) == text


def test_every_record_is_here() -> None:
    """A record added later is either a document, and tested above, or holds arrays and is never one."""
    there = {n for n in records.__all__ if dataclasses.is_dataclass(getattr(records, n))}
    assert there == {k.__name__ for k in DOCUMENTS} | HOLD_ARRAYS


@given(values(Measurement), values(Measurement))
@settings(max_examples=50, deadline=None)
def test_different_records_are_different_texts(one: Measurement, other: Measurement) -> None:
    assert (dumps(one) == dumps(other)) == (
        one == other and math.copysign(1, one.value) == math.copysign(1, other.value)
    )


def test_the_text_is_canonical() -> None:
    code = Code("SCT", "393564001", "Gliom, größer")
    assert dumps(code) == (
        '{"kind":"Code","record":{"meaning":"Gliom, größer","scheme":"SCT","value":"393564001"},"schema":1}'
    )


@pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda k: k.__name__)
@pytest.mark.parametrize("schema", [0, SCHEMA + 1, None, "1"])
def test_another_schema_is_refused(kind: Any, schema: Any) -> None:
    text = json.dumps({"schema": schema, "kind": kind.__name__, "record": {}})
    with pytest.raises(UnknownVersion, match=rf"a '{kind.__name__}' document of schema .*; allowed: '{kind.__name__}'"):
        loads(kind, text)


def test_another_kind_is_refused() -> None:
    with pytest.raises(
        UnknownVersion, match=r"a 'Producer' document of schema 1; allowed: 'Code' documents of schema 1"
    ):
        loads(Code, dumps(Producer()))
    for text in ("[]", "3", "null", "{}", '{"schema": 1, "kind": "Code"}'):
        with pytest.raises(UnknownVersion, match="allowed: 'Code' documents of schema 1; do: open it with the version"):
            loads(Code, text)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError, match="presence"):
        loads(Finding, dumps(Finding("f1", Code("SCT", "1", "a"), "present")).replace('"present"', '"perhaps"'))
    with pytest.raises(ValidationError, match="meaning"):
        loads(Code, '{"schema":1,"kind":"Code","record":{"scheme":"SCT","value":"1"}}')
    with pytest.raises(ValueError, match="Expecting"):
        loads(Code, dumps(Code("SCT", "1", "a"))[:-3])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_only_finite_numbers_are_written_and_read(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(Interval(number, 0.0, 1.0))
    word = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(number)]
    with pytest.raises(ValueError, match=f"{word} in a document; JSON has finite numbers only"):
        loads(Interval, dumps(Interval(0.5, 0.0, 1.0)).replace("0.5", word))
    with pytest.raises(ValueError, match="a measurement is a finite number"):
        Measurement(Code("SCT", "1", "Volume"), number, "ml")
    with pytest.raises(ValueError, match="a score lies between 0 and 1"):
        Detection(Code("SCT", "1", "Glioma"), number)


def test_numbers_keep_every_bit() -> None:
    for value in (0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3):
        back = loads(Interval, dumps(Interval(value, value, value))).value
        assert back == value and math.copysign(1, back) == math.copysign(1, value)


def classes() -> list[Any]:
    every = [getattr(records, n) for n in records.__all__]
    return [c for c in every if dataclasses.is_dataclass(c)]


@pytest.mark.parametrize("kind", classes(), ids=lambda k: k.__name__)
def test_no_record_can_be_changed(kind: Any) -> None:
    assert kind.__dataclass_params__.frozen
    blank = kind.__new__(kind)
    for field in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{field.name}'"):
            setattr(blank, field.name, None)


@pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda k: k.__name__)
def test_documents_hold_nothing_that_can_be_changed(kind: Any) -> None:
    def check(hint: Any, where: str) -> None:
        assert get_origin(hint) not in (list, dict, set), where
        assert hint not in (list, dict, set, bytearray, Any), where
        for part in get_args(hint):
            if part is not Ellipsis and get_origin(hint) is not Literal:
                check(part, where)

    for name, hint in get_type_hints(kind).items():
        check(hint, f"{kind.__name__}.{name}")


def facts(*shape: int) -> ImageFacts:
    return ImageFacts("i1", shape, None, None, "CT")


def test_voxels_and_labels_are_read_only() -> None:
    image = Image(facts(2, 3, 4), np.zeros((2, 3, 4), np.int16))
    with pytest.raises(ValueError, match="read-only"):
        image.voxels[0, 0, 0] = 1
    with pytest.raises(ValueError, match="voxels have shape"):
        Image(facts(2, 3, 5), np.zeros((2, 3, 4), np.int16))
    names = {1: "brain"}
    labels = LabelMap("i1", np.zeros((2, 3, 4), np.uint8), names)
    with pytest.raises(ValueError, match="read-only"):
        labels.labels[0, 0, 0] = 1
    names[2] = "more"
    assert dict(labels.names) == {1: "brain"}
    with pytest.raises(TypeError, match="does not support item assignment"):
        labels.names[2] = "more"  # type: ignore[index]


def test_an_affine_handed_out_does_not_lead_back() -> None:
    rows = ((1.0, 0.0, 0.0, 5.0), (0.0, 2.0, 0.0, 6.0), (0.0, 0.0, 3.0, 7.0), (0.0, 0.0, 0.0, 1.0))
    image = Image(dataclasses.replace(facts(1, 1, 1), affine=rows), np.zeros((1, 1, 1), np.int16))
    matrix = image.affine
    assert matrix is not None
    matrix[0, 0] = 9
    assert image.affine is not None and image.affine[0, 0] == 1.0


def test_a_study_does_not_show_whose_it_is() -> None:
    file = SourceFile("DOE^JANE.dcm", b"secret", "00")
    study = Study("dicom", "00", (file,), ())
    assert str(study) == repr(study) == "Study(<identified>, kind='dicom', 1 files)"
    assert "secret" not in repr(file)


def test_a_key_is_of_type_shape_and_content() -> None:
    zeros = np.zeros((2, 3), np.uint8)
    keys = {array_key(a) for a in (zeros, zeros.T, zeros.astype(np.int8), zeros + 1, zeros.reshape(6))}
    assert len(keys) == 5
    assert array_key(np.asfortranarray(zeros)) == array_key(zeros)
    assert array_key(np.arange(6).reshape(2, 3)[:, ::2]) == array_key(np.arange(6).reshape(2, 3)[:, ::2].copy())


def test_findings_are_no_document() -> None:
    assert Findings((), ()).arrays == {}
