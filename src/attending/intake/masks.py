"""Masks: NIfTI label maps, DICOM segmentations and pictures of masks, as segments on one stated grid."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AttendingError, GeometryRefused, NotAnImage, NotFound, TooLarge
from ..records import Affine, Code, ImageFacts
from ..records.mask import Mask, Segment, segments_of
from .opening import Limits, Opened
from .opening import open as open_study
from .quiet import quiet

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
MOST_LABELS = 2000
"""More different values than any label map has structures: an image was given as a mask."""
HALF = 0.5
FEW_LABELS = 16
"""Up to so many values are taken for labels whatever they look like."""
ONE_GRID_MM = 1e-2


def masks(path: str | Path, limits: Limits) -> Mask:
    """The segments of one file: a NIfTI label map or probability map, a DICOM segmentation, or a picture of a mask.

    Values of a label map are the labels; shares between 0 and 1 make one segment whose body is what is at least half.
    A picture of 0 and one other value is one segment. Raises InputRefused where the file is none, holds no segment, or
    looks like an image.
    """
    file = Path(path)
    if not file.exists():
        raise NotFound("no such mask", "a NIfTI label map or a DICOM segmentation", "check the path")
    header = _segmentation(file, limits)
    if header is not None:
        return _from_dicom(header, limits)
    opened: Opened = open_study([str(file)], declared={"modality": "OT"}, limits=limits)
    if not opened.studies:
        raise (
            opened.refused[0].error
            if opened.refused
            else NotFound("no mask was found there", "one NIfTI or DICOM segmentation", "check the path")
        )
    stacks = [stack for study in opened.studies for stack in study.stacks]
    if len(stacks) != 1:
        raise GeometryRefused(f"{len(stacks)} volumes in the mask", "one mask", "give one volume or one file")
    image = stacks[0].image
    voxels, facts = image.voxels, image.facts
    if image.facts.colour:
        if not ((voxels == voxels[..., :1]).all()):
            raise NotAnImage("a colour picture as a mask", "one value a pixel", "save the mask as grey values")
        voxels = voxels[..., 0]
        facts = _plain(facts, voxels.shape)
    return Mask(facts, _segments(voxels), tuple(n for n in facts.notes if "unit of length" in n or "sheared" in n))


def header_of(path: str | Path) -> Any:
    """The identified header of a DICOM segmentation, for results beside it; None for other files."""
    return _segmentation(Path(path), None)


def _plain(facts: ImageFacts, shape: tuple[int, ...]) -> ImageFacts:
    from dataclasses import replace

    return replace(facts, shape=shape)


def _segments(voxels: NDArray[Any]) -> tuple[Segment, ...]:
    if not voxels.any():
        raise NotAnImage("a mask without a voxel", "at least one voxel that is not 0", "check what was segmented")
    if voxels.min() < 0:
        raise NotAnImage(
            "negative values in a mask", "0 and the labels of structures", "give a label map, not an image"
        )
    if voxels.dtype.kind == "f" and not np.array_equal(voxels, np.rint(voxels)):
        if voxels.max() > 1.0 + 1e-6:
            raise NotAnImage(
                "values that are neither labels nor shares",
                "whole numbers, or shares from 0 to 1",
                "give a label map, not an image",
            )
        return (_shared(1, "label 1", voxels.astype(np.float32), None),)
    values = np.unique(voxels)
    if len(values) > MOST_LABELS:
        raise NotAnImage(
            f"{len(values)} different values in a mask",
            f"at most {MOST_LABELS} structures",
            "give a label map, not an image",
        )
    if len(values) > FEW_LABELS and _speckled(voxels):
        raise NotAnImage(
            f"{len(values)} values that change from voxel to voxel",
            "a label map, whose structures hang together",
            "give a label map, not an image",
        )
    return segments_of(voxels.astype(np.int64) if voxels.dtype.kind == "f" else voxels)


def _speckled(voxels: NDArray[Any]) -> bool:
    """Whether most neighbours along a row that both are something differ: grey values do, structures do not."""
    both = (voxels[..., 1:] != 0) & (voxels[..., :-1] != 0)
    alike = both & (voxels[..., 1:] == voxels[..., :-1])
    return int(alike.sum()) < HALF * int(both.sum())


def _shared(label: int, name: str, shares: NDArray[np.float32], code: Code | None) -> Segment:
    """A segment of shares: its body is what is at least half; its box holds every voxel that has a share."""
    some = shares > 0
    axes = [np.flatnonzero(some.any(axis=tuple(a for a in range(3) if a != k))) for k in range(3)]
    cut = shares[tuple(slice(a[0], a[-1] + 1) for a in axes)].copy()
    body = cut >= HALF
    z, y, x = (int(a[0]) for a in axes)
    return Segment(label, name, body if body.any() else cut >= cut.max(), (x, y, z), cut, code)


def _segmentation(file: Path, limits: Limits | None) -> Any:
    """The dataset where the file is a DICOM segmentation, else None."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    if not file.is_file():
        return None
    if limits is not None and file.stat().st_size > limits.max_file_mib * 2**20:
        raise TooLarge(
            f"a mask of {file.stat().st_size / 2**20:.0f} MiB",
            f"up to {limits.max_file_mib} MiB",
            "raise limits.max_file_mib in site.toml",
        )
    with quiet():
        try:
            head = dcmread(file, stop_before_pixels=True)
        except (InvalidDicomError, OSError, ValueError, EOFError):
            return None
        if str(head.get("SOPClassUID", "")) not in SEGMENTATIONS:
            return None
        return dcmread(io.BytesIO(file.read_bytes()))


