"""Readings made by hand for the tests of exporting: a picture with a heat map, and a volume with a label map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attending.records import (
    CaseFacts,
    Code,
    Draft,
    Edit,
    Evidence,
    Finding,
    Image,
    ImageFacts,
    Judged,
    Measurement,
    NotAssessed,
    Producer,
    Reading,
    Region,
    Review,
    Sentence,
    Struck,
    Verdict,
    array_key,
)

HOSTILE = "A glioma is seen</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>."
DETECTOR = Producer("echo-detector", "1.0")
WRITER = Producer("echo-writer", "1.0", "sentence/1")
Sample = tuple[Reading, dict[str, Image], dict[str, Any]]


def picture(use: str = "care", hostile: str = HOSTILE) -> Sample:
    """One 2-D picture: a glioma with a heat map, an absent meningioma, one struck wording."""
    rng = np.random.default_rng(7)
    voxels = rng.integers(0, 255, (1, 60, 80)).astype(np.uint16)
    heat = np.zeros((1, 60, 80), np.float32)
    heat[0, 20:30, 40:60] = 1.0
    facts = ImageFacts("i1", voxels.shape, None, None, "MR", "AXIAL", "HEAD")
    findings = (
        Finding(
            "f1",
            Code("SCT", "393564001", "Glioma"),
            "present",
            score=0.97,
            region=Region("heatmap", "i1", array_key(heat), box=(40, 20, 0, 59, 29, 0)),
            producer=DETECTOR,
            notes=("score not calibrated",),
        ),
        Finding("f2", Code("SCT", "302820008", "Meningioma"), "absent", score=0.01, producer=DETECTOR),
    )
    evidence = (
        Evidence("e1", "gate", "An axial MR slice of the head: admitted"),
        Evidence("e2", "finding", "Glioma present, uncalibrated score 0.97", DETECTOR, None, "f1", "i1"),
        Evidence("e3", "finding", "Meningioma absent", DETECTOR, None, "f2", "i1"),
        Evidence("e4", "quality", "Spacing unknown"),
    )
    sentences = (
        Sentence("s1", hostile, "findings", ("f1", "e1"), WRITER),
        Sentence("s2", "No meningioma is seen.", "findings", ("e3",), WRITER),
        Sentence("s3", "A glioma and no meningioma.", "impression", ("e2", "e3"), WRITER),
        Sentence("s4", "Haemorrhage was not assessed.", "not_assessed", ("e1",)),
    )
    struck = Struck("There is no glioma.", "negation_agrees", "e2 says present", WRITER)
    judged = (
        Judged("s1", "supported", "findings_named", "e2 holds the glioma", (struck,)),
        Judged("s2", "supported", "negation_agrees", "absent in e3"),
        Judged("s3", "contradicted", "side_agrees", "a reason"),
    )
    case = CaseFacts("c0ffee00c0ffee00", "p1", "picture", (facts,), use=use, pixels_checked=False)
    reading = Reading(
        case.id,
        1,
        "2026-01-02T03:04:05+00:00",
        case,
        findings,
        evidence,
        (NotAssessed("haemorrhage", "no admitted model", "e1"),),
        ("e4",),
        Draft(sentences, WRITER),
        Verdict(judged, questions=("Was contrast given?",)),
        seconds=(("tasks", 0.5), ("drafting", 1.25)),
    )
    return reading, {"i1": Image(facts, voxels)}, {array_key(heat): heat}


LPS = ((2.0, 0.0, 0.0, -40.0), (0.0, 1.0, 0.0, -20.0), (0.0, 0.0, 3.0, -30.0), (0.0, 0.0, 0.0, 1.0))


def volume(
    shape: tuple[int, int, int] = (20, 32, 40),
    affine: tuple[tuple[float, ...], ...] | None = LPS,
    source: tuple[tuple[int, int], ...] = (),
    facts: ImageFacts | None = None,
    voxels: Any = None,
) -> Sample:
    """A volume (z, y, x) with two labelled blocks and a third label that has no voxel."""
    if voxels is None:
        voxels = np.random.default_rng(3).integers(0, 900, shape).astype(np.int16)
    if facts is None:
        spacing = None if affine is None else (2.0, 1.0, 3.0)
        facts = ImageFacts("i1", voxels.shape, affine, spacing, "MR", "AXIAL", "HEAD", source=source)
    z, y, x = voxels.shape[:3]
    labels = np.zeros((z, y, x), np.uint8)
    labels[z // 4 : z // 2 + 1, y // 4 : y // 2, x // 8 : x // 4] = 2
    labels[z // 2 :, y // 2 : y // 2 + 5, x // 2 : x // 2 + 6] = 5
    key = array_key(labels)
    names = ((2, "Left-Thing"), (5, "Right-Thing"), (9, "Nothing"))
    findings, evidence = [], [Evidence("g", "gate", "A T1 head: admitted")]
    for n, (value, name) in enumerate(names, start=1):
        ml = round(float((labels == value).sum()) * 6.0 / 1000.0, 3)
        inside = np.argwhere(labels == value)
        box = None
        if inside.size:
            low, high = inside.min(0), inside.max(0)
            box = (int(low[2]), int(low[1]), int(low[0]), int(high[2]), int(high[1]), int(high[0]))
        measured = Measurement(Code("SCT", "118565006", "Volume"), ml, "ml", f"m{n}")
        findings.append(
            Finding(
                f"f{n}",
                Code("SCT", "12738006", name),
                "present" if inside.size else "uncertain",
                side=("left", "right", None)[n - 1],  # type: ignore[arg-type]
                region=Region("mask", "i1", key, value, box),
                measurements=(measured,),
                producer=Producer("echo-segmenter", "2.0"),
            )
        )
        evidence.append(Evidence(f"e{n}", "measurement", f"{name}: {ml} ml", DETECTOR, None, f"m{n}", "i1"))
    sentences = tuple(
        Sentence(f"s{n}", f"{name} measured.", "findings", (f"m{n}",)) for n, (_, name) in enumerate(names, 1)
    )
    judged = tuple(Judged(s.id, "supported", "numbers_agree", "the number is cited") for s in sentences)
    kind = "dicom" if facts.source else "nifti"
    case = CaseFacts("deadbeef00112233", "p2", kind, (facts,), date="2019-03-04", age_years=63, sex="F")
    reading = Reading(
        case.id,
        2,
        "2026-01-02T03:04:05+00:00",
        case,
        tuple(findings),
        tuple(evidence),
        (),
        (),
        Draft(sentences),
        Verdict(judged),
        label_names=((key, names),),
    )
    return reading, {"i1": Image(facts, voxels)}, {key: labels}


def signed(reading: Reading) -> tuple[Reading, Review]:
    """The same reading as final, and the review that made it so (the signature is not a real one)."""
    review = Review(
        "r1",
        reading.id,
        reading.version,
        "Dr Demo",
        "2026-01-03T10:00:00+00:00",
        "person",
        (Edit("sentence_changed", "s1", "before", "after"),),
        (("393564001", "present"),),
        (("accuracy", 4),),
        61.5,
        "ab" * 32,
        "cd" * 32,
        "ef" * 64,
    )
    return replace(reading, status="final"), review
