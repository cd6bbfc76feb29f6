"""Radiologists' own words for a cited fact are supported; the same words with another side, sign or finding are not."""

from __future__ import annotations

import pytest

from attending.checking import check_sentence
from attending.records import Code, Evidence, Finding, Measurement, Presence, Side
from attending.terms import parse


def fact(
    name: str,
    presence: Presence = "present",
    side: Side | None = None,
    site: str | None = None,
    size: tuple[float, str, str] | None = None,
    said: str | None = None,
) -> Finding:
    def code(words: str) -> Code:
        return Code("99ATTENDING", words.replace(" ", "-"), words)

    measured = (Measurement(code(size[2]), size[0], size[1], f"m-{name}"),) if size else ()
    return Finding(
        f"f-{name}",
        code(name),
        presence,
        side=side,
        site=code(site) if site else None,
        measurements=measured,
        notes=(said,) if said else (),
    )


def verdict(text: str, *facts: Finding) -> str:
    evidence = tuple(Evidence(f"e-{f.id}", "finding", f"{f.code.meaning}: {f.presence}", about=f.id) for f in facts)
    return check_sentence(text, facts, evidence, None).verdict


STONE = fact("ureteral calculus", side="left", site="left ureterovesical junction", size=(8, "mm", "size"))
TEARS = (
    fact("anterior cruciate ligament tear", side="left"),
    fact("posterior cruciate ligament tear", "absent", side="left"),
)
TRUE = [
    ("8 mm calculus at the left UVJ.", (STONE,)),
    ("The left ACL is torn and the PCL is intact.", TEARS),
    ("Saddle PE.", (fact("pulmonary embolism", said="saddle"),)),
    ("Borderline cardiac enlargement.", (fact("cardiomegaly", "uncertain", said="borderline"),)),
    ("Findings consistent with pneumonia.", (fact("pneumonia", "uncertain"),)),
    ("Cholecystitis is unlikely.", (fact("cholecystitis", "absent"),)),
    ("Cholecystitis is unlikely.", (fact("cholecystitis", "uncertain"),)),
    ("Consolidation in the lingula.", (fact("consolidation", side="left", site="lingula"),)),
    ("Dextroconvex scoliosis.", (fact("scoliosis", side="right", said="dextroconvex"),)),
    ("Heart not enlarged, hila normal.", (fact("cardiomegaly", "absent"), fact("hilar abnormality", "absent"))),
    (
        "Simple cyst of the right breast at 10 o'clock, 11 mm.",
        (fact("breast cyst", side="right", site="10 o'clock", size=(11, "mm", "size"), said="simple"),),
    ),
    ("Kidneys without pelvicalyceal dilatation.", (fact("hydronephrosis", "absent"),)),
    ("Two nodules, both in the right lung.", (fact("lung nodule", side="right", said="two"),)),
    ("Pleural thickening on both sides, thicker on the left.", (
        fact("pleural thickening", side="bilateral", said="thicker on the left"),
    )),
    ("Right hemidiaphragm higher than the left, elevated.", (fact("elevated hemidiaphragm", side="right"),)),
    ("Left adrenal adenoma, minus 5 HU.", (
        fact("adrenal adenoma", side="left", size=(-5, "[hnsf'U]", "density")),
    )),
]  # fmt: skip
UNTRUE = [
    ("8 mm calculus at the right UVJ.", (STONE,)),
    ("No calculus at the left UVJ.", (STONE,)),
    ("The left ACL is torn and the PCL is torn.", TEARS),
    ("The left ACL is intact and the PCL is intact.", TEARS),
    ("Saddle PE with a renal abscess.", (fact("pulmonary embolism", said="saddle"),)),
    ("There is pneumonia.", (fact("pneumonia", "uncertain"),)),
    ("Possible pneumonia.", (fact("pneumonia"),)),
    ("Cholecystitis is unlikely.", (fact("cholecystitis"),)),
    ("Levoconvex scoliosis, left.", (fact("scoliosis", side="right", said="dextroconvex"),)),
    ("Heart not enlarged, hila enlarged.", (fact("cardiomegaly", "absent"), fact("hilar enlargement", "absent"))),
    ("Pleural thickening on both sides, thicker on the right.", (
        fact("pleural thickening", side="bilateral", said="thicker on the left"),
    )),
    ("Meningioma is a rare condition of the brain.", (fact("meningioma"),)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "facts"), TRUE)
def test_another_wording_of_what_is_cited_is_supported(text: str, facts: tuple[Finding, ...]) -> None:
    assert verdict(text, *facts) == "supported"


@pytest.mark.parametrize(("text", "facts"), UNTRUE)
def test_the_same_wording_of_something_else_is_not(text: str, facts: tuple[Finding, ...]) -> None:
    assert verdict(text, *facts) != "supported"


def test_an_abbreviation_means_what_it_stands_for() -> None:
    assert [a.finding for a in parse("SDH.")] == [a.finding for a in parse("Subdural hematoma.")]


def test_a_telegraphic_statement_ends_a_denial() -> None:
    assert [(a.finding, a.presence) for a in parse("No bleed, ventricles dilated.")] == [
        ("intracranial hemorrhage", "absent"),
        ("ventricular enlargement", "present"),
    ]
