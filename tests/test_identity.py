"""The design's identifier test: long unique identifiers in every attribute, and none outside the vault."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from attending import deidentify, intake, site
from attending.records import Case, Draft, Reading, Study, Verdict, dumps
from attending.store import Store
from attending.testing.identifiers import Planted, plant

FILES = ("CT_small.dcm", "JPEG2000.dcm", "examples_rgb_color.dcm")
SECRET = b"k" * 32


@pytest.fixture(scope="module", params=FILES)
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Planted, Study]:
    path = get_testdata_file(request.param, download=False)
    if path is None:
        pytest.skip(f"{request.param} is not in this pydicom")
    made = plant(dcmread(str(path)))
    folder = tmp_path_factory.mktemp("planted")
    (folder / made.name).write_bytes(made.data)
    opened = intake.open([folder / made.name], declared={}, limits=site.Limits())
    assert [str(refused.error) for refused in opened.refused] == []
    (study,) = opened.studies
    return made, study


def leaks(strings: frozenset[str], text: str) -> list[str]:
    """Which planted strings, or their words, a text holds, in any case."""
    upper = text.upper()
    # Every planted word begins alike, which makes the thorough search of twenty thousand strings a short one.
    words = {s.upper() for s in strings}
    found = set(re.findall(r"ZQ[A-Z]{6,}", upper)) & words
    return sorted(found | {s for s in words if not s.startswith("ZQ") and s in upper})


def everything(case: Case) -> str:
    fields = json.dumps(dataclasses.asdict(case.facts), default=str)
    return "\n".join([repr(case), str(case), dumps(case.facts), fields, *(repr(i) for i in case.images)])


def test_the_planting_is_thorough(planted: tuple[Planted, Study]) -> None:
    made, study = planted
    assert len(made.strings) > 10_000
    known = "\n".join(deidentify.identifiers(study)).upper()
    unknown = [s for s in made.strings if s.removesuffix(".dcm").upper() not in known]
    # Values of enumerated attributes are the only planted ones that the list of identifiers may leave out.
    assert all(re.fullmatch(r"ZQ[A-Z]{14}", s) for s in unknown), unknown[:5]
    assert len(unknown) < 40
    assert leaks(made.strings, "x" + next(s for s in made.strings if "^" in s) + "x")


def test_no_planted_string_nor_its_parts_reach_a_case(planted: tuple[Planted, Study]) -> None:
    made, study = planted
    for secret in (SECRET, b"o" * 32):
        assert leaks(made.strings, everything(deidentify.to_case(study, secret))) == []
    assert leaks(made.strings, repr(study) + str(study)) == []


def test_nothing_outside_the_vault_holds_one(planted: tuple[Planted, Study], home: Path) -> None:
    made, study = planted
    with Store.open(home) as store:
        case = deidentify.to_case(study, store.secret("deidentify"))
        store.vault_put(study, case.id, deidentify.instances(study, store.secret("instances")))
        reading = Reading(case.id, 1, "2026-01-01T00:00:00+00:00", case.facts, (), (), (), (), Draft(()), Verdict(()))
        store.save_reading(reading, {}, {i.id: i.voxels for i in case.images}, {"report.json": dumps(reading).encode()})
        back = store.vault_get(case.id, "demo", "test")
        assert back.files[0].data == made.data
    for path in home.rglob("*"):
        assert leaks(made.strings, str(path.relative_to(home))) == []
        if path.is_file():
            assert leaks(made.strings, path.read_bytes().decode("latin-1")) == [], path.name


def test_every_kind_of_identifier_is_found_in_a_text(planted: tuple[Planted, Study]) -> None:
    _, study = planted
    header = study.stacks[0].header
    for keyword, kind in (
        ("PatientName", "patient name"),
        ("PatientID", "patient ID"),
        ("AccessionNumber", "accession number"),
        ("ReferringPhysicianName", "physician or staff name"),
        ("InstitutionName", "institution"),
        ("StudyInstanceUID", "UID"),
        ("PatientBirthDate", "date of birth"),
    ):
        text: Any = str(header.get(keyword))
        assert kind in deidentify.find_identifiers(f"Seen: {text}.", study), keyword
    assert deidentify.find_identifiers("No abnormality is seen. The heart is of normal size.", study) == ()


def test_errors_about_planted_files_carry_none(tmp_path: Path) -> None:
    made = plant(dcmread(str(get_testdata_file("CT_small.dcm", download=False))))
    for n, data in enumerate((made.data[:200], made.data[: len(made.data) - 20_000], made.data[:132] + b"\0" * 99)):
        (tmp_path / f"{n}").write_bytes(data)
    opened = intake.open([tmp_path], declared={}, limits=site.Limits())
    assert opened.refused
    for refused in opened.refused:
        assert leaks(made.strings, str(refused.error)) == []


def test_planting_is_repeatable() -> None:
    dataset = dcmread(str(get_testdata_file("MR_small.dcm", download=False)))
    assert plant(dataset).strings == plant(dataset).strings
    assert plant(dataset).strings.isdisjoint(s for s in plant(dataset, seed=2).strings if s.startswith("ZQ"))
