"""Small records for the store's tests."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from attending.records import (
    Candidate,
    CaseFacts,
    Draft,
    ImageFacts,
    Reading,
    Release,
    Review,
    SourceFile,
    Study,
    Verdict,
)

VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
ARRAY = (VOXELS > 11).astype(np.uint8)


def reading(version: int, id: str = "c0ffee", status: Any = "draft") -> Reading:
    image = ImageFacts("i1", VOXELS.shape, None, None, "CT")
    return Reading(
        id=id,
        version=version,
        created="2026-01-01T00:00:00+00:00",
        case=CaseFacts(id, "patient", "dicom", (image,)),
        findings=(),
        evidence=(),
        not_assessed=(),
        quality=(),
        draft=Draft(()),
        verdict=Verdict(()),
        status=status,
    )


def review(id: str, reading: str = "c0ffee", version: int = 1) -> Review:
    return Review(id, reading, version, "demo", "2026-01-01T00:00:00+00:00", "person", signature="ab")


def release(id: str, weights: bytes) -> Release:
    sha256 = hashlib.sha256(weights).hexdigest()
    candidate = Candidate(id, "task", "space", sha256, "0" * 64, ("imported:set",), "2026-01-01T00:00:00+00:00")
    return Release(id, candidate, None, "candidate")


def study(*contents: bytes, name: str = "a.dcm") -> Study:
    files = tuple(SourceFile(f"{n}/{name}", data, hashlib.sha256(data).hexdigest()) for n, data in enumerate(contents))
    digest = hashlib.sha256("".join(sorted(f.sha256 for f in files)).encode()).hexdigest()
    return Study("dicom", digest, files, (), ("a fact",), None, (("modality", "MR"),))
