"""DICOM Segmentation: the masks of a reading, in the source's own study, geometry and frame of reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Code, Finding, ImageFacts, Reading, Study
from ..version import __version__
from .source import Instance, Source

MANUFACTURER = "attending"
PLACE_MM = 0.01
"""Planes nearer than this are at one place: finer than any scanner's table, coarser than the rounding of DS."""

THICKNESS_MM = 1.0
"""Given where the source has none: readers refuse a segmentation without a thickness."""

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


MOST_STACKED = 400_000_000
"""Bytes of segments stacked for one file: highdicom copies them once, and an export stays within a reading's memory."""


@dataclass(frozen=True, eq=False)
class Written:
    """One segmentation: the dataset, the label maps it holds, and the segment number of each finding that has one."""

    dataset: Any = field(repr=False)
    image: str
    refs: tuple[str, ...]
    segments: Mapping[str, int]


def segmentations(
    reading: Reading, study: Study, source: Source, arrays: Mapping[str, NDArray[Any]]
) -> tuple[list[Written], list[str]]:
    """One BINARY segmentation for each image whose findings refer to masks, and what could not be written, why.

    A label map is (z, y, x) on its image's grid; the segmentation read back equals it voxel for voxel. Segments are
    numbered from 1 in the order of the label maps and their values, and may overlap; labels without a voxel get none;
    no segmentation is ever empty. Label maps that are too large to stack get a segmentation each.
    """
    written: list[Written] = []
    notes: list[str] = []
    stacks = {s.image.id: s for s in study.stacks}
    usable: dict[str, list[str]] = {}
    for image, ref in dict.fromkeys(
        (f.region.image, f.region.ref)
        for f in reading.findings
        if f.region and f.region.kind == "mask" and f.region.ref
    ):
        stack, labels = stacks.get(image), arrays.get(ref)
        if stack is None or labels is None or tuple(labels.shape) != tuple(stack.image.facts.shape[:3]):
            notes.append(f"no segmentation of image {image}: its mask is not on the source's grid")
        elif not labels.any():
            notes.append(f"no segmentation of image {image}: its mask is empty")
        elif not stack.image.facts.source:
            notes.append(f"no segmentation of image {image}: it has no DICOM source")
        elif stack.image.facts.affine is None and labels.shape[0] > 1:
            notes.append(f"no segmentation of image {image}: its frames have no position in the patient")
        else:
            usable.setdefault(image, []).append(ref)
    for image, refs in usable.items():
        stack = stacks[image]
        segments = sum(len(np.unique(arrays[ref])) - 1 for ref in refs)
        together = len(refs) == 1 or segments * arrays[refs[0]].size <= MOST_STACKED
        for group in [refs] if together else [[ref] for ref in refs]:
            made, said = _segmentation(reading, stack.image.facts, stack.header, source, arrays, group)
            written.append(made)
            notes += said
    return written, notes


