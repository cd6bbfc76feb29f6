"""Any other detector that admits an image: few-shot heads that a person approved, and plugins."""

from __future__ import annotations

from collections.abc import Callable

from ..models import Detector
from ..site import Thresholds
from .book import Book
from .detection import presence, write
from .gate import Sight


def detect(
    sight: Sight,
    detector: Detector,
    thresholds: Thresholds,
    book: Book,
    progress: Callable[[float, str], None] | None = None,
) -> None:
    """One finding per class that the detector scores. Lets the detector's own errors through."""
    for detection in detector.detect(sight.image, progress):
        found = presence(detection.score, thresholds, detection.code, detection.possible)
        write(sight.image, detector.card, detection, found, book, thresholds=thresholds)


def what(detector: Detector) -> str:
    """What the detector would have looked for, in words."""
    names = [code.meaning for code in detector.card.labels.values()] or [detector.card.title]
    return ", ".join(f"{n[0].lower()}{n[1:]}" for n in names)
