"""Questions about what was found and measured: numbers from Measurements alone, no judgement without a source."""

from __future__ import annotations

from ..records import Answer, Finding, Measurement, Reading
from .knowledge import facts
from .looking_up import (
    about,
    answered,
    cannot,
    cites,
    gate,
    is_structure,
    name,
    names_of,
    number,
    own_name,
    says,
    tells,
)
from .looking_up import unread as left_out
from .question import GENERAL, Question

PRESENCE = {"present": "Yes", "absent": "No", "uncertain": "Unclear"}
WANTED = {
    "volume": ("ml",), "share": ("%",), "percentage": ("%",), "percent": ("%",), "proportion": ("%",),
    "diameter": ("mm",), "density": ("[hnsf'U]",), "hu": ("[hnsf'U]",), "hounsfield": ("[hnsf'U]",),
    "long": ("mm",), "wide": ("mm",), "thick": ("mm",), "thickness": ("mm",), "length": ("mm",), "width": ("mm",),
}  # fmt: skip


def presence(question: Question, reading: Reading) -> Answer:
    found = about(question, reading)
    if not found:
        return _nobody_looked(question, reading)
    ordered = sorted(found, key=lambda f: ("present", "uncertain", "absent").index(f.presence))
    unsided = question.side is not None and all(f.side is None for f in ordered if f.presence != "absent")
    if unsided and any(f.presence != "absent" for f in ordered):
        return cannot(
            reading,
            f"no side was found out for {_names(ordered)}",
            "a model that tells sides, or an expert",
            cites(ordered[0], says(ordered[0], reading)),
            _said(ordered[0], reading),
        )
    if len(question.findings) == 1 and question.findings[0] not in GENERAL and not _exact(question, ordered):
        # asked for the general ("tumour"), looked for some of its kinds: absence of those does not deny the general
        if all(f.presence == "absent" for f in ordered):
            return cannot(
                reading,
                f"only {_names(ordered)} {'was' if len(ordered) == 1 else 'were'} looked for",
                "a model that looks for every kind, or an expert",
                _cited(ordered, reading),
                " ".join(_said(f, reading) + "." for f in ordered).rstrip("."),
            )
        ordered = [f for f in ordered if f.presence != "absent"] or ordered
    first = PRESENCE[ordered[0].presence]
    return answered(f"{first}. {' '.join(_said(f, reading) + '.' for f in ordered[:4])}", _cited(ordered[:4], reading))


def which(question: Question, reading: Reading) -> Answer:
    wrong = [f for f in reading.findings if not is_structure(f)]
    if question.organs:
        wrong = [f for f in about(question, reading) if not is_structure(f)]
    if not wrong:
        return _nobody_looked(question, reading)
    seen = [f for f in wrong if f.presence != "absent"]
    if not seen:
        return cannot(
            reading,
            f"nothing else than {_names(wrong)} was looked for",
            "a model or an expert for the rest",
            _cited(wrong, reading),
            " ".join(_said(f, reading) + "." for f in wrong[:6]).rstrip("."),
        )
    notes = (f"not assessed: {left_out(reading)}",) if reading.not_assessed else ()
    return answered(" ".join(_said(f, reading) + "." for f in seen[:6]), _cited(seen[:6], reading), notes)


def where(question: Question, reading: Reading) -> Answer:
    found = [f for f in about(question, reading) if f.presence == "present"]
    if not found:
        return _nobody_looked(question, reading, "was found present")
    places = []
    for finding in found[:4]:
        words = [w for w in (finding.side, finding.site.meaning.lower() if finding.site else None) if w]
        region = finding.region
        if region is not None and region.box is not None and region.kind != "heatmap":
            x0, y0, z0, x1, y1, z1 = region.box
            words.append(f"voxels x {x0} to {x1}, y {y0} to {y1}, z {z0} to {z1} of image {region.image}")
        if words:
            places.append(f"{name(finding)}: {', '.join(words)}")
    asks_side = {"left", "right", "side"} & question.words
    if not places or (asks_side and not any(f.side for f in found)):
        return cannot(
            reading,
            "no place finer than the image was found out",
            "a segmenter or an expert",
            _cited(found, reading),
            "; ".join(places),
        )
    return answered("; ".join(places), _cited(found[:4], reading))


def size(question: Question, reading: Reading) -> Answer:
    found = about(question, reading)
    units = next((units for word, units in WANTED.items() if word in question.words), ())
    measured = [(f, m) for f in found for m in f.measurements if not units or m.unit in units]
    if not measured:
        if not found:
            return _nobody_looked(question, reading)
        gone = [f for f in found if f.presence == "absent"]
        if len(gone) == len(found):
            return cannot(reading, f"{_names(gone)} was not found", "a finding to measure", _cited(gone, reading))
        return cannot(
            reading,
            f"{_names(found)} was not measured so",
            "a mask (attending segment, attending measure) and a known spacing",
            _cited(found, reading),
        )
    said = [_told(f, m, reading) for f, m in measured[:4]]
    cited = tuple(i for f, m in measured[:4] for i in cites(m, tells(m, reading), f))
    if question.side and all(f.side is None for f, _ in measured):
        return cannot(
            reading, "it was measured on both sides together", "a model that tells sides", cited, "; ".join(said)
        )
    return answered("; ".join(said), cited)


def bigger(question: Question, reading: Reading) -> Answer:
    sized = [(m.value, f, m) for f in about(question, reading, False) for m in f.measurements if m.unit == "ml"]
    if len(sized) < 2 or len({own_name(f) for _, f, _ in sized}) < len(set(question.organs)):
        return cannot(reading, "their sizes were not all measured", "volumes of each: a segmenter for them")
    sized.sort(key=lambda item: -item[0])
    value, finding, _ = sized[-1] if {"smaller", "smallest"} & question.words else sized[0]
    cited = tuple(i for _, f, m in sized for i in cites(m, f))
    all_of_them = "; ".join(f"{name(f)} {number(m.value)} ml" for _, f, m in sized)
    return answered(f"{name(finding)}, {number(value)} ml ({all_of_them})", cited)


