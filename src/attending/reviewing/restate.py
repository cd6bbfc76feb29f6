"""A sentence that rests on what the expert corrected, worded again from its findings: by rule, the same every time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..records import Evidence, Finding, Measurement, Reading, Sentence
from .document import WantedFinding, refused

_UNITS = {"[hnsf'U]": "HU", "1": "", "deg": "degrees", "cm3": "ml"}
_SIDES = re.compile(r"\b(left|right|bilateral\w*|both)\b", re.IGNORECASE)
# What a sentence may rest on beside findings and still be rebuilt from the findings alone: evidence that says no more.
_CARRYING = ("finding", "measurement")


def carriers(reading: Reading, finding: Finding) -> set[str]:
    """Every id that stands for the finding: its own, its measurements', and the evidence that is about any of them."""
    own = {finding.id, *(m.id for m in finding.measurements if m.id)}
    return own | {e.id for e in reading.evidence if e.about in own}


def rested(reading: Reading, sentence: Sentence) -> tuple[Finding, ...]:
    """The findings that a sentence rests on, in the order in which it cites them."""
    cited = {id: place for place, id in enumerate(sentence.rests_on)}
    places = {f.id: [cited[i] for i in carriers(reading, f) if i in cited] for f in reading.findings}
    return tuple(sorted((f for f in reading.findings if places[f.id]), key=lambda f: min(places[f.id])))


def outdated(sentence: Sentence, old: Finding, new: Finding | None) -> bool:
    """Whether a sentence that rests on the finding says what was corrected; new is None for a removed finding."""
    if new is None or new.presence != old.presence or new.side != old.side:
        return True
    pairs = zip(old.measurements, new.measurements, strict=False)
    return any(b.value != a.value and names(sentence.text, b) for b, a in pairs)


def names(text: str, measured: Measurement) -> bool:
    """Whether the text gives the measurement's value, rounded as it gives it; also in cm for mm, in l for ml."""
    numbers = [(float(n), len(n.partition(".")[2])) for n in re.findall(r"\d+(?:\.\d+)?", text.replace(",", ""))]
    values = [
        measured.value,
        *(measured.value / by for unit, by in (("mm", 10), ("ml", 1000)) if measured.unit == unit),
    ]
    return any(abs(number - abs(v)) <= 0.5000001 * 10**-digits for number, digits in numbers for v in values)


def restated(reading: Reading, sentence: Sentence, now: Mapping[str, WantedFinding]) -> str | None:
    """The sentence from its findings as they stand now, or None where none of them is left and it rests on no more.

    now  finding id -> the finding as the expert wants it; a removed finding is not in it. Raises EditRefused naming the
         sentence where it says more than its findings do.
    """
    about = rested(reading, sentence)
    evidence = {e.id: e for e in reading.evidence}
    beside = [i for i in sentence.rests_on if not any(i in carriers(reading, f) for f in about)]
    more = [i for i in beside if not _carries(evidence.get(i))]
    if more or sentence.section not in ("findings", "impression"):
        changed = ", ".join(f.id for f in about if f.id not in now or now[f.id].new != f)
        on = f", on {', '.join(more)}" if more else f", and stands in the section {sentence.section}"
        raise refused(
            f"sentence {sentence.id} rests on finding {changed}, which you corrected{on}: no rule can build it again",
            "corrections of findings whose sentences rest on findings and measurements alone",
            f"reword or take out {sentence.id} in the same edited report",
        )
    left = [now[f.id] for f in about if f.id in now]
    if not left:
        return None
    return _sentence(sentence, [(item.old, item.new) for item in left if item.old])


def added(finding: Finding, section: str) -> str:
    """The sentence of a finding that the expert added, for the findings or the impression."""
    one = _structure(finding, finding, "") if is_structure(finding) else None
    return _capital(one or _pathology(finding, finding, "", section == "impression"))


def is_structure(finding: Finding) -> bool:
    """A measured part of the body, as against something that may be wrong with it."""
    from .. import terms

    if not finding.measurements or finding.presence != "present":
        return False
    return not any(a.kind == "finding" for a in terms.parse(finding.code.meaning))


