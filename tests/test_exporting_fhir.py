"""FHIR: a valid Bundle whose references hold together, preliminary until signed."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from exporting_samples import picture, signed, volume

from attending.exporting.fhir import bundle
from attending.exporting.source import Instance, Source
from attending.records import DRAFT_MARK, Reading, Review

SOURCE = Source(
    "2.25.1",
    tuple(Instance("1.2.840.10008.5.1.4.1.1.4", f"2.25.3{n}", "2.25.2", "MR", 32, 40, 1) for n in range(3)),
    {
        "PatientName": "Doe^Jane^Q^Dr^MD",
        "PatientID": "P1",
        "PatientBirthDate": "19500102",
        "PatientSex": "F",
        "StudyDate": "20240131",
        "AccessionNumber": "A1",
    },
)


def made(reading: Reading, source: Source | None = SOURCE, review: Review | None = None) -> dict[str, Any]:
    out: dict[str, Any] = json.loads(bundle(reading, "dicom" if source else "picture", source, review, "Ward 1"))
    return out


def resources(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [e["resource"] for e in document["entry"] if e["resource"]["resourceType"] == kind]


@pytest.mark.parametrize("source", [SOURCE, None])
def test_it_is_valid_and_every_reference_is_inside(source: Source | None) -> None:
    from fhir.resources.R4B.bundle import Bundle

    for sample in (volume(), picture()):
        document = made(sample[0], source)
        Bundle.model_validate(document)
        known = {e["fullUrl"] for e in document["entry"]}
        assert len(known) == len(document["entry"])
        text = json.dumps(document)
        named = {part.split('"')[0] for part in text.split('"reference": "')[1:]}
        assert named <= known
        kinds = {e["resource"]["resourceType"] for e in document["entry"]}
        assert kinds == {"Patient", "ImagingStudy", "Device", "Observation", "DiagnosticReport", "Provenance"}


def test_observations_are_coded_with_ucum() -> None:
    reading = volume()[0]
    observations = resources(made(reading), "Observation")
    measured = [o for o in observations if "valueQuantity" in o]
    assert [float(o["valueQuantity"]["value"]) for o in measured] == [
        m.value for f in reading.findings for m in f.measurements
    ]
    assert {o["valueQuantity"]["system"] for o in measured} == {"http://unitsofmeasure.org"}
    assert {o["valueQuantity"]["code"] for o in measured} == {"ml"}
    found = [o for o in observations if "valueCodeableConcept" in o]
    assert found[0]["code"]["coding"][0] == {
        "system": "http://snomed.info/sct",
        "code": "12738006",
        "display": "Left-Thing",
    }
    assert found[0]["valueCodeableConcept"]["text"] == "Present"
    assert found[2]["valueCodeableConcept"]["text"] == "Undetermined"
    assert len(found[0]["hasMember"]) == 1


def test_an_uncalibrated_score_is_named_so() -> None:
    component = resources(made(picture()[0]), "Observation")[0]["component"][0]
    assert component["code"]["text"] == "Score of the model, not calibrated"


def test_a_draft_is_preliminary_and_carries_the_mark() -> None:
    document = made(picture()[0])
    report = resources(document, "DiagnosticReport")[0]
    assert report["status"] == "preliminary"
    assert report["conclusion"].startswith(DRAFT_MARK)
    assert DRAFT_MARK in report["text"]["div"]
    assert base64.b64decode(report["presentedForm"][0]["data"]).decode().startswith(DRAFT_MARK)
    assert {o["status"] for o in resources(document, "Observation")} == {"preliminary"}
    assert "signature" not in resources(document, "Provenance")[0]


def test_a_signature_makes_it_final_and_is_carried() -> None:
    final, review = signed(picture()[0])
    document = made(final, review=review)
    report = resources(document, "DiagnosticReport")[0]
    assert report["status"] == "final"
    assert DRAFT_MARK not in json.dumps(document)
    assert report["resultsInterpreter"] == [{"display": "Dr Demo"}]
    provenance = resources(document, "Provenance")[0]
    assert base64.b64decode(provenance["signature"][0]["data"]).hex() == review.signature
    assert {a["type"]["coding"][0]["code"] for a in provenance["agent"]} == {"assembler", "author", "verifier"}


def test_a_final_status_without_a_signature_stays_preliminary() -> None:
    final = replace(picture()[0], status="final")
    assert resources(made(final), "DiagnosticReport")[0]["status"] == "preliminary"


def test_the_study_lists_its_instances() -> None:
    study = resources(made(volume()[0]), "ImagingStudy")[0]
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (1, 3)
    assert study["identifier"][0] == {"system": "urn:dicom:uid", "value": "urn:oid:2.25.1"}
    assert study["series"][0]["instance"][0]["sopClass"]["code"] == "urn:oid:1.2.840.10008.5.1.4.1.1.4"
    assert study["started"] == "2024-01-31"


def test_the_patient_is_the_sources_own_or_a_surrogate() -> None:
    patient = resources(made(volume()[0]), "Patient")[0]
    assert patient["name"][0] == {
        "text": "Dr Jane Q Doe MD",
        "family": "Doe",
        "given": ["Jane", "Q"],
        "prefix": ["Dr"],
        "suffix": ["MD"],
    }
    assert (patient["birthDate"], patient["gender"]) == ("1950-01-02", "female")
    surrogate = resources(made(picture()[0], None), "Patient")[0]
    assert surrogate["identifier"][0]["value"] == "p1"
    assert "name" not in surrogate


def test_hostile_and_control_characters_in_sentences_stay_text() -> None:
    sample = picture(hostile="<script>alert(1)</script> & \x01 done.")
    report = resources(made(sample[0]), "DiagnosticReport")[0]
    assert "<script>" not in report["text"]["div"]
    assert "&lt;script&gt;" in report["text"]["div"]
    assert "\x01" not in report["text"]["div"]


def test_the_same_reading_gives_the_same_bundle() -> None:
    assert made(volume()[0]) == made(volume()[0])
