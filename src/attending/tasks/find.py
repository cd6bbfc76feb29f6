"""find: the steps on one case, in order. A step that fails is said to be not assessed, and the reading goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ..models import Detector, Segmenter
from ..records import Case, Findings
from ..site import Site
from . import head_t1, head_tissue, heads, quality, tumour
from .book import Book
from .gate import see
from .rest import unread
from .running import Progress, Readers, Seen, Step, admitted, part, run, tell

# A case can hold dozens of single slices (localisers, key images); reading each with an occlusion map takes seconds.
MOST_SLICES = 4


def find(case: Case, readers: Readers, site: Site, progress: Progress | None = None) -> Findings:
    """Everything found on a case, with its evidence; the same case and models give the same findings and ids.

    The gate looks at every image before any model does. Never raises for what the images hold or for a model that
    fails: both become "not assessed" with the reason. progress is called with a few words and a fraction in 0..1.
    """
    book = Book()
    seen = []
    for number, image in enumerate(case.images):
        tell(progress, "looking at the images", 0.1 * number / len(case.images))
        sight = see(image)
        seen.append(Seen(sight, book.note("gate", sight.text, image=image.id)))
    for item in seen:
        # What is kept from the models is not what it was declared: rules for its modality would not hold.
        for text in quality.facts_of(item.sight) if item.sight.refusal is None else ():
            book.note("quality", text, image=item.id)
    if not case.facts.pixels_checked:
        book.note("quality", "The pixels were not checked for burned-in text.")
    for item in seen:
        if item.sight.refusal is not None:
            book.leave("the image" if len(seen) == 1 else f"image {item.id}", item.sight.refusal, item.gate)
    passed = [item for item in seen if item.sight.refusal is None]
    read = _volumes(case, passed, readers, site, book, part(progress, "measuring the brain", 0.1, 0.7))
    read |= _tumours(case, passed, readers, site, book, part(progress, "looking for a tumour", 0.7, 0.9))
    read |= _heads(case, passed, readers, site, book, part(progress, "looking for what was learned", 0.9, 1.0))
    _rest(passed, read, book)
    tell(progress, "found", 1.0)
    return book.close()


def _volumes(case: Case, passed: list[Seen], readers: Readers, site: Site, book: Book, step: Step | None) -> set[str]:
    """Volumes of the finest T1 head of the case, else of its tissues in any sequence; the ids that were read."""
    volumes = [i for i in passed if _is_head(i) and i.sight.image.facts.axis == "space" and _planes(i) > 1]
    if not volumes:
        return set()
    volumes.sort(key=lambda i: max(i.sight.image.facts.spacing or (1e9,)))
    t1 = [i for i in volumes if (i.sight.image.facts.sequence or "").upper().startswith("T1")]
    tissue = next((s for s in readers.segmenters if s.card.id == site.models.tissue), None)
    # The site's choice first; one segmenter measures, the others are not averaged with it.
    wanted = [s for s in readers.segmenters if s is not tissue]
    wanted.sort(key=lambda s: s.card.id != site.models.head)
    left = len(book.not_assessed)
    if not t1:
        told = volumes[0].sight.image.facts.sequence
        why = (
            f"the sequence is {told}, not T1" if told else "the sequence is not stated, and not clearly T1 by contrast"
        )
        book.leave(head_t1.WHAT, why, volumes[0].gate)
    elif not wanted:
        book.leave(head_t1.WHAT, readers.missing(site.models.head), t1[0].gate)
    elif any(_measured(head_t1.measure, s, t1[0], case, head_t1.WHAT, book, step) for s in wanted):
        return _finest(t1, book)
    if tissue is None or not _measured(head_tissue.measure, tissue, volumes[0], case, head_tissue.WHAT, book, step):
        return set()
    # The brain is measured now; what only a T1 model tells is still owed.
    book.not_assessed[left:] = [
        replace(n, what=head_tissue.REGIONS) if n.what == head_t1.WHAT else n for n in book.not_assessed[left:]
    ]
    return _finest(volumes, book)


def _measured(
    measure: Callable[..., None],
    segmenter: Segmenter,
    item: Seen,
    case: Case,
    what: str,
    book: Book,
    step: Step | None,
) -> bool:
    """One segmenter on one head; True where findings came of it, else the reason is in the book."""
    refusal = admitted(segmenter.card, item, case)
    if refusal:
        book.leave(what, refusal, item.gate)
        return False
    before = len(book.findings)
    call = partial(measure, item.sight, segmenter, book, item.gate, step)
    return run(call, segmenter.card, what, item.gate, book) and len(book.findings) > before


def _finest(volumes: list[Seen], book: Book) -> set[str]:
    """The first was measured; the others are named."""
    for other in volumes[1:]:
        book.leave(f"volumes on image {other.id}", f"measured on {volumes[0].id}, which is finer", other.gate)
    return {volumes[0].id}


def _tumours(case: Case, passed: list[Seen], readers: Readers, site: Site, book: Book, step: Step | None) -> set[str]:
    """Tumour classes on single MR slices of a head; the ids of the images that were read."""
    slices = [i for i in passed if i.sight.image.facts.modality == "MR" and _planes(i) == 1]
    shown = [i for i in slices if _is_head(i)]
    if not shown:
        # Only who gave a picture can still say what it shows; a scanner's header will not change.
        untold = [i for i in slices if i.sight.image.facts.body_part is None]
        if untold and case.facts.kind != "dicom":
            why = "the body part is not declared, and the outline is not clearly a head's"
            book.leave(tumour.WHAT, why, untold[0].gate)
        return set()
    detectors = [d for d in readers.detectors if tumour.is_tumour_detector(d)]
    if not detectors:
        book.leave(tumour.WHAT, readers.missing(site.models.tumour), shown[0].gate)
        return set()
    read: set[str] = set()
    for item in shown[:MOST_SLICES]:
        for detector in detectors:
            refusal = admitted(detector.card, item, case)
            if refusal:
                book.leave(tumour.WHAT, refusal, item.gate)
                continue
            call = partial(tumour.detect, item.sight, detector, site.thresholds, book, step)
            if run(call, detector.card, tumour.WHAT, item.gate, book):
                read.add(item.id)
    if len(shown) > MOST_SLICES:
        more = f"{tumour.WHAT} on {len(shown) - MOST_SLICES} further slices"
        book.leave(more, f"the first {MOST_SLICES} slices were read", shown[MOST_SLICES].gate)
    return read


def _heads(case: Case, passed: list[Seen], readers: Readers, site: Site, book: Book, step: Step | None) -> set[str]:
    """Approved heads and other detectors, on every image that they admit; the ids of the images that were read."""
    read: set[str] = set()
    for detector in readers.detectors:
        if tumour.is_tumour_detector(detector):
            continue
        for item in passed:
            refusal = admitted(detector.card, item, case)
            if refusal is None and quality.looks_inverted(item.sight):
                refusal = "the radiograph looks inverted"
            if refusal:
                # A head for another modality has nothing to say here; one for this modality owes the reader a reason.
                if _near(detector, item):
                    book.leave(heads.what(detector), refusal, item.gate)
                continue
            call = partial(heads.detect, item.sight, detector, site.thresholds, book, step)
            if run(call, detector.card, heads.what(detector), item.gate, book):
                read.add(item.id)
    for id in site.models.detectors:
        why = readers.missing(id)
        if passed and why != readers.missing(""):
            book.leave(f"what {id} looks for", why, passed[0].gate)
    return read


def _rest(passed: list[Seen], read: set[str], book: Book) -> None:
    """What was shown and not read, once for each modality and body part."""
    told: set[tuple[str, str | None]] = set()
    for item in passed:
        facts = item.sight.image.facts
        kind = (facts.modality, facts.body_part)
        if kind in told:
            continue
        told.add(kind)
        if any(i.id in read for i in passed if _kind(i) == kind):
            book.leave("anything else on this study", "no admitted model", item.gate)
            continue
        for what in unread(facts):
            book.leave(what, "no admitted model", item.gate)


def _kind(item: Seen) -> tuple[str, str | None]:
    return item.sight.image.facts.modality, item.sight.image.facts.body_part


def _planes(item: Seen) -> int:
    return int(item.sight.image.facts.shape[0])


def _is_head(item: Seen) -> bool:
    return item.sight.image.facts.modality == "MR" and item.sight.is_head


def _near(detector: Detector, item: Seen) -> bool:
    """The detector reads this modality, and this body part where both are known."""
    card, facts = detector.card, item.sight.image.facts
    same_part = not card.body_parts or facts.body_part is None or facts.body_part in card.body_parts
    return facts.modality in card.modalities and same_part
