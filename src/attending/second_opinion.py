"""The story of a second opinion: two models on one image, side by side, with where they disagree.

For the door ``compare STUDY --second A,B``. Nothing is kept in the hospital's folder, and no opinion is preferred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import comparing, models
from .comparing.second import Structures, scores, second
from .errors import NotAdmitted, NotAlike, PluginFailed
from .imaging import voxel_ml
from .records import Image
from .tasks.gate import see
from .tasks.structures import BRAIN, structure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .site import Site

__all__ = ["Opinions", "opinions", "two_models"]

KINDS = ("Segmenter", "Detector")


@dataclass(frozen=True, eq=False)
class Opinions:
    """What two models say of one image.

    rows    one Disagreement for each structure or finding that both know, the furthest apart first.
    alone   for each model, the names that only it knows.
    differ  (z, y, x) uint8 of two segmenters: 1 where only the first outlines something that both know, 2 where only
            the second does, 3 where they name it differently; None for scores.
    """

    kind: str
    models: tuple[tuple[str, str], tuple[str, str]]
    rows: tuple[comparing.Disagreement, ...]
    alone: tuple[tuple[str, ...], tuple[str, ...]]
    differ: NDArray[np.uint8] | None
    notes: tuple[str, ...] = ()


def two_models(ids: tuple[str, str], site: Site, cache: Path) -> tuple[Any, Any]:
    """The two plugins. Raises NotAlike for one model twice, and the ModelRefused that ``models.load`` says."""
    if ids[0] == ids[1]:
        raise NotAlike("one model twice", "two models", "see `attending models list`")
    return models.load(ids[0], site, cache), models.load(ids[1], site, cache)


def opinions(image: Image, pair: tuple[Any, Any], progress: Callable[[float, str], None] | None = None) -> Opinions:
    """Both models' answers to one image, laid side by side.

    Raises NotAdmitted where the image may not be shown to one of them, PluginFailed where one fails, and NotAlike where
    they are of two kinds or know nothing in common.
    """
    kind = next((k for k in KINDS if all(k in models.protocols_of(p) for p in pair)), None)
    if kind is None:
        told = " and ".join(f"{p.card.id} ({', '.join(models.protocols_of(p))})" for p in pair)
        raise NotAlike(told, "two models that outline, or two that score findings", "see `attending models list`")
    sight = see(image)
    if sight.refusal:
        raise NotAdmitted(
            f"an image that no model may look at: {sight.refusal}",
            "an image of a known kind",
            "say what it is with --modality, or name another image",
        )
    for plugin in pair:
        reason = models.admit(plugin.card, sight.image.facts)
        if reason:
            raise NotAdmitted(reason, plugin.card.intended_use, "choose another model")
    answers = []
    for number, plugin in enumerate(pair):
        if progress:
            progress(number / 2, plugin.card.id)
        try:
            answers.append(plugin.segment(sight.image) if kind == "Segmenter" else plugin.detect(sight.image))
        except (MemoryError, ValueError, RuntimeError) as failed:
            raise PluginFailed(
                f"{plugin.card.id} failed ({type(failed).__name__})", "a model that runs", "choose another model"
            ) from None
    named = ((pair[0].card.id, pair[0].card.version), (pair[1].card.id, pair[1].card.version))
    found = _outlines(image, pair, answers) if kind == "Segmenter" else _scores(answers)
    if not found[0]:
        raise NotAlike(
            "two models that found nothing that both of them know",
            "two models that know one structure or finding",
            "see their labels with `attending models info ID`",
        )
    return Opinions(kind, named, *found)


def _outlines(image: Image, pair: tuple[Any, Any], answers: list[Any]) -> tuple[Any, ...]:
    import numpy as np

    spacing = image.facts.spacing
    deep = spacing is not None and min(spacing) > 0 and image.facts.axis == "space" and image.facts.shape[0] > 1
    known = [
        {int(v): what for v, name in a.labels.names.items() if v and (what := structure(name, p.card.labels))}
        for p, a in zip(pair, answers, strict=True)
    ]
    notes = [note for answer in answers for note in answer.notes]
    tables: list[Structures] = [{v: (what.code, what.side) for v, what in one.items()} for one in known]
    if not set(tables[0].values()) & set(tables[1].values()):
        for k, one in enumerate(known):
            if not any(what.whole for what in one.values()) and any(what.whole for what in known[1 - k].values()):
                tables[k] = {v: (BRAIN, None) for v, what in one.items() if not what.fluid}
                notes.append(f"the brain of {pair[k].card.id} is all that it labels but fluid")
    maps = [np.asarray(answer.labels.labels) for answer in answers]
    rows = second(maps[0], tables[0], maps[1], tables[1], voxel_ml(spacing) if deep and spacing else None)
    keys = [{value: (c.scheme, c.value, s or "") for value, (c, s) in table.items()} for table in tables]
    shared = sorted(set(keys[0].values()) & set(keys[1].values()))
    said = []
    for labels, key in zip(maps, keys, strict=True):
        number = np.zeros(int(max([*key, int(labels.max())])) + 1, dtype=np.int32)
        for value, which in key.items():
            number[value] = shared.index(which) + 1 if which in shared else 0
        said.append(number[labels])
    one, two = said
    differ = np.where(one == two, 0, np.where(two == 0, 1, np.where(one == 0, 2, 3))).astype(np.uint8)
    alone = tuple(
        tuple(sorted({f"{s} {c.meaning}" if s else c.meaning for v, (c, s) in table.items() if key[v] not in shared}))
        for table, key in zip(tables, keys, strict=True)
    )
    return rows, alone, differ, tuple(dict.fromkeys(notes))


def _scores(answers: list[Any]) -> tuple[Any, ...]:
    codes = [{(d.code.scheme, d.code.value) for d in answer} for answer in answers]
    alone = tuple(
        tuple(sorted(d.code.meaning for d in answer if (d.code.scheme, d.code.value) not in codes[1 - k]))
        for k, answer in enumerate(answers)
    )
    notes = [note for answer in answers for d in answer for note in d.notes]
    return scores(answers[0], answers[1]), alone, None, tuple(dict.fromkeys(notes))
