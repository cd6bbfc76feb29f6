"""The deterministic writer: one plain English sentence per fact, from templates that hold no judgement."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Finding, Measurement
from .facts import is_of_head, structure_name

_UNITS = {"[hnsf'U]": "HU", "1": "", "deg": "degrees", "cm3": "ml"}


def number(value: float, unit: str) -> str:
    """Rounded as it is read: volumes to 0.1 ml below 100 ml, whole above; lengths to 0.1 mm; ratios to two places."""
    if unit in {"ml", "cm3"}:
        text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"
    elif unit in {"mm", "%", "deg"}:
        text = f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"
    elif unit == "[hnsf'U]":
        text = f"{value:.0f}"
    else:
        text = f"{value:.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.2f}"
    return text


def quantity(m: Measurement) -> str:
    unit = _UNITS.get(m.unit, m.unit)
    return f"{number(m.value, m.unit)} {unit}".strip()


def lower(name: str) -> str:
    """Lower case but for acronyms: "Cerebral White Matter" -> "cerebral white matter", "CSF" stays."""
    return " ".join(w if sum(c.isupper() for c in w) > 1 else w.lower() for w in name.split())


def named(finding: Finding) -> str:
    """The finding with its side, lower case unless an acronym: "left pleural effusion"."""
    name = lower(finding.code.meaning)
    return f"{finding.side} {name}" if finding.side and finding.side not in name.lower() else name


def where(finding: Finding) -> str:
    if finding.site is None:
        return ""
    site = finding.site.meaning.removesuffix(" structure")
    own = finding.code.meaning.lower()
    if (
        site.lower() in {own, "intracranial"}
        or site.lower() in own
        or (site.lower() == "brain" and is_of_head(finding))
    ):
        return ""
    return f" in the {lower(site)}"


def scored(finding: Finding) -> str:
    if finding.probability is not None:
        return f"probability {number(finding.probability, '1')}"
    return f"model score {number(finding.score, '1')}, uncalibrated" if finding.score is not None else ""


def sized(finding: Finding) -> str:
    """Measurements in words: "volume 12 ml, diameter 31.0 mm"."""
    parts = []
    for m in finding.measurements:
        meaning = m.code.meaning.lower()
        what = (
            meaning if meaning not in {"as written", "size", finding.code.meaning.lower()} and len(meaning) < 30 else ""
        )
        parts.append(f"{what} {quantity(m)}".strip())
    return ", ".join(parts)


def finding(f: Finding) -> str:
    """One pathology: "Left pleural effusion is present, depth 12 mm (model score 0.93, uncalibrated)."."""
    verb = {"present": "is present", "uncertain": "is possible", "absent": "is not seen"}[f.presence]
    text = f"{named(f)}{where(f)} {verb}" if not where(f) else f"{named(f)} {verb}{where(f)}"
    if f.presence != "absent" and (size := sized(f)):
        text += f", {size}"
    if score := scored(f):
        text += f" ({score})"
    return sentence(text)


def absent(findings: Sequence[Finding]) -> str:
    """Several denials, each with its own score: "No glioma (model score 0.01, uncalibrated); no meningioma (...)."."""
    if len(findings) == 1:
        f = findings[0]
        return sentence(f"no {named(f)}{where(f)}" + (f" ({scored(f)})" if scored(f) else ""))
    parts = [f"no {named(f)}{where(f)}" + (f" ({scored(f)})" if scored(f) else "") for f in findings]
    return sentence("; ".join(parts))


def volumes(findings: Sequence[Finding]) -> str:
    """Measured structures, side named with each number: "Left hippocampus 3.1 ml, right hippocampus 3.4 ml."."""
    parts = []
    for f in findings:
        name = structure_name(f)
        name = f"{f.side} {name}" if f.side and f.side not in name.lower() else name
        own = "left" if "left" in f.code.meaning.lower() else "right" if "right" in f.code.meaning.lower() else ""
        if own and not f.side:
            name = f"{own} {name}"
        parts.append(f"{name} {quantity(f.measurements[0])}")
    kind = findings[0].measurements[0].code.meaning.lower()
    lead = "volume: " if "volume" in kind and len(findings) == 1 else "volumes: " if "volume" in kind else ""
    return sentence(lead + ", ".join(parts))


def sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
