"""Study -> Case, by an allow-list: every field of the Case is built here from what is named here, nothing is copied."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from ..records import NO_PATIENT, Case, CaseFacts, Image, ImageFacts, Study
from . import header as h
from .identifying import Identity
from .words import codes, fold, placeholder, terms, words

UNCHECKED = "pixels not checked for burned-in text"
OLDEST = 90
# Beyond the longest life on record, an age is a typing error.
IMPOSSIBLE = 125
DESCRIPTIONS = (
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "AcquisitionProtocolName",
    "BodyPartExamined",
    "ViewPosition",
    "AcquisitionDeviceProcessingDescription",
)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
UNITS = frozenset(
    {"1", "[hnsf'U]", "ml", "Bq/mL", "g/mL", "mm", "s", "ms", "mm2/s", "um2/s", "{counts}", "{SUVbw}g/ml"}
)


@h.quiet()
def to_case(study: Study, secret: bytes, *, use: str = "care", source: str | None = None) -> Case:
    """What models and learners may see of a study.

    secret: 32 bytes of this home; ids and date shifts depend on it and on nothing that is written down. use: "care",
    "view" or "teach"; source: the catalog's id of the data set it came from. Voxels are passed on as they are; whether
    they may hold burned-in text is said by ``facts.pixels_checked``. Raises ValueError for a study without images.
    """
    if not study.stacks:
        raise ValueError("a study without decoded stacks: intake.decode(study) makes them")
    headers = [stack.header for stack in study.stacks if stack.header is not None]
    first = headers[0] if headers else None
    declared = dict(study.declared)
    notes: list[str] = []
    identity = Identity.of(study)

    patient_key, named = _patient(first, study)
    if not named:
        notes.append(NO_PATIENT)
    if len({_id(header) for header in headers}) > 1:
        notes.append("the series of this study name different patients: ask the sender")
    taken, taken_note = _date(headers)
    notes += taken_note
    shifted = _shift(taken, _keyed(secret, "shift", patient_key))
    if source is not None and use == "teach":
        checked = True
        notes.append("a published teaching set: its pixels are public as they are")
    else:
        checked = not any(_unchecked(study, stack.image, stack.header) for stack in study.stacks)
    if not checked:
        notes.append(UNCHECKED)
    notes += _clean(study.given, identity, "a fact was given on the way in")

    images = tuple(
        _image(number, stack.image, stack.header, declared, identity) for number, stack in enumerate(study.stacks, 1)
    )
    facts = CaseFacts(
        id=_keyed(secret, "case", study.digest).hex()[:16],
        patient=_keyed(secret, "patient", patient_key).hex()[:16],
        kind=study.kind if study.kind in ("dicom", "nifti", "picture") else "dicom",
        images=tuple(image.facts for image in images),
        date=shifted.isoformat() if shifted else None,
        age_years=_age(headers, taken),
        sex=_sex(headers),
        manufacturer=_first(words("manufacturers").match(text)[:1] for text in _all(headers, "Manufacturer")),
        pixels_checked=checked,
        use=use,
        source=source,
        notes=tuple(dict.fromkeys(notes)),
    )
    return Case(facts, images)


@h.quiet()
def instances(study: Study, secret: bytes) -> dict[str, str]:
    """Keyed hash of each SOP Instance UID -> sha256 of its file: what ``store.register_instances`` takes.

    secret is ``store.secret("instances")``. Files without the UID are left out.
    """
    found: dict[str, str] = {}
    if study.kind == "dicom":
        for file in study.files:
            header = h.read(file.data)
            uid = h.value(header, "SOPInstanceUID") or h.value(
                getattr(header, "file_meta", None), "MediaStorageSOPInstanceUID"
            )
            if uid:
                found[hmac.new(secret, uid.encode(), hashlib.sha256).hexdigest()] = file.sha256
    return found


def _keyed(secret: bytes, purpose: str, text: str) -> bytes:
    return hmac.new(secret, f"{purpose}\0{text}".encode(), hashlib.sha256).digest()


def _id(header: Any) -> str:
    parts = (h.value(header, "PatientID") or "", h.value(header, "IssuerOfPatientID") or "")
    return "\0".join(" ".join(fold(part).split()) for part in parts)


def _patient(header: Any, study: Study) -> tuple[str, bool]:
    """What one patient's studies share: PatientID and its issuer. Names and birth dates are spelt in many ways and
    would take one patient's studies apart; an ID that names nobody is no ID."""
    id = h.value(header, "PatientID")
    if id is None or placeholder(id):
        return f"study {study.digest}", False
    return f"patient {_id(header)}", True


