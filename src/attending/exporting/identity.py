"""Whom a reading is of: shown to a person whose role allows it, never kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..records import Study


@dataclass(frozen=True)
class Identity:
    """Three lines about the patient, empty where the source says nothing. Not printed by accident: ``repr`` is masked.

    Iterating gives (label, value) pairs.
    """

    name: str = field(repr=False)
    id: str = field(repr=False)
    birth_date: str = field(repr=False)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter((("name", self.name), ("patient_id", self.id), ("birth_date", self.birth_date)))


def identity(study: Study) -> Identity:
    """The patient of a decoded Study, or of one as the vault gives it back; empty for pictures and NIfTI."""
    from .source import header_of, quiet, text_of

    with quiet():
        header = header_of(study)
        named, born = text_of(header, "PatientName"), text_of(header, "PatientBirthDate")
        number = text_of(header, "PatientID")
    if len(born) == 8 and born.isdigit():
        born = f"{born[:4]}-{born[4:6]}-{born[6:]}"
    return Identity(named, number, born)
