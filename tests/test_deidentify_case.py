"""Study -> Case: what passes, what does not, and headers that break the standard."""

from __future__ import annotations

import hashlib
from datetime import date
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from attending import deidentify
from attending.deidentify.case import UNCHECKED
from attending.records import Case, Image, ImageFacts, SourceFile, Stack, Study, dumps

SECRET = b"k" * 32


def header(**attributes: Any) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4", "MR"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def dicom(*headers: Dataset, facts: ImageFacts | None = None, name: str = "f.dcm") -> Study:
    files, stacks = [], []
    for n, head in enumerate(headers):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        buffer = BytesIO()
        head.file_meta = meta
        head.save_as(buffer, enforce_file_format=True)
        data = buffer.getvalue()
        files.append(SourceFile(f"{n}{name}", data, hashlib.sha256(data).hexdigest()))
        image = facts or ImageFacts(f"i{n + 1}", (1, 2, 2), None, None, str(head.Modality))
        stacks.append(Stack(Image(image, np.zeros(image.shape, np.int16)), head))
    digest = hashlib.sha256("".join(sorted(f.sha256 for f in files)).encode()).hexdigest()
    return Study("dicom", digest, tuple(files), tuple(stacks))


def case(*headers: Dataset, **how: Any) -> Case:
    return deidentify.to_case(dicom(*headers), SECRET, **how)


def picture(**how: Any) -> Study:
    image = Image(ImageFacts("i1", (1, 2, 2), None, None, "MR"), np.zeros((1, 2, 2), np.uint8))
    return Study("picture", "ab" * 32, (SourceFile("doe_john_19500102.png", b"x", "0" * 64),), (Stack(image),), **how)


def test_ids_are_keyed_and_stable() -> None:
    study = dicom(header(PatientID="A1234", PatientName="Doe^Jo"))
    one, again = (deidentify.to_case(study, SECRET).facts for _ in range(2))
    other = deidentify.to_case(study, b"o" * 32).facts
    assert one == again
    assert len(one.id) == len(one.patient) == 16
    assert len({one.id, other.id, one.patient, other.patient}) == 4
    assert one.id != study.digest[:16]


def test_one_patient_in_two_studies_keeps_the_surrogate_and_the_interval() -> None:
    first = case(header(PatientID="A1234", PatientName="Doe^Jo", StudyDate="20200101")).facts
    second = case(header(PatientID=" a1234", PatientName="DOE^JO", StudyDate="20210301")).facts
    stranger = case(header(PatientID="B1234", StudyDate="20200101")).facts
    assert first.patient == second.patient != stranger.patient
    assert first.id != second.id
    days = date.fromisoformat(second.date or "") - date.fromisoformat(first.date or "")
    assert days == date(2021, 3, 1) - date(2020, 1, 1)
    assert first.date != stranger.date or first.patient != stranger.patient


@settings(max_examples=60, deadline=None)
@given(
    st.dates(date(1900, 1, 1), date(2099, 1, 1)), st.dates(date(1900, 1, 1), date(2099, 1, 1)), st.binary(min_size=32)
)
def test_dates_are_shifted_never_kept_and_intervals_are(one: date, two: date, secret: bytes) -> None:
    shifted = [
        date.fromisoformat(
            deidentify.to_case(dicom(header(PatientID="A1", StudyDate=d.strftime("%Y%m%d"))), secret).facts.date or ""
        )
        for d in (one, two)
    ]
    assert shifted[1] - shifted[0] == two - one
    assert 1 <= abs((shifted[0] - one).days) <= 365


@pytest.mark.parametrize("id", [None, "", "  ", "ANONYMOUS", "0000", "unknown"])
def test_without_a_patient_id_the_study_stands_for_the_patient(id: str | None) -> None:
    facts = case(header(PatientName="Doe^Jo", **({} if id is None else {"PatientID": id}))).facts
    other = case(header(PatientName="Doe^Jo", StudyDate="20200101", **({} if id is None else {"PatientID": id}))).facts
    assert any("no patient ID" in note for note in facts.notes)
    assert facts.patient != other.patient


def test_another_issuer_is_another_patient() -> None:
    one, two = (case(header(PatientID="A1234", IssuerOfPatientID=i)).facts for i in ("North", "South"))
    assert one.patient != two.patient


def test_two_patients_in_one_study_are_said() -> None:
    facts = case(header(PatientID="A1"), header(PatientID="B2")).facts
    assert any("different patients" in note for note in facts.notes)


