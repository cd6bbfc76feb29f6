"""Finding and Evidence: what a sentence may rest on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

# A softmax in float32 can end a hair above 1; anything further off is no score.
ROUNDING = 1e-6

Presence = Literal["present", "absent", "uncertain"]
Side = Literal["left", "right", "bilateral"]


@dataclass(frozen=True)
class Code:
    """A coded concept: scheme is a DICOM coding scheme designator (SCT, DCM, LN, RADLEX, FMA, 99ATTENDING)."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Measurement:
    """One number, finite. unit is UCUM: "mm", "ml", "%", "1", "[hnsf'U]"."""

    code: Code
    value: float
    unit: str
    id: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"a measurement of {self.value}; a measurement is a finite number")


@dataclass(frozen=True)
class Producer:
    """What made a finding or a sentence; model is None for rules."""

    model: str | None = None
    version: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Region:
    """Where a finding is.

    kind   "mask" (ref is the array_key of a label map on the image's grid, label the value in it), "heatmap" (ref is
           the array_key of a float32 (z, y, x) map in 0..1) or "box".
    box    voxel indices (x0, y0, z0, x1, y1, z1), inclusive; the bounding box for masks and heat maps.
    """

    kind: Literal["mask", "heatmap", "box"]
    image: str
    ref: str | None = None
    label: int | None = None
    box: tuple[int, int, int, int, int, int] | None = None


@dataclass(frozen=True)
class Finding:
    """One thing seen, not seen, or unclear. probability is calibrated or None; score is the model's raw number."""

    id: str
    code: Code
    presence: Presence
    probability: float | None = None
    score: float | None = None
    side: Side | None = None
    site: Code | None = None
    region: Region | None = None
    measurements: tuple[Measurement, ...] = ()
    producer: Producer = field(default_factory=Producer)
    notes: tuple[str, ...] = ()


EvidenceKind = Literal[
    "finding", "measurement", "gate", "quality", "context", "prior", "similar", "fact", "expert", "answer"
]


@dataclass(frozen=True)
class Evidence:
    """Anything a sentence may cite, with an id.

    text    what it says, in words that hold without the image.
    about   the id of the Finding or Measurement that it carries, where it carries one.
    image   the id of the image it was seen on, where there is one.
    source  for facts: the citation; date: when the source was published or the fact was obtained (ISO 8601).
    """

    id: str
    kind: EvidenceKind
    text: str
    producer: Producer = field(default_factory=Producer)
    confidence: float | None = None
    about: str | None = None
    image: str | None = None
    source: str | None = None
    date: str | None = None


@dataclass(frozen=True)
class NotAssessed:
    """What nobody looked at, and why; evidence is the id of the gate's evidence it rests on."""

    what: str
    why: str
    evidence: str


@dataclass(frozen=True, eq=False)
class Findings:
    """What ``tasks.find`` hands on.

    arrays  array_key -> label map or heat map that regions refer to; the store keeps them beside the reading.
    quality ids of evidence of kind "quality", in order.
    """

    findings: tuple[Finding, ...]
    evidence: tuple[Evidence, ...]
    not_assessed: tuple[NotAssessed, ...] = ()
    quality: tuple[str, ...] = ()
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    label_names: tuple[tuple[str, tuple[tuple[int, str], ...]], ...] = ()


@dataclass(frozen=True, eq=False)
class Detection:
    """One class score of a Detector. score in 0..1; calibrated says whether it is a probability.

    heatmap  float32 (z, y, x) in 0..1 on the image's grid: what the score depends on; or None.
    possible  the answers that a conformal set at a stated coverage leaves, or None where none is promised.
    """

    code: Code
    score: float
    calibrated: bool = False
    heatmap: NDArray[Any] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    possible: tuple[Presence, ...] | None = None

    def __post_init__(self) -> None:
        if not -ROUNDING <= self.score <= 1.0 + ROUNDING:  # false for NaN too
            raise ValueError(f"a score of {self.score}; a score lies between 0 and 1")
