"""Whether a text carries an identifier of a study, in whatever spelling; and that ordinary reports do not."""

from __future__ import annotations

import pytest
from test_deidentify_case import dicom, header

from attending import deidentify
from attending.records import Study


@pytest.fixture(scope="module")
def study() -> Study:
    return dicom(
        header(
            SpecificCharacterSet="ISO_IR 192",
            PatientName="Müller-Lüdenscheidt^Jo Ann^^Dr=山田^太郎=やまだ^たろう",
            PatientID="MRN-0012345",
            OtherPatientNames="Brown^Mark",
            PatientBirthDate="19500307",
            StudyDate="20200119",
            AccessionNumber="ACC998877",
            StudyID="7",
            InstitutionName="St. Elsewhere General Hospital",
            InstitutionAddress="12 Quagmire Lane, Springfield",
            ReferringPhysicianName="Kildare^James",
            OperatorsName=["Tech^One", "Vanderbilt^Consuelo"],
            PatientTelephoneNumbers="+49 228 555 0100",
            StationName="MRSCAN3T",
            StudyInstanceUID="1.2.826.0.1.3680043.9.1234.5",
            StudyDescription="MRI of the brain",
            PatientComments="known to the choir of the village",
            RequestingService="XQ77-ORTHO",
        ),
        name="Lüdenscheidt_export.dcm",
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Seen with Mrs MULLER LUDENSCHEIDT today", "patient name"),
        ("müller-lüdenscheidt, jo ann", "patient name"),
        ("Jo Ann was anxious", "patient name"),
        ("患者 山田 さん", "patient name"),
        ("Mark Brown", "patient name"),
        ("BROWN, MARK", "patient name"),
        ("markbrown", "patient name"),
        ("mrn 0012345", "patient ID"),
        ("MRN0012345.", "patient ID"),
        ("born 7 March 1950", "date of birth"),
        ("born 07.03.1950", "date of birth"),
        ("DOB 3/7/50", "date of birth"),
        ("1950-03-07", "date of birth"),
        ("19500307", "date of birth"),
        ("March 7th, 1950", "date of birth"),
        ("compared with 19 Jan 2020", "study date"),
        ("acc. 998877 is ACC-998877", "accession number"),
        ("at St. Elsewhere General Hospital", "institution"),
        ("Elsewhere", "institution"),
        ("Quagmire Lane", "institution"),
        ("discussed with Dr. Kildare", "physician or staff name"),
        ("Consuelo Vanderbilt", "physician or staff name"),
        ("call +49-228-5550100", "telephone number"),
        ("on MRSCAN3T", "station"),
        ("UID 1.2.826.0.1.3680043.9.1234.5", "UID"),
        ("from XQ77 ORTHO", "header text"),
        ("0Lüdenscheidt_export", "file name"),
    ],
)
def test_found(study: Study, text: str, kind: str) -> None:
    assert kind in deidentify.find_identifiers(text, study)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MRI of the brain. No mass. The brown fat is bright; mark the lesion.",
        "General condition good. The hospital course is unknown.",
        "Volume 1234.5 ml; 12 mm; 7 lesions; ratio 0.58; T2 hyperintense.",
        "Compared with 2020, unchanged. Follow up in 3 months.",
        "No pneumothorax. Heart size is normal. One nodule in the right lower lobe.",
        "Jo sign absent.",
    ],
)
def test_an_ordinary_report_is_clean(study: Study, text: str) -> None:
    assert deidentify.find_identifiers(text, study) == ()


def test_kinds_carry_no_value(study: Study) -> None:
    kinds = deidentify.find_identifiers("Müller-Lüdenscheidt MRN-0012345 1950-03-07", study)
    assert kinds == tuple(sorted(kinds))
    assert not any("ller" in kind or "1950" in kind or "12345" in kind for kind in kinds)


def test_it_works_on_a_study_from_the_vault(study: Study) -> None:
    bare = Study(study.kind, study.digest, study.files, ())
    assert deidentify.identifiers(bare) == deidentify.identifiers(study)
    assert "patient name" in deidentify.find_identifiers("Lüdenscheidt", bare)


def test_identifiers_lists_what_identifies_and_nothing_public(study: Study) -> None:
    found = deidentify.identifiers(study)
    assert {"MRN-0012345", "19500307", "ACC998877", "1.2.826.0.1.3680043.9.1234.5", "Kildare", "XQ77-ORTHO"} <= found
    assert not found & {"MR", "7", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"}


@pytest.mark.parametrize("name", ["", "^", "ANONYMOUS", "Anonymous^Patient", "=", "Doe"])
def test_names_that_name_nobody_or_half(name: str) -> None:
    made = dicom(header(PatientName=name))
    found = deidentify.find_identifiers("The anonymous patient of Dr Doe", made)
    assert found == (("patient name",) if name == "Doe" else ())


def test_an_id_is_found_without_the_zeros_that_it_starts_with() -> None:
    long, short = (dicom(header(PatientID=id)) for id in ("0048391726", "0000512"))
    for text in ("Patient 48391726.", "MRN 48 391 726", "0048391726", "No. 048391726"):
        assert deidentify.find_identifiers(text, long) == ("patient ID",), text
    for text in ("Patient 148391726", "48391727", "4839172"):
        assert deidentify.find_identifiers(text, long) == (), text
    assert deidentify.find_identifiers("0000512", short) == ("patient ID",)
    assert deidentify.find_identifiers("matrix 512 x 512", short) == ()
