"""The JSON contract: what ``--json`` prints and ``report.json`` holds. Documented key by key in docs/json.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..records import (
    SCHEMA,
    Code,
    Evidence,
    Finding,
    Judged,
    Measurement,
    Producer,
    Reading,
    Region,
    Review,
    Sentence,
)


def public(reading: Reading, files: Mapping[str, str] | None = None, review: Review | None = None) -> dict[str, Any]:
    """A reading as plain JSON types, Case-only, in the order of docs/json.md.

    files   name -> path of what was written beside the reading (``page``, ``report``), given through unchanged.
    review  the signed review; adds the key ``review``, which no unsigned reading has.
    """
    judged = {j.sentence: j for j in reading.verdict.judged}
    evidence = {e.id: e for e in reading.evidence}
    out: dict[str, Any] = {
        "schema": SCHEMA,
        "id": reading.id,
        "version": reading.version,
        "status": reading.status,
        "mark": reading.mark if reading.status == "draft" else None,
        "created": reading.created,
        "modality": reading.case.modality,
        "view": reading.case.view,
        "findings": [_finding(f) for f in reading.findings],
        "evidence": [_evidence(e) for e in reading.evidence],
        "sentences": [_sentence(s, judged.get(s.id)) for s in reading.draft.sentences],
        "not_assessed": [{"what": n.what, "why": n.why, "evidence": n.evidence} for n in reading.not_assessed],
        "quality": [{"id": q, "text": evidence[q].text if q in evidence else ""} for q in reading.quality],
        "questions": list(reading.verdict.questions),
        "alerts": list(reading.verdict.alerts),
        "releases": list(reading.releases),
        "seconds": {room: round(s, 3) for room, s in reading.seconds},
        "files": dict(files or {}),
    }
    if review is not None:
        out["review"] = _review(review)
    return out


def _code(code: Code | None) -> dict[str, str] | None:
    return None if code is None else {"scheme": code.scheme, "value": code.value, "meaning": code.meaning}


def _producer(producer: Producer) -> dict[str, str | None]:
    return {"model": producer.model, "version": producer.version}


def _region(region: Region | None) -> dict[str, Any] | None:
    if region is None:
        return None
    box = list(region.box) if region.box else None
    return {"kind": region.kind, "image": region.image, "ref": region.ref, "label": region.label, "box": box}


def _measurement(m: Measurement) -> dict[str, Any]:
    return {"id": m.id, "code": _code(m.code), "value": m.value, "unit": m.unit}


def _finding(f: Finding) -> dict[str, Any]:
    return {
        "id": f.id,
        "code": _code(f.code),
        "presence": f.presence,
        "probability": f.probability,
        "score": f.score,
        "side": f.side,
        "site": _code(f.site),
        "region": _region(f.region),
        "measurements": [_measurement(m) for m in f.measurements],
        "producer": _producer(f.producer),
        "notes": list(f.notes),
    }


def _evidence(e: Evidence) -> dict[str, Any]:
    return {
        "id": e.id,
        "kind": e.kind,
        "text": e.text,
        "producer": _producer(e.producer),
        "confidence": e.confidence,
        "about": e.about,
        "image": e.image,
        "source": e.source,
        "date": e.date,
    }


def _sentence(s: Sentence, judged: Judged | None) -> dict[str, Any]:
    return {
        "id": s.id,
        "text": s.text,
        "section": s.section,
        "rests_on": list(s.rests_on),
        "producer": _producer(s.producer),
        "verdict": judged.verdict if judged else "unknown",
        "rule": judged.rule if judged else None,
        "reason": judged.reason if judged else "no rule has judged this sentence",
        "struck": [
            {"text": k.text, "rule": k.rule, "reason": k.reason, "producer": _producer(k.producer)}
            for k in (judged.struck if judged else ())
        ],
    }


def _review(review: Review) -> dict[str, Any]:
    return {
        "id": review.id,
        "by": review.by,
        "when": review.when,
        "source": review.source,
        "edits": [
            {"kind": e.kind, "target": e.target, "before": e.before, "after": e.after, "note": e.note}
            for e in review.edits
        ],
        "labels": [{"code": code, "presence": presence} for code, presence in review.labels],
        "ratings": dict(review.ratings),
        "seconds": review.seconds,
        "reading_sha256": review.reading_sha256,
        "public_key": review.public_key,
        "signature": review.signature,
    }
