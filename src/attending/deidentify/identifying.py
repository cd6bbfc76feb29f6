"""Which strings of a study identify somebody, and whether a text holds one of them, in whatever spelling."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any
from weakref import WeakKeyDictionary

from ..records import Study
from . import header as h
from .dates import dates_in
from .words import closed, fold, ordinary, placeholder, tokens

# Attributes whose kind is told to the user; other identifying ones are "header text".
NAMES = {
    "PatientName": "patient name",
    "OtherPatientNames": "patient name",
    "PatientBirthName": "patient name",
    "PatientMotherBirthName": "patient name",
    "ResponsiblePerson": "patient name",
}
IDS = {
    "PatientID": "patient ID",
    "OtherPatientIDs": "patient ID",
    "IssuerOfPatientID": "patient ID",
    "MedicalRecordLocator": "patient ID",
    "AccessionNumber": "accession number",
    "StudyID": "study ID",
    "AdmissionID": "admission ID",
    "InsurancePlanIdentification": "patient ID",
    "PlacerOrderNumberImagingServiceRequest": "accession number",
    "FillerOrderNumberImagingServiceRequest": "accession number",
    "DeviceSerialNumber": "device serial number",
}
PLACES = {
    "InstitutionName": "institution",
    "InstitutionAddress": "institution",
    "InstitutionalDepartmentName": "institution",
    "StationName": "station",
    "PatientAddress": "address",
    "PatientTelephoneNumbers": "telephone number",
    "ReferringPhysicianTelephoneNumbers": "telephone number",
    "ReferringPhysicianAddress": "address",
    "PersonAddress": "address",
    "PersonTelephoneNumbers": "telephone number",
}
# Free text that a report may say in the same words; it is no identifier by its nature, and never enters a Case.
CLINICAL = frozenset(
    {
        "StudyDescription",
        "SeriesDescription",
        "ProtocolName",
        "RequestedProcedureDescription",
        "PerformedProcedureStepDescription",
        "AcquisitionProtocolName",
        "BodyPartExamined",
        "Manufacturer",
        "ManufacturerModelName",
        "CodeMeaning",
        "ContrastBolusAgent",
        "SegmentLabel",
        "SequenceName",
        "SoftwareVersions",
        "ConvolutionKernel",
        "AdmittingDiagnosesDescription",
        "ReasonForTheRequestedProcedure",
        "FilterType",
    }
)
WELL_KNOWN_UID = "1.2.840.10008."
TEXT = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "UR", "AE", "UN", "OB"})
LONG = frozenset({"ST", "LT", "UT"})
# CS holds at most 16 characters; what is longer was put there by somebody.
CODE_STRING = 16
# An ID is looked for without its leading zeros where so much is left; less would be any number of a report.
LEAST_BARE = 5

Test = Callable[[str, list[str]], bool]


@dataclass
class Identity:
    """Everything in a study that identifies; texts are kept as received, never shown."""

    names: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    days: dict[date, str] = field(default_factory=dict)
    uids: set[str] = field(default_factory=set)
    other: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)
    raw_dates: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)

    def __repr__(self) -> str:
        return "Identity(<identified>)"

    @classmethod
    def of(cls, study: Study) -> Identity:
        """From every header of the study and the names of its files; kept as long as the study itself."""
        known = _KNOWN.get(study)
        if known is not None:
            return known
        made = _KNOWN[study] = cls()
        for header in h.headers(study):
            for element in h.elements(header):
                made._take(element)
        for file in study.files:
            for part in PurePosixPath(file.name.replace("\\", "/")).parts:
                stem = re.sub(r"(\.nii)?\.[A-Za-z0-9]{1,5}$", "", part)
                if len(stem) >= 6 and not closed(stem):
                    made.files.add(stem)
        return made

    def _take(self, element: Any) -> None:
        kind, keyword = element.VR, element.keyword
        for text in h.texts(element):
            if kind == "PN":
                self._name(text, NAMES.get(keyword, "physician or staff name"))
            elif kind == "UI":
                if not text.startswith(WELL_KNOWN_UID) and len(text) >= 6:
                    self.uids.add(text)
            elif kind in ("DA", "DT", "TM"):
                self._day(text, kind, keyword)
            elif kind in ("CS", "AS", "DS", "IS"):
                if len(text) > CODE_STRING and not closed(text):
                    self.other.add(text)
            elif kind in TEXT or isinstance(element.value, str):
                self._text(text, kind, keyword)

    def _name(self, text: str, kind: str) -> None:
        if placeholder(text.replace("^", " ").replace("=", " ")):
            return
        self.whole.add(text)
        # An alphabetic, an ideographic and a phonetic group name the same person.
        for group in text.split("="):
            spelt = " ".join(part for part in re.split(r"[\^\s]+", group) if part)
            if spelt and not placeholder(spelt):
                self.names.setdefault(spelt, kind)

    def _day(self, text: str, kind: str, keyword: str) -> None:
        if kind in ("DA", "DT"):
            if (day := h.day(text)) is not None:
                label = "date of birth" if keyword == "PatientBirthDate" else "study date"
                if label == "date of birth" or day not in self.days:
                    self.days[day] = label
                if day.year > 1:
                    self.raw_dates.add(text)
            elif len(text) >= 6:
                self.other.add(text)
        elif len(text) >= 6 and len(set(text)) > 2:
            self.raw_dates.add(text)

    def _text(self, text: str, kind: str, keyword: str) -> None:
        if closed(text) or placeholder(text):
            return
        if keyword in IDS:
            self.ids.setdefault(text, IDS[keyword])
        elif keyword in PLACES:
            self.places.setdefault(text, PLACES[keyword])
        elif keyword in CLINICAL or kind in LONG:
            if len(text) >= 4:
                self.said.add(text)
        elif len(text) >= 4:
            self.other.add(text)

    def strings(self) -> frozenset[str]:
        """Every identifying string as received, and the longer parts of names."""
        found = {
            *self.whole,
            *self.names,
            *self.ids,
            *self.places,
            *self.uids,
            *self.other,
            *self.said,
            *self.raw_dates,
            *self.files,
        }
        for name in self.names:
            found |= {part for part in name.split() if len(part) >= 4 and not closed(part)}
        return frozenset(text for text in found if len(text) >= 4)

    def leaks(self, text: str) -> bool:
        """Whether a text of our own holds any identifying string; used on what enters a Case."""
        return any(True for _ in self.kinds(text)) or any(len(s) >= 8 and s in text for s in self._strings)

    @cached_property
    def _strings(self) -> frozenset[str]:
        return self.strings()

    @cached_property
    def _index(self) -> dict[str, list[tuple[str, str, Test]]]:
        """Token -> (text, kind, test) of what may be found where that token is, so that few tests run on one text."""
        index: dict[str, list[tuple[str, str, Test]]] = {}

        def put(text: str, kind: str, test: Test, keys: Iterable[str]) -> None:
            for key in set(keys):
                index.setdefault(key, []).append((text, kind, test))

        for name, kind in self.names.items():
            given = tokens(name)
            put(name, kind, _named, [*given, *_glued(given)])
        for place, kind in self.places.items():
            put(place, kind, _place_in, tokens(place))
        for other in self.other:
            if _telling(other):
                put(other, "header text", _phrase, tokens(other)[:1])
        for name in self.files:
            put(name, "file name", _phrase, tokens(name)[:1])
        return index

    @cached_property
    def _squeezed(self) -> dict[str, tuple[str, str]]:
        """Letters and digits of an ID, without leading zeros -> (ID, kind)."""
        places = {place: kind for place, kind in self.places.items() if any(c.isdigit() for c in place)}
        coded = {**places, **self.ids}
        return {"".join(_letters(id)): (id, kind) for id, kind in coded.items()}

    def kinds(self, text: str) -> Iterator[str]:
        """The kinds of identifiers in a text; one kind may come several times."""
        folded = f" {fold(text)} "
        parts = tokens(text)
        for part in set(parts):
            yield from (kind for what, kind, test in self._index.get(part, ()) if test(what, parts))
        # Scripts without spaces between words: a part of the name as it stands.
        if not text.isascii():
            yield from (kind for name, kind in self.names.items() if _foreign(name, folded))
        letters = "".join(c for c in folded if c.isalnum())
        for squeezed, (id, kind) in self._squeezed.items():
            if squeezed in letters and _id_in(id, folded):
                yield kind
        # With its dots only: the digits alone may be a measurement.
        if any(uid in text and re.search(rf"(?<![\d.]){re.escape(uid)}(?!\.?\d)", text) for uid in self.uids):
            yield "UID"
        if self.days:
            found = dates_in(text)
            yield from (kind for day, kind in self.days.items() if day in found)


_KNOWN: WeakKeyDictionary[Study, Identity] = WeakKeyDictionary()


@h.quiet()
def find_identifiers(text: str, study: Study) -> tuple[str, ...]:
    """The kinds of the study's identifiers in a text ("patient name", "date of birth" ...), sorted; () for none.

    Names in any order, case and accents; IDs with other separators; dates in the common ways of writing. An ordinary
    word that is somebody's name ("Brown") counts only beside another part of that name.
    """
    return tuple(sorted(set(Identity.of(study).kinds(text))))


@h.quiet()
def identifiers(study: Study) -> frozenset[str]:
    """Every identifying string of every header attribute, sequences, private elements, file meta and file names too.

    Left out: values of fewer than four characters, and those made of nothing but the closed lists' words.
    """
    return Identity.of(study).strings()


def _glued(given: list[str]) -> list[str]:
    """Two parts of a name written as one word."""
    return [a + b for a in given for b in given if a != b and min(len(a), len(b)) >= 2 and len(a + b) >= 8]


def _named(name: str, parts: list[str]) -> bool:
    given = [part for part in tokens(name) if len(part) >= 2]
    present = [part for part in given if part in parts]
    if any(len(part) >= 3 and part not in ordinary() for part in present):
        return True
    if len(set(present)) >= 2 and _near(set(present), parts):
        return True
    return any(pair in parts for pair in _glued(given))


def _foreign(name: str, folded: str) -> bool:
    return any(len(part) >= 2 and not part.isascii() and part in folded for part in tokens(name))


def _near(names: set[str], parts: list[str], within: int = 3) -> bool:
    at = [(i, part) for i, part in enumerate(parts) if part in names]
    return any(b - a <= within and x != y for (a, x), (b, y) in pairwise(at))


def _letters(id: str) -> list[str]:
    """Letters and digits of an ID; without leading zeros, which people leave out, where enough is left to tell."""
    whole = "".join(c for c in fold(id) if c.isalnum())
    short = whole.lstrip("0")
    return list(short if len(short) >= LEAST_BARE else whole)


def _id_in(id: str, folded: str) -> bool:
    letters = _letters(id)
    if len(letters) < 4:
        return False
    between = r"[\s./_\-]?"
    spelling = rf"(?:0{between})*" + between.join(map(re.escape, letters))
    return re.search(rf"(?<![^\W_]){spelling}(?![^\W_])", folded) is not None


def _place_in(place: str, parts: list[str]) -> bool:
    if _phrase(place, parts):
        return True
    telling = {part for part in tokens(place) if len(part) >= 5 and part not in ordinary() and not part.isdigit()}
    return any(part in telling for part in parts)


def _phrase(phrase: str, parts: list[str]) -> bool:
    wanted = tokens(phrase)
    if sum(map(len, wanted)) < 4:
        return False
    return any(parts[i : i + len(wanted)] == wanted for i in range(len(parts) - len(wanted) + 1))


def _telling(text: str) -> bool:
    """Whether an attribute of no known kind is more than words anybody might write."""
    given = tokens(text)
    return len(text) >= 6 and (
        any(c.isdigit() for c in text) or len(given) == 1 or not all(part in ordinary() for part in given)
    )