def _segmentation(
    reading: Reading,
    facts: ImageFacts,
    header: Any,
    source: Source,
    arrays: Mapping[str, NDArray[Any]],
    refs: Sequence[str],
) -> tuple[Written, list[str]]:
    from highdicom.seg import Segmentation
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    pairs = [(ref, int(value)) for ref in refs for value in np.unique(arrays[ref]) if value]
    numbers = {pair: n for n, pair in enumerate(pairs, start=1)}
    owners: dict[tuple[str, int], list[Finding]] = {}
    for f in reading.findings:
        if f.region and f.region.image == facts.id and f.region.ref and f.region.label is not None:
            owners.setdefault((f.region.ref, f.region.label), []).append(f)
    names = {(ref, value): name for ref, known in reading.label_names for value, name in known}
    planes, stand_ins, notes = _stand_ins(facts, header, source)
    draft = reading.status == "draft"
    dataset = Segmentation(
        source_images=planes,
        pixel_array=_pixels(arrays, numbers, refs),
        segmentation_type="BINARY",
        segment_descriptions=[
            _description(n, names.get(pair, f"Label {pair[1]}"), next(iter(owners.get(pair, ())), None), reading)
            for pair, n in numbers.items()
        ],
        series_instance_uid=generate_uid(prefix=None),
        series_number=9001,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="attending",
        software_versions=__version__,
        device_serial_number=__version__,
        content_label="DRAFT" if draft else "SEGMENTATION",
        content_description="Draft by software, not a diagnosis" if draft else "Reviewed and signed",
        content_creator_name="",
        series_description="DRAFT segmentation by software" if draft else "Segmentation, signed report",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    if facts.affine is None:
        dataset.PatientOrientation = header.get("PatientOrientation") if header is not None else None
    _refer(dataset, stand_ins)
    segments = {f.id: n for pair, n in numbers.items() for f in owners.get(pair, ())}
    return Written(dataset, facts.id, tuple(refs), segments), notes


def _pixels(
    arrays: Mapping[str, NDArray[Any]], numbers: Mapping[tuple[str, int], int], refs: Sequence[str]
) -> NDArray[Any]:
    """Segment numbers (z, y, x) for one label map; for several, which may overlap, 0 or 1 as (z, y, x, segment)."""
    kind = np.uint8 if len(numbers) < 256 else np.uint16
    if len(refs) == 1:
        labels = arrays[refs[0]]
        table = np.zeros(int(labels.max()) + 1, kind)
        for (_, value), n in numbers.items():
            table[value] = n
        return np.asarray(table[labels])
    stacked = np.zeros((*arrays[refs[0]].shape, len(numbers)), np.uint8)
    for (ref, value), n in numbers.items():
        stacked[..., n - 1] = arrays[ref] == value
    return stacked


def _description(number: int, name: str, finding: Finding | None, reading: Reading) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    producer = finding.producer if finding else reading.draft.writer
    abnormal = finding is not None and finding.site is not None and finding.site != finding.code
    category = codes.SCT.MorphologicallyAbnormalStructure if abnormal else codes.SCT.AnatomicalStructure
    kind = concept(finding.code if abnormal else finding.site or finding.code) if finding else codes.SCT.Tissue
    side = f"{finding.side} " if finding and finding.side and finding.side not in name.lower() else ""
    return SegmentDescription(
        segment_number=number,
        segment_label=f"{side}{name}"[:64],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=(producer.model or "attending")[:64],
            version=(producer.version or __version__)[:64],
            family=codes.DCM.ArtificialIntelligence,
        ),
        tracking_uid=generate_uid(prefix=None),
        tracking_id=f"{reading.id[:16]} {finding.id if finding else number}"[:64],
        anatomic_regions=[concept(finding.site)] if abnormal and finding and finding.site else None,
    )


