"""The source's own instances, as far as results refer to them: UIDs as received, or as they were given at intake."""

from __future__ import annotations

import hashlib
import io
import logging
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..records import ImageFacts, Study

PATIENT = {
    "PatientName": "PN",
    "PatientID": "LO",
    "IssuerOfPatientID": "LO",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
    "OtherPatientNames": "PN",
    "EthnicGroup": "SH",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "StudyID": "SH",
    "AccessionNumber": "SH",
    "ReferringPhysicianName": "PN",
    "StudyDescription": "LO",
    "PatientAge": "AS",
    "PatientSize": "DS",
    "PatientWeight": "DS",
}
"""Patient and study attributes that results inherit, with their VR."""

REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Type 2: present, empty where unknown."""


@contextmanager
def quiet() -> Iterator[None]:
    """No warning and no log line of pydicom or highdicom leaves this block: they quote names and other values."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [(logger.propagate, logger.handlers) for logger in loggers]
    try:
        for logger in loggers:
            logger.propagate, logger.handlers = False, [logging.NullHandler()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, (propagate, handlers) in zip(loggers, before, strict=True):
            logger.propagate, logger.handlers = propagate, handlers


@dataclass(frozen=True)
class Instance:
    """One instance of the source."""

    sop_class: str
    sop_instance: str
    series: str
    modality: str
    rows: int
    columns: int
    frames: int


@dataclass(frozen=True, eq=False)
class Source:
    """The study's instances in the Study's order, and what results inherit. Identified."""

    study: str
    instances: tuple[Instance, ...] = field(repr=False)
    inherited: Mapping[str, Any] = field(repr=False)
    notes: tuple[str, ...] = ()

    def of(self, facts: ImageFacts) -> tuple[Instance, ...]:
        """The instances that an image came from, each once, in the order of its planes."""
        return tuple(self.instances[i] for i in dict.fromkeys(index for index, _ in facts.source))

    def dataset(self, instance: Instance) -> Any:
        """A dataset that names one instance and carries what results inherit; no pixels."""
        from pydicom import Dataset

        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        for keyword, value in self.inherited.items():
            setattr(ds, keyword, value)
        ds.StudyInstanceUID = self.study
        ds.SeriesInstanceUID = instance.series
        ds.SOPClassUID = instance.sop_class
        ds.SOPInstanceUID = instance.sop_instance
        ds.Modality = instance.modality
        ds.Rows, ds.Columns = instance.rows, instance.columns
        return ds


def source_of(study: Study) -> Source:
    """The instances of a decoded DICOM study. Its bytes stay as they are; UIDs that they lack are those given."""
    from pydicom import dcmread

    first = header_of(study)
    study_uid = text_of(first, "StudyInstanceUID")
    by_instance = {i: s.header for s in study.stacks for i, _ in s.image.facts.source if s.header is not None}
    instances = []
    for n, file in enumerate(study.files):
        ds = dcmread(io.BytesIO(file.data), stop_before_pixels=True, force=True)
        stack = by_instance.get(n)
        meta = getattr(ds, "file_meta", None)
        own = (
            text_of(ds, "SOPInstanceUID")
            or text_of(meta, "MediaStorageSOPInstanceUID")
            or _given("instance", file.sha256)
        )
        study_uid = study_uid or text_of(ds, "StudyInstanceUID")
        instances.append(
            Instance(
                text_of(ds, "SOPClassUID") or text_of(meta, "MediaStorageSOPClassUID") or text_of(stack, "SOPClassUID"),
                own,
                text_of(ds, "SeriesInstanceUID") or text_of(stack, "SeriesInstanceUID"),
                text_of(ds, "Modality") or text_of(stack, "Modality") or "OT",
                int(ds.get("Rows") or 0),
                int(ds.get("Columns") or 0),
                int(ds.get("NumberOfFrames") or 1),
            )
        )
    inherited, notes = _inherited(first)
    return Source(study_uid, tuple(instances), inherited, notes)


def header_of(study: Study) -> Any:
    """The header of the first stack, else of the first file; None where the study is not DICOM."""
    from pydicom import dcmread

    header = next((s.header for s in study.stacks if s.header is not None), None)
    if header is None and study.kind == "dicom" and study.files:
        return dcmread(io.BytesIO(study.files[0].data), stop_before_pixels=True, force=True)
    return header


def _given(*parts: str) -> str:
    """A UID from the content under the UUID root 2.25, by the formula that intake gives missing UIDs with."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def _inherited(header: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Valid patient and study attributes as text; what is invalid in the source is left out and said so by name."""
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    values: dict[str, Any] = dict.fromkeys(REQUIRED, "")
    dropped = []
    for keyword, vr in PATIENT.items():
        value = text_of(header, keyword)
        if not value:
            continue
        try:
            for part in value.split("\\") if vr != "PN" else (value,):
                validate_value(vr, part, RAISE)
        except ValueError:
            dropped.append(keyword)
            continue
        if keyword == "PatientSex" and value not in ("M", "F", "O"):
            dropped.append(keyword)
            continue
        values[keyword] = value
    said = (f"not inherited, because it is invalid in the source: {', '.join(dropped)}",) if dropped else ()
    return values, said


def text_of(header: Any, keyword: str) -> str:
    """One attribute as text, without padding; empty where it is absent or malformed."""
    if header is None:
        return ""
    try:
        value = header.get(keyword)
    except (ValueError, TypeError, NotImplementedError, AttributeError, KeyError):  # a malformed value in the source
        return ""
    if value is None:
        return ""
    return str(value).strip().strip("\0")