@pytest.mark.parametrize(
    ("attributes", "age"),
    [
        ({"PatientAge": "045Y"}, 45),
        ({"PatientAge": "089Y"}, 89),
        ({"PatientAge": "090Y"}, 90),
        ({"PatientAge": "101Y"}, 90),
        ({"PatientAge": "018M"}, 1),
        ({"PatientAge": "010D"}, 0),
        ({"PatientAge": "052W"}, 0),
        ({"PatientAge": "000Y"}, None),
        ({"PatientAge": "45"}, 45),
        ({"PatientAge": "999Y"}, None),
        ({"PatientAge": ""}, None),
        ({"PatientBirthDate": "19500615", "StudyDate": "20200614"}, 69),
        ({"PatientBirthDate": "19500615", "StudyDate": "20200615"}, 70),
        ({"PatientBirthDate": "1920.01.01", "StudyDate": "2020-01-01"}, 90),
        ({"PatientBirthDate": "", "StudyDate": "20200615"}, None),
        ({"PatientBirthDate": "1950", "StudyDate": "20200615"}, None),
        ({"PatientBirthDate": "20300101", "StudyDate": "20200615"}, None),
        ({"PatientBirthDate": "19501399", "StudyDate": "20200615"}, None),
        ({"PatientBirthDate": "19500101"}, None),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_ages(attributes: dict[str, str], age: int | None) -> None:
    assert case(header(PatientID="A1", **attributes)).facts.age_years == age


@pytest.mark.parametrize(
    ("attributes", "kept"),
    [
        ({"StudyDate": "20200101"}, True),
        ({"StudyDate": "2020.01.01"}, True),
        ({"StudyDate": "2020/01/01"}, True),
        ({"StudyDate": "", "SeriesDate": "20200101"}, True),
        ({"StudyDate": "01JAN2020", "AcquisitionDateTime": "20200101112233.5"}, True),
        ({"StudyDate": "20201301"}, False),
        ({"StudyDate": "yesterday"}, False),
        ({"StudyDate": "00000000"}, False),
        ({"StudyDate": "99991231"}, None),
        ({}, None),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_dates_in_any_form(attributes: dict[str, str], kept: bool | None) -> None:
    facts = case(header(PatientID="A1", **attributes)).facts
    said = any("date is not a date" in note for note in facts.notes)
    if kept:
        assert facts.date is not None and not said
    elif kept is False:
        assert facts.date is None and said
    else:
        assert not said


@pytest.mark.parametrize(
    ("sex", "kept"), [("F", "F"), ("m", "M"), ("O", "O"), ("female", None), ("", None), ("Doe", None)]
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_sex(sex: str, kept: str | None) -> None:
    assert case(header(PatientSex=sex)).facts.sex == kept


def test_descriptions_pass_only_as_closed_words() -> None:
    facts = case(
        header(
            StudyDescription="MRI Brain w/o contrast for Mr Zaphod Beeblebrox 555-1234",
            SeriesDescription="AX T2_FLAIR fs",
            ProtocolName="t1_mprage_sag",
            BodyPartExamined="Skull",
            Manufacturer="SIEMENS Ward 7 (ask Trillian)",
        )
    ).facts
    image = facts.images[0]
    assert image.body_part == "HEAD"
    assert image.sequence == "FLAIR"
    assert set(image.descriptions) == {
        "BRAIN",
        "WITHOUT CONTRAST",
        "AXIAL",
        "FLAIR",
        "T2",
        "T1",
        "SAGITTAL",
        "FAT SATURATED",
        "HEAD",
    }
    assert facts.manufacturer == "Siemens"
    text = dumps(facts).lower()
    assert not any(word in text for word in ("zaphod", "beeblebrox", "555", "ward", "trillian"))


@pytest.mark.parametrize(
    ("attributes", "sequence"),
    [
        ({"SeriesDescription": "Ax DWI b1000"}, "DWI"),
        ({"SeriesDescription": "localizer T1"}, "LOCALIZER"),
        ({"ScanningSequence": "SE", "EchoTime": "14", "RepetitionTime": "500"}, "T1"),
        ({"ScanningSequence": "SE", "EchoTime": "100", "RepetitionTime": "4000"}, "T2"),
        ({"ScanningSequence": "SE", "EchoTime": "14", "RepetitionTime": "2500"}, "PD"),
        (
            {"ScanningSequence": ["SE", "IR"], "EchoTime": "120", "RepetitionTime": "9000", "InversionTime": "2500"},
            "FLAIR",
        ),
        ({"ScanningSequence": "IR", "EchoTime": "40", "RepetitionTime": "4000", "InversionTime": "150"}, "STIR"),
        ({"ScanningSequence": ["GR", "IR"], "EchoTime": "3", "RepetitionTime": "2300", "InversionTime": "900"}, "T1"),
        ({"ScanningSequence": "GR", "EchoTime": "25", "RepetitionTime": "700"}, "T2*"),
        ({"ScanningSequence": "SE", "EchoTime": "50", "RepetitionTime": "1200"}, None),
        ({"ScanningSequence": "SE"}, None),
    ],
)
def test_sequences(attributes: dict[str, Any], sequence: str | None) -> None:
    assert case(header(**attributes)).facts.images[0].sequence == sequence


def test_a_ct_has_no_mr_sequence() -> None:
    assert case(header(Modality="CT", SeriesDescription="T1 spine")).facts.images[0].sequence is None


@pytest.mark.parametrize(
    "attributes",
    [
        {"Modality": "US"},
        {"Modality": "OT"},
        {"Modality": "SC"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"},
        {"BurnedInAnnotation": "YES"},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"ConversionType": "WSD"},
        {"Modality": "nonsense"},
    ],
)
def test_pixels_that_may_hold_text_are_marked(attributes: dict[str, Any]) -> None:
    facts = case(header(**attributes)).facts
    assert not facts.pixels_checked
    assert UNCHECKED in facts.notes


def test_one_such_series_marks_the_whole_study() -> None:
    assert not case(header(), header(BurnedInAnnotation="YES")).facts.pixels_checked
    assert case(header(), header(BurnedInAnnotation="NO")).facts.pixels_checked


def test_a_picture_is_marked_and_its_facts_are_the_declared_ones() -> None:
    declared = (("modality", "MR"), ("view", "axial"), ("body_part", "head"), ("sequence", "T1"), ("comment", "Doe"))
    facts = deidentify.to_case(picture(declared=declared), SECRET).facts
    assert (facts.modality, facts.view, facts.images[0].body_part, facts.images[0].sequence) == (
        "MR",
        "AXIAL",
        "HEAD",
        "T1",
    )
    assert not facts.pixels_checked
    assert "Doe" not in dumps(facts) and "doe" not in dumps(facts)
    assert facts.patient != facts.id
    taught = deidentify.to_case(picture(declared=declared), SECRET, use="teach", source="set").facts
    assert taught.pixels_checked and taught.use == "teach" and taught.source == "set"
    assert not deidentify.to_case(picture(), SECRET, use="view", source="set").facts.pixels_checked


def test_a_study_without_images_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="without decoded stacks"):
        deidentify.to_case(Study("dicom", "0" * 64, (), ()), SECRET)


def test_a_note_of_intake_that_held_header_text_is_withheld() -> None:
    facts = ImageFacts("i1", (1, 2, 2), None, None, "MR", notes=("rescaled to HU", "series of Beeblebrox split"))
    study = dicom(header(PatientName="Beeblebrox^Zaphod"), facts=facts)
    notes = deidentify.to_case(study, SECRET).facts.images[0].notes
    assert notes == ("rescaled to HU", "a note of the way in (withheld: it held header text)")


def test_fields_that_intake_copied_by_mistake_do_not_pass() -> None:
    facts = ImageFacts(
        "Beeblebrox", (1, 2, 2), None, None, "Zaphod", view="Trillian", body_part="Marvin", unit="Ford", axis="Arthur",
        sequence="Slarti", descriptions=("Bartfast",),
    )  # fmt: skip
    text = dumps(deidentify.to_case(dicom(header(), facts=facts), SECRET).facts)
    assert not any(
        w in text for w in ("Beeble", "Zaphod", "Trillian", "Marvin", "Ford", "Arthur", "Slarti", "Bartfast")
    )


def test_broken_headers_do_not_raise() -> None:
    broken = header()
    for tag, vr, raw in (
        (0x00180081, "DS", b"not a number"),
        (0x00100010, "PN", b"\xff\xfe^\x80"),
        (0x00100030, "DA", b"\xff\xff"),
        (0x00200013, "IS", b"\xff"),
        (0x00181030, "LO", b"\xff\xfe"),
        (0x00181314, "FD", b"abc"),
    ):
        broken[Tag(tag)] = RawDataElement(Tag(tag), vr, len(raw), raw, 0, False, True)
    broken.AnatomicRegionSequence = Sequence([Dataset()])
    image = Image(ImageFacts("i1", (1, 2, 2), None, None, "MR"), np.zeros((1, 2, 2), np.uint8))
    files = (SourceFile("a", b"not dicom at all", "0" * 64), SourceFile("b", b"", "0" * 64))
    study = Study("dicom", "0" * 64, files, (Stack(image, broken),))
    assert deidentify.to_case(study, SECRET).facts.age_years is None
    assert deidentify.instances(study, SECRET) == {}


def test_instances_are_keyed() -> None:
    study = dicom(header())
    (key,) = deidentify.instances(study, SECRET)
    assert deidentify.instances(study, SECRET)[key] == study.files[0].sha256
    assert "1.2.3.4" not in key
    assert key not in deidentify.instances(study, b"o" * 32)


def test_nothing_is_warned_or_logged_about_a_value(
    recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    raw = b"Beeblebrox19500307XXX"
    broken = header()
    for tag, vr in ((0x00200013, "IS"), (0x00100030, "DA"), (0x00100040, "CS"), (0x00101030, "DS")):
        broken[Tag(tag)] = RawDataElement(Tag(tag), vr, len(raw), raw, 0, False, True)
    image = Image(ImageFacts("i1", (1, 2, 2), None, None, "MR"), np.zeros((1, 2, 2), np.uint8))
    study = Study("dicom", "0" * 64, (), (Stack(image, broken),))
    deidentify.to_case(study, SECRET)
    deidentify.find_identifiers("text", study)
    assert deidentify.identifiers(study)
    assert [str(w.message) for w in recwarn.list] == []
    assert caplog.text == ""
