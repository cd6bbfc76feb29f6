"""Explaining: which parts of an image a model's score rests on, and how far to believe that.

``explain`` works for a Detector (approved heads too) and for an image-text encoder with a phrase. The map is no outline
of a finding. Each is handed back with what tells a good map from a picture: how far the score falls when the hottest
part is hidden, and the areas under the deletion and insertion curves (Petsiuk 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelRefused, PromptRefused
from ..imaging import masked_box
from ..metrics import area
from ..models import Detector, Encoder, Progress, TextEncoder, refuse_unless_admitted
from ..models.inward import METHODS, Inward, Method
from ..models.occlusion import Fill, ManyAtOnce, hidden, log_odds, occlusion
from ..records import Code, Image

HALF = 0.5
"""The hottest part: all that is at least half as hot as the hottest point. As for the heat maps of findings."""
STEPS = 10
"""Steps of the deletion and insertion curves."""
ADD_UP = 1e-3
"""Scores whose sum is this near to 1 exclude each other."""
STEP = 1e-2
"""Length of the step, in units of a vector, by which a head's direction is measured."""
UNIT_ODDS, UNIT_COSINE = "log-odds", "cosine"
NO_OUTLINE = "the map shows what the score rests on: it is no outline of a finding, and no proof of one"
FILLS = {
    "blur": "hidden means: blurred until no finding is left",
    "mean": "hidden means: replaced by the plane's mean, whose edges some models take for findings",
}
HOW = {
    "occlusion": "occlusion: how far the score falls when patches of 1/3 and 1/6 of a side (volumes: 1/3) are hidden",
    "integrated_gradients": "integrated gradients from the hidden image to the image",
    "grad_cam": "Grad-CAM at the network's last spatial layer; what speaks against is not shown",
    "rollout": "attention roll-out: where the network looks, whatever it is asked; not what speaks for this label",
}
LITTLE = 0.1
"""Where hiding the hottest part lowers the score by less than this part of it, the map explains little; it says so."""


@dataclass(frozen=True, eq=False)
class Explained:
    """heat: signed float32 (z, y, x) on the image's grid, in ``unit`` for occlusion, else in the method's own.

    label, code   what was explained.     score   of the whole image; hidden_score: with the hottest part hidden.
    box           voxel indices (x0, y0, z0, x1, y1, z1), inclusive, of the hottest part; None where nothing is hot.
    deletion, insertion   the score after each tenth of the voxels, hottest first, was hidden, or shown; 11 points.
    asked         how many images the model was asked about.
    """

    heat: NDArray[np.float32] = field(repr=False)
    method: Method
    label: str
    code: Code | None
    unit: str
    score: float
    hidden_score: float | None
    box: tuple[int, ...] | None
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    asked: int
    notes: tuple[str, ...] = ()

    @property
    def deletion_area(self) -> float:
        """Small where the map is right: the score is gone as soon as the hottest tenths are."""
        return area(self.deletion)

    @property
    def insertion_area(self) -> float:
        """Large where the map is right."""
        return area(self.insertion)


@dataclass(frozen=True, eq=False)
class Target:
    """One number that a model gives of an image. steep (n,): what falls; shown (n,): the same as the user knows it."""

    name: str
    code: Code | None
    unit: str
    steep: Callable[[Sequence[Image]], NDArray[np.float64]]
    shown: Callable[[Sequence[Image]], NDArray[np.float64]]
    encoder: Any = None
    direction: Callable[[Image], NDArray[np.float32]] | None = None
    notes: tuple[str, ...] = ()


def explain(
    image: Image,
    model: Any,
    label: str | None = None,
    method: Method = "occlusion",
    *,
    fill: Fill = "blur",
    source: str | None = None,
    progress: Progress | None = None,
) -> Explained:
    """label: one of the model's, by name or code; of an image-text encoder any phrase. None: a detector's highest.
    source: the catalog id of the data set that the image came from, None for a patient's.

    Raises NotAdmitted for an image that the card does not admit, PromptRefused for a label that the model does not
    have, ModelRefused for a model without a score, or for a method that it cannot do.
    """
    refuse_unless_admitted(model.card, image.facts, source)
    target = target_of(model, image, label)
    covered = hidden(image, fill)
    asked = 1
    if method == "occlusion":
        seen = occlusion(image.voxels, covered, lambda v: target.steep(_images(image, v)), progress=_part(progress))
        heat, asked = seen.heat, asked + seen.asked
    else:
        heat = _inward(image, model, target, method)
    score = float(target.shown([image])[0])
    hottest = heat >= HALF * heat.max() if float(heat.max()) > 0 else None
    hidden_score = None
    if hottest is not None:
        hidden_score = float(target.shown(_images(image, _mixed(image.voxels, covered, hottest)[None]))[0])
    deletion, insertion = curves(image, covered, heat, target.shown)
    if progress:
        progress(1.0, "tested")
    more = [NO_OUTLINE, HOW[method], FILLS[fill], *target.notes]
    if hottest is None:
        more.append("no part of the image speaks for this label")
    elif hidden_score is not None and score - hidden_score < LITTLE * abs(score):
        more.append("hiding the hottest part hardly lowers the score: it rests on the whole image, or on little things")
    box = masked_box(hottest) if hottest is not None else None
    return Explained(
        heat, method, target.name, target.code, target.unit if method == "occlusion" else "1", score, hidden_score,
        box, deletion, insertion, asked + 2 * STEPS + 1, tuple(more),
    )  # fmt: skip