def concept(code: Code) -> Any:
    """A coded concept as DICOM allows it: a meaning of at most 64 characters, a scheme of at most 16."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme[:16], code.meaning[:64] or code.value[:64])


@dataclass(frozen=True)
class _Plane:
    """The true source of one stand-in plane. exact: the same pixels at the same place."""

    instance: Instance
    frame: int
    exact: bool


def _stand_ins(facts: ImageFacts, header: Any, source: Source) -> tuple[list[Any], dict[str, _Plane], list[str]]:
    """One single-frame dataset for each z plane, with the image's own geometry, under a UID that ``_refer`` replaces.

    So single frames, enhanced objects, mosaics and resampled stacks all go one way, in the geometry that was analysed.
    """
    from pydicom.uid import generate_uid
    from pydicom.valuerep import format_number_as_ds

    notes: list[str] = []
    affine = None if facts.affine is None else np.array(facts.affine, dtype=np.float64)
    one_each = len(set(facts.source)) == len(facts.source)
    frame_of_reference = _frame_of_reference(header)
    if affine is not None and not frame_of_reference:
        frame_of_reference = generate_uid(prefix=None)
        notes.append("the source has no Frame of Reference UID: one was made for its segmentation")
    thickness = facts.spacing[2] if facts.spacing and facts.spacing[2] > 0 else 0.0
    if affine is not None and not thickness:
        thickness = THICKNESS_MM
        notes.append(f"the source has no slice thickness: {THICKNESS_MM:g} mm was written into its segmentation")
    series = source.instances[facts.source[0][0]].series if facts.source else ""
    planes, truth = [], {}
    resampled = 0
    for z, (index, frame) in enumerate(facts.source):
        instance = source.instances[index]
        ds = source.dataset(instance)
        ds.SOPInstanceUID = generate_uid(prefix=None)
        ds.SeriesInstanceUID = series
        ds.SOPClassUID = CR_IMAGE if affine is None else CT_IMAGE
        ds.Rows, ds.Columns = facts.shape[1], facts.shape[2]
        exact = one_each and (instance.rows, instance.columns) == (facts.shape[1], facts.shape[2])
        if affine is not None:
            size = np.linalg.norm(affine[:3, :3], axis=0)
            axes = affine[:3, :3] / size
            place = affine[:3, 3] + z * affine[:3, 2]
            ds.FrameOfReferenceUID = frame_of_reference
            ds.PositionReferenceIndicator = str(header.get("PositionReferenceIndicator") or "") if header else ""
            ds.ImagePositionPatient = [format_number_as_ds(float(v)) for v in place]
            ds.ImageOrientationPatient = [format_number_as_ds(float(v)) for v in (*axes[:, 0], *axes[:, 1])]
            ds.PixelSpacing = [format_number_as_ds(float(size[1])), format_number_as_ds(float(size[0]))]
            ds.SliceThickness = format_number_as_ds(float(thickness))
        planes.append(ds)
        truth[str(ds.SOPInstanceUID)] = _Plane(instance, frame, exact)
        resampled += not exact
    if resampled or any("resampled" in n for n in facts.notes):
        truth = {uid: _Plane(p.instance, p.frame, False) for uid, p in truth.items()}
        notes.append(
            "the planes were resampled or split: the segmentation lies on the analysed grid, in the same space"
        )
    return planes, truth, notes


def _frame_of_reference(header: Any) -> str:
    return str(header.get("FrameOfReferenceUID") or "") if header is not None else ""


def _refer(dataset: Any, truth: Mapping[str, _Plane]) -> None:
    """Every reference to a stand-in becomes one to its true instance and frame; each instance is listed once."""
    for series in dataset.get("ReferencedSeriesSequence", ()):
        series.ReferencedInstanceSequence = _once(series.ReferencedInstanceSequence, truth)
    if "SourceImageSequence" in dataset:
        dataset.SourceImageSequence = _once(dataset.SourceImageSequence, truth)
    groups = [*dataset.get("PerFrameFunctionalGroupsSequence", ()), *dataset.get("SharedFunctionalGroupsSequence", ())]
    for group in groups:
        for derivation in group.get("DerivationImageSequence", ()):
            items = []
            for old in derivation.get("SourceImageSequence", ()):
                plane = truth[str(old.ReferencedSOPInstanceUID)]
                item = _name(deepcopy(old), plane.instance)
                item.SpatialLocationsPreserved = "YES" if plane.exact else "NO"
                if plane.instance.frames > 1:
                    item.ReferencedFrameNumber = plane.frame + 1
                items.append(item)
            derivation.SourceImageSequence = items


def _once(items: Sequence[Any], truth: Mapping[str, _Plane]) -> list[Any]:
    seen: dict[str, Any] = {}
    for item in items:
        instance = truth[str(item.ReferencedSOPInstanceUID)].instance
        if instance.sop_instance not in seen:
            seen[instance.sop_instance] = _name(deepcopy(item), instance)
    return list(seen.values())


def _name(item: Any, instance: Instance) -> Any:
    item.ReferencedSOPClassUID = instance.sop_class
    item.ReferencedSOPInstanceUID = instance.sop_instance
    return item
