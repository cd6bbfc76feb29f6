"""DICOM Structured Report, TID 1500: each finding a measurement group, each sentence a text, draft or verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Finding, Image, Measurement, Reading, Review, Study
from ..version import __version__
from .seg import CT_IMAGE, MANUFACTURER, SEGMENTATION, Written, concept
from .source import Instance, Source

PRESENCE = {
    "present": ("SCT", "52101004", "Present"),
    "absent": ("SCT", "272519000", "Absent"),
    "uncertain": ("SCT", "373068000", "Undetermined"),
}
"""Values of CID 240, Present-Absent."""

SIDES = {
    "left": ("SCT", "7771000", "Left"),
    "right": ("SCT", "24028007", "Right"),
    "bilateral": ("SCT", "51440002", "Bilateral"),
}

SECTIONS = {
    "findings": ("DCM", "121071", "Finding"),
    "impression": ("DCM", "121073", "Impression"),
    "quality": ("DCM", "121106", "Comment"),
    "not_assessed": ("DCM", "121106", "Comment"),
}

PROCEDURES = {
    "CT": ("LN", "25045-6", "CT unspecified body region"),
    "MR": ("LN", "25056-3", "MRI unspecified body region"),
    "CR": ("LN", "43468-8", "XR unspecified body region"),
    "DX": ("LN", "43468-8", "XR unspecified body region"),
    "NM": ("LN", "49118-3", "NM unspecified body region"),
    "PT": ("LN", "44136-0", "PET unspecified body region"),
}
IMAGING = ("SCT", "363679005", "Imaging procedure")

SCORE = ("99ATTENDING", "model-score", "Score of the model, not calibrated")
PROBABILITY = ("DCM", "122157", "Probability")

MOST_REGIONS = 64
"""Rectangles written for one region that runs through several planes; more would make the report unreadable."""


def report(
    reading: Reading,
    study: Study,
    source: Source,
    segmentations: Sequence[Written],
    arrays: Mapping[str, NDArray[Any]],
    review: Review | None,
    organization: str | None,
) -> Any:
    """A Comprehensive 3D SR in the source's own study.

    Unsigned: partial, preliminary, unverified, and the draft mark is the first comment. Signed: complete, final,
    verified by the reviewer at the time of the signature. Findings that have a segment refer to it; other regions are
    rectangles on their source image.
    """
    from highdicom.sr import Comprehensive3DSR
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    signed = review if reading.status == "final" else None
    evidence = [source.dataset(i) for i in source.instances if i.sop_instance]
    for ds in evidence:
        ds.SOPClassUID = CT_IMAGE  # highdicom knows no retired classes; the true one is named below
    evidence += [w.dataset for w in segmentations]
    document = Comprehensive3DSR(
        evidence=evidence,
        content=_content(reading, study, source, segmentations, arrays, signed)[0],
        series_instance_uid=generate_uid(prefix=None),
        series_number=9002,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="attending",
        software_versions=__version__,
        device_serial_number=__version__,
        series_description="Report, signed" if signed else "DRAFT report by software",
        is_complete=signed is not None,
        is_final=signed is not None,
        is_verified=signed is not None,
        verifying_observer_name=person(signed.by) if signed else None,
        verifying_organization=(organization or "Not stated")[:64] if signed else None,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    classes = {i.sop_instance: i.sop_class for i in source.instances}
    for study_item in document.get("CurrentRequestedProcedureEvidenceSequence", ()):
        for item in (i for s in study_item.ReferencedSeriesSequence for i in s.ReferencedSOPSequence):
            item.ReferencedSOPClassUID = classes.get(str(item.ReferencedSOPInstanceUID), item.ReferencedSOPClassUID)
    if signed is not None:
        when = datetime.fromisoformat(signed.when)
        document.VerifyingObserverSequence[0].VerificationDateTime = when.strftime("%Y%m%d%H%M%S%z")
    return document


def person(name: str) -> str:
    """A name as a DICOM person name: left as it is where it has components, else a family name only."""
    clean = name.replace("\\", " ").replace("=", " ")[:62]
    return clean if "^" in clean else f"{clean}^"


def _content(
    reading: Reading,
    study: Study,
    source: Source,
    segmentations: Sequence[Written],
    arrays: Mapping[str, NDArray[Any]],
    signed: Review | None,
) -> Any:
    from highdicom.sr import MeasurementReport, MeasurementsAndQualitativeEvaluations, TrackingIdentifier
    from pydicom.uid import generate_uid

    images = {s.image.id: s.image for s in study.stacks}
    groups = [_group(f, reading, images, source, segmentations, arrays) for f in reading.findings]
    # highdicom demands a measurement group; TID 1500 is content with evaluations alone, so an empty one is taken out.
    nothing = MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(uid=generate_uid(prefix=None), identifier="none")
    )
    content = MeasurementReport(
        observation_context=_observers(signed),
        procedure_reported=_coded(PROCEDURES.get(reading.case.modality, IMAGING)),
        imaging_measurements=groups or [nothing],
    )
    root = content[0]
    if not groups:
        del root.ContentSequence[-1]
    root.ContentSequence.append(_sentences(reading, signed))
    return content


def _coded(code: tuple[str, str, str]) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code[1], code[0], code[2])


def _observers(signed: Review | None) -> Any:
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
    )
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    device = ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=generate_uid(prefix=None), name="attending", manufacturer_name=MANUFACTURER, model_name=__version__
        ),
    )
    if signed is None:
        return ObservationContext(observer_device_context=device)
    observer = ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=PersonObserverIdentifyingAttributes(name=person(signed.by)),
    )
    return ObservationContext(observer_person_context=observer, observer_device_context=device)


def _sentences(reading: Reading, signed: Review | None) -> Any:
    """The draft mark and the sentences, as texts of the container of qualitative evaluations (TID 1500)."""
    from highdicom.sr import ContainerContentItem, ContentSequence, RelationshipTypeValues, TextContentItem

    contains = RelationshipTypeValues.CONTAINS
    container = ContainerContentItem(
        name=_coded(("UMLS", "C0034375", "Qualitative Evaluations")), relationship_type=contains
    )
    container.ContentSequence = ContentSequence()
    lines = [] if signed else [(SECTIONS["quality"], reading.mark)]
    lines += [(SECTIONS[s.section], s.text) for s in reading.draft.sentences]
    lines += [(SECTIONS["not_assessed"], f"Not assessed: {n.what} ({n.why})") for n in reading.not_assessed]
    for name, text in lines or [(SECTIONS["quality"], "No sentence.")]:
        container.ContentSequence.append(
            TextContentItem(name=_coded(name), value=text or " ", relationship_type=contains)
        )
    return container


def _group(
    finding: Finding,
    reading: Reading,
    images: Mapping[str, Image],
    source: Source,
    segmentations: Sequence[Written],
    arrays: Mapping[str, NDArray[Any]],
) -> Any:
    from highdicom.sr import (
        AlgorithmIdentification,
        FindingSite,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.uid import generate_uid

    side = _coded(SIDES[finding.side]) if finding.side else None
    evaluations = [
        QualitativeEvaluation(_coded(("DCM", "121052", "Presence of property")), _coded(PRESENCE[finding.presence]))
    ]
    if side is not None and finding.site is None:
        evaluations.append(QualitativeEvaluation(_coded(("SCT", "272741003", "Laterality")), side))
    common: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(
            uid=generate_uid(prefix=None), identifier=f"{reading.id} {finding.id}"
        ),
        "finding_type": concept(finding.code),
        "finding_sites": [FindingSite(concept(finding.site), laterality=side)] if finding.site else None,
        "qualitative_evaluations": evaluations,
        "measurements": list(_measurements(finding)) or None,
    }
    if finding.producer.model:
        common["algorithm_id"] = AlgorithmIdentification(
            finding.producer.model, finding.producer.version or "not stated"
        )
    segment = _segment(finding, images, source, segmentations)
    if segment is not None:
        return VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **common)
    regions = _rectangles(finding, images, source, arrays)
    if regions:
        return VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_regions=regions, **common)
    image = images.get(finding.region.image) if finding.region else next(iter(images.values()), None)
    sources = [
        SourceImageForMeasurementGroup(i.sop_class, i.sop_instance) for i in (source.of(image.facts) if image else ())
    ]
    return MeasurementsAndQualitativeEvaluations(source_images=sources or None, **common)


def _measurements(finding: Finding) -> Iterator[Any]:
    from highdicom.sr import Measurement as Item

    numbers = list(finding.measurements)
    if finding.probability is not None:
        numbers.append(Measurement(_record(PROBABILITY), finding.probability, "1"))
    if finding.score is not None:
        numbers.append(Measurement(_record(SCORE), finding.score, "1"))
    for m in numbers:
        yield Item(name=concept(m.code), value=float(m.value), unit=_unit(m.unit))


def _record(code: tuple[str, str, str]) -> Any:
    from ..records import Code

    return Code(*code)


def _unit(ucum: str) -> Any:
    meaning = {"1": "no units", "[hnsf'U]": "Hounsfield unit", "%": "Percent"}.get(ucum, ucum)
    return _coded(("UCUM", ucum[:16], meaning[:64]))


def _segment(
    finding: Finding, images: Mapping[str, Image], source: Source, segmentations: Sequence[Written]
) -> Any | None:
    """The reference is built by hand: highdicom's own reading of a segmentation fails on one with a single segment."""
    from highdicom.sr import ReferencedSegment, SourceImageForSegmentation, SourceSeriesForSegmentation

    for written in segmentations:
        number = written.segments.get(finding.id)
        if number is None:
            continue
        instances = source.of(images[written.image].facts)
        same_series = len({i.series for i in instances}) == 1
        origin: dict[str, Any] = (
            {"source_series": SourceSeriesForSegmentation(instances[0].series)}
            if same_series and len(instances) > 1
            else {"source_images": [SourceImageForSegmentation(i.sop_class, i.sop_instance) for i in instances]}
        )
        return ReferencedSegment(
            sop_class_uid=SEGMENTATION,
            sop_instance_uid=written.dataset.SOPInstanceUID,
            segment_number=number,
            **origin,
        )
    return None


