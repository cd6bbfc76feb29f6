"""Brain MR slice: glioma, meningioma or pituitary tumour, at the site's thresholds, with the score uncalibrated."""

from __future__ import annotations

from collections.abc import Callable

from ..models import Detector
from ..records import Code, Detection
from ..site import Thresholds
from .book import Book
from .detection import presence, write
from .gate import Sight

NONE = "no-brain-tumour"
MASS = Code("99ATTENDING", "intracranial-mass", "Intracranial mass")
INTRACRANIAL = Code("SCT", "128319008", "Intracranial structure")
WHAT = "intracranial mass"


def is_tumour_detector(detector: Detector) -> bool:
    """One of its classes is "no tumour"."""
    return any(code.value == NONE for code in detector.card.labels.values())


def detect(
    sight: Sight,
    detector: Detector,
    thresholds: Thresholds,
    book: Book,
    progress: Callable[[float, str], None] | None = None,
) -> None:
    """Findings of one slice into the book. Lets the detector's own errors through.

    Where "no tumour" wins at the thresholds, one finding says that an intracranial mass is absent, with the score of
    all tumour classes together: three lines of absent entities tell a reader no more. Else each class is stated.
    """
    image, card = sight.image, detector.card
    detections = detector.detect(image, progress)
    tumours = sorted((d for d in detections if d.code.value != NONE), key=lambda d: -d.score)
    none = next((d for d in detections if d.code.value == NONE), None)
    together = 1.0 - none.score if none is not None else max((d.score for d in tumours), default=0.0)
    if presence(together, thresholds, MASS) == "absent":
        each = ", ".join(f"{d.code.meaning} {d.score:.2f}" for d in tumours)
        mass = Detection(MASS, together, none.calibrated if none else False, None, (f"scores: {each}",))
        write(image, card, mass, "absent", book, INTRACRANIAL, thresholds)
        return
    for detection in tumours:
        found = presence(detection.score, thresholds, detection.code, detection.possible)
        write(image, card, detection, found, book, INTRACRANIAL, thresholds)