def _from_dicom(header: Any, limits: Limits) -> Mask:
    from highdicom.seg import Segmentation

    with quiet():
        try:
            count = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames", 1))
            if count > limits.max_voxels:
                raise TooLarge(
                    f"a segmentation of {count} voxels",
                    f"up to {limits.max_voxels}",
                    "raise limits.max_voxels in site.toml",
                )
            read = Segmentation.from_dataset(header, copy=False)
            placed = read.get_volume_geometry() is not None
            return _volume_mask(read) if placed else _plane_mask(read)
        except AttendingError:
            raise
        except Exception as why:  # a foreign parser on foreign bytes; its message may quote the header
            raise NotAnImage(
                f"a DICOM segmentation that cannot be read ({type(why).__name__})",
                "a segmentation whose frames lie in planes of one volume",
                "export it again, or convert it to NIfTI",
            ) from None


def _volume_mask(read: Any) -> Mask:
    segments = []
    affine, shape = None, None
    for number in read.segment_numbers:
        volume = read.get_volume(segment_numbers=[number], combine_segments=False)
        array = np.asarray(volume.array)[..., 0]
        if affine is None:
            affine, shape = np.asarray(volume.affine)[:, [2, 1, 0, 3]], array.shape
        made = _segment(read, int(number), array)
        if made is not None:
            segments.append(made)
    return _mask(read, segments, affine, shape)


def _plane_mask(read: Any) -> Mask:
    """Frames without a place in the patient: a segmentation of a radiograph or a picture."""
    array = np.asarray(read.pixel_array)
    array = array[None] if array.ndim == 2 else array
    common = read.get("SharedFunctionalGroupsSequence") or [None]
    numbers = []
    for frame in read.PerFrameFunctionalGroupsSequence:
        # What holds for all frames, as the segment does where there is one, stands in the shared groups.
        named = frame if "SegmentIdentificationSequence" in frame else common[0]
        numbers.append(int(named.SegmentIdentificationSequence[0].ReferencedSegmentNumber))
    top = float(read.get("MaximumFractionalValue", 1) or 1)
    segments = []
    for number in dict.fromkeys(numbers):
        frames = array[[k for k, n in enumerate(numbers) if n == number]]
        if len(frames) != 1:
            raise GeometryRefused(
                f"{len(frames)} frames of one segment without a place in the patient",
                "one frame a segment, or frames with positions",
                "export the mask with its geometry, or as NIfTI",
            )
        made = _segment(read, number, frames / top if top > 1 else frames)
        if made is not None:
            segments.append(made)
    return _mask(read, segments, None, array.shape[-2:])


def _segment(read: Any, number: int, array: NDArray[Any]) -> Segment | None:
    if not array.any():
        return None
    item = read.get_segment_description(number)
    kind = item.segmented_property_type
    code = Code(str(kind.scheme_designator), str(kind.value), str(kind.meaning))
    # The label is free text and may name anybody; the code's meaning is from a closed list.
    name = code.meaning
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        return _shared(number, name, array.astype(np.float32), code)
    return segments_of((array > 0).astype(np.uint16) * number, {number: name}, {number: code})[0]


def _mask(read: Any, segments: list[Segment], affine: Any, shape: Any) -> Mask:
    if not segments:
        raise NotAnImage("a segmentation without a voxel", "at least one segment that is not empty", "segment again")
    rows: Affine | None = None
    spacing = None
    if affine is not None:
        rows = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in affine)
        x, y, z = (float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
        spacing = (x, y, z)
    else:
        groups = read.get("SharedFunctionalGroupsSequence") or [None]
        measures = groups[0].get("PixelMeasuresSequence") if groups[0] is not None else None
        if measures and measures[0].get("PixelSpacing"):
            row, column = (float(v) for v in measures[0].PixelSpacing)
            spacing = (column, row, 0.0)
    whole = tuple(int(n) for n in (shape if len(shape) == 3 else (1, *shape)))
    return Mask(ImageFacts("i1", whole, rows, spacing, "OT"), tuple(segments))