def count(question: Question, reading: Reading) -> Answer:
    general = set(question.findings) & GENERAL or {"findings", "abnormality"} & question.words
    if general and not question.organs:
        seen = [f for f in reading.findings if not is_structure(f) and f.presence == "present"]
        if any(not is_structure(f) for f in reading.findings):
            text = f"{len(seen)} finding{'' if len(seen) == 1 else 's'} present of those that were looked for"
            return answered(
                f"{text}: {_names(seen)}" if seen else text,
                _cited(seen or list(reading.findings), reading),
                (f"not assessed: {left_out(reading)}",),
            )
    counted = [(f, m) for f in about(question, reading) for m in f.measurements if "number" in m.code.meaning.lower()]
    if counted:
        return answered(
            "; ".join(_told(f, m, reading) for f, m in counted), tuple(i for f, m in counted for i in cites(m, f))
        )
    return cannot(
        reading,
        "a model's word is for the image as a whole, not for each one",
        "outlines of each: attending segment, then attending measure",
        _cited(about(question, reading), reading),
    )


def certainty(question: Question, reading: Reading) -> Answer:
    found = about(question, reading) or [f for f in reading.findings if f.probability is not None]
    rated = [f for f in found if f.probability is not None or f.score is not None]
    if not rated:
        return cannot(reading, "no probability or score was given", "a calibrated model", _cited(found, reading))
    return answered(" ".join(_said(f, reading) + "." for f in rated[:4]), _cited(rated[:4], reading))


def how_found(question: Question, reading: Reading) -> Answer:
    found = about(question, reading) or list(reading.findings)
    if not found:
        return cannot(reading, "nothing was found or measured", "an admitted model")
    makers = dict.fromkeys(
        f"{f.producer.model} {f.producer.version}" if f.producer.model else "a rule or an expert" for f in found
    )
    return answered(f"By {', '.join(makers)}", _cited(found[:4], reading))


def normal(question: Question, reading: Reading) -> Answer:
    found = about(question, reading)
    if question.side and all(f.side is None for f in found):
        return cannot(reading, "no side was told apart", "a model that tells sides, or an expert")
    wrong = [f for f in found if not is_structure(f) and f.presence == "present"]
    if wrong:
        return answered(
            "Not normal. " + " ".join(_said(f, reading) + "." for f in wrong[:4]), _cited(wrong[:4], reading)
        )
    for finding in found:
        for fact in facts():
            if fact.kind != "range" or fact.about not in names_of(finding.code.meaning)[1]:
                continue
            for m in finding.measurements:
                if m.unit == fact.unit and fact.measure.lower() in m.code.meaning.lower():
                    inside = (fact.low is None or m.value >= fact.low) and (fact.high is None or m.value <= fact.high)
                    text = f"{_told(finding, m, reading)}, {'inside' if inside else 'outside'} the published limit"
                    notes = (fact.text, f"source: {fact.source} ({fact.date})")
                    return answered(text, (*cites(m, finding), f"fact:{fact.id}"), notes)
    measured = [(f, m) for f in found for m in f.measurements][:2]
    if measured:
        return cannot(
            reading,
            "no cited reference range for it is installed",
            "a reference range by age and sex with its source",
            tuple(i for f, m in measured for i in cites(m, f)),
            "; ".join(_told(f, m, reading) for f, m in measured),
        )
    absent = [f for f in found if f.presence == "absent"]
    if absent:
        return cannot(
            reading,
            f"only {_names(absent)} was looked for",
            "a model or an expert for the rest",
            _cited(absent, reading),
            " ".join(_said(f, reading) + "." for f in absent[:4]).rstrip("."),
        )
    return _nobody_looked(question, reading)


def _nobody_looked(
    question: Question, reading: Reading, happened: str = "was looked for by an admitted model"
) -> Answer:
    asked = " or ".join((*question.findings, *question.organs)) or "that"
    return cannot(
        reading,
        f"nothing of the kind ({asked}) {happened} on this study",
        f"a model for it on {reading.case.modality}, or an expert",
        cites(*reading.not_assessed[:1]) or cites(gate(reading)),
    )


def _exact(question: Question, found: list[Finding]) -> bool:
    """Some finding is the very thing that was asked for, not only a kind of it."""
    from .question import understand

    return any(set(question.findings) & set(understand(f.code.meaning).findings) for f in found)


def _said(finding: Finding, reading: Reading) -> str:
    """The evidence's words; they hold without the image."""
    evidence = says(finding, reading)
    if evidence is not None and evidence.kind == "expert":
        return evidence.text.rstrip(".")
    if is_structure(finding):
        return f"{name(finding)} was outlined by {finding.producer.model or 'a person'}"
    return evidence.text.rstrip(".") if evidence is not None else f"{name(finding)} {finding.presence}"


def _told(finding: Finding, measurement: Measurement, reading: Reading) -> str:
    what = measurement.code.meaning
    unit = {"[hnsf'U]": " HU", "%": " %", "1": ""}.get(measurement.unit, f" {measurement.unit}")
    return f"{name(finding)}: {what[:1].lower() + what[1:]} {number(measurement.value)}{unit}"


def _names(found: list[Finding]) -> str:
    return ", ".join(dict.fromkeys(name(f).lower() for f in found))


def _cited(found: list[Finding], reading: Reading) -> tuple[str, ...]:
    return tuple(i for f in found for i in cites(f, says(f, reading)))
