"""The conformance test that every model must pass, built-in or anyone's. In prose first, then run.

1.  A model has a card of its id, with version, title, intended use and limits, and the methods of each protocol that
    the card names. A card without a licence is told, because the licence gate will refuse it.
2.  It never changes the image it is given, and the same image gives the same answer.
3.  It refuses, by NotAdmitted, what its card does not admit.
4.  It looks: a phantom, the phantom mirrored, noise and a blank image do not all give one answer. (A refusal is an
    answer.) A network that answers alike for noise and for a patient is worse than none.
5.  Segmenter: labels on the image's own grid (z, y, x), unsigned, each value named; where it worked on another grid,
    that too, with its spacing.
6.  Detector: one Detection per label of the card, with that label's code; scores finite in 0..1; heat maps, where
    there are any, float32 (z, y, x) in 0..1 on the image's grid.
7.  Encoder: float32 (n, d), finite, of one length for every image; a row does not depend on its neighbours; an empty
    list gives (0, d); a space with a name.
8.  Writer: text within max_tokens; JSON that fits a schema unless it stopped early, and says so; ends soon after its
    time; the same messages give the same text and other messages another; closes, twice.
9.  Whatever happens, it raises errors of attending.errors and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import AttendingError, InputRefused, NotAdmitted
from ..models import Card, admit, protocols_of
from ..records import Code, Image
from .phantoms import Content, image_for, with_voxels

CONTENTS: tuple[Content, ...] = ("phantom", "mirrored", "noise", "blank")
SAME = 1e-5
"""Largest difference between two runs that is still the same answer: threads may add float32 in another order."""
GRACE_S = 20.0
"""How long after its time a writer may take to come back: one step of a large model on a busy machine."""
SCHEMA = {
    "type": "object",
    "properties": {"sentence": {"type": "string", "maxLength": 60}, "side": {"enum": ["left", "right"]}},
    "required": ["sentence", "side"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class CheckResult:
    """One check: ok, and what was seen."""

    name: str
    ok: bool
    detail: str = ""


def check_model(plugin: Any, images: Sequence[Image] = ()) -> list[CheckResult]:
    """Run the contract on a plugin as ``models.load`` gives it, and close it if it is a Writer.

    images   real images that the card admits, looked at beside the phantoms: a trained network that takes every phantom
             for the same nothing can show with them that it looks.

    Raises nothing: what goes wrong is a result that is not ok.
    """
    run = _Run(plugin)
    with run.check("card"):
        _card(run)
    if not isinstance(getattr(plugin, "card", None), Card):
        return run.results
    kinds = protocols_of(plugin)
    with run.check("protocols"):
        run.expect(bool(kinds), "it has the methods of no protocol")
        missing = [name for name in plugin.card.protocols if name not in kinds]
        run.expect(not missing, f"no methods of {', '.join(missing)}, which the card names")
        run.detail = ", ".join(kinds)
    shown = _shown(plugin.card, images)
    if "Segmenter" in kinds:
        _looks(run, "Segmenter", lambda image: plugin.segment(image), _segmentation, shown)
    if "Detector" in kinds:
        _looks(run, "Detector", lambda image: plugin.detect(image), _detections, shown)
    if "Encoder" in kinds:
        _looks(run, "Encoder", lambda image: plugin.encode([image]), _vectors, shown)
        _encoder(run, shown)
    if "Writer" in kinds:
        _writer(run)
    return run.results


class _Broken(Exception):
    """A check did not hold; the text says what was seen."""


class _Run:
    def __init__(self, plugin: Any) -> None:
        self.plugin, self.results, self.detail = plugin, list[CheckResult](), ""

    @contextmanager
    def check(self, name: str) -> Iterator[None]:
        self.detail = ""
        try:
            yield
        except _Broken as broken:
            self.results.append(CheckResult(name, False, str(broken)))
        except AttendingError as refused:
            self.results.append(CheckResult(name, False, f"it refused: {refused}"))
        except (Exception, SystemExit) as failed:
            self.results.append(CheckResult(name, False, f"it raised {type(failed).__name__}: {failed}"))
        else:
            self.results.append(CheckResult(name, True, self.detail or "as it should be"))

    @staticmethod
    def expect(holds: bool, seen: str) -> None:
        if not holds:
            raise _Broken(seen)


def _card(run: _Run) -> None:
    card = getattr(run.plugin, "card", None)
    if not isinstance(card, Card):
        raise _Broken("plugin.card is no Card")
    empty = [name for name in ("id", "version", "title", "engine", "intended_use", "limits") if not getattr(card, name)]
    run.expect(not empty, f"empty: {', '.join(empty)}")
    run.expect(bool(card.protocols), "the card names no protocol")
    run.expect(set(card.dims) <= {2, 3} and bool(card.dims), f"dims {card.dims}, allowed 2 and 3")
    run.expect(card.use in ("care", "teach", "view"), f"use {card.use!r}")
    run.expect(all(isinstance(code, Code) for code in card.labels.values()), "a label without a Code")
    json.dumps(card.as_dict())
    run.detail = (
        f"licence {card.licence}" if card.licence else "no licence: the licence gate refuses it unless accepted"
    )


def _shown(card: Card, images: Sequence[Image]) -> list[tuple[str, Image]]:
    phantoms = [(content, image_for(card, content)) for content in CONTENTS]
    return phantoms + [(f"image {n}", image) for n, image in enumerate(images, 1)]


def _looks(
    run: _Run,
    protocol: str,
    answer: Callable[[Image], Any],
    sound: Callable[[_Run, Image, Any], np.ndarray[Any, Any]],
    shown: Sequence[tuple[str, Image]],
) -> None:
    """Checks 2, 3 and 4, and ``sound`` (5, 6 or 7) on each image. Each image is shown once, the first one twice."""
    answers: dict[str, Any] = {}
    for name, image in shown:
        before = hashlib.sha256(image.voxels.tobytes()).hexdigest()
        with run.check(f"{protocol}: {name}"):
            try:
                answers[name] = sound(run, image, answer(image))
            except (NotAdmitted, InputRefused) as refused:  # a blank volume may well be refused
                run.expect(name != "phantom", f"it refuses the phantom that its card admits: {refused.seen}")
                answers[name], run.detail = None, f"refused: {refused.seen}"
            run.expect(hashlib.sha256(image.voxels.tobytes()).hexdigest() == before, "it changed the image's voxels")
    with run.check(f"{protocol}: same image, same answer"):
        name, image = shown[0]
        again = sound(run, image, answer(image))
        run.expect(_equal(answers.get(name), again), "two runs on the same image differ")
    with run.check(f"{protocol}: other images, other answers"):
        given = list(answers.values())
        alike = [name for name, other in list(answers.items())[1:] if _equal(given[0], other)]
        run.expect(len(alike) < len(given) - 1, f"one answer for {', '.join(answers)}")
        run.detail = f"as for the phantom: {', '.join(alike)}" if alike else "all differ from the phantom's"
    if protocol != "Encoder":
        with run.check(f"{protocol}: refuses what the card does not admit"):
            _refuses(run, answer, shown[0][1])


def _equal(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return bool(a.shape == b.shape and np.allclose(a, b, rtol=SAME, atol=SAME))


def _refuses(run: _Run, answer: Callable[[Image], Any], image: Image) -> None:
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
        raise _Broken(f"it answered, though {admit(card, other.facts)}")
    run.detail = f"{len(asked)} images refused" if asked else "the card admits any image"


def _segmentation(run: _Run, image: Image, got: Any) -> np.ndarray[Any, Any]:
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


def _detections(run: _Run, image: Image, got: Any) -> np.ndarray[Any, Any]:
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


def _vectors(run: _Run, image: Image, got: Any) -> np.ndarray[Any, Any]:
    run.expect(
        got.ndim == 2 and got.shape[0] == 1 and got.dtype == np.float32, f"{got.dtype} {got.shape} for one image"
    )
    run.expect(bool(np.isfinite(got).all()), "not finite")
    run.detail = f"{got.shape[1]} numbers"
    return np.asarray(got).copy()


def _encoder(run: _Run, shown: Sequence[tuple[str, Image]]) -> None:
    encode, image, other = run.plugin.encode, shown[0][1], shown[1][1]
    with run.check("Encoder: space"):
        run.expect(isinstance(run.plugin.space, str) and bool(run.plugin.space), "no name")
        run.detail = run.plugin.space
    with run.check("Encoder: rows do not depend on each other"):
        both, alone = encode([image, other]), encode([other])
        run.expect(both.shape[0] == 2 and _equal(both[1], alone[0]), "a row changes with its neighbours")
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


def _writer(run: _Run) -> None:
    write = run.plugin.write
    say = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Say: effusion, left."}]
    ask = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Count from one to five."}]
    with run.check("Writer: text"):
        got = write(say, max_tokens=40, timeout_s=60.0)
        run.expect(isinstance(got.text, str) and bool(got.text.strip()), f"wrote {got.text!r}")
        run.expect(0 < got.tokens <= 40, f"{got.tokens} tokens, allowed 40")
        run.expect(got.stopped in ("done", "length", "time") and got.seconds >= 0, f"stopped {got.stopped!r}")
        run.detail = f"{got.tokens} tokens in {got.seconds:.2f} s"
        run.expect(write(say, max_tokens=40, timeout_s=60.0).text == got.text, "the same messages gave another text")
        run.expect(write(ask, max_tokens=40, timeout_s=60.0).text != got.text, "other messages gave the same text")
    with run.check("Writer: schema"):
        got = write(say, schema=SCHEMA, max_tokens=80, timeout_s=60.0)
        if got.stopped == "done":
            value = json.loads(got.text)
            fits = isinstance(value, dict) and set(value) == {"sentence", "side"} and value["side"] in ("left", "right")
            run.expect(fits and isinstance(value["sentence"], str), f"JSON that does not fit the schema: {got.text}")
        run.detail = got.text
    with run.check("Writer: few tokens"):
        got = write(ask, max_tokens=2, timeout_s=60.0)
        run.expect(got.tokens <= 2 and got.stopped == "length", f"{got.tokens} tokens, stopped {got.stopped!r}")
    with run.check("Writer: little time"):
        started = time.monotonic()
        got = write(ask, max_tokens=2000, timeout_s=0.5)
        took = time.monotonic() - started
        run.expect(took < 0.5 + GRACE_S, f"came back after {took:.1f} s, asked to stop after 0.5 s")
        run.detail = f"stopped: {got.stopped} after {took:.1f} s"
    with run.check("Writer: too long a prompt"):
        try:
            write([{"role": "user", "content": "word " * 50_000}], max_tokens=2, timeout_s=20.0)
            run.detail = "answered"
        except AttendingError as refused:
            run.detail = f"refused: {refused.seen}"
    with run.check("Writer: close"):
        run.plugin.close()
        run.plugin.close()
