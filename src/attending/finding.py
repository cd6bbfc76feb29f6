"""The story of a word looked for on one image: by a detector that knows it, by examples, or by words alone.

Three ways, in the order of what they are worth: detectors in use whose card names the finding; a few-shot head fitted
there and then on a folder of labelled examples; zero-shot by an image-text encoder and an ensemble of prompts. Every
answer says which way it was and whether its number is a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .answering import matches
from .errors import AttendingError, ModelRefused, NotFound, NothingToLearn
from .models import Detector, Encoder, admit
from .models.occlusion import glance
from .records import Code, Image, Producer

if TYPE_CHECKING:
    from .site import Site

__all__ = ["Looked", "by_detectors", "by_examples", "by_words", "vectors_of"]

# Ensembles of prompts are averaged before comparing (Radford et al. 2021, section 3.1.4).
TEMPLATES = (
    "{}",
    "a medical image showing {}",
    "{modality} of the {body_part} with {}",
    "findings consistent with {}",
    "there is {}",
    "radiology image: {}",
)
MODALITY = {"CT": "CT", "MR": "MRI", "CR": "radiograph", "DX": "radiograph", "US": "ultrasound image"}
SCALE = 100.0
"""The logit scale that CLIP-like models are trained towards; a model's own ``scale`` comes before it."""
LEAST_EXAMPLES = 2
MIN_CALIBRATION = 20


@dataclass(frozen=True)
class Looked:
    """One label looked for. score in 0..1: calibrated says whether it is a probability.

    chosen  "present", "absent" or "uncertain" for detectors; for a choice among labels "chosen", "possible" (inside the
            conformal set) or "not_chosen"; None where nothing is promised.
    way     "detector", "examples" or "words".
    """

    label: str
    score: float
    calibrated: bool
    way: str
    producer: Producer
    code: Code | None = None
    chosen: str | None = None
    notes: tuple[str, ...] = ()


def by_detectors(image: Image, labels: Sequence[str], detectors: Sequence[Detector], site: Site) -> list[Looked]:
    """What detectors in use say of the labels that they know; a label is known by its code's name or a narrower one."""
    out = []
    for detector in detectors:
        known = {
            label: code for label in labels for code in detector.card.labels.values() if matches(label, code.meaning)
        }
        if not known or admit(detector.card, image.facts) is not None:
            continue
        for found in glance(detector, image):
            for label in (label for label, code in known.items() if matches(label, found.code.meaning)):
                present, absent, _ = site.thresholds.at(found.code.value)
                chosen = "present" if found.score >= present else "absent" if found.score <= absent else "uncertain"
                if found.possible is not None and len(found.possible) != 1:
                    chosen = "uncertain"
                producer = Producer(detector.card.id, detector.card.version)
                out.append(
                    Looked(label, found.score, found.calibrated, "detector", producer, found.code, chosen, found.notes)
                )
    return out


def by_examples(
    image: Image, labels: Sequence[str], folder: Path, encoder: Encoder, site: Site, coverage: float, kind: str
) -> list[Looked]:
    """A few-shot head on ``folder/LABEL/*``; a conformal set where the examples allow it.

    The set is calibrated by leaving each example out once: at ``coverage`` it holds the true label for images like the
    examples (Barber et al. 2021 prove 2 coverage - 1 for the worst case). Raises NothingToLearn and NotFound.
    """
    from . import learning, metrics

    vectors, given, skipped = _examples(folder, labels, encoder, site)
    y = np.array([list(labels).index(label) for label in given])
    x = np.stack(vectors)
    p = learning.few_shot(kind, x, y)(encoder.encode([image]))[0]
    counts = ", ".join(f"{int((y == k).sum())} of {label}" for k, label in enumerate(labels))
    notes = [f"{kind} head on {counts}", "not calibrated: no probability of disease"]
    if skipped:
        notes.append(f"{skipped} example files could not be used")
    inside = None
    if len(y) >= MIN_CALIBRATION and min(np.bincount(y)) > 1:
        left_out = np.stack([learning.few_shot(kind, np.delete(x, i, 0), np.delete(y, i))(x[i : i + 1])[0]
                             for i in range(len(y))])  # fmt: skip
        inside = metrics.conformal_sets(p[None], metrics.conformal_threshold(y, left_out, coverage))[0]
        notes.append(f"the labels not excluded at {coverage:.0%} coverage: {_listed(labels, inside)}")
    else:
        notes.append(f"no coverage is promised: {len(y)} examples, at least {MIN_CALIBRATION} are needed")
    card = getattr(encoder, "card", None)
    producer = Producer(card.id if card else encoder.space, card.version if card else None)
    return _chosen(labels, p, inside, "examples", producer, tuple(notes))


