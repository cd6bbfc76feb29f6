"""Head: brain and regional volumes from a segmenter, measured on its conformed grid, drawn on the source grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..imaging import boxes, volumes_ml
from ..models import Card, Segmentation, Segmenter
from ..records import Measurement, Producer, Region
from .book import Book
from .gate import Sight
from .structures import BRAIN, SHARE, VOLUME, Structure, structure

# Whole brains of living people from infancy on, with room for disease: outside, the segmentation is wrong, or the
# image no head. A sanity bound of this program, not a normal range: nothing is judged by it.
PLAUSIBLE_ML = (600.0, 2200.0)
WHAT = "brain and regional volumes"
ON_CONFORMED, ON_OWN = "on the conformed 1 mm grid", "on the image's own grid"
NOT_JUDGED = "Volumes are measured, not judged normal or abnormal: no cited reference range is installed."


def measure(
    sight: Sight,
    segmenter: Segmenter,
    book: Book,
    gate: str,
    progress: Callable[[float, str], None] | None = None,
    *,
    what: str = WHAT,
    doubt: Callable[[Segmentation, Mapping[int, float]], str | None] | None = None,
    rough: bool = False,
) -> None:
    """Findings of one head into the book. Lets the segmenter's own errors through.

    doubt  of labels and volumes (label -> ml): why the segmentation is not believed, or None.
    rough  say that volumes are rough, to 10 ml, and what the card says of the model's limits.
    """
    image, card = sight.image, segmenter.card
    result = segmenter.segment(image, progress)
    if tuple(result.labels.labels.shape) != tuple(image.voxels.shape):
        raise ValueError("the label map is not on the image's grid")
    volumes = _volumes(result, image.facts.spacing)
    if volumes is None:
        book.leave(what, "the voxel spacing is not known, so nothing can be measured", gate)
        return
    named = {v: s for v, n in result.labels.names.items() if v and (s := structure(n, card.labels)) is not None}
    solid = {v for v, s in named.items() if not s.fluid}
    brain = sum(volumes.get(v, 0.0) for v in solid)
    if not PLAUSIBLE_ML[0] <= brain <= PLAUSIBLE_ML[1]:
        low, high = PLAUSIBLE_ML
        book.leave(
            what,
            f"{card.id} found a brain of {brain:.0f} ml, outside the plausible {low:.0f} to {high:.0f} ml: "
            "its segmentation is not believed",
            gate,
        )
        return
    if doubt is not None and (why := doubt(result, volumes)):
        book.leave(what, f"{card.id}: {why}: its segmentation is not believed", gate)
        return
    _write(sight, card, result, named, volumes, brain, book, gate, rough)


def _volumes(result: Segmentation, spacing: tuple[float, float, float] | None) -> dict[int, float] | None:
    """Label -> ml on the grid that the model worked on."""
    if result.conformed is not None and result.spacing_mm is not None:
        return volumes_ml(result.conformed.labels, result.spacing_mm)
    grid = result.spacing_mm or spacing
    return volumes_ml(result.labels.labels, grid) if grid else None


def _write(
    sight: Sight,
    card: Card,
    result: Segmentation,
    named: dict[int, Structure],
    volumes: dict[int, float],
    brain: float,
    book: Book,
    gate: str,
    rough: bool,
) -> None:
    image, producer = sight.image, Producer(card.id, card.version)
    digits = -1 if rough else 2
    shown = max(digits, 0)
    labels = np.ascontiguousarray(result.labels.labels)
    if labels.max() <= 255:
        labels = labels.astype(np.uint8)
    key = book.keep(labels, {v: result.labels.names[v] for v in named})
    places = boxes(labels)
    whole = np.isin(labels, [v for v, s in named.items() if not s.fluid]).astype(np.uint8)
    covered = boxes(whole).get(1)
    grid = ON_CONFORMED if result.conformed is not None else ON_OWN
    grid = f"roughly, {grid}" if rough else grid
    book.found(
        BRAIN,
        "present",
        f"Brain segmented by {card.id} {card.version}.",
        image=image.id,
        producer=producer,
        measurements=[
            (
                Measurement(VOLUME, round(brain, min(digits, 1)), "ml"),
                f"Brain volume {round(brain, min(digits, 1)):.0f} ml without the ventricles, measured {grid}.",
            )
        ],
        region=Region("mask", image.id, book.keep(whole, {1: "Brain"}), 1, covered) if covered else None,
        notes=(*result.notes, NOT_JUDGED),
    )
    empty = []
    for value, meant in sorted(named.items()):
        if meant.whole:
            continue
        words = f"{meant.side} {meant.words}" if meant.side else meant.words
        ml = volumes.get(value, 0.0)
        if ml <= 0.0 or value not in places:
            empty.append(words)
            continue
        share = 100.0 * ml / brain
        start = f"{words[0].upper()}{words[1:]}"
        book.found(
            meant.code,
            "present",
            f"{start} segmented by {card.id} {card.version}.",
            image=image.id,
            producer=producer,
            side=meant.side,
            measurements=[
                (Measurement(VOLUME, round(ml, digits), "ml"), f"{start}: volume {round(ml, digits):.{shown}f} ml."),
                (Measurement(SHARE, round(share, shown), "%"), f"{start}: {share:.{shown}f} % of the brain volume."),
            ],
            region=Region("mask", image.id, key, value, places[value]),
        )
    if empty:
        book.leave(", ".join(empty), f"{card.id} marked no voxel of it on this image", gate)
    text = f"{card.id} {card.version} labels are a network's, not an expert's."
    if rough:
        text += f" Its volumes are rough: {card.limits.rstrip('.')}."
    if not any(s.side for s in named.values()):
        text += " It does not separate left from right: volumes are of both sides together."
    book.note("context", f"{NOT_JUDGED} {text}", image=image.id, producer=producer)
    book.leave("whether these volumes are normal for age and sex", "no cited reference range is installed", gate)
