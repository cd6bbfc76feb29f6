"""Properties of the checker over the lexicon: what breaks a true sentence is never supported, what does not, is."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from attending.checking import check_sentence
from attending.records import Code, Evidence, Finding, Measurement
from attending.terms import lexicon, parse

BOOK = lexicon()
# Findings that may stand in a sentence with a side: their own name holds none and denies nothing.
NAMES = sorted(
    n
    for n in BOOK.terms
    if not re.search(r"\b(left|right|no|not|normal|both|bilateral)\b", n)
    and [(a.finding, a.presence, a.side) for a in parse(f"There is a left {n}.")] == [(n, "present", "left")]
    and [a.presence for a in parse(f"Possible {n}.")] == ["uncertain"]
)
SIDES = st.sampled_from(["left", "right"])
OTHER = {"left": "right", "right": "left"}
PLAIN = [
    "There is a {x}.",
    "A {x} is seen.",
    "{x} is noted.",
    "{x} is present on this study.",
    "The image shows a {x}.",
    "There is evidence of a {x}.",
]
DENYING = [
    "There is no {x}.",
    "No evidence of {x}.",
    "{x} is not seen.",
    "{x} has been excluded.",
    "Negative for {x}.",
    "The study is negative for {x}.",
    "{x} is absent.",
    "Without {x}.",
    "There is nothing to suggest {x}.",
    "No longer any {x}.",
    "{x} has resolved.",
    "There is not identified a {x}.",
]
HEDGING = [
    "Possible {x}.",
    "There may be a {x}.",
    "{x} cannot be excluded.",
    "{x} is suspected.",
    "Questionable {x}.",
    "?{x}.",
    "Findings suspicious for {x}.",
    "There is a {x}, if real.",
    "Perhaps a {x}.",
]


def finding(name: str, presence: str = "present", **more: object) -> Finding:
    return Finding("f1", Code("99ATTENDING", name.replace(" ", "-"), name), presence, **more)  # type: ignore[arg-type]


def said(template: str, what: str) -> str:
    text = template.format(x=what)
    return text[:1].upper() + text[1:]


def judge(text: str, *facts: Finding) -> str:
    evidence = tuple(Evidence(f"e{f.id}", "finding", f"{f.code.meaning}: {f.presence}", about=f.id) for f in facts)
    return check_sentence(text, facts, evidence, None).verdict


def mm(value: float, name: str = "diameter") -> tuple[Measurement, ...]:
    return (Measurement(Code("99ATTENDING", name, name), value, "mm", "m1"),)


def test_the_properties_hold_over_most_of_the_lexicon() -> None:
    assert len(NAMES) > 0.75 * len(BOOK.terms)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), SIDES, st.sampled_from(PLAIN))
def test_a_true_sentence_is_supported_in_any_wording(name: str, side: str, template: str) -> None:
    assert judge(said(template, f"{side} {name}"), finding(name, side=side)) == "supported"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), SIDES, st.sampled_from(PLAIN))
def test_the_other_side_is_never_supported(name: str, side: str, template: str) -> None:
    assert judge(said(template, f"{OTHER[side]} {name}"), finding(name, side=side)) != "supported"
    assert judge(said(template, f"bilateral {name}"), finding(name, side=side)) != "supported"


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(NAMES), st.sampled_from(DENYING))
def test_a_present_finding_is_never_denied(name: str, template: str) -> None:
    assert judge(said(template, name), finding(name)) != "supported"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.sampled_from(HEDGING))
def test_a_firm_finding_is_never_hedged_and_a_doubtful_one_never_firm(name: str, template: str) -> None:
    assert judge(said(template, name), finding(name)) != "supported"
    assert judge(said(template, name), finding(name, "absent")) != "supported"
    assert judge(said("There is a {x}.", name), finding(name, "uncertain")) != "supported"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.sampled_from(DENYING[:4] + DENYING[6:9]))
def test_a_dropped_cue_of_denial_is_caught(name: str, template: str) -> None:
    fact = finding(name, "absent")
    assert judge(said(template, name), fact) == "supported"
    assert judge(said("There is {x}.", name), fact) != "supported"
    assert judge(said("{x}.", name), fact) != "supported"


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 5))
def test_an_added_finding_is_never_supported(name: str, other: str, place: int) -> None:
    # What follows from the fact (a broader word, a sign or a synonym of it) is no invention.
    above = set(BOOK.ancestors(name))
    kin = BOOK.kin.get(other, frozenset()) | BOOK.kin_worded.get(other, frozenset())
    assume(other != name and other not in above and not kin & {name, *above})
    assume(not set(other.split()) <= set(name.split()))
    text = [
        f"There is {name} with {other}.",
        f"There is {name} and {other}.",
        f"There is {other} and {name}.",
        f"There is {name} due to {other}.",
        f"There is {name}; {other} is also noted.",
        f"{other.capitalize()} is complicated by {name}.",
    ][place]
    assert judge(text, finding(name)) != "supported"


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 300), st.integers(2, 300), st.sampled_from(["{} mm", "{} mm in diameter", "diameter of {} mm"]))
def test_only_the_cited_number_is_supported(cited: int, written: int, form: str) -> None:
    text = f"There is a left nodule, {form.format(written)}."
    verdict = judge(text, finding("nodule", side="left", measurements=mm(float(cited))))
    assert verdict == ("supported" if written == cited else "contradicted")


@settings(max_examples=100, deadline=None)
@given(st.integers(10, 99), st.sampled_from(["cm", "centimeters", "cm,"]))
def test_another_unit_of_the_same_value_is_supported(value: int, unit: str) -> None:
    fact = finding("nodule", side="left", measurements=mm(float(value)))
    assert judge(f"There is a left nodule measuring {value / 10:.1f} {unit.rstrip(',')}.", fact) == "supported"
    assert judge(f"There is a left nodule measuring {value} {unit.rstrip(',')}.", fact) == "contradicted"
    assert judge(f"There is a left nodule measuring {value} ml.", fact) == "contradicted"
    assert judge(f"There is a left nodule (model score {value}).", fact) == "contradicted"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NAMES), SIDES, st.sampled_from([str.upper, str.lower, str.title]))
def test_case_changes_nothing(name: str, side: str, change: object) -> None:
    assume(not re.search(r"\b(i|l|r)\b", name))
    text = change(f"There is a {side} {name}")  # type: ignore[operator]
    assert judge(f"{text}.", finding(name, side=side)) == "supported"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(NAMES), st.from_regex(r"\A[bdfgklmnprstvz][aeiou][bdfgklmnprstvz]{2}(?:oma|itis|osis|emia)\Z"))
def test_an_unknown_disease_is_an_invention(name: str, disease: str) -> None:
    assume(disease not in BOOK.words)
    assert judge(f"There is {name} with {disease}.", finding(name)) == "contradicted"


@pytest.mark.parametrize(
    "text",
    [
        "There is pneumonia with a model score of N - .",
        "There is pneumonia with a model score.",
        "There is pneumonia with a depth of .",
        "There is pneumonia with a volume and a size.",
        "Pneumonia of N.",
        "There is pneumonia (model score ).",
        "There is no probability of pneumonia (model score 0.97).",
        "Pneumonia, model score 0.97 mm.",
        "Possible pneumonia (model score 0.97).",
    ],
)
def test_what_small_models_wrote_is_struck(text: str) -> None:
    assert judge(text, finding("pneumonia", score=0.97)) == "contradicted"


@pytest.mark.parametrize("text", ["There is no probability of pneumonia (model score 0.00).", "Pneumonia, score 0.00."])
def test_what_small_models_wrote_of_an_absent_finding_is_struck(text: str) -> None:
    assert judge(text, finding("pneumonia", "absent", score=0.0)) == "contradicted"


def test_a_fact_that_the_lexicon_does_not_know_is_held_by_its_own_words() -> None:
    fact = finding("glimmer sign", side="left")
    assert judge("There is a left glimmer sign.", fact) == "supported"
    assert judge("There is a right glimmer sign.", fact) == "contradicted"
    assert judge("There is no left glimmer sign.", fact) == "contradicted"
    assert judge("Possible left glimmer sign.", fact) == "contradicted"


PARAPHRASES = [
    ("The right costophrenic angle is blunted.", [finding("pleural effusion", side="right")]),
    (
        "Fluid in the right pleural space, 1.2 cm deep.",
        [finding("pleural effusion", side="right", measurements=mm(12.0, "depth"))],
    ),
    ("The lungs are clear.", [finding("consolidation", "absent")]),
    ("The heart is of normal size.", [finding("cardiomegaly", "absent")]),
    ("Airspace shadowing is evident on the left.", [finding("consolidation", side="left")]),
    ("The midline is not shifted.", [finding("midline shift", "absent")]),
    ("Left extradural collection.", [finding("epidural hematoma", side="left")]),
    ("The right anterior cruciate ligament is torn.", [finding("anterior cruciate ligament tear", side="right")]),
    ("The gallbladder contains no stones.", [finding("gallstone", "absent")]),
    ("The bones are demineralised.", [finding("osteopenia")]),
    ("A chest radiograph shows a hiatus hernia.", [finding("hiatal hernia")]),
    ("The left lung has collapsed.", [finding("lung collapse", side="left")]),
]


@pytest.mark.parametrize(("text", "facts"), PARAPHRASES)
def test_paraphrases_are_supported(text: str, facts: list[Finding]) -> None:
    assert judge(text, *facts) == "supported"


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(PARAPHRASES), st.sampled_from(["today", "again here", "on this image", "as described", "indeed"])
)
def test_harmless_words_change_nothing(case: tuple[str, list[Finding]], words: str) -> None:
    text, facts = case
    assume("again" not in words)  # compares with a prior
    assert judge(f"{text.rstrip('.')} {words}.", *facts) == "supported"


def test_sides_of_a_pair_stay_with_their_numbers() -> None:
    volume = Code("99ATTENDING", "volume", "volume")
    pair = (
        Finding("f1", Code("99ATTENDING", "h", "hippocampus"), "present", side="left",
                measurements=(Measurement(volume, 3.1, "ml", "m1"),)),
        Finding("f2", Code("99ATTENDING", "h", "hippocampus"), "present", side="right",
                measurements=(Measurement(volume, 3.4, "ml", "m2"),)),
    )  # fmt: skip
    for text in (
        "Hippocampal volumes: {0} 3.1 ml, {1} 3.4 ml.",
        "The {0} hippocampus is 3.1 ml and the {1} is 3.4 ml.",
        "The hippocampus measures 3.1 ml on the {0} and 3.4 ml on the {1}.",
        "The {0} and {1} hippocampi are 3.1 ml and 3.4 ml respectively.",
    ):
        assert judge(text.format("left", "right"), *pair) == "supported", text
        assert judge(text.format("right", "left"), *pair) == "contradicted", text


def test_a_sentence_is_judged_in_less_than_a_millisecond() -> None:
    judge("There is a nodule.", finding("nodule"))
    start = time.process_time()
    for name in NAMES * 2:
        judge(f"There is a left {name}, with no change.", finding(name, side="left"))
    assert (time.process_time() - start) / (2 * len(NAMES)) < 0.002
