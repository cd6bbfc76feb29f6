"""Clause by clause: what a sentence denies, doubts, excepts and counts must be what is cited, in any dictated form."""

from __future__ import annotations

import pytest

from attending.checking import check_sentence
from attending.records import CaseFacts, Code, Evidence, Finding, ImageFacts, Measurement

FLUID = ("pleural effusion", "absent", None)
AIR = ("pneumothorax", "absent", None)


def judged(text: str, *facts: tuple[object, ...], said: str = "", modality: str = "CT", part: str = "CHEST") -> str:
    """Verdict on a sentence; a fact is (name, presence, side, *(measurement name, value, unit))."""
    findings, evidence = [], []
    for n, (name, presence, side, *measured) in enumerate(facts, 1):
        values = tuple(
            Measurement(Code("99ATTENDING", m[0], m[0]), m[1], m[2], f"m{n}-{k}") for k, m in enumerate(measured, 1)
        )
        notes = (said,) if said else ()
        code = Code("99ATTENDING", str(name), str(name))
        findings.append(Finding(f"f{n}", code, presence, side=side, measurements=values, notes=notes))
        evidence.append(Evidence(f"e{n}", "finding", f"{name}: {presence}", about=f"f{n}"))
        evidence += [Evidence(f"e-{m.id}", "measurement", f"{m.code.meaning}: {m.value:g} {m.unit}") for m in values]
    case = CaseFacts("c", "c", "dicom", (ImageFacts("i", (1, 2, 2), None, None, modality, body_part=part),))
    return check_sentence(text, findings, evidence, case).verdict


@pytest.mark.parametrize(
    "text",
    [
        "Neither pneumothorax nor effusion.",
        "The examination is negative for pneumothorax and effusion.",
        "No pneumothorax, no effusion.",
        "There is no evidence of pneumothorax or effusion.",
    ],
)
def test_denials_in_other_words(text: str) -> None:
    assert judged(text, AIR, FLUID) == "supported"


@pytest.mark.parametrize(
    "text",
    [
        "No pneumothorax, effusion.",
        "No pneumothorax, small effusion.",
        "No pneumothorax but an effusion.",
        "Effusion without pneumothorax.",
        "No pneumothorax or effusion beyond a rib fracture.",
    ],
)
def test_a_denial_that_is_dropped_or_excepted_from(text: str) -> None:
    assert judged(text, AIR, FLUID) != "supported"


def test_a_list_of_three_without_a_conjunction_stays_denied() -> None:
    text = "No pneumothorax, pleural effusion, consolidation."
    assert judged(text, AIR, FLUID, ("consolidation", "absent", None)) == "supported"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Heart size is within normal limits.", "supported"),
        ("Heart size is above normal limits.", "contradicted"),
        ("The cardiac silhouette exceeds normal limits.", "contradicted"),
        ("Heart size is not within normal limits.", "contradicted"),
    ],
)
def test_limits_of_the_normal(text: str, verdict: str) -> None:
    assert judged(text, ("cardiomegaly", "absent", None)) == verdict


@pytest.mark.parametrize(
    ("text", "supported"),
    [
        ("Opacity at the base which may represent atelectasis or infiltrate.", True),
        ("Opacity at the base, atelectasis versus infiltrate.", True),
        ("Opacity at the base which represents atelectasis or infiltrate.", False),
    ],
)
def test_a_choice_is_a_doubt_unless_it_is_said_firmly(text: str, supported: bool) -> None:
    facts = (("opacity", "present", None), ("atelectasis", "uncertain", None), ("infiltrate", "uncertain", None))
    assert (judged(text, *facts, said="at the base") == "supported") is supported


@pytest.mark.parametrize("text", ["The pneumothorax has not resolved.", "No resolution of the pneumothorax."])
def test_what_has_not_resolved_is_there(text: str) -> None:
    assert judged(text, ("pneumothorax", "absent", None), said="resolved") == "contradicted"
    assert judged(text, ("pneumothorax", "present", None), said="not resolved; no resolution") == "supported"