def _all(headers: list[Any], keyword: str) -> list[str]:
    return [text for header in headers for text in h.values(header, keyword)]


def _first(found: Any) -> str | None:
    return next((words_[0] for words_ in found if words_), None)


def _date(headers: list[Any]) -> tuple[date | None, list[str]]:
    seen = False
    for keyword in (
        "StudyDate",
        "SeriesDate",
        "AcquisitionDate",
        "AcquisitionDateTime",
        "ContentDate",
    ):
        for text in _all(headers, keyword):
            seen = True
            if (day := h.day(text)) is not None:
                return day, []
    return None, ["the study's date is not a date: left out"] if seen else []


def _shift(day: date | None, keyed: bytes) -> date | None:
    """1 to 365 days earlier or later, the same for all dates of a patient."""
    if day is None:
        return None
    days = int.from_bytes(keyed[:8], "big") % 730 - 365
    try:
        return day + timedelta(days=days if days < 0 else days + 1)
    except OverflowError:
        return None


def _age(headers: list[Any], taken: date | None) -> int | None:
    for text in _all(headers, "PatientAge"):
        match = re.fullmatch(r"(\d{1,3})\s*([DWMY]?)", text.upper())
        if match:
            years = int(int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12}.get(match[2], 1))
            # Scanners write 000Y for an age that nobody entered; a newborn's is in days.
            unsaid = years == 0 and match[2] in ("", "Y")
            if years <= IMPOSSIBLE and not unsaid:
                return min(years, OLDEST)
    for text in _all(headers, "PatientBirthDate"):
        born = h.day(text)
        if born is not None and taken is not None:
            years = taken.year - born.year - ((taken.month, taken.day) < (born.month, born.day))
            if 0 <= years <= IMPOSSIBLE:
                return min(years, OLDEST)
    return None


def _sex(headers: list[Any]) -> str | None:
    return next((s for text in _all(headers, "PatientSex") if (s := text.upper()) in ("F", "M", "O")), None)


def _unchecked(study: Study, image: Image, header: Any) -> bool:
    sop_class = h.value(header, "SOPClassUID") or ""
    return (
        study.kind == "picture"
        or _modality(image, header) in terms("modalities", "unchecked")
        or (sop_class == SECONDARY_CAPTURE or sop_class.startswith(SECONDARY_CAPTURE + "."))
        or any(text.upper() == "YES" for text in h.values(header, "BurnedInAnnotation"))
        or any("SCREEN" in text.upper() for text in h.values(header, "ImageType"))
        or h.value(header, "ConversionType") in ("WSD", "SD", "SI", "DRW", "SYN", "DV", "DF")
        or (image.facts.colour and header is not None)
    )


def _modality(image: Image, header: Any) -> str:
    for text in (image.facts.modality, h.value(header, "Modality") or ""):
        if text.upper() in terms("modalities"):
            return text.upper()
    return "OT"


def _image(number: int, image: Image, header: Any, declared: dict[str, str], identity: Identity) -> Image:
    known = image.facts
    described = tuple(text for keyword in DESCRIPTIONS for text in h.values(header, keyword))
    notes = _clean(known.notes, identity, "a note of the way in")
    facts = ImageFacts(
        id=known.id if re.fullmatch(r"i\d{1,6}", known.id) else f"i{number}",
        shape=tuple(int(n) for n in known.shape),
        affine=known.affine,
        spacing=known.spacing,
        modality=_modality(image, header),
        view=_view(known, header, declared),
        body_part=_body_part(known, header, declared),
        unit=known.unit if known.unit in UNITS else "1",
        axis=known.axis if known.axis in ("space", "time", "frame") else "frame",
        sequence=_sequence(known, header, declared, described),
        descriptions=_described(described, header),
        source=tuple((int(a), int(b)) for a, b in known.source),
        notes=tuple(notes),
    )
    return replace(image, facts=facts)


def _clean(texts: tuple[str, ...], identity: Identity, what: str) -> list[str]:
    """Intake's own words; were a header's text ever among them, they stop here."""
    return [f"{what} (withheld: it held header text)" if identity.leaks(text) else text for text in texts]


def _view(known: ImageFacts, header: Any, declared: dict[str, str]) -> str | None:
    list_ = words("views")
    for text in h.values(header, "ViewPosition"):
        if (view := list_.one(text)) is not None:
            return view
    for item in items_of(header, "ViewCodeSequence"):
        if (code := h.value(item, "CodeValue")) in codes("view_codes"):
            return codes("view_codes")[code or ""]
    return list_.one(declared.get("view")) or list_.one(known.view) or _plane(known)


