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


def presence(score: float, thresholds: Thresholds) -> Presence:
    """present, absent, or uncertain between the site's two thresholds."""
    if score >= thresholds.present:
        return "present"
    return "absent" if score <= thresholds.absent else "uncertain"


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


def write(image: Image, card: Card, detection: Detection, found: Presence, book: Book, site: Code | None = None) -> str:
    """One finding of one class; a heat map is kept where the class is not absent."""
    notes = detection.notes if detection.calibrated else ("score is not calibrated: no probability", *detection.notes)
    where = region(image, detection.heatmap, book) if found != "absent" else None
    text = words(detection.code, found, detection, card)
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
