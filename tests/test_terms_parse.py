"""Sentences to assertions: presence, side, site, scope. Every sentence here is made up for the test."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from attending.terms import lexicon, parse

Told = tuple[str, str, str | None]


def told(sentence: str) -> list[Told]:
    return [(a.finding, a.presence, a.side) for a in parse(sentence)]


PRESENT = [
    ("There is a small left pleural effusion.", [("pleural effusion", "present", "left")]),
    ("Bilateral pleural effusions.", [("pleural effusion", "present", "bilateral")]),
    ("The heart is mildly enlarged.", [("cardiomegaly", "present", None)]),
    ("Heart size is enlarged.", [("cardiomegaly", "present", None)]),
    ("Tortuosity of the thoracic aorta.", [("tortuous aorta", "present", None)]),
    ("The right hemidiaphragm is elevated.", [("elevated hemidiaphragm", "present", "right")]),
    ("Blunting of the left costophrenic angle.", [("costophrenic angle blunting", "present", "left")]),
    ("Hyperinflated lungs with flattened diaphragms.", None),
    ("Oedema of the lungs and haemorrhage.", None),
    ("Pneumothoraces on both sides.", [("pneumothorax", "present", "bilateral")]),
    ("A PICC is in place.", [("peripherally inserted central catheter", "present", None)]),
    ("Acute infarct in the left frontal lobe.", [("infarct", "present", "left")]),
    ("There is no change in the right effusion.", [("pleural effusion", "present", "right")]),
    ("Not only an effusion but also a nodule.", None),
]
ABSENT = [
    ("No pneumothorax.", [("pneumothorax", "absent", None)]),
    ("The lungs are clear.", [("lung abnormality", "absent", None)]),
    ("Heart size is normal.", [("cardiomegaly", "absent", None)]),
    ("The heart is not enlarged.", [("cardiomegaly", "absent", None)]),
    (
        "Cardiomediastinal silhouette is within normal limits.",
        [("cardiomegaly", "absent", None), ("mediastinal abnormality", "absent", None)],
    ),
    (
        "No consolidation, effusion or pneumothorax is seen.",
        [("consolidation", "absent", None), ("pleural effusion", "absent", None), ("pneumothorax", "absent", None)],
    ),
    ("The left effusion has resolved.", [("pleural effusion", "absent", "left")]),
    ("Hydrocephalus is ruled out.", [("hydrocephalus", "absent", None)]),
    ("Negative for fracture.", [("fracture", "absent", None)]),
    ("Lungs are free of focal consolidation.", [("consolidation", "absent", None)]),
    ("Scarring rather than pneumonia.", [("scarring", "present", None), ("pneumonia", "absent", None)]),
    ("Midline shift is not seen.", [("midline shift", "absent", None)]),
]
UNCERTAIN = [
    ("Pneumonia cannot be excluded.", [("pneumonia", "uncertain", None)]),
    ("Cannot exclude a fracture.", [("fracture", "uncertain", None)]),
    ("Possible right hydronephrosis.", [("hydronephrosis", "uncertain", "right")]),
    ("Atelectasis versus infiltrate.", [("atelectasis", "uncertain", None), ("infiltrate", "uncertain", None)]),
    ("Opacity that may represent pneumonia.", [("opacity", "present", None), ("pneumonia", "uncertain", None)]),
    ("Findings suspicious for metastasis.", [("metastasis", "uncertain", None)]),
    ("Questionable nodule.", [("nodule", "uncertain", None)]),
]


@pytest.mark.parametrize(("sentence", "expected"), [c for c in PRESENT + ABSENT + UNCERTAIN if c[1] is not None])
def test_presence_and_side(sentence: str, expected: list[Told]) -> None:
    assert told(sentence) == expected


@pytest.mark.parametrize("sentence", [c[0] for c in PRESENT])
def test_statements_are_present(sentence: str) -> None:
    assert told(sentence)
    assert {presence for _, presence, _ in told(sentence)} == {"present"}


def test_negation_stops_at_but() -> None:
    assert told("No pneumothorax, but there is a right effusion.") == [
        ("pneumothorax", "absent", None),
        ("pleural effusion", "present", "right"),
    ]


def test_negation_stops_at_a_new_statement() -> None:
    assert told("No pneumothorax and the heart is enlarged.")[1] == ("cardiomegaly", "present", None)


def test_two_places_on_two_sides_are_two_assertions() -> None:
    made = {(a.side, a.site) for a in parse("Granulomas in the left upper lobe and right lower lobe.")}
    assert made == {("left", "upper lobe of lung"), ("right", "lower lobe of lung")}


def test_order_of_sides_is_kept() -> None:
    assert parse("Bilateral effusions, left greater than right.")[0].more == "left"
    assert parse("Bilateral effusions, right greater than left.")[0].more == "right"


def test_what_was_not_assessed_is_no_assertion() -> None:
    assert parse("Not assessed: fracture, pleural effusion (no admitted model).") == ()


def test_structures_own_their_numbers() -> None:
    made = [
        (a.finding, a.side, a.quantities[0].value) for a in parse("Left hippocampus 3.1 ml, right hippocampus 3.4 ml.")
    ]
    assert made == [("hippocampus", "left", 3.1), ("hippocampus", "right", 3.4)]


def test_the_lexicon_is_broad_and_whole() -> None:
    book = lexicon()
    assert len(book.terms) >= 250
    assert all(t.parent in book.terms for t in book.terms.values() if t.parent)
    assert all(t.parent in book.organs for t in book.organs.values() if t.parent)
    assert all(d in book.terms for t in book.organs.values() for d in t.denies)
    assert all(f in book.terms or f == "=normal" for f in book.states.values())
    assert all(organ in book.organs for organ, _ in book.states)


def test_every_finding_is_found_by_its_own_name() -> None:
    lost = [n for n in lexicon().terms if not any(a.finding == n for a in parse(f"There is {n}."))]
    assert lost == []


def test_codes_are_unique() -> None:
    book = lexicon()
    for table in (book.terms, book.organs):
        codes = [(t.code.scheme, t.code.value) for t in table.values()]
        assert len(codes) == len(set(codes))


@given(st.text(max_size=300))
def test_any_text_parses(text: str) -> None:
    for a in parse(text):
        assert 0 <= a.span[0] < a.span[1] <= len(text)
        assert a.presence in {"present", "absent", "uncertain"}


@given(st.sampled_from(sorted(lexicon().terms)), st.sampled_from(["left", "right"]))
def test_negation_always_denies(name: str, side: str) -> None:
    present = {a.finding: a.presence for a in parse(f"There is {side} {name}.")}
    assume(name in present)  # "left ventricular enlargement" is a finding of the heart, not of the brain
    absent = {a.finding: a.presence for a in parse(f"There is no {side} {name}.")}
    assert present[name] == "present"
    assert absent[name] == "absent"


def test_a_sentence_takes_less_than_a_millisecond() -> None:
    sentences = [c[0] for c in PRESENT + ABSENT + UNCERTAIN] * 20
    parse(sentences[0])
    start = time.process_time()
    for sentence in sentences:
        parse(sentence)
    assert (time.process_time() - start) / len(sentences) < 0.001