def _carries(evidence: Evidence | None) -> bool:
    return evidence is not None and evidence.kind in _CARRYING


def _sentence(sentence: Sentence, pairs: Sequence[tuple[Finding, Finding]]) -> str:
    if all(is_structure(old) for old, _ in pairs):
        given = [new.measurements[0].code.meaning.lower() for _, new in pairs if new.presence == "present"]
        volumes = bool(given) and all("volume" in meaning for meaning in given)
        lead = "" if not volumes else "volume: " if len(pairs) == 1 else "volumes: "
        return _capital(lead + ", ".join(_structure(o, n, sentence.text) for o, n in pairs))
    brief = sentence.section == "impression"
    return _capital("; ".join(_pathology(o, n, sentence.text, brief) for o, n in pairs))


def _pathology(old: Finding, new: Finding, text: str, brief: bool) -> str:
    """One finding in words. text is what the sentence said: a place and a score are kept where it gave them."""
    name = named(new) + _where(new, text)
    if new.presence == "absent":
        said = f"no {name}"
    elif brief:
        said = f"possible {name}" if new.presence == "uncertain" else name
    else:
        said = f"{name} is {new.presence}"
    if new.presence != "absent":
        told = [(b, a) for b, a in zip(old.measurements, new.measurements, strict=False) if not brief or names(text, b)]
        said += "".join(f", {_measured(before, after, old)}" for before, after in told)
    return said + _score(old, new, text)


def _structure(old: Finding, new: Finding, text: str) -> str:
    """ "left hippocampus 3.1 ml"; the first measurement unless the sentence gave others."""
    words = [w for w in named(new).replace("-", " ").split() if w not in ("volume", "of", "the")]
    name = " ".join(words) or named(new)
    if new.presence != "present" or not new.measurements:
        return f"{name} is {new.presence}"
    told = [(b, a) for b, a in zip(old.measurements, new.measurements, strict=True) if names(text, b)]
    told = told[:1] or [(old.measurements[0], new.measurements[0])]
    return f"{name} {_quantity(*told[0])}"


def named(finding: Finding) -> str:
    """The finding with its side, lower case unless an acronym: "left pleural effusion"."""
    name = _lower(finding.code.meaning)
    return f"{finding.side} {name}" if finding.side and not _SIDES.search(name) else name


def _where(finding: Finding, text: str) -> str:
    site = _lower(finding.site.meaning.removesuffix(" structure")) if finding.site else ""
    return f" in the {site}" if site and (not text or site in text.lower()) and site not in named(finding) else ""


def _score(old: Finding, new: Finding, text: str) -> str:
    """The model's number where the sentence gave it, unless the expert overruled the model."""
    if (old.presence, old.side) != (new.presence, new.side):
        return ""
    if new.probability is not None and f"{new.probability:.2f}" in text:
        return f" (probability {new.probability:.2f})"
    given = new.score is not None and f"{new.score:.2f}" in text
    return f" (model score {new.score:.2f}, uncalibrated)" if given else ""


def _measured(before: Measurement, after: Measurement, finding: Finding) -> str:
    meaning = after.code.meaning.lower()
    plain = meaning in ("as written", "size", finding.code.meaning.lower()) or len(meaning) >= 30
    return f"{'' if plain else meaning} {_quantity(before, after)}".strip()


def _quantity(before: Measurement, after: Measurement) -> str:
    """A corrected value to the digits that were typed; any other rounded as reports give it."""
    value, unit = after.value, after.unit
    if before.value != value or not before.id:
        text = f"{value:.12g}"
    elif unit in ("ml", "cm3"):
        text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"
    elif float(value).is_integer() or unit == "[hnsf'U]":
        text = f"{value:.0f}"
    else:
        text = f"{value:.1f}" if unit in ("mm", "%", "deg") else f"{value:.2f}"
    return f"{text} {_UNITS.get(unit, unit)}".strip()


def _lower(name: str) -> str:
    return " ".join(w if sum(c.isupper() for c in w) > 1 else w.lower() for w in name.split())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
