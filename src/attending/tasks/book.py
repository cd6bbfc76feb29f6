"""The book that the steps write into: ids in order, one piece of evidence for every finding and every measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from ..records import (
    Code,
    Evidence,
    Finding,
    Findings,
    Measurement,
    NotAssessed,
    Presence,
    Producer,
    Region,
    Side,
    array_key,
)
from ..records.finding import EvidenceKind


@dataclass
class Book:
    """Filled from top to bottom: the same case and the same models give the same ids."""

    findings: list[Finding] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    not_assessed: list[NotAssessed] = field(default_factory=list)
    quality: list[str] = field(default_factory=list)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    label_names: dict[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)
    measured: int = 0

    def note(self, kind: EvidenceKind, text: str, **more: Any) -> str:
        """A piece of evidence; its id."""
        id = f"e{len(self.evidence) + 1}"
        self.evidence.append(Evidence(id, kind, text, **more))
        if kind == "quality":
            self.quality.append(id)
        return id

    def found(
        self,
        code: Code,
        presence: Presence,
        text: str,
        *,
        image: str,
        producer: Producer,
        measurements: Sequence[tuple[Measurement, str]] = (),
        probability: float | None = None,
        score: float | None = None,
        side: Side | None = None,
        site: Code | None = None,
        region: Region | None = None,
        notes: tuple[str, ...] = (),
    ) -> str:
        """A finding with its evidence, and its measurements (each with the words for it) with theirs; its id."""
        id = f"f{len(self.findings) + 1}"
        numbered = []
        for measurement, _ in measurements:
            self.measured += 1
            numbered.append(replace(measurement, id=f"m{self.measured}"))
        self.findings.append(
            Finding(
                id=id,
                code=code,
                presence=presence,
                probability=probability,
                score=score,
                side=side,
                site=site,
                region=region,
                measurements=tuple(numbered),
                producer=producer,
                notes=notes,
            )
        )
        self.note("finding", text, about=id, image=image, producer=producer, confidence=probability)
        for measurement, (_, words) in zip(numbered, measurements, strict=True):
            self.note("measurement", words, about=measurement.id, image=image, producer=producer)
        return id

    def keep(self, array: NDArray[Any], names: Mapping[int, str] | None = None) -> str:
        """Keep a label map or heat map beside the reading; its key."""
        key = array_key(array)
        self.arrays[key] = array
        if names:
            self.label_names[key] = tuple(sorted((int(v), n) for v, n in names.items()))
        return key

    def leave(self, what: str, why: str, evidence: str) -> None:
        """Say once that something was not assessed."""
        item = NotAssessed(what, why, evidence)
        if item not in self.not_assessed:
            self.not_assessed.append(item)

    def close(self) -> Findings:
        return Findings(
            findings=tuple(self.findings),
            evidence=tuple(self.evidence),
            not_assessed=tuple(self.not_assessed),
            quality=tuple(self.quality),
            arrays=dict(self.arrays),
            label_names=tuple(self.label_names.items()),
        )