@pytest.mark.parametrize(
    ("text", "supported"),
    [
        ("Grey matter 612 ml, white matter 488 ml.", True),
        ("Grey matter 488 ml, white matter 612 ml.", False),
        ("612 ml of grey matter, 488 ml of white matter.", True),
    ],
)
def test_numbers_stand_with_their_own_name(text: str, supported: bool) -> None:
    facts = (
        ("gray matter", "present", None, ("volume", 612.0, "ml")),
        ("white matter", "present", None, ("volume", 488.0, "ml")),
    )
    assert (judged(text, *facts, modality="MR", part="HEAD") == "supported") is supported


def test_now_and_before() -> None:
    fact = ("aortic aneurysm", "present", None, ("diameter", 52.0, "mm"), ("previous diameter", 48.0, "mm"))
    assert judged("Aortic aneurysm, 52 mm, previously 48 mm.", fact) == "supported"
    assert judged("Aortic aneurysm, 48 mm, previously 52 mm.", fact) == "contradicted"


@pytest.mark.parametrize(
    ("text", "supported"),
    [("TI-RADS 4 nodule.", True), ("TI-RADS IV nodule.", True), ("TI-RADS 5 nodule.", False)],
)
def test_grades(text: str, supported: bool) -> None:
    fact = ("nodule", "present", None, ("TI-RADS", 4.0, "1"))
    assert (judged(text, fact, modality="US", part="NECK") == "supported") is supported


def test_a_weight_keeps_its_side() -> None:
    facts = (("pleural effusion", "present", "right"), ("pleural effusion", "present", "left"))
    assert (
        judged("Moderate right effusion, trace on the left.", *facts, said="moderate right; trace left") == "supported"
    )
    assert (
        judged("Moderate left effusion, trace on the right.", *facts, said="moderate right; trace left") != "supported"
    )


@pytest.mark.parametrize(("text", "supported"), [("Effusions, R > L.", True), ("Effusions, L > R.", False)])
def test_marks_of_order_are_no_markup(text: str, supported: bool) -> None:
    verdict = judged("Bilateral " + text, ("pleural effusion", "present", "bilateral"), said="right greater than left")
    assert (verdict == "supported") is supported


def test_one_side_alone_is_not_both() -> None:
    fact = ("pleural effusion", "present", "bilateral")
    assert judged("B/L effusions.", fact) == "supported"
    assert judged("Left effusion.", fact) == "contradicted"


def test_opposites() -> None:
    fact = ("scaphoid fracture", "present", "right")
    assert judged("Undisplaced right scaphoid fracture.", fact, said="undisplaced", part="WRIST") == "supported"
    assert judged("Displaced right scaphoid fracture.", fact, said="undisplaced", part="WRIST") == "contradicted"


def test_an_abbreviation_means_what_is_cited() -> None:
    fact = ("rheumatoid arthritis", "present", None)
    assert judged("Appearances are in keeping with RA.", fact, modality="CR", part="HAND") == "supported"


def test_an_absent_finding_may_go_unsaid_and_a_present_one_may_not() -> None:
    stenosis = ("bronchial stenosis", "present", "right")
    assert judged("Right bronchial stenosis.", stenosis, ("aortic dissection", "absent", None)) == "supported"
    assert judged("Right bronchial stenosis.", stenosis, ("rib fracture", "present", None)) != "supported"


@pytest.mark.parametrize("word", ["dilated", "deviated", "atrophied"])
def test_a_state_that_nothing_cited_bears_out(word: str) -> None:
    assert judged(f"Nodule, {word}.", ("nodule", "present", None)) != "supported"


def test_a_percentage_of_a_ratio_and_never_of_a_score() -> None:
    ratio = ("cardiomegaly", "present", None, ("cardiothoracic ratio", 0.58, "1"))
    score = ("cardiomegaly", "present", None, ("model score", 0.58, "1"))
    assert judged("Cardiomegaly, CTR 58 %.", ratio) == "supported"
    assert judged("Cardiomegaly, model score 58 %.", score) != "supported"


def test_the_level_of_a_disc() -> None:
    fact = ("disc herniation at L3/4", "present", None)
    assert judged("Disc herniation at L3/4.", fact, modality="MR", part="SPINE") == "supported"
    assert judged("Disc herniation at L4/5.", fact, modality="MR", part="SPINE") != "supported"