def _plane(known: ImageFacts) -> str | None:
    """AXIAL, CORONAL or SAGITTAL where the stack's normal lies within 45 degrees of an axis of the patient."""
    if known.affine is None or known.modality not in ("CT", "MR", "PT"):
        return None
    x, y = ([row[column] for row in known.affine[:3]] for column in (0, 1))
    normal = [abs(x[1] * y[2] - x[2] * y[1]), abs(x[2] * y[0] - x[0] * y[2]), abs(x[0] * y[1] - x[1] * y[0])]
    return ("SAGITTAL", "CORONAL", "AXIAL")[normal.index(max(normal))] if any(normal) else None


def _body_part(known: ImageFacts, header: Any, declared: dict[str, str]) -> str | None:
    list_ = words("body_parts")
    for text in h.values(header, "BodyPartExamined"):
        if (part := list_.one(text)) is not None:
            return part
    for item in items_of(header, "AnatomicRegionSequence"):
        if (code := h.value(item, "CodeValue")) in codes("anatomic_codes"):
            return codes("anatomic_codes")[code or ""]
    return list_.one(declared.get("body_part")) or list_.one(known.body_part)


def items_of(header: Any, keyword: str) -> list[Any]:
    """A sequence's items at the top, or in the first functional group."""
    found = h.items(header, keyword)
    for group in h.items(header, "SharedFunctionalGroupsSequence")[:1]:
        for inner in h.items(group, "FrameAnatomySequence"):
            found += h.items(inner, keyword)
    return found


def _sequence(known: ImageFacts, header: Any, declared: dict[str, str], described: tuple[str, ...]) -> str | None:
    if _declared_modality(known, header) != "MR":
        return None
    list_ = words("sequences")
    named = [word for text in described for word in list_.match(text)]
    # "T2 FLAIR" is a FLAIR: the special names come before T1 and T2.
    for word in ("LOCALIZER", "FLAIR", "ADC", "DWI", "SWI", "T2*", "STIR", "TOF", "PERFUSION", "BOLD"):
        if word in named:
            return word
    if named:
        return named[0]
    return list_.one(declared.get("sequence")) or list_.one(known.sequence) or _weighting(header)


def _declared_modality(known: ImageFacts, header: Any) -> str:
    return known.modality.upper() or (h.value(header, "Modality") or "")


def _weighting(header: Any) -> str | None:
    """From the scan's own numbers (milliseconds), by textbook ranges; None between them."""
    kinds = {kind.upper() for kind in h.values(header, "ScanningSequence")}
    echo = _ms(header, "EchoTime", "EffectiveEchoTime")
    repeat = _ms(header, "RepetitionTime")
    invert = _ms(header, "InversionTime") or 0.0
    weight = _ms(header, "DiffusionBValue") or 0.0
    if "EP" in kinds and weight > 0:
        return "DWI"
    if echo is None or repeat is None:
        return None
    if invert >= 1500 and echo >= 70:
        return "FLAIR"
    if "IR" in kinds and 0 < invert < 300 and repeat >= 1500:
        return "STIR"
    if "GR" in kinds and "SE" not in kinds and "EP" not in kinds:
        return "T1" if echo < 10 and repeat < 3000 else "T2*" if echo >= 15 else None
    if kinds & {"SE", "IR"}:
        if echo < 30:
            return "T1" if repeat < 1000 else "PD" if repeat >= 1500 else None
        return "T2" if echo >= 70 and repeat >= 1500 else None
    return None


def _ms(header: Any, *keywords: str) -> float | None:
    for keyword in keywords:
        text = h.anywhere(header, keyword)
        if text is not None and re.fullmatch(r"[0-9.]+(?:[eE][+-]?\d+)?", text):
            try:
                return float(text)
            except ValueError:
                continue
    return None


def _described(described: tuple[str, ...], header: Any) -> tuple[str, ...]:
    """Closed words of the descriptions, in order, each once."""
    found: dict[str, None] = {}
    for text in described:
        for name in ("descriptions", "sequences", "body_parts", "views"):
            found.update(dict.fromkeys(words(name).match(text)))
    if h.value(header, "ContrastBolusAgent") and "WITHOUT CONTRAST" not in found:
        found["CONTRAST"] = None
    return tuple(found)
