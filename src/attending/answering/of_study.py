"""Questions about the study itself: how it was made, of what, of whom, and what everybody knows of it."""

from __future__ import annotations

from ..records import Answer, ImageFacts, Reading
from .knowledge import known
from .looking_up import answered, cannot, cites, gate
from .looking_up import unread as left_out
from .question import Question

NAMES = {
    "CT": "CT", "MR": "MR (magnetic resonance imaging)", "CR": "CR (computed radiography, an X-ray)",
    "DX": "DX (digital radiography, an X-ray)", "US": "US (ultrasound)", "NM": "NM (nuclear medicine)",
    "PT": "PT (positron emission tomography)", "MG": "MG (mammography)", "XA": "XA (X-ray angiography)",
}  # fmt: skip
ASKED = {
    "CT": {"ct", "computed"}, "MR": {"mr", "mri", "magnetic"}, "US": {"ultrasound", "sonogram"},
    "CR DX MG XA RF": {"xray", "radiograph", "x", "radiography"}, "PT": {"pet"},
}  # fmt: skip
PLANES = {
    "AXIAL": {"axial", "transverse"},
    "CORONAL": {"coronal"},
    "SAGITTAL": {"sagittal"},
    "PA": {"pa"},
    "AP": {"ap"},
}
PARTS = {
    "HEAD": {"head", "brain", "skull"}, "CHEST": {"chest", "lung", "thorax"}, "ABDOMEN": {"abdomen", "abdominal"},
    "NECK": {"neck"}, "PELVIS": {"pelvis", "pelvic"}, "SPINE": {"spine", "spinal"}, "KNEE": {"knee"},
    "SHOULDER": {"shoulder"}, "HAND": {"hand"}, "FOOT": {"foot"}, "HIP": {"hip"},
}  # fmt: skip


def modality(question: Question, reading: Reading) -> Answer:
    facts = reading.case.images[0]
    if facts.modality == "OT":
        return cannot(reading, "the modality is not stated", "a declared modality (--modality)", cites(gate(reading)))
    asked = [modalities for modalities, words in ASKED.items() if words & question.words]
    fits = [modalities for modalities in asked if facts.modality in modalities.split()]
    return answered(
        f"{_yes_or_no(asked, fits)}The modality is {NAMES.get(facts.modality, facts.modality)}", cites(gate(reading))
    )


def plane(question: Question, reading: Reading) -> Answer:
    facts = reading.case.images[0]
    if facts.view is None:
        return cannot(
            reading,
            "neither the header nor the geometry says the plane or view",
            "a declared view (--view)",
            cites(gate(reading)),
        )
    asked = [view for view, words in PLANES.items() if words & question.words]
    return answered(
        f"{_yes_or_no(asked, [v for v in asked if v == facts.view])}The view is {facts.view}", cites(gate(reading))
    )


def weighting(question: Question, reading: Reading) -> Answer:
    facts = reading.case.images[0]
    if facts.modality == "OT":
        return cannot(reading, "the modality is not stated", "a declared modality (--modality)", cites(gate(reading)))
    if facts.modality != "MR":
        return answered(f"The modality is {facts.modality}: only MR has a weighting", cites(gate(reading)))
    if facts.sequence is None:
        return cannot(reading, "the sequence is not stated", "a header that states it", cites(gate(reading)))
    asked = sorted({"t1", "t2", "flair"} & question.words)
    fits = [word for word in asked if facts.sequence.lower().startswith(word)]
    return answered(f"{_yes_or_no(asked, fits)}The sequence is {facts.sequence}", cites(gate(reading)))


def body_part(question: Question, reading: Reading) -> Answer:
    facts = reading.case.images[0]
    if facts.body_part is None:
        return cannot(
            reading, "the body part is not stated", "a declared body part (--body-part)", cites(gate(reading))
        )
    asked = [part for part, words in PARTS.items() if words & question.words]
    fits = [part for part in asked if part == facts.body_part]
    return answered(f"{_yes_or_no(asked, fits)}The body part is {facts.body_part}", cites(gate(reading)))


def patient(question: Question, reading: Reading) -> Answer:
    case = reading.case
    if {"old", "age"} & question.words:
        if case.age_years is None:
            return cannot(reading, "the age is not stated", "a header that states it", cites(gate(reading)))
        over = " or more" if case.age_years >= 90 else ""
        return answered(f"The patient's age is {case.age_years}{over} years", cites(gate(reading)))
    if case.sex is None:
        return cannot(reading, "the sex is not stated", "a header that states it", cites(gate(reading)))
    return answered(f"The patient's sex is recorded as {case.sex}", cites(gate(reading)))


def matrix(question: Question, reading: Reading) -> Answer:
    facts = reading.case.images[0]
    planes, rows, columns = facts.shape[:3]
    said = f"{planes} plane{'s' if planes > 1 else ''} of {columns} x {rows} pixels"
    if facts.spacing is None:
        return answered(f"{said}; the spacing is not known", cites(gate(reading)))
    x, y, z = facts.spacing
    apart = f", planes {z:.4g} mm apart" if planes > 1 and facts.axis == "space" else ""
    return answered(f"{said}; a pixel is {x:.4g} x {y:.4g} mm{apart}", cites(gate(reading)), _others(reading))


def quality(question: Question, reading: Reading) -> Answer:
    noted = [e for e in reading.evidence if e.id in reading.quality]
    if not noted:
        return cannot(
            reading, "nothing was noted on quality, which does not prove that it is good", "somebody who looks"
        )
    return answered(" ".join(e.text.rstrip(".") + "." for e in noted), cites(*noted))


def radiation(question: Question, reading: Reading) -> Answer:
    fact = known("radiation", reading.case.modality)
    if fact is None:
        return cannot(reading, f"no fact on the radiation of {reading.case.modality} is installed", "one with a source")
    notes = (f"source: {fact.source} ({fact.date})", *_stale(fact.stale, fact.expires))
    return answered(
        f"{fact.text}; the dose of this study is not known here", (*cites(gate(reading)), f"fact:{fact.id}"), notes
    )


def function(question: Question, reading: Reading) -> Answer:
    shown = any(word in question.words for word in ("image", "picture", "scan", "shown", "film", "here", "main"))
    fact = next((f for o in question.organs if (f := known("function", o))), None)
    if fact is None or (shown and not question.organs):
        why = "which organ is meant can only be seen" if not question.organs else "no fact on it is installed"
        return cannot(reading, why, "the organ's name" if not question.organs else "a fact with its source")
    return answered(
        fact.text, (f"fact:{fact.id}",), (f"source: {fact.source} ({fact.date})", *_stale(fact.stale, fact.expires))
    )


def unread(question: Question, reading: Reading) -> Answer:
    if not reading.not_assessed:
        return cannot(reading, "the reading lists nothing as not assessed", "the images")
    return answered(f"Not assessed: {left_out(reading)}", cites(*reading.not_assessed))


def _yes_or_no(asked: list[str], fits: list[str]) -> str:
    """Only for a question that names one possibility: "is this a CT?"."""
    return "" if len(asked) != 1 else "Yes. " if fits else "No. "


def _others(reading: Reading) -> tuple[str, ...]:
    more: tuple[ImageFacts, ...] = reading.case.images[1:]
    return (f"the study has {len(more)} further image{'s' if len(more) > 1 else ''}",) if more else ()


def _stale(stale: bool, expires: str) -> tuple[str, ...]:
    return (f"this fact was to be checked by {expires}",) if stale else ()