def _rectangles(
    finding: Finding, images: Mapping[str, Image], source: Source, arrays: Mapping[str, NDArray[Any]]
) -> list[Any]:
    """A box, or the box around the upper half of a heat map, on each source plane that it crosses."""
    from highdicom.sr import ImageRegion, SourceImageForRegion

    region = finding.region
    image = images.get(region.image) if region else None
    if region is None or image is None or not image.facts.source or region.kind == "mask":
        return []
    box = region.box or _around(arrays.get(region.ref or ""))
    if box is None:
        return []
    x0, y0, z0, x1, y1, z1 = box
    rectangle = np.array([(x0, y0), (x1 + 1, y0), (x1 + 1, y1 + 1), (x0, y1 + 1), (x0, y0)], dtype=np.float64)
    regions = []
    for z in range(max(0, z0), min(len(image.facts.source) - 1, z1) + 1):
        index, frame = image.facts.source[z]
        instance: Instance = source.instances[index]
        if (instance.rows, instance.columns) != tuple(image.facts.shape[1:3]):
            return []
        origin = SourceImageForRegion(
            instance.sop_class, instance.sop_instance, [frame + 1] if instance.frames > 1 else None
        )
        regions.append(ImageRegion(graphic_type="POLYLINE", graphic_data=rectangle, source_image=origin))
    return regions if len(regions) <= MOST_REGIONS else []


def _around(heat: NDArray[Any] | None) -> tuple[int, int, int, int, int, int] | None:
    if heat is None or heat.ndim != 3 or not heat.size or not float(heat.max()) > 0:
        return None
    inside = np.argwhere(heat >= 0.5 * heat.max())
    (z0, y0, x0), (z1, y1, x1) = inside.min(axis=0), inside.max(axis=0)
    return int(x0), int(y0), int(z0), int(x1), int(y1), int(z1)
