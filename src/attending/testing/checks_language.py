"""Checks of what deals in words: Writer, Reader, TextEncoder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import AttendingError, InputRefused, NotAdmitted
from ..records import Answer, Image
from .checks_images import refuses
from .running import GRACE_S, Run, equal, print_of

SCHEMA = {
    "type": "object",
    "properties": {"sentence": {"type": "string", "maxLength": 60}, "side": {"enum": ["left", "right"]}},
    "required": ["sentence", "side"],
    "additionalProperties": False,
}
QUESTIONS = ("What does this image show?", "Is the left half brighter than the right half? Answer with one word.")
TEXTS = ("No pleural effusion.", "A 12 mm nodule in the right upper lobe.", "", "word " * 3000, "Größe: 3 µm – ±2 %")


def writer(run: Run) -> None:
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


def text_encoder(run: Run, image: Image | None) -> None:
    """image: one that the card admits, where the model encodes images too."""
    encode = run.plugin.encode_texts
    with run.check("TextEncoder: space"):
        run.expect(isinstance(run.plugin.space, str) and bool(run.plugin.space), "no name")
        run.detail = run.plugin.space
    with run.check("TextEncoder: vectors"):
        got = encode(list(TEXTS))
        run.expect(got.ndim == 2 and got.shape[0] == len(TEXTS) and got.dtype == np.float32, f"{got.dtype} {got.shape}")
        run.expect(bool(np.isfinite(got).all()), "not finite")
        run.expect(encode([]).shape == (0, got.shape[1]), "an empty list does not give (0, d)")
        run.detail = f"{got.shape[1]} numbers"
    with run.check("TextEncoder: rows do not depend on each other"):
        both, alone = encode(list(TEXTS[:2])), encode([TEXTS[1]])
        run.expect(equal(both[1], alone[0]), "a row changes with its neighbours")
        run.expect(not equal(both[0], both[1]), "other texts, the same vector")
    if image is not None:
        with run.check("TextEncoder: one space for images and texts"):
            lengths = run.plugin.encode([image]).shape[1], encode([TEXTS[0]]).shape[1]
            run.expect(lengths[0] == lengths[1], f"{lengths[0]} numbers for an image, {lengths[1]} for a text")


def reader(run: Run, image: Image) -> None:
    answer: Callable[..., Answer] = run.plugin.answer
    with run.check("Reader: answer"):
        before = print_of(image)
        got = answer([image], QUESTIONS[0], max_tokens=40)
        _sound(run, got, {image.id})
        run.expect(answer([image], QUESTIONS[0], max_tokens=40).text == got.text, "asked again it answers otherwise")
        run.expect(print_of(image) == before, "it changed the image's voxels")
        run.detail = got.text
    with run.check("Reader: few tokens"):
        short = answer([image], QUESTIONS[0], max_tokens=3)
        run.expect(len(short.text.split()) <= 3, f"{len(short.text.split())} words for 3 tokens")
    with run.check("Reader: little time"):
        started = time.monotonic()
        run.detail = _answered_or_refused(lambda: answer([image], QUESTIONS[0], max_tokens=400, timeout_s=0.5))
        took = time.monotonic() - started
        run.expect(took < 0.5 + GRACE_S, f"came back after {took:.1f} s, asked to stop after 0.5 s")
    with run.check("Reader: no image"):
        try:
            blind = answer([], QUESTIONS[0], max_tokens=40)
            run.expect(not blind.rests_on, f"without an image its answer rests on {', '.join(blind.rests_on)}")
            run.detail = f"{blind.status}: {blind.text}"
        except InputRefused as refused:
            run.detail = f"refused: {refused.seen}"
    for name, question in (("no question", ""), ("too long a question", "word " * 50_000)):
        with run.check(f"Reader: {name}"):
            run.detail = _answered_or_refused(lambda q=question: answer([image], q, max_tokens=3))  # type: ignore[misc]
    with run.check("Reader: two images"):
        run.detail = _answered_or_refused(lambda: answer([image, image], QUESTIONS[0], max_tokens=10))
    with run.check("Reader: refuses what the card does not admit"):
        refuses(run, lambda other: answer([other], QUESTIONS[0], max_tokens=3), image)


def _sound(run: Run, got: Any, ids: set[str]) -> None:
    run.expect(isinstance(got, Answer), f"answer gave a {type(got).__name__}, not an Answer")
    run.expect(bool(got.text.strip()), "no text")
    run.expect(got.status in ("answered", "cannot_tell"), f"status {got.status!r}")
    strange = set(got.rests_on) - ids
    run.expect(not strange, f"it rests on {', '.join(sorted(strange))}, which it was not given")
    run.expect(got.status != "answered" or bool(got.rests_on), "an answer that rests on no image")
    run.expect(got.score is None or 0 <= got.score <= 1, f"score {got.score}")


def _answered_or_refused(ask: Callable[[], Answer]) -> str:
    try:
        return f"answered: {ask().text}"
    except NotAdmitted as refused:
        return f"refused: {refused.seen}"
    except AttendingError as refused:
        return f"refused: {refused.seen}"
