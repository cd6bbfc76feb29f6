"""From a word to a place: coded term -> label map of a Segmenter, heat map of a Detector, or box of a Locator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import models
from ...errors import AttendingError
from ...imaging import masked_box
from ...records import Box, Code, Image
from ..gate import see
from ..structures import BRAIN, structure
from .choosing import Tools

HEAT = 0.5
"""Share of a heat map's greatest value above which a place is what the score depends on."""
FOUND = 0.5
"""Score from which a Detector says present, and a Locator's place counts."""
TOLD = 3
"""Reasons that are told of models that could not be asked."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Named:
    """A word as the terms know it: name and code None where they do not. side: "left", "right" or None."""

    word: str
    name: str | None
    code: Code | None
    side: str | None

    @property
    def words(self) -> str:
        """For a sentence: what is looked for."""
        name = self.name or self.word
        return f"{self.side} {name}" if self.side and self.side not in name else name


@dataclass(frozen=True)
class Outlined:
    """mask where a label map gave one; box where only a place is known; both None: reason says why."""

    named: Named
    mask: Mask | None = field(default=None, repr=False)
    box: Box | None = None
    producer: str | None = None
    score: float | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


def named(word: str) -> Named:
    """The coded term of a word or phrase, with its side."""
    from ...terms import lexicon
    from ...terms.tokens import stems

    book, tokens = lexicon(), stems(word)
    side = next((t for t in tokens if t in ("left", "right")), None)
    found: list[tuple[int, str, str]] = []
    at = 0
    while at < len(tokens):
        length, entries, _ = book.find(tokens, at)
        found += [(length, e.kind, e.name) for e in entries[:1] if e.kind in ("organ", "finding")]
        at += max(length, 1)
    if not found:
        return Named(word, None, None, side)
    _, kind, name = max(found, key=lambda f: f[0])
    term = book.organs[name] if kind == "organ" else book.terms[name]
    return Named(word, name, term.code, side)


def outline_word(
    word: str, image: Image, tools: Tools, progress: Callable[[float, str], None] | None = None
) -> Outlined:
    """What admitted models make of a word on an image; never raises for a model that fails or does not know it."""
    target = named(word)
    sight = see(image)
    if sight.refusal:
        told = "; say what it is with --modality" if image.facts.modality == "OT" else ""
        return Outlined(target, reason=f"no model may look at this image: {sight.refusal}{told}")
    tried: list[str] = []
    for way in (_by_label_map, _by_detector, _by_locator):
        got = way(target, sight.image, tools, tried, progress)
        if got is not None:
            return got
    unknown = "" if target.name else f'"{word}" is no term that is known here; '
    told = "; ".join(list(dict.fromkeys(tried))[:TOLD]) or "no installed model knows it"
    return Outlined(target, reason=f"{unknown}no model for {target.words} on this image: {told}")


def _labels_of(card: models.Card, target: Named) -> list[str]:
    """The label names of a segmenter that the word means; several where it has both sides or parts of it."""
    fitting: list[str] = []
    for label, code in card.labels.items():
        known = structure(label, card.labels)
        if known is None or (target.side and known.side and known.side != target.side):
            continue
        same = target.code is not None and (code.scheme, code.value) == (target.code.scheme, target.code.value)
        alike = {known.words, known.words.removesuffix("s"), label.lower()} & {
            (target.name or target.word).lower(),
            (target.name or target.word).lower().removesuffix("s"),
        }
        if same or alike:
            fitting.append(label)
    if not fitting and target.code is not None and target.code.value == BRAIN.value:
        for label in card.labels:
            known = structure(label, card.labels)
            if known is not None and not known.fluid:
                fitting.append(label)
    return fitting


def _admitted(
    protocol: str, fits: Callable[[models.Card], bool], image: Image, tools: Tools, tried: list[str]
) -> Iterator[Any]:
    """Models of a protocol that know the word and may see the image, the site's own choice first; why others cannot is
    told. Some learn what they know from their files: those are loaded and asked."""
    preferred = tools.site.models.head
    for status in sorted(tools.statuses(protocol), key=lambda status: status.card.id != preferred):
        told = bool(status.card.labels)
        if told and not fits(status.card):
            continue
        reason = models.admit(status.card, image.facts)
        if reason:
            if told:
                tried.append(reason)
            continue
        if not status.usable:
            if protocol != "Locator":
                knows = "knows it" if told else "may know it"
                tried.append(f"{status.card.id} {knows} and is not usable here ({status.why}; do: {status.do})")
            continue
        try:
            plugin = tools.load(status.card.id)
        except AttendingError as refused:
            tried.append(f"{status.card.id}: {refused.seen}")
            continue
        if fits(plugin.card):
            yield plugin


def _by_label_map(target: Named, image: Image, tools: Tools, tried: list[str], progress: Any) -> Outlined | None:
    absent: Outlined | None = None
    for plugin in _admitted("Segmenter", lambda c: bool(_labels_of(c, target)), image, tools, tried):
        wanted = _labels_of(plugin.card, target)
        try:
            result = plugin.segment(image, progress)
        except (AttendingError, MemoryError, ValueError) as failed:
            tried.append(f"{plugin.card.id} failed ({type(failed).__name__})")
            continue
        values = [v for v, name in result.labels.names.items() if name in wanted and v]
        mask = np.isin(result.labels.labels, values)
        by = f"{plugin.card.id}: {', '.join(wanted)}"
        unsided = [n for n in wanted if (known := structure(n, plugin.card.labels)) is None or known.side is None]
        if target.side and unsided and mask.any():
            half = one_side(np.asarray(result.labels.labels) > 0, image, target.side)
            if half is None:
                tried.append(
                    f"{plugin.card.id} does not tell left from right, and the image does not say where they are"
                )
                continue
            mask &= half
            by += f" (one label for both sides: cut at the midline of all labels, the patient's {target.side} kept)"
        if mask.any():
            return Outlined(target, mask, masked_box(mask), plugin.card.id, notes=(f"outlined by {by}", *result.notes))
        absent = Outlined(target, producer=plugin.card.id, reason=f"{by}: looked for, and no voxel of it was found")
    return absent


def one_side(labelled: Mask, image: Image, side: str) -> Mask | None:
    """The voxels (z, y, x) on the patient's left or right of the middle of what is labelled, in patient coordinates;
    None where the image has no position in the patient or nothing is labelled."""
    affine = image.affine
    if affine is None or not labelled.any():
        return None
    z, y, x = (np.arange(n, dtype=np.float32) for n in labelled.shape)
    a, b, c, d = affine[0].astype(np.float32)
    towards_left = a * x[None, None, :] + b * y[None, :, None] + c * z[:, None, None] + d
    middle = float(np.mean(towards_left[labelled]))
    return np.asarray(towards_left > middle if side == "left" else towards_left < middle)


def _by_detector(target: Named, image: Image, tools: Tools, tried: list[str], progress: Any) -> Outlined | None:
    def fits(card: models.Card) -> bool:
        return any(_means(label, code, target) for label, code in card.labels.items())

    absent: Outlined | None = None
    for plugin in _admitted("Detector", fits, image, tools, tried):
        try:
            seen = plugin.detect(image, progress)
        except (AttendingError, MemoryError, ValueError) as failed:
            tried.append(f"{plugin.card.id} failed ({type(failed).__name__})")
            continue
        ours = [d for d in seen if any(_means(n, d.code, target) for n, c in plugin.card.labels.items() if c == d.code)]
        best = max(ours, key=lambda d: d.score, default=None)
        if best is None:
            continue
        said = f"{plugin.card.id}: {best.code.meaning} scored {best.score:.2f}"
        if best.score < FOUND:
            absent = Outlined(
                target, producer=plugin.card.id, score=best.score, reason=f"{said}, below {FOUND}: absent"
            )
        elif best.heatmap is None or not best.heatmap.any():
            absent = Outlined(
                target, producer=plugin.card.id, score=best.score, reason=f"{said}, and does not say where"
            )
        else:
            box = _hottest(np.asarray(best.heatmap))
            note = f"{said}; the box is where its score depends on the pixels, which need not be the finding's outline"
            return Outlined(target, None, box, plugin.card.id, best.score, notes=(note,))
    return absent


def _by_locator(target: Named, image: Image, tools: Tools, tried: list[str], progress: Any) -> Outlined | None:
    absent: Outlined | None = None
    for plugin in _admitted("Locator", lambda c: True, image, tools, tried):
        try:
            places = plugin.locate(image, target.words, progress)
        except (AttendingError, MemoryError, ValueError) as failed:
            tried.append(f"{plugin.card.id} failed ({type(failed).__name__})")
            continue
        best = next((p for p in places if p.score >= FOUND and (p.box or p.heatmap is not None)), None)
        if best is None:
            absent = Outlined(target, producer=plugin.card.id, reason=f"{plugin.card.id}: looked for, and not found")
            continue
        box = best.box or _hottest(np.asarray(best.heatmap))
        note = f"{plugin.card.id} located it, score {best.score:.2f}"
        return Outlined(target, None, box, plugin.card.id, best.score, notes=(note,))
    return absent


def _means(label: str, code: Code, target: Named) -> bool:
    if target.code is not None and (code.scheme, code.value) == (target.code.scheme, target.code.value):
        return True
    wanted = (target.name or target.word).lower()
    return wanted in (label.lower(), code.meaning.lower())


def _hottest(heat: NDArray[Any]) -> Box | None:
    """The box of the connected part around a heat map's maximum."""
    from scipy.ndimage import label

    parts, _ = label(heat >= HEAT * float(heat.max()))
    return masked_box(parts == parts[np.unravel_index(int(heat.argmax()), heat.shape)])
