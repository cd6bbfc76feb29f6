"""check_sentence: each rule catches its own kind of wrong, and lets the true sentence pass."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attending.checking import check_sentence, facts_of_text
from attending.records import CaseFacts, Code, Evidence, Finding, ImageFacts, Judged, Measurement
from attending.terms import lexicon

VOLUME = Code("SCT", "118565006", "Volume")


def case(modality: str = "DX", part: str | None = "CHEST") -> CaseFacts:
    image = ImageFacts("i1", (1, 64, 64), None, None, modality, None, part)
    return CaseFacts("c", "p", "dicom", (image,))


def finding(meaning: str, presence: str = "present", id: str = "f1", **more: object) -> Finding:
    return Finding(id, Code("99ATTENDING", meaning.lower().replace(" ", "-"), meaning), presence, **more)  # type: ignore[arg-type]


def mm(value: float, id: str = "m1") -> tuple[Measurement, ...]:
    return (Measurement(Code("SCT", "410668003", "Length"), value, "mm", id),)


EFFUSION = finding("Pleural effusion", side="right", measurements=mm(12.4))
GLIOMA = finding("Glioma", score=0.9712)
HIPPOCAMPI = (
    finding("Hippocampus", side="left", measurements=(Measurement(VOLUME, 3.12, "ml", "m1"),)),
    finding("Hippocampus", id="f2", side="right", measurements=(Measurement(VOLUME, 3.44, "ml", "m2"),)),
)
HEAD = case("MR", "HEAD")

CAUGHT = [
    ("evidence", "There is a right pleural effusion.", (), case()),
    ("side", "There is a left pleural effusion.", (EFFUSION,), case()),
    ("side", "There are bilateral pleural effusions.", (EFFUSION,), case()),
    ("side", "There is a left glioma.", (GLIOMA,), HEAD),
    ("number", "There is a 21 mm right pleural effusion.", (EFFUSION,), case()),
    ("number", "Left hippocampus 3.4 ml.", HIPPOCAMPI[:1], HEAD),
    ("side", "Left hippocampus 3.44 ml, right hippocampus 3.12 ml.", HIPPOCAMPI, HEAD),
    ("number", "The hippocampi have 6.6 ml together.", HIPPOCAMPI, HEAD),
    ("unit", "There is a 12 cm right pleural effusion.", (EFFUSION,), case()),
    ("unit", "Right pleural effusion of 12 ml.", (EFFUSION,), case()),
    ("negation", "There is no right pleural effusion.", (EFFUSION,), case()),
    ("negation", "There is a possible right pleural effusion.", (EFFUSION,), case()),
    ("negation", "There is a fracture.", (finding("Fracture", "absent"),), case()),
    ("negation", "There is a fracture.", (finding("Fracture", "uncertain"),), case()),
    ("negation", "No fracture.", (finding("Fracture", "uncertain"),), case()),
    ("negation", "There is pneumonia.", (finding("Lung abnormality", "absent"),), case()),
    ("invented", "Right pleural effusion and pneumothorax.", (EFFUSION,), case()),
    ("invented", "No pneumothorax.", (EFFUSION,), case()),
    ("invented", "Glioma in the left frontal lobe.".replace("left ", ""), (GLIOMA,), HEAD),
    ("invented", "Glioma with pulmonoptosis.", (GLIOMA,), HEAD),
    ("modality", "The glioma is hypodense.", (GLIOMA,), HEAD),
    ("modality", "The effusion is hyperintense.", (EFFUSION,), case()),
    ("modality", "The glioma is echogenic.", (GLIOMA,), case("CT", "HEAD")),
    ("modality", "Glioma with consolidation.", (GLIOMA,), HEAD),
    ("judgement", "The left hippocampus of 3.1 ml is within the normal range.", HIPPOCAMPI[:1], HEAD),
    ("judgement", "Left hippocampus 3.1 ml, which is normal.", HIPPOCAMPI[:1], HEAD),
    ("judgement", "Glioma with a probability of 0.97.", (GLIOMA,), HEAD),
    ("garble", '{"text": "Glioma is present"}', (GLIOMA,), HEAD),
    ("garble", "Glioma glioma is present.", (GLIOMA,), HEAD),
    ("garble", "Here is the sentence: glioma is present.", (GLIOMA,), HEAD),
    ("garble", "Es besteht ein Gliom im Gehirn mit Ödem.", (GLIOMA,), HEAD),
    ("garble", "There is a glioma with a score of.", (GLIOMA,), HEAD),
    ("garble", "Glioma with a possible glioma is present.", (GLIOMA,), HEAD),
    ("unit", "There is a right pleural effusion (model score 12 mm).", (EFFUSION,), case()),
    ("invented", "There is a splenectomy.", (finding("Splenomegaly"),), case("CT", "ABDOMEN")),
    ("invented", "There is a renal infarct.", (finding("Pyelonephritis"),), case("CT", "ABDOMEN")),
    ("invented", "There is a rib fracture.", (finding("Humeral fracture"),), case()),
    ("omission", "The study is complete.", (GLIOMA,), HEAD),
]
DOUBTED = [
    ("judgement", "There is a large right pleural effusion.", (EFFUSION,), case()),
    ("judgement", "The right pleural effusion is unchanged.", (EFFUSION,), case()),
    ("judgement", "Acute right pleural effusion.", (EFFUSION,), case()),
    ("recommendation", "Glioma is present, biopsy is recommended.", (GLIOMA,), HEAD),
    ("unknown_words", "Glioma with zorbling is present.", (GLIOMA,), HEAD),
    ("omission", "There is a pleural effusion.", (EFFUSION,), case()),
    ("unknown_words", "Tension right pneumothorax.", (finding("Pneumothorax", side="right"),), case()),
    ("unknown_words", "Burst fracture.", (finding("Fracture"),), case()),
]
PASSED = [
    ("There is a right pleural effusion measuring 12 mm.", (EFFUSION,), case()),
    ("Right pleural effusion, 1.2 cm.", (EFFUSION,), case()),
    ("Right pleural effusion is present, 12.4 mm.", (EFFUSION,), case()),
    ("Glioma is present (model score 0.97, uncalibrated).", (GLIOMA,), HEAD),
    ("There is a glioma in the brain.", (GLIOMA,), HEAD),
    ("A brain tumor is present.", (GLIOMA,), HEAD),
    ("There is a rib fracture.", (finding("Rib fracture"),), case()),
    ("?rib fracture.", (finding("Rib fracture", "uncertain"),), case()),
    ("There is a liver lesion.", (finding("Hepatocellular carcinoma"),), case("CT", "ABDOMEN")),
    ("Left hippocampus 3.1 ml, right hippocampus 3.4 ml.", HIPPOCAMPI, HEAD),
    ("No fracture is seen.", (finding("Fracture", "absent"),), case()),
    ("A fracture cannot be excluded.", (finding("Fracture", "uncertain"),), case()),
    ("The heart is not enlarged.", (finding("Cardiomegaly", "absent"),), case()),
    ("Heart size is normal.", (finding("Cardiomegaly", "absent"),), case()),
]


def evidence_of(facts: tuple[Finding, ...]) -> tuple[Evidence, ...]:
    return tuple(Evidence(f"e{f.id}", "finding", f"{f.code.meaning} {f.presence}.", about=f.id) for f in facts)


TISSUES = tuple(
    finding(name, id=f"f{n}", measurements=(Measurement(VOLUME, value, "ml", f"m{n}"),))
    for n, (name, value) in enumerate(
        [("Cerebral white matter", 487.0), ("Cerebral gray matter", 551.0), ("Cerebellar white matter", 23.2)], 1
    )
)


def judge(text: str, facts: tuple[Finding, ...], where: CaseFacts) -> Judged:
    return check_sentence(text, facts, evidence_of(facts), where, "s1")


@pytest.mark.parametrize(("rule", "text", "facts", "where"), CAUGHT)
def test_wrong_sentences_are_contradicted(rule: str, text: str, facts: tuple[Finding, ...], where: CaseFacts) -> None:
    judged = judge(text, facts, where)
    assert (judged.verdict, judged.rule) == ("contradicted", rule), judged
    assert judged.reason


@pytest.mark.parametrize(("rule", "text", "facts", "where"), DOUBTED)
def test_what_cannot_be_checked_is_unknown(rule: str, text: str, facts: tuple[Finding, ...], where: CaseFacts) -> None:
    judged = judge(text, facts, where)
    assert (judged.verdict, judged.rule) == ("unknown", rule), judged


@pytest.mark.parametrize(("text", "facts", "where"), PASSED)
def test_true_sentences_are_supported(text: str, facts: tuple[Finding, ...], where: CaseFacts) -> None:
    judged = judge(text, facts, where)
    assert judged.verdict == "supported", judged


def test_severity_may_be_cited() -> None:
    evidence = (Evidence("e1", "expert", "Large right pleural effusion.", about="f1"),)
    assert (
        check_sentence("There is a large right pleural effusion.", (EFFUSION,), evidence, case()).verdict == "supported"
    )


def test_advice_may_be_cited() -> None:
    evidence = (
        *evidence_of((GLIOMA,)),
        Evidence("e2", "fact", "Biopsy is recommended for glioma.", source="a guideline"),
    )
    assert check_sentence("Glioma; biopsy is recommended.", (GLIOMA,), evidence, HEAD).verdict == "supported"


def test_a_prior_allows_comparison() -> None:
    evidence = (*evidence_of((EFFUSION,)), Evidence("e2", "prior", "Right pleural effusion on the study before."))
    text = "The right pleural effusion is unchanged."
    assert check_sentence(text, (EFFUSION,), evidence, case()).verdict == "supported"


TRUE = [
    "Small left pleural effusion with adjacent atelectasis.",
    "No pneumothorax or pleural effusion is seen.",
    "The heart is enlarged and the aorta is tortuous.",
    "A 14 mm nodule lies in the right upper lobe.",
    "Healed fracture of the left seventh rib.",
    "Moderate hydronephrosis of the right kidney with a 6 mm stone.",
    "No acute intracranial hemorrhage, mass effect or midline shift.",
    "Subdural hematoma over the left frontal lobe, 9 mm.",
    "Heart size is normal and the lungs are clear.",
    "Possible right lower lobe pneumonia.",
    "Disc herniation at L4-5 with spinal stenosis.",
    "The liver is enlarged; no ascites.",
]


@pytest.mark.parametrize("text", TRUE)
def test_a_sentence_agrees_with_its_own_facts(text: str) -> None:
    facts, evidence = facts_of_text(text)
    assert facts
    assert check_sentence(text, facts, evidence, None).verdict == "supported"


def test_a_name_in_full_owns_its_number_though_its_words_are_shared() -> None:
    right = "Volumes: cerebral white matter 487 ml, cerebral gray matter 551 ml, cerebellar white matter 23.2 ml."
    assert judge(right, TISSUES, HEAD).verdict == "supported"
    wrong = right.replace("487", "N").replace("551", "487").replace("N", "551")
    assert judge(wrong, TISSUES, HEAD).rule == "number"


def test_the_gates_words_may_name_a_model_three_times() -> None:
    why = "no admitted model: ward-brain-net cannot be used (ward-brain-net is absent; do: pull ward-brain-net)"
    said = f"Not assessed: volumes of single brain regions ({why})."
    gate = Evidence("e1", "gate", said)
    assert check_sentence(said, (), (gate,), HEAD).verdict == "supported"
    other = said.replace("volumes of", "some volumes of")
    assert check_sentence(other, (), (gate,), HEAD).rule == "garble"


@pytest.mark.parametrize("text", [t for t in TRUE if re.search("left|right", t)])
def test_the_other_side_is_caught_in_any_sentence(text: str) -> None:
    facts, evidence = facts_of_text(text)
    swapped = re.sub("left|right", lambda m: "right" if m.group() == "left" else "left", text)
    assert check_sentence(swapped, facts, evidence, None).rule == "side"


@given(st.sampled_from(TRUE), st.sampled_from(sorted(lexicon().terms)))
def test_an_added_finding_is_never_supported(text: str, name: str) -> None:
    facts, evidence = facts_of_text(text)
    own = {n for f in facts for n in (f.code.meaning.lower(), *lexicon().ancestors(f.code.meaning.lower()))}
    if name in own or any(name in t.lower() for t in TRUE):
        return
    judged = check_sentence(f"{text.rstrip('.')}. There is {name}.", facts, evidence, None)
    if judged.verdict == "supported":  # only where it follows from what is there, or is a sign of it
        there = {t for f in facts for t in _names(f)}
        wider = there | {a for n in there for a in lexicon().ancestors(n)}
        assert name in wider or lexicon().kin.get(name, frozenset()) & wider


def _names(f: Finding) -> set[str]:
    return {t.name for t in lexicon().terms.values() if t.code == f.code}


@given(st.integers(1, 400), st.integers(1, 400))
def test_a_number_passes_only_when_it_is_the_cited_one(said: int, cited: int) -> None:
    fact = finding("Nodule", measurements=mm(float(cited)))
    verdict = judge(f"There is a {said} mm nodule.", (fact,), case()).verdict
    assert verdict == ("supported" if said == cited else "contradicted")


@given(st.text(max_size=200))
def test_nothing_makes_the_checker_fail(text: str) -> None:
    assert judge(text, (GLIOMA,), HEAD).verdict in {"supported", "contradicted", "unknown"}
