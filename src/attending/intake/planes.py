"""Every plane of an instance with its place in the patient: single frames, functional groups, NM detectors, mosaics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .instance import Instance
from .layout import Layout

UNIT = 0.01  # how far a direction cosine's length or a right angle may be off: DS strings round to a few digits
Vector = tuple[float, ...]


@dataclass(frozen=True)
class Plane:
    """One 2-D plane. position: LPS mm of its first voxel; row and column: LPS directions of growing x and y;
    spacing: mm along (x, y). Each is None where the header does not say or says nonsense."""

    instance: int
    frame: int
    rows: int
    columns: int
    colour: bool
    position: Vector | None = None
    row: Vector | None = None
    column: Vector | None = None
    spacing: tuple[float, float] | None = None
    thickness: float | None = None
    between: float | None = None
    rescale: tuple[float, float] | None = None
    key: tuple[Any, ...] = ()
    times: tuple[Any, ...] = ()
    number: int = 0
    tile: tuple[int, int] | None = None
    multiframe: bool = False
    notes: tuple[str, ...] = ()


def planes(index: int, instance: Instance, it: Layout) -> Iterator[Plane]:
    """All planes of the instance in frame order; a mosaic's tiles in slice order."""
    from pydicom import Dataset

    header = instance.header
    shared = _group(header, "SharedFunctionalGroupsSequence", 0)
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or ()
    base = Plane(index, 0, it.rows, it.columns, it.colour, number=_int(header, "InstanceNumber") or 0)
    if len(per_frame) == it.frames and it.frames:
        for frame in range(it.frames):
            yield _functional(replace(base, frame=frame, multiframe=True), header, shared, per_frame[frame])
        return
    if shared is not None and it.frames == 1 and "PixelMeasuresSequence" in shared:
        yield _functional(base, header, shared, Dataset())
        return
    whole = _classic(base, header)
    tiles = _mosaic(whole, header) if it.frames == 1 else None
    if tiles is not None:
        yield from tiles
    elif it.frames == 1:
        yield whole
    else:
        yield from _frames(whole, header, it)


def _classic(base: Plane, header: Any) -> Plane:
    row, column, wrong = _orientation(_floats(header, "ImageOrientationPatient"))
    position = _floats(header, "ImagePositionPatient")
    spacing, note = _spacing(header)
    notes = tuple(n for n in (wrong, note) if n)
    return replace(
        base,
        position=position if row is not None and position is not None and len(position) == 3 else None,
        row=row,
        column=column,
        spacing=spacing,
        thickness=_positive(_first(header, "SliceThickness")),
        between=_first(header, "SpacingBetweenSlices"),
        rescale=_rescale(header),
        key=_series_key(header) + _contrast_key(header),
        times=_times(header),
        notes=notes,
    )


def _functional(base: Plane, header: Any, shared: Any, own: Any) -> Plane:
    """One frame of an enhanced object: its own functional group, else the shared one."""
    from pydicom import Dataset

    def item(keyword: str) -> Any:
        for group in (own, shared):
            found = None if group is None else _group(group, keyword, 0)
            if found is not None:
                return found
        return Dataset()

    measures, transform = item("PixelMeasuresSequence"), item("PixelValueTransformationSequence")
    content = item("FrameContentSequence")
    row, column, wrong = _orientation(_floats(item("PlaneOrientationSequence"), "ImageOrientationPatient"))
    position = _floats(item("PlanePositionSequence"), "ImagePositionPatient")
    spacing, note = _spacing(measures)
    diffusion, echo = item("MRDiffusionSequence"), item("MREchoSequence")
    direction = _group(diffusion, "DiffusionGradientDirectionSequence", 0)
    kind = next((k for k in (item(s) for s in FRAME_TYPES) if len(k)), Dataset())
    cardiac = item("CardiacSynchronizationSequence")
    return replace(
        base,
        position=position if row is not None and position is not None and len(position) == 3 else None,
        row=row,
        column=column,
        spacing=spacing,
        thickness=_positive(_first(measures, "SliceThickness")),
        between=_first(measures, "SpacingBetweenSlices"),
        rescale=_rescale(transform),
        key=(
            *_series_key(header),
            _text(content, "StackID"),
            _text(kind, "FrameType"),
            _text(kind, "ComplexImageComponent"),
            _round(_first(echo, "EffectiveEchoTime")),
            _round(_first(diffusion, "DiffusionBValue")),
            _directions(None if direction is None else _floats(direction, "DiffusionGradientOrientation")),
        ),
        times=(
            _int(content, "TemporalPositionIndex"),
            _round(_first(item("TemporalPositionSequence"), "TemporalPositionTimeOffset")),
            _round(
                _first(cardiac, "NominalPercentageOfCardiacPhase") or _first(cardiac, "NominalCardiacTriggerDelayTime")
            ),
            _int(content, "FrameAcquisitionNumber"),
            _text(content, "FrameAcquisitionDateTime"),
        ),
        number=base.frame + 1,
        notes=tuple(n for n in (wrong, note) if n),
    )


