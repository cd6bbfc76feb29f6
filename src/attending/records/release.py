"""TrainingSet, Candidate, Scores, Release: from reviews to a model that a person let in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Interval:
    """A figure with its interval at ``level`` (0.95), by the method named in the room that made it."""

    value: float
    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True)
class Example:
    """One labelled image: vector is the array_key of its image vector; group is the patient, or the image's digest
    where no patient is known; label 1 present, 0 absent."""

    case: str
    image: str
    group: str
    vector: str
    label: int
    review: str
    source: str
    subgroup: str | None = None


@dataclass(frozen=True)
class TrainingSet:
    """Examples of one task, split by group. sha256 is over the sorted examples and their parts."""

    task: str
    encoder: str
    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A trained head by hash. weights is the sha256 of its ONNX file in the store's objects."""

    id: str
    task: str
    encoder: str
    weights: str
    training: str
    sources: tuple[str, ...]
    created: str
    card: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Scores:
    """Candidate against the release it would replace, on the same held-out cases, paired.

    figures   metric -> candidate's interval; against the same for the release (empty if there is none);
    difference  metric -> candidate minus release, paired bootstrap; subgroups the same per subgroup.
    present  how many of the held-out cases have the finding; looks  how often held-out cases of this task have been
    used, this time included.
    """

    candidate: str
    release: str | None
    held_out: int
    held_out_sha256: str
    figures: tuple[tuple[str, Interval], ...]
    against: tuple[tuple[str, Interval], ...] = ()
    difference: tuple[tuple[str, Interval], ...] = ()
    subgroups: tuple[tuple[str, tuple[tuple[str, Interval], ...]], ...] = ()
    notes: tuple[str, ...] = ()
    present: int = 0
    looks: int = 1


@dataclass(frozen=True)
class Release:
    """A candidate with its scores and its state.

    status  "candidate" (tested, waits for a person), "refused" (why says so), "approved" (in use), "retired".
    previous  the release that it replaced: the way back.
    """

    id: str
    candidate: Candidate
    scores: Scores | None
    status: Literal["candidate", "refused", "approved", "retired"]
    why: str = ""
    previous: str | None = None
    approved_by: str | None = None
    approved_at: str | None = None
    signature: str = ""
