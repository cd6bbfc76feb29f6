"""Study (identified, as received) and Case (what models may see): two types, never taken for each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .image import Image, ImageFacts

NO_PATIENT = "no patient ID: the patient's surrogate stands for this study alone"
"""The note of a DICOM case whose patient is not named: two such studies may be of one person."""


@dataclass(frozen=True, eq=False)
class SourceFile:
    """One file exactly as received. name is shown to nobody outside the vault. sha256 is over data."""

    name: str
    data: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True, eq=False)
class Stack:
    """Decoded voxels of one geometrically coherent stack, with the identified header of its first instance.

    image    voxels and geometry; ``image.id`` is "i1", "i2" ... in the Study's order.
    header   pydicom.Dataset without pixel data (None for NIfTI and pictures). Leaves ``intake`` only towards
             ``deidentify`` and ``exporting``.
    """

    image: Image
    header: Any = field(repr=False, default=None)


@dataclass(frozen=True, eq=False)
class Study:
    """One patient's study, identified, exactly as received. Lives in ``store.vault``; models never see it.

    kind      "dicom", "nifti" or "picture".
    digest    sha256 over the sorted sha256 of the files: the same bytes give the same digest.
    files     in the order that ``ImageFacts.source`` counts.
    given     UIDs and facts that were missing and were given here, in words.
    restored  per file of files, the DICOM attributes that were missing and were given: (keyword, value) pairs; a
              dataset read from the file again must be completed with them. Empty for NIfTI and pictures.
    """

    kind: str
    digest: str
    files: tuple[SourceFile, ...]
    stacks: tuple[Stack, ...]
    given: tuple[str, ...] = ()
    licence: str | None = None
    declared: tuple[tuple[str, str], ...] = ()
    restored: tuple[tuple[tuple[str, str], ...], ...] = ()

    def __repr__(self) -> str:
        return f"Study(<identified>, kind={self.kind!r}, {len(self.files)} files)"

    __str__ = __repr__


@dataclass(frozen=True)
class CaseFacts:
    """What may be known of a case outside the vault: an allow-list, never a copy with deletions.

    id        keyed surrogate of the Study's digest; also the reading's id.
    patient   keyed surrogate of the patient, or of the Study where no patient is named.
    date      study date shifted by a per-patient number of days, ISO 8601; intervals are kept. None where unknown.
    age_years whole years, 90 for 90 and above; None where unknown.
    sex       "F", "M", "O" or None.
    pixels_checked  False: "pixels not checked for burned-in text"; kept out of prompts, search and learning.
    use       what the source's licence allows: "care" (a patient's study), "view" (no licence stated: view locally
              only), or "teach" (licensed for training).
    source    None, or the catalog id of the data set that the case came from.
    """

    id: str
    patient: str
    kind: str
    images: tuple[ImageFacts, ...]
    date: str | None = None
    age_years: int | None = None
    sex: str | None = None
    manufacturer: str | None = None
    pixels_checked: bool = True
    use: str = "care"
    source: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def modality(self) -> str:
        return self.images[0].modality

    @property
    def view(self) -> str | None:
        return self.images[0].view


@dataclass(frozen=True, eq=False)
class Case:
    """What models and learners may see."""

    facts: CaseFacts
    images: tuple[Image, ...]

    @property
    def id(self) -> str:
        return self.facts.id
