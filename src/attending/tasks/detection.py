"""From a detector's scores to findings at the site's thresholds. Tumour and few-shot heads share it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..imaging import masked_box
from ..models import Card
from ..records import Code, Detection, Image, Presence, Producer, Region
from ..site import Thresholds
from .book import Book

# The box of a heat map holds what is at least half as hot as its hottest point.
HALF = 0.5


def presence(
    score: float, thresholds: Thresholds, code: Code, possible: tuple[Presence, ...] | None = None
) -> Presence:
    """present, absent, or uncertain between the two thresholds of the finding's operating point.

    possible   the detector's conformal set, or None; uncertain where it leaves not exactly one answer.
    """
    present, absent, _ = thresholds.at(code.value)
    if possible is not None and len(possible) != 1:
        return "uncertain"
    if score >= present:
        return "present"
    return "absent" if score <= absent else "uncertain"


def point(thresholds: Thresholds, code: Code) -> str:
    """The finding's operating point in words where the site moved it, else ""."""
    present, absent, kind = thresholds.at(code.value)
    if not kind:
        return ""
    return f" Read at the site's {kind} operating point: present from {present:.2f}, absent up to {absent:.2f}."


def region(image: Image, heat: NDArray[Any] | None, book: Book) -> Region | None:
    """The kept heat map with the box of its hot half; None where there is none or it is flat."""
    if heat is None:
        return None
    kept = np.ascontiguousarray(heat, dtype=np.float32)
    if tuple(kept.shape) != tuple(image.voxels.shape[:3]):
        raise ValueError("the heat map is not on the image's grid")
    highest = float(kept.max()) if np.isfinite(kept).all() else 0.0
    if highest <= 0.0:
        return None
    return Region("heatmap", image.id, book.keep(kept), None, masked_box(kept >= HALF * highest))


def words(code: Code, found: Presence, detection: Detection, card: Card) -> str:
    """ "Glioma present: score 0.99 by detect-tumor 0.1.1, not calibrated." """
    kind = "probability" if detection.calibrated else "score"
    more = ", calibrated" if detection.calibrated else ", not calibrated"
    return f"{code.meaning} {found}: {kind} {detection.score:.2f} by {card.id} {card.version}{more}."


def write(
    image: Image,
    card: Card,
    detection: Detection,
    found: Presence,
    book: Book,
    site: Code | None = None,
    thresholds: Thresholds | None = None,
) -> str:
    """One finding of one class; a heat map is kept where the class is not absent. thresholds say where the site moved
    the operating point."""
    notes = detection.notes if detection.calibrated else ("score is not calibrated: no probability", *detection.notes)
    where = region(image, detection.heatmap, book) if found != "absent" else None
    text = words(detection.code, found, detection, card)
    if thresholds is not None:
        text += point(thresholds, detection.code)
    if where is not None:
        text += " The marked area is what the score depends on, not an outline of the finding."
    return book.found(
        detection.code,
        found,
        text,
        image=image.id,
        producer=Producer(card.id, card.version),
        probability=round(detection.score, 4) if detection.calibrated else None,
        score=round(detection.score, 4),
        site=site,
        region=where,
        notes=notes,
    )
