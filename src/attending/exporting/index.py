"""The index of several readings: what the checker caught first, then one card per study, then what the loop changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from ..records import Judged, Reading, Sentence, Struck
from .page import EXPERT, caught_by_checker, render, shown_evidence, told


@dataclass(frozen=True)
class Caught:
    """A wording that the checker struck, and the sentence that stands in its place. how: how it was asked for, where
    that was not the product's own way."""

    reading: Reading
    sentence: Sentence
    judged: Judged
    struck: Struck
    how: str = ""


def caught_in(readings: Sequence[Reading]) -> Caught | None:
    """The caught sentence to show: a language model's rather than the rules', contradicted facts before uncited ones.

    None where nothing was struck.
    """
    caught = []
    for reading in readings:
        sentences = {s.id: s for s in reading.draft.sentences}
        for judged in reading.verdict.judged:
            if judged.sentence not in sentences:
                continue
            for struck in (k for k in judged.struck if k.rule != EXPERT):
                caught.append(Caught(reading, sentences[judged.sentence], judged, struck))

    def rank(c: Caught) -> tuple[bool, bool, int, int]:
        evidence = any(word in c.struck.rule for word in ("evidence", "cite", "schema"))
        return c.struck.producer.model is None, evidence, c.sentence.section != "findings", -len(c.struck.text)

    return min(caught, key=rank, default=None)


def index_page(
    readings: Sequence[Reading],
    *,
    titles: Mapping[str, str] | None = None,
    pages: Mapping[str, PurePath | str] | None = None,
    thumbnails: Mapping[str, bytes] | None = None,
    turn: Mapping[str, Any] | None = None,
    missing: Sequence[str] = (),
    caught: Caught | None = None,
) -> bytes:
    """One self-contained HTML page over several readings.

    titles      reading id -> what the study is, in words.
    pages       reading id -> its page, relative to the index.
    thumbnails  reading id -> PNG (``page`` makes one); a study without one is shown by its modality.
    turn        one turn of the loop, or None: "summary" (a sentence), "steps" (sentences in order), "before" and
                "after" (mappings label -> text), "refused" (what became of the poisoned candidate).
    missing     what could not be had, with what to do.
    caught      the caught sentence to open with where the readings themselves have none.
    """
    cards = [
        {
            "r": r,
            "title": (titles or {}).get(r.id) or f"{r.case.modality} {r.case.images[0].body_part or ''}".strip(),
            "page": quote(PurePath((pages or {}).get(r.id, f"{r.id}/page.html")).as_posix()),
            "thumbnail": (thumbnails or {}).get(r.id),
            "caught": caught_by_checker(r),
        }
        for r in readings
    ]
    caught = caught_in(readings) or caught
    row = next((s for s in told(caught.reading) if s["sentence"] is caught.sentence), None) if caught else None
    rests = row["rests"] if row else []
    context = {
        "cards": cards,
        "caught": caught,
        "caught_page": next((c["page"] for c in cards if caught and c["r"] is caught.reading), ""),
        "caught_title": next((c["title"] for c in cards if caught and c["r"] is caught.reading), ""),
        "rests": rests,
        "holds": row["holds"] if row else [],
        "evidence": [e for e in shown_evidence(caught.reading) if e.id in rests] if caught else [],
        "turn": _turn(turn),
        "missing": missing,
        "drafts": sum(r.status == "draft" for r in readings),
        "mark": readings[0].mark if readings else "",
    }
    return render("index", context, data={"layers": {}, "spots": {}, "parents": {}} if caught else None)


def _turn(turn: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not turn:
        return None
    sides = {side: turn.get(side) or {} for side in ("before", "after")}
    return {
        "summary": turn.get("summary") or "",
        "steps": list(turn.get("steps") or ()),
        "refused": turn.get("refused") or "",
        **{k: list(v.items()) if isinstance(v, Mapping) else [("", str(v))] for k, v in sides.items()},
    }
