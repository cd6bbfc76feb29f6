"""The edited report.json, checked against the reading it came from. Nothing here changes anything."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast, get_args

from ..errors import EditRefused
from ..records import SCHEMA, Code, Finding, Measurement, Presence, Reading, Sentence, Side
from ..records.reading import Section

PRESENCES = cast(tuple[str, ...], get_args(Presence))
SIDES = cast(tuple[str, ...], get_args(Side))
SECTIONS = cast(tuple[str, ...], get_args(Section))
LONGEST = 2000  # characters of one sentence: longer than any sentence of a report, shorter than a pasted document
START = "start again from the report.json of this reading"


@dataclass(frozen=True)
class WantedSentence:
    """One sentence as the expert wants it; old is the sentence it was, rests_on is None where they left it."""

    old: Sentence | None
    text: str
    section: Section
    rests_on: tuple[str, ...] | None

    @property
    def reworded(self) -> bool:
        return self.old is None or self.text != self.old.text or self.rests_on is not None


@dataclass(frozen=True)
class WantedFinding:
    """One finding as the expert wants it; old is what it was, None for an added one (then new.id is empty)."""

    old: Finding | None
    new: Finding


def refused(seen: str, allowed: str, do: str) -> EditRefused:
    return EditRefused(seen, allowed, do)


def check_frame(reading: Reading, edited: Mapping[str, Any]) -> None:
    """Everything but sentences and findings must be what the reading says. Raises EditRefused."""
    if not isinstance(edited, Mapping):
        raise refused(f"the edited report is a {_kind(edited)}", "one JSON object, as report.json has it", START)
    if edited.get("schema", SCHEMA) != SCHEMA:
        raise refused(f"the edited report has schema {_short(edited['schema'])}", f"schema {SCHEMA}", START)
    if edited.get("id") != reading.id:
        raise refused(
            "the edited report carries no reading's id" if "id" not in edited else "the edited report has another id",
            "the report.json of the reading that is signed",
            "check which reading the file was made from",
        )
    if edited.get("version", reading.version) != reading.version:
        raise refused(
            f"the edited report is of version {_short(edited['version'])}, the reading is at version {reading.version}",
            "edits of the latest version",
            START,
        )
    fixed = {
        "status": reading.status,
        "modality": reading.case.modality,
        "view": reading.case.view,
        "not_assessed": [asdict(n) for n in reading.not_assessed],
        "questions": list(reading.verdict.questions),
        "alerts": list(reading.verdict.alerts),
    }
    for key, value in fixed.items():
        if key in edited and not _same(edited[key], value):
            raise refused(
                f"the edited report changes {key!r}",
                "changes of sentences, of findings' presence and side, and of measurement values; new ones of both",
                f"put {key!r} back as it was and say it in a sentence",
            )
    if "evidence" in edited:
        given = [(e.get("id"), e.get("text")) for e in _objects(edited["evidence"], "evidence")]
        if given != [(e.id, e.text) for e in reading.evidence]:
            raise refused(
                "the edited report changes the evidence",
                "evidence as it was found: it is what the draft rested on",
                "put it back; your own word becomes evidence when you change or add a sentence",
            )


def sentences(reading: Reading, edited: Mapping[str, Any]) -> tuple[WantedSentence, ...]:
    """The sentences that the expert wants, in order. Raises EditRefused naming the sentence."""
    if "sentences" not in edited:
        return tuple(WantedSentence(s, s.text, s.section, None) for s in reading.draft.sentences)
    known = {s.id: s for s in reading.draft.sentences}
    citable = {e.id for e in reading.evidence} | {f.id for f in reading.findings}
    wanted: list[WantedSentence] = []
    for place, entry in enumerate(_objects(edited["sentences"], "sentences"), 1):
        id = entry.get("id")
        name = f"sentence {id}" if isinstance(id, str) and id in known else f"sentence number {place}"
        if id is not None and (not isinstance(id, str) or id not in known):
            raise refused(
                f"{name} has the id {_short(id)}, which this reading does not know",
                f"ids of its sentences ({', '.join(known) or 'it has none'}), or none for a new sentence",
                "leave the id out: a new sentence gets one",
            )
        if any(w.old and w.old.id == id for w in wanted):
            raise refused(f"{name} is there twice", "each sentence once", "leave the id out of the new one")
        old = known[id] if id is not None else None
        section = entry.get("section", old.section if old else "findings")
        if section not in SECTIONS:
            raise refused(f"{name} has the section {_short(section)}", " or ".join(SECTIONS), "choose one of these")
        cited = entry.get("rests_on")
        if cited is not None:
            if not (isinstance(cited, Sequence) and all(isinstance(c, str) for c in cited)) or isinstance(cited, str):
                raise refused(f"{name} has rests_on as a {_kind(cited)}", "a list of ids", "write it as a list")
            unknown = [c for c in cited if c not in citable and not (old and c in old.rests_on)]
            if unknown:
                raise refused(
                    f"{name} rests on {_short(unknown[0])}, which this reading does not know",
                    "ids of its findings and evidence",
                    "leave rests_on out: your word is the evidence",
                )
        rests_on = None if cited is None or (old and tuple(cited) == old.rests_on) else tuple(cited)
        if old is None and not cited:
            rests_on = ()
        wanted.append(WantedSentence(old, _text(entry.get("text"), name, old), cast(Section, section), rests_on))
    if reading.draft.sentences and not wanted:
        raise refused("the edited report has no sentence left", "at least one sentence", "say what was seen")
    return tuple(wanted)


def findings(reading: Reading, edited: Mapping[str, Any]) -> tuple[WantedFinding, ...]:
    """The findings that the expert wants, in order; what is not among them was taken out.

    Raises EditRefused naming the finding.
    """
    if "findings" not in edited:
        return tuple(WantedFinding(f, f) for f in reading.findings)
    known = {f.id: f for f in reading.findings}
    wanted: list[WantedFinding] = []
    for place, entry in enumerate(_objects(edited["findings"], "findings"), 1):
        id = entry.get("id")
        if id is None:
            wanted.append(WantedFinding(None, _new(entry, f"the new finding number {place}")))
            continue
        if not isinstance(id, str) or id not in known:
            raise refused(
                f"a finding has the id {_short(id)}, which this reading does not know",
                f"ids of its findings ({', '.join(known) or 'it has none'}), or none for a new finding",
                "leave the id out: a new finding gets one",
            )
        if any(w.old and w.old.id == id for w in wanted):
            raise refused(f"finding {id} is there twice", "each finding once", "leave the id out of the new one")
        wanted.append(WantedFinding(known[id], _changed(known[id], entry)))
    return tuple(wanted)


def _changed(old: Finding, entry: Mapping[str, Any]) -> Finding:
    name = f"finding {old.id}"
    fixed = {
        "code": asdict(old.code),
        "probability": old.probability,
        "score": old.score,
        "site": asdict(old.site) if old.site else None,
        "region": asdict(old.region) if old.region else None,
    }
    for key, value in fixed.items():
        if key in entry and not _same(entry[key], value):
            raise refused(
                f"{name} has another {key}",
                "changes of presence, side and measurement values",
                f"put it back, set the presence of {old.id} to 'absent' and add a new finding without an id",
            )
    presence = _presence(entry.get("presence", old.presence), name)
    side = _side(entry.get("side", old.side), name)
    own = re.search(r"\b(left|right)\b", old.code.meaning, re.IGNORECASE)
    if own and side != old.side and side not in (None, own.group().lower()):
        raise refused(
            f"{name} has the side {side!r}, its code says {own.group().lower()} ({old.code.meaning})",
            "a side that the code allows",
            f"take {name} out and add a new finding without an id",
        )
    measured = old.measurements
    if "measurements" in entry:
        given = _objects(entry["measurements"], f"the measurements of {name}")
        if len(given) != len(measured):
            raise refused(
                f"{name} has {len(given)} measurements, it had {len(measured)}",
                "other values for the measurements that are there",
                "put them back; add a new finding without an id for another measurement",
            )
        measured = tuple(_measured(m, g, name) for m, g in zip(measured, given, strict=True))
    if presence == "absent" and measured != old.measurements:
        raise refused(f"{name} is absent, yet a value was corrected", "values of what is there", "undo one of the two")
    return Finding(
        old.id, old.code, presence, old.probability, old.score, side, old.site, old.region, measured, old.producer,
        old.notes,
    )  # fmt: skip


def _measured(old: Measurement, entry: Mapping[str, Any], name: str) -> Measurement:
    fixed = {"id": old.id, "code": asdict(old.code), "unit": old.unit}
    for key, was in fixed.items():
        if key in entry and not _same(entry[key], was):
            raise refused(
                f"a measurement of {name} has another {key}",
                f"another value only, in {old.unit}",
                f"put the {key} back and give the value in {old.unit}",
            )
    value = _number(entry.get("value", old.value), name)
    return old if value == old.value else Measurement(old.code, value, old.unit, old.id)


def _new(entry: Mapping[str, Any], name: str) -> Finding:
    measured = tuple(
        Measurement(_code(m.get("code"), name), _number(m.get("value"), name), _word(m.get("unit"), f"{name}: unit"))
        for m in _objects(entry.get("measurements") or [], f"the measurements of {name}")
    )
    return Finding(
        id="",
        code=_code(entry.get("code"), name),
        presence=_presence(entry.get("presence"), name),
        side=_side(entry.get("side"), name),
        site=_code(entry["site"], name) if entry.get("site") else None,
        measurements=measured,
    )


def _code(given: Any, name: str) -> Code:
    if not isinstance(given, Mapping):
        raise refused(
            f"{name} has no code",
            'a code, for example {"scheme": "SCT", "value": "233604007", "meaning": "Pneumonia"}',
            "give scheme, value and meaning",
        )
    return Code(*(_word(given.get(k), f"{name}: {k} of its code") for k in ("scheme", "value", "meaning")))


def _word(given: Any, name: str) -> str:
    if not isinstance(given, str) or not given.strip() or len(given) > 200 or not given.isprintable():
        raise refused(f"{name} is {_short(given)}", "a few printable characters", "write it as text")
    return given.strip()


def _presence(given: Any, name: str) -> Presence:
    if given not in PRESENCES:
        raise refused(f"{name} has the presence {_short(given)}", " or ".join(PRESENCES), "choose one of these")
    return cast(Presence, given)


def _side(given: Any, name: str) -> Side | None:
    if given is not None and given not in SIDES:
        raise refused(f"{name} has the side {_short(given)}", " or ".join(SIDES) + " or null", "choose one of these")
    return cast(Side | None, given)


def _number(given: Any, name: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) <= sys.float_info.max:
        raise refused(f"{name} has the value {_short(given)}", "a finite number", "write the number without its unit")
    return float(given)


def _text(given: Any, name: str, old: Sentence | None) -> str:
    if old and given == old.text:
        return old.text
    if not isinstance(given, str) or not given.strip():
        raise refused(f"{name} has no text", "text", "to remove a sentence take its whole entry out of the list")
    text = " ".join(given.split())
    if len(text) > LONGEST or not text.isprintable():
        raise refused(
            f"{name} has {len(text)} characters" if len(text) > LONGEST else f"{name} holds control characters",
            f"up to {LONGEST} printable characters",
            "split or retype it",
        )
    return text


def _objects(given: Any, name: str) -> list[Mapping[str, Any]]:
    if not isinstance(given, list | tuple) or not all(isinstance(g, Mapping) for g in given):
        raise refused(f"{name}: not a list of JSON objects", "the list that report.json has, edited", START)
    return list(given)


def _same(given: Any, value: Any) -> bool:
    """Equal as JSON: tuples are lists, 1 is 1.0."""
    return bool(json.loads(json.dumps(given, default=str)) == json.loads(json.dumps(value)))


def _kind(given: Any) -> str:
    return {type(None): "null", str: "text", list: "list", dict: "object", bool: "truth value"}.get(
        type(given), "number" if isinstance(given, int | float) else type(given).__name__
    )


def _short(given: Any) -> str:
    """A number, an id or a lower-case word is named; other text is not repeated: it may identify a patient."""
    if given is None or isinstance(given, bool | int | float):
        return "null" if given is None else f"{given:.6g}" if isinstance(given, float) else str(given)[:12]
    plain = isinstance(given, str) and re.fullmatch(r"[a-z_]{1,14}|[a-z]{1,2}[0-9]{1,4}", given)
    return repr(given) if plain else f"a {_kind(given)}"