FRAME_TYPES = (
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "XRay3DFrameTypeSequence",
)


def _frames(whole: Plane, header: Any, it: Layout) -> Iterator[Plane]:
    """A classic multi-frame: NM and breast tomosynthesis slices lie at even distances, all else has no place."""
    detector = _group(header, "DetectorInformationSequence", 0)
    vector = [str(v) for v in header.get("ImageType", None) or ()]
    reconstructed = len(vector) > 2 and "RECON" in vector[2].upper()
    if detector is not None and reconstructed:
        row, column, _ = _orientation(_floats(detector, "ImageOrientationPatient"))
        start = _floats(detector, "ImagePositionPatient")
        step = whole.between or whole.thickness
        if row is not None and column is not None and start is not None and len(start) == 3 and step:
            normal = np.cross(row, column)
            for frame in range(it.frames):
                place = tuple(float(v) for v in np.asarray(start) + frame * step * normal)
                yield replace(whole, frame=frame, position=place, row=row, column=column, multiframe=True)
            return
    for frame in range(it.frames):
        yield replace(whole, frame=frame, position=None, multiframe=True)


def _mosaic(whole: Plane, header: Any) -> list[Plane] | None:
    """Siemens mosaic: tiles of one large image are the slices of a volume (nibabel's MosaicWrapper, same formulae)."""
    kinds = [str(v).upper() for v in header.get("ImageType", None) or ()]
    if "MOSAIC" not in kinds:
        return None
    count, normal = _csa(header)
    side = int(np.ceil(np.sqrt(count))) if count else 0
    if not count or whole.rows % side or whole.columns % side:
        return [
            replace(
                whole, position=None, notes=(*whole.notes, "a Siemens mosaic that does not say its slices: kept whole")
            )
        ]
    rows, columns = whole.rows // side, whole.columns // side
    note = (*whole.notes, f"Siemens mosaic split into {count} slices")
    step = whole.between or whole.thickness
    tiles = []
    for k in range(count):
        place = None
        if whole.position is not None and whole.row is not None and whole.column is not None and whole.spacing and step:
            x, y = np.asarray(whole.row), np.asarray(whole.column)
            cross = np.cross(x, y)
            direction = -cross if normal is not None and float(np.dot(normal, cross)) < 0 else cross
            origin = np.asarray(whole.position) + x * whole.spacing[0] * (whole.columns - columns) / 2
            origin = origin + y * whole.spacing[1] * (whole.rows - rows) / 2
            place = tuple(float(v) for v in origin + k * step * direction)
        tile = ((k // side) * rows, (k % side) * columns)
        tiles.append(replace(whole, rows=rows, columns=columns, position=place, tile=tile, notes=note, multiframe=True))
    return tiles


def _csa(header: Any) -> tuple[int, Vector | None]:
    """(number of tiles, slice normal) of a Siemens mosaic, from the plain private element or the CSA header."""
    count, normal = 0, None
    try:
        from nibabel.nicom import csareader

        csa = csareader.get_csa_header(header)
        if csa is not None:
            count = int(csareader.get_n_mosaic(csa) or 0)
            vector = csareader.get_slice_normal(csa)
            normal = None if vector is None else tuple(float(v) for v in vector)
    except Exception:  # a foreign parser on a vendor's private block
        count, normal = 0, None
    if not count:
        try:
            count = int(header.private_block(0x0019, "SIEMENS MR HEADER")[0x0A].value)
        except Exception:  # absent, or not a number
            count = 0
    return count, normal


def _series_key(header: Any) -> tuple[Any, ...]:
    return (_text(header, "SeriesInstanceUID"), _text(header, "FrameOfReferenceUID"), _text(header, "SOPClassUID"))


def _contrast_key(header: Any) -> tuple[Any, ...]:
    """What tells one classic volume of a series from another: image type, echo, b-value and its direction."""
    kinds = tuple(str(v).strip().upper() for v in header.get("ImageType", None) or ())
    bvalue = _first(header, "DiffusionBValue")
    if bvalue is None:
        bvalue = _private(header, 0x0019, "SIEMENS MR HEADER", 0x0C) or _private(header, 0x0043, "GEMS_PARM_01", 0x39)
    if bvalue is not None and bvalue >= 1e9:
        bvalue -= 1e9  # GE adds 10^9 to mark the value as valid
    return (
        kinds,
        _round(_first(header, "EchoTime")),
        _int(header, "EchoNumbers"),
        _round(bvalue),
        _directions(_floats(header, "DiffusionGradientOrientation")),
        _round(_first(header, "InversionTime")),
    )


def _times(header: Any) -> tuple[Any, ...]:
    """What may tell one time point from another, the most telling first."""
    return (
        _int(header, "TemporalPositionIdentifier"),
        _int(header, "TemporalPositionIndex"),
        _round(_first(header, "TriggerTime")),
        _int(header, "AcquisitionNumber"),
        _text(header, "AcquisitionDateTime") or _text(header, "AcquisitionDate") + _text(header, "AcquisitionTime"),
        _round(_first(header, "FrameReferenceTime")),
        _text(header, "ContentTime"),
    )


def _orientation(cosines: Vector | None) -> tuple[Vector | None, Vector | None, str | None]:
    """Unit row and column direction, the second made exactly perpendicular; or None and what is wrong."""
    if cosines is None:
        return None, None, None
    wrong = "an impossible image orientation in the header: position unknown"
    if len(cosines) != 6 or not np.all(np.isfinite(cosines)):
        return None, None, wrong
    x, y = np.asarray(cosines[:3]), np.asarray(cosines[3:])
    nx, ny = np.linalg.norm(x), np.linalg.norm(y)
    if abs(nx - 1) > UNIT or abs(ny - 1) > UNIT or abs(np.dot(x, y)) > UNIT:
        return None, None, wrong
    x = x / nx
    y = y - np.dot(x, y) * x
    y = y / np.linalg.norm(y)
    return _vector(x), _vector(y), None


def _spacing(header: Any) -> tuple[tuple[float, float] | None, str | None]:
    """mm along (x, y) from (row spacing, column spacing), and what to say of it."""
    for keyword, note in SPACINGS:
        values = _floats(header, keyword)
        if values is None:
            continue
        if len(values) == 2 and all(np.isfinite(v) and v > 0 for v in values):
            return (values[1], values[0]), note
        return None, "the pixel spacing in the header is 0 or impossible: no millimetres"
    return None, None


SPACINGS = (
    ("PixelSpacing", None),
    ("ImagerPixelSpacing", "spacing is at the detector, not in the patient"),
    ("NominalScannedPixelSpacing", "spacing is that of the scanned film"),
)


def _rescale(header: Any) -> tuple[float, float] | None:
    slope, intercept = _first(header, "RescaleSlope"), _first(header, "RescaleIntercept")
    if slope is None or intercept is None or slope == 0 or not np.isfinite([slope, intercept]).all():
        return None
    return slope, intercept


def _group(header: Any, keyword: str, index: int) -> Any:
    try:
        sequence = header.get(keyword)
        return sequence[index] if sequence else None
    except Exception:  # whatever pydicom raises on a malformed sequence
        return None


def _floats(header: Any, keyword: str) -> Vector | None:
    try:
        value = header.get(keyword)
        if value is None or value == "":
            return None
        values = tuple(float(v) for v in value) if hasattr(value, "__iter__") else (float(value),)
        return values or None
    except Exception:  # whatever pydicom raises on a malformed number
        return None


def _first(header: Any, keyword: str) -> float | None:
    values = _floats(header, keyword)
    return values[0] if values else None


def _int(header: Any, keyword: str) -> int | None:
    value = _first(header, keyword)
    return int(value) if value is not None and np.isfinite(value) else None


def _private(header: Any, group: int, creator: str, element: int) -> float | None:
    try:
        value = header.private_block(group, creator)[element].value
        return float(value[0]) if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)) else float(value)
    except Exception:  # absent, or not a number
        return None


def _text(header: Any, keyword: str) -> str:
    try:
        return str(header.get(keyword) or "")
    except Exception:  # whatever pydicom raises on a malformed value
        return ""


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _directions(value: Vector | None) -> tuple[float, ...] | None:
    return None if value is None else tuple(round(v, 4) for v in value)


def _positive(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) and value > 0 else None


def _vector(values: NDArray[np.float64]) -> Vector:
    return tuple(float(v) for v in values)