def by_words(image: Image, labels: Sequence[str], model: Any) -> list[Looked]:
    """Zero-shot: the image's vector beside those of an ensemble of prompts for each label. model: Encoder and
    TextEncoder of one space."""
    facts = image.facts
    fill = {
        "modality": MODALITY.get(facts.modality, "medical image"),
        "body_part": (facts.body_part or "body").lower(),
    }
    means = []
    for label in labels:
        texts = [t.format(label, **fill) for t in TEMPLATES]
        vectors = _unit(model.encode_texts(texts))
        means.append(_unit(vectors.mean(0)))
    similar = np.stack(means) @ _unit(model.encode([image])[0])
    from scipy.special import softmax

    p = softmax(float(getattr(model, "scale", SCALE)) * similar.astype(np.float64))
    notes = (f"zero-shot over {len(TEMPLATES)} prompts a label", "a share among these labels, not a probability")
    return _chosen(labels, p, None, "words", Producer(model.card.id, model.card.version, "zero-shot"), notes)


def vectors_of(images: Sequence[Image], encoder: Encoder) -> NDArray[np.float32]:
    """(n, d) float32 of images that the encoder's card admits. Raises NotAdmitted."""
    from .models import refuse_unless_admitted

    for image in images:
        refuse_unless_admitted(encoder.card, image.facts)
    return encoder.encode(list(images))


def _examples(
    folder: Path, labels: Sequence[str], encoder: Encoder, site: Site
) -> tuple[list[NDArray[Any]], list[str], int]:
    from .images import open_image

    vectors: list[NDArray[Any]] = []
    given: list[str] = []
    skipped = 0
    for label in labels:
        if not (folder / label).is_dir():
            raise NotFound(
                f"the examples have no sub-folder for one of the labels ({len(labels)} labels)",
                "a folder that has one sub-folder of images for each label, by its name",
                "make the sub-folders, or leave the label out",
            )
        for path in sorted(p for p in (folder / label).iterdir() if p.is_file()):
            try:
                vectors.append(encoder.encode([open_image(path, site).image])[0])
                given.append(label)
            except AttendingError:
                skipped += 1
    if any(given.count(label) < LEAST_EXAMPLES for label in labels) or len(labels) < 2:
        counts = ", ".join(str(given.count(label)) for label in labels)
        raise NothingToLearn(
            f"{counts} readable examples of {len(labels)} labels",
            f"at least {LEAST_EXAMPLES} of each of at least two labels",
            "add images to the sub-folders",
        )
    return vectors, given, skipped


def _chosen(
    labels: Sequence[str],
    p: NDArray[Any],
    inside: NDArray[Any] | None,
    way: str,
    producer: Producer,
    notes: tuple[str, ...],
) -> list[Looked]:
    best = int(np.argmax(p))
    rows = [Looked(label, float(p[k]), False, way, producer, notes=notes) for k, label in enumerate(labels)]
    if inside is None:
        return rows
    alone = int(inside.sum()) == 1 and bool(inside[best])
    said = ["chosen" if alone and k == best else "possible" if inside[k] else "not_chosen" for k in range(len(rows))]
    return [replace(row, chosen=word) for row, word in zip(rows, said, strict=True)]


def _listed(labels: Sequence[str], inside: NDArray[Any]) -> str:
    kept = [label for label, is_in in zip(labels, inside, strict=True) if is_in]
    return ", ".join(kept) if kept else "none: the image is unlike the examples"


def _unit(vectors: NDArray[Any]) -> NDArray[np.float64]:
    wide = np.asarray(vectors, np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=-1, keepdims=True), 1e-12))


def encoder_of(model: Any) -> Any:
    """The model, where it makes vectors of images. Raises ModelRefused."""
    if not hasattr(model, "encode"):
        raise ModelRefused(
            f"{model.card.id} makes no vectors of images",
            "a model with the protocol Encoder",
            "choose one with `attending models list`",
        )
    return model


def image_text_model(model: Any) -> Any:
    """The model, where it encodes images and texts into one space. Raises ModelRefused."""
    if not (hasattr(model, "encode") and hasattr(model, "encode_texts")):
        raise ModelRefused(
            f"{model.card.id} does not encode images and texts into one space",
            "a model with the protocols Encoder and TextEncoder",
            "choose one with `attending models list`, or give --examples FOLDER",
        )
    return model
