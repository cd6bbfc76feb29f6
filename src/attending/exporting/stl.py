"""DICOM Encapsulated STL: a surface model in its patient's study, or in one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from ..version import __version__
from .seg import MANUFACTURER
from .source import PATIENT, REQUIRED, quiet, text_of

ENCAPSULATED_STL = "1.2.840.10008.5.1.4.1.1.104.3"
MESH_UNIT = ("UCUM", "mm", "mm")
USAGE = ("DCM", "129012", "Educational Intent")
"""Of CID 7064, Model Usage: a draft by software plans no operation and makes no implant."""


def encapsulated(stl: bytes, title: str, source: Any = None, body: Mapping[str, str] | None = None) -> bytes:
    """A binary STL in patient LPS millimetres -> one DICOM Part 10 file (PS3.3 A.85.1).

    source  the identified header of the segmentation or image that it was made from: the model goes into its study and
            frame of reference; None makes a study of its own, whose patient is unknown.
    body    scheme, value, meaning of what it shows, where known.
    """
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.sequence import Sequence
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    with quiet():
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        for keyword in PATIENT:
            value = text_of(source, keyword)
            if value or keyword in REQUIRED:
                setattr(ds, keyword, value)
        now = datetime.now(UTC)
        ds.SOPClassUID, ds.SOPInstanceUID = ENCAPSULATED_STL, generate_uid(prefix=None)
        ds.InstanceCreationDate, ds.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
        ds.StudyInstanceUID = text_of(source, "StudyInstanceUID") or generate_uid(prefix=None)
        ds.SeriesInstanceUID = generate_uid(prefix=None)
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "M3D", 9100, 1
        ds.SeriesDescription = "DRAFT surface model by software"
        ds.FrameOfReferenceUID = text_of(source, "FrameOfReferenceUID") or generate_uid(prefix=None)
        ds.PositionReferenceIndicator = text_of(source, "PositionReferenceIndicator")
        ds.Manufacturer = ds.ManufacturerModelName = MANUFACTURER
        ds.DeviceSerialNumber = ds.SoftwareVersions = __version__
        ds.ContentDate, ds.ContentTime = ds.InstanceCreationDate, ds.InstanceCreationTime
        ds.AcquisitionDateTime = ""
        ds.ImageLaterality = "U"
        ds.BurnedInAnnotation = "NO"
        ds.RecognizableVisualFeatures = "YES"  # a skin or a face may be among what was segmented
        ds.DocumentTitle = title[:1024]
        ds.ConceptNameCodeSequence = Sequence([])
        ds.MIMETypeOfEncapsulatedDocument = "model/stl"
        ds.EncapsulatedDocumentLength = len(stl)
        ds.EncapsulatedDocument = stl + b"\0" * (len(stl) % 2)
        ds.MeasurementUnitsCodeSequence = Sequence([_code(MESH_UNIT)])
        ds.ModelModification, ds.ModelMirroring = "NO", "NO"
        ds.ModelUsageCodeSequence = Sequence([_code(USAGE)])
        if body:
            ds.AnatomicRegionSequence = Sequence([_code((body["scheme"], body["value"], body["meaning"]))])
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
        ds.file_meta = meta
        out = BytesIO()
        ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _code(code: tuple[str, str, str]) -> Any:
    from pydicom import Dataset

    item = Dataset()
    item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning = code[0], code[1], code[2][:64]
    return item