def target_of(model: Any, image: Image, label: str | None) -> Target:
    """What is asked about. Raises PromptRefused, or ModelRefused for a model without a score."""
    if isinstance(model, Detector):
        return _of_detector(model, image, label)
    if isinstance(model, Encoder) and isinstance(model, TextEncoder):
        if not label or not label.strip():
            raise PromptRefused("no phrase", "a phrase in words for an image-text encoder", 'say --label "a phrase"')
        direction = np.asarray(model.encode_texts([label])[0], np.float32)

        def cosine(images: Sequence[Image]) -> NDArray[np.float64]:
            return np.asarray(model.encode(images).astype(np.float64) @ direction)

        note = "the score is the cosine of image and phrase: no probability"
        return Target(label, None, UNIT_COSINE, cosine, cosine, model, lambda _: direction, (note,))
    raise ModelRefused(
        f"{model.card.id} ({', '.join(model.card.protocols)}) gives no score that could be explained",
        "a Detector, an approved head, or an encoder of images and texts",
        "choose another --model",
    )


def curves(
    image: Image,
    covered: NDArray[Any],
    heat: NDArray[Any],
    score: Callable[[Sequence[Image]], NDArray[np.float64]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(deletion, insertion): the score after 0, 1 ... STEPS tenths of the voxels, hottest first, were hidden, shown."""
    order = np.argsort(-heat.reshape(-1), kind="stable")
    flat = np.empty(order.size, np.int64)
    flat[order] = np.arange(order.size)
    rank = flat.reshape(heat.shape)
    ends = [float(score(_images(image, v[None]))[0]) for v in (image.voxels, covered)]
    deletion, insertion = [ends[0]], [ends[1]]
    for step in range(1, STEPS):
        first = rank < round(order.size * step / STEPS)
        pair = [_mixed(image.voxels, covered, first), _mixed(covered, image.voxels, first)]
        down, up = score(_images(image, np.stack(pair)))
        deletion.append(float(down))
        insertion.append(float(up))
    return (*deletion, ends[1]), (*insertion, ends[0])


def _of_detector(model: Detector, image: Image, label: str | None) -> Target:
    names = list(model.card.labels)
    codes = list(model.card.labels.values())
    scores = _scorer(model)
    first = scores([image])[0]
    index = int(first.argmax()) if label is None else _index(model, names, codes, label)
    exclusive = first.size > 1 and abs(float(first.sum()) - 1.0) < ADD_UP
    encoder = getattr(model, "encoder", None)
    of_vectors = getattr(model, "of_vectors", None)
    direction = None
    if encoder is not None and of_vectors is not None:

        def direction(one: Image) -> NDArray[np.float32]:
            return _slope(encoder.encode([one])[0], of_vectors)

    notes = () if type(model).__name__ == "Head" else ("the score is the model's own, not calibrated",)
    return Target(
        names[index] if names else model.card.id,
        codes[index] if codes else None,
        UNIT_ODDS,
        lambda images: log_odds(scores(images), index, exclusive),
        lambda images: scores(images)[:, index].astype(np.float64),
        encoder,
        direction,
        notes,
    )


def _scorer(model: Detector) -> Callable[[Sequence[Image]], NDArray[np.float32]]:
    if isinstance(model, ManyAtOnce):
        return model.scores_of
    return lambda images: np.array([[d.score for d in model.detect(image)] for image in images], np.float32)


def _index(model: Detector, names: Sequence[str], codes: Sequence[Code], label: str) -> int:
    asked = label.strip().casefold()
    for index, (name, code) in enumerate(zip(names, codes, strict=True)):
        if asked in (name.casefold(), code.value.casefold(), code.meaning.casefold()):
            return index
    raise PromptRefused(
        f"a label that {model.card.id} does not know", f"one of: {', '.join(names)}", "choose one of them with --label"
    )


def _slope(
    vector: NDArray[np.float32], of_vectors: Callable[[NDArray[np.float32]], NDArray[np.float64]]
) -> NDArray[np.float32]:
    """(d,): how the log-odds of a head change along each number of the encoder's vector, by central differences."""
    step = np.float32(STEP * max(float(np.abs(vector).max()), 1e-6))
    offsets = np.eye(vector.size, dtype=np.float32) * step
    up, down = (of_vectors(vector[None] + sign * offsets)[:, None] for sign in (1, -1))
    rise = log_odds(up, 0, False) - log_odds(down, 0, False)
    return np.asarray(rise / (2 * step), dtype=np.float32)


def _inward(image: Image, model: Any, target: Target, method: Method) -> NDArray[np.float32]:
    encoder = target.encoder
    can = encoder.methods if isinstance(encoder, Inward) else ()
    if method not in can or target.direction is None:
        why = "" if can else ", as nothing of it but its answers can be had here"
        raise ModelRefused(
            f"{model.card.id} has no {method}{why}",
            "occlusion" + "".join(f", {m}" for m in METHODS if m in can),
            "say --method occlusion",
        )
    return np.asarray(encoder.attribute(image, method, target.direction(image)), dtype=np.float32)


def _images(image: Image, voxels: NDArray[Any]) -> list[Image]:
    return [Image(image.facts, one) for one in voxels]


def _mixed(below: NDArray[Any], above: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[Any]:
    return np.where(where[..., None] if below.ndim == 4 else where, above, below)


def _part(progress: Progress | None) -> Progress | None:
    return None if progress is None else lambda fraction, words: progress(0.9 * fraction, words)
