"""From an edited report to a signed final reading."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import AlreadySigned, ReviewRefused
from ..records import RATING_AXES, Reading, Review
from . import document, signature
from .apply import apply

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNED_MARK = "Signed by {by} at {when}. Drafted by software that is not validated for clinical use."


def review(
    reading: Reading,
    edited: Mapping[str, Any] | None,
    ratings: Mapping[str, int] | None = None,
    *,
    by: str,
    when: str,
    key: Ed25519PrivateKey,
    seconds: float | None = None,
) -> tuple[Review, Reading]:
    """The expert's corrections and signature: (Review of this version, the final Reading, which is the next one).

    edited   the report.json of this reading after editing, or None to sign it as it is. Sentences may be reworded,
             added (without id), removed (the entry taken out) and reordered; findings may be flipped (presence), change
             side, be added (without id) or removed; measurement values may be corrected in their unit. All else must
             stay.
    ratings  axis of RATING_AXES -> 1..5.
    by, when who, by the site's name for them, and when (ISO 8601 with its offset from UTC).
    seconds  how long the review took.

    What the expert worded rests on new evidence of kind "expert" and is supported by the rule "expert"; all other
    sentences keep what they rest on and their verdicts. A sentence that they left alone and that rests on a finding
    that they corrected is restated by rule from its findings, and rests on these and on the expert; one that rested
    only on findings that they took out goes; the edits say so in ``note``. Words of the expert that read as the
    contrary of a coded finding are kept, with a line in the verdict's alerts. Raises AlreadySigned, and EditRefused
    naming the sentence, finding or axis.
    """
    if reading.status == "final":
        raise AlreadySigned(
            "this reading is final and signed", "one signature per reading", "show it; a signed version is not replaced"
        )
    rated = _ratings(ratings or {})
    _who_when(by, when, seconds)
    changed, edits = apply(reading, edited, when) if edited is not None else (reading, ())
    final = replace(changed, status="final", version=reading.version + 1, mark=SIGNED_MARK.format(by=by, when=when))
    sha256, public_key, signed = signature.sign(final, by, when, key)
    return Review(
        id=_id("person", reading.id, str(reading.version), by, when),
        reading=reading.id,
        version=reading.version,
        by=by,
        when=when,
        source="person",
        edits=edits,
        labels=tuple(dict.fromkeys((f.code.value, f.presence) for f in final.findings)),
        ratings=rated,
        seconds=seconds,
        reading_sha256=sha256,
        public_key=public_key,
        signature=signed,
    ), final


def imported(case: str, task: str, label: int | bool, source: str, when: str) -> Review:
    """What a labelled data set says of one case: never a person's word, never signed.

    case    the case's surrogate id.     task  the finding's code value.     label  1 present, 0 absent.
    source  the data set's catalog id; the review's source is "imported:SOURCE".
    """
    if label not in (0, 1):
        raise ReviewRefused(f"a label {label!r}", "1 present, 0 absent", "leave out cases without a label")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", source):
        raise ReviewRefused(
            "a source's name that is no catalog id", "lower-case letters, digits, dots, dashes", "use the catalog's id"
        )
    name = f"imported:{source}"
    return Review(
        id=_id(name, case, task),
        reading=case,
        version=0,
        by=name,
        when=when,
        source=name,
        labels=((task, "present" if label else "absent"),),
    )


def _ratings(ratings: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    for axis, value in ratings.items():
        if axis not in RATING_AXES:
            raise document.refused(
                f"a rating on the axis {document._short(axis)}", ", ".join(RATING_AXES), "rate one of these axes"
            )
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5:
            raise document.refused(
                f"a rating of {document._short(value)} on {axis}", "whole numbers 1 (worst) to 5 (best)", "rate it 1..5"
            )
    return tuple((axis, ratings[axis]) for axis in RATING_AXES if axis in ratings)


def _who_when(by: str, when: str, seconds: float | None) -> None:
    if not by.strip() or not by.isprintable():
        raise ReviewRefused("a signature without a name", "the name of a person of site.toml", "give --by NAME")
    try:
        offset = datetime.fromisoformat(when).utcoffset()
    except ValueError:
        offset = None
    if offset is None:
        raise ReviewRefused(
            "a time without its offset from UTC", "ISO 8601, such as 2026-01-31T09:30:00+00:00", "give the whole time"
        )
    if seconds is not None and not 0 <= seconds < 10_000_000:
        raise document.refused(f"a review of {seconds} s", "0 seconds or more", "leave it out where it is not known")


def _id(*parts: str) -> str:
    """16 hex digits; the same review made twice has one id."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]
