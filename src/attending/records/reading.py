"""Draft, Verdict, Reading, Review: from the first wording to the signature."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .finding import Evidence, Finding, NotAssessed, Producer
from .study import CaseFacts

DRAFT_MARK = "Draft by software, not a diagnosis. Not validated for clinical use."

Section = Literal["findings", "impression", "not_assessed", "quality"]
Judgement = Literal["supported", "contradicted", "unknown"]


@dataclass(frozen=True)
class Sentence:
    """One sentence and the ids of the evidence and findings it rests on.

    plain    the deterministic wording of the same facts, which stands in when the checker strikes ``text``.
    """

    id: str
    text: str
    section: Section
    rests_on: tuple[str, ...]
    producer: Producer = field(default_factory=Producer)
    plain: str = ""


@dataclass(frozen=True)
class Draft:
    """Sentences in reading order. writer says who worded them; prompt the template's id and version."""

    sentences: tuple[Sentence, ...]
    writer: Producer = field(default_factory=Producer)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Struck:
    """A wording that the checker did not let through, kept beside what replaced it."""

    text: str
    rule: str
    reason: str
    producer: Producer


@dataclass(frozen=True)
class Judged:
    """The verdict on one sentence, as it stands after any rewriting. rule is the rule that decided."""

    sentence: str
    verdict: Judgement
    rule: str
    reason: str
    struck: tuple[Struck, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Per sentence: supported, contradicted or unknown; and what a person must look at."""

    judged: tuple[Judged, ...]
    questions: tuple[str, ...] = ()
    abstentions: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """One reading of one case. Status "draft" until a signed Review makes it "final".

    version  1, 2 ... for the same case; a signed version is never replaced.
    label_names  array_key -> label value -> class name, for the label maps that regions refer to.
    seconds  room -> wall seconds.
    """

    id: str
    version: int
    created: str
    case: CaseFacts
    findings: tuple[Finding, ...]
    evidence: tuple[Evidence, ...]
    not_assessed: tuple[NotAssessed, ...]
    quality: tuple[str, ...]
    draft: Draft
    verdict: Verdict
    status: Literal["draft", "final"] = "draft"
    label_names: tuple[tuple[str, tuple[tuple[int, str], ...]], ...] = ()
    seconds: tuple[tuple[str, float], ...] = ()
    releases: tuple[str, ...] = ()
    mark: str = DRAFT_MARK


EditKind = Literal[
    "sentence_added",
    "sentence_removed",
    "sentence_changed",
    "sentence_moved",
    "finding_added",
    "finding_removed",
    "finding_flipped",
    "side_corrected",
    "value_corrected",
]
RATING_AXES = ("accuracy", "symptoms", "history", "severity", "urgency", "clarity")


@dataclass(frozen=True)
class Edit:
    """One structured difference. target is the sentence's, finding's or measurement's id.

    note  what a rule did in consequence of another edit ("restated by rule from finding f1"); empty for what the expert
          typed.
    """

    kind: EditKind
    target: str
    before: str | None
    after: str | None
    note: str = ""


@dataclass(frozen=True)
class Review:
    """What an expert, or an imported label, says of a reading.

    source     "person" or "imported:NAME"; an imported label is never a person's signature.
    labels     (finding code value, presence) after the review: what learning may use.
    ratings    axis of RATING_AXES -> 1..5.
    signature  Ed25519 over the final reading's sha256, by and when (hex); empty for imported labels.
    """

    id: str
    reading: str
    version: int
    by: str
    when: str
    source: str
    edits: tuple[Edit, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    ratings: tuple[tuple[str, int], ...] = ()
    seconds: float | None = None
    reading_sha256: str = ""
    public_key: str = ""
    signature: str = ""
