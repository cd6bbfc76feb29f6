"""Checks of what answers about an image: Segmenter, Detector, Encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InputRefused, NotAdmitted
from ..models import Card, admit
from ..records import Image
from .phantoms import with_voxels
from .running import Broken, Run, equal, print_of


def looks(
    run: Run,
    protocol: str,
    answer: Callable[[Image], Any],
    sound: Callable[[Run, Image, Any], np.ndarray[Any, Any]],
    shown: Sequence[tuple[str, Image]],
) -> None:
    """Checks 2, 3 and 4, and ``sound`` (5, 6 or 7) on each image. Each image is shown once, the first one twice."""
    answers: dict[str, Any] = {}
    for name, image in shown:
        before = print_of(image)
        with run.check(f"{protocol}: {name}"):
            try:
                answers[name] = sound(run, image, answer(image))
            except (NotAdmitted, InputRefused) as refused:  # a blank volume may well be refused
                run.expect(name != "phantom", f"it refuses the phantom that its card admits: {refused.seen}")
                answers[name], run.detail = None, f"refused: {refused.seen}"
            run.expect(print_of(image) == before, "it changed the image's voxels")
    with run.check(f"{protocol}: same image, same answer"):
        name, image = shown[0]
        again = sound(run, image, answer(image))
        run.expect(equal(answers.get(name), again), "two runs on the same image differ")
    with run.check(f"{protocol}: other images, other answers"):
        given = list(answers.values())
        alike = [name for name, other in list(answers.items())[1:] if equal(given[0], other)]
        run.expect(len(alike) < len(given) - 1, f"one answer for {', '.join(answers)}")
        run.detail = f"as for the phantom: {', '.join(alike)}" if alike else "all differ from the phantom's"
    if protocol != "Encoder":
        with run.check(f"{protocol}: refuses what the card does not admit"):
            refuses(run, answer, shown[0][1])


def refuses(run: Run, answer: Callable[[Image], Any], image: Image) -> None:
    card: Card = run.plugin.card
    facts = image.facts
    one = with_voxels(image, image.voxels[:1].copy()) if image.voxels.shape[0] > 1 else None
    others = [
        Image(replace(facts, modality="OT" if facts.modality != "OT" else "US"), image.voxels),
        Image(replace(facts, body_part="FOOT"), image.voxels),
        Image(replace(facts, sequence="DWI"), image.voxels),
        Image(replace(facts, view="OBLIQUE"), image.voxels),
        one or with_voxels(image, np.repeat(image.voxels, 8, axis=0)),
        with_voxels(image, np.zeros((*image.voxels.shape[:3], 3), dtype=np.uint8)),
        with_voxels(image, np.ascontiguousarray(image.voxels[..., :2, :2])),
    ]
    asked = [other for other in others if admit(card, other.facts) is not None]
    for other in asked:
        try:
            answer(other)
        except NotAdmitted:
            continue
        raise Broken(f"it answered, though {admit(card, other.facts)}")
    run.detail = f"{len(asked)} images refused" if asked else "the card admits any image"


def segmentation(run: Run, image: Image, got: Any) -> np.ndarray[Any, Any]:
    for what, labelled in (("labels", got.labels), ("conformed", got.conformed)):
        if labelled is None:
            continue
        labels = labelled.labels
        run.expect(labels.ndim == 3 and np.issubdtype(labels.dtype, np.unsignedinteger), f"{what}: {labels.dtype}")
        unnamed = set(np.unique(labels).tolist()) - set(labelled.names) - {0}
        run.expect(not unnamed, f"{what}: values without a name {sorted(unnamed)}")
    grid = tuple(image.voxels.shape[:3])
    run.expect(got.labels.labels.shape == grid, f"labels have shape {got.labels.labels.shape}, the image {grid}")
    run.expect(got.labels.image_id == image.id, "labels name another image")
    run.expect(got.conformed is None or got.spacing_mm is not None, "a conformed grid without spacing")
    run.detail = f"{np.unique(got.labels.labels).size} label values"
    return np.asarray(got.labels.labels).copy()


def detections(run: Run, image: Image, got: Any) -> np.ndarray[Any, Any]:
    codes = list(run.plugin.card.labels.values())
    run.expect(isinstance(got, tuple), f"detect gave a {type(got).__name__}, not a tuple")
    run.expect([d.code for d in got] == codes, "detections are not the card's labels in order")
    for found in got:
        run.expect(
            bool(np.isfinite(found.score) and 0 <= found.score <= 1), f"score {found.score} of {found.code.meaning}"
        )
        heat = found.heatmap
        if heat is not None:
            grid = tuple(image.voxels.shape[:3])
            run.expect(heat.shape == grid and heat.dtype == np.float32, f"heat map {heat.dtype} {heat.shape}")
            run.expect(bool(np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1), "heat map outside 0..1")
    run.detail = ", ".join(f"{d.code.meaning} {d.score:.3f}" for d in got)
    return np.array([d.score for d in got])


def vectors(run: Run, image: Image, got: Any) -> np.ndarray[Any, Any]:
    run.expect(
        got.ndim == 2 and got.shape[0] == 1 and got.dtype == np.float32, f"{got.dtype} {got.shape} for one image"
    )
    run.expect(bool(np.isfinite(got).all()), "not finite")
    run.detail = f"{got.shape[1]} numbers"
    return np.asarray(got).copy()


def encoder(run: Run, shown: Sequence[tuple[str, Image]]) -> None:
    encode, image, other = run.plugin.encode, shown[0][1], shown[1][1]
    with run.check("Encoder: space"):
        run.expect(isinstance(run.plugin.space, str) and bool(run.plugin.space), "no name")
        run.detail = run.plugin.space
    with run.check("Encoder: rows do not depend on each other"):
        both, alone = encode([image, other]), encode([other])
        run.expect(both.shape[0] == 2 and equal(both[1], alone[0]), "a row changes with its neighbours")
        run.expect(encode([]).shape == (0, both.shape[1]), "an empty list does not give (0, d)")
    with run.check("Encoder: any size"):
        card: Card = run.plugin.card
        length, rng = encode([image]).shape[1], np.random.default_rng(5)
        shapes: list[tuple[int, ...]] = [(1, 28, 28), (1, 700, 500), (5, 40, 60), (1, 28, 28, 3)]
        for shape in shapes:
            voxels = rng.integers(0, 255, shape).astype(np.uint8 if len(shape) == 4 else np.int16)
            tried = with_voxels(image, voxels)
            if admit(card, tried.facts) is None:
                got = encode([tried])
                run.expect(got.shape == (1, length), f"{got.shape} for an image of {shape}")
                run.expect(bool(np.isfinite(got).all()), f"not finite for an image of {shape}")
    with run.check("Encoder: missing voxels"):
        voxels = image.voxels.astype(np.float32)
        voxels[..., :4] = np.nan
        run.expect(bool(np.isfinite(encode([with_voxels(image, voxels)])).all()), "not finite for an image with NaN")
