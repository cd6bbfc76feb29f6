"""Writer and Reader served by an OpenAI-compatible server that the site names; pictures go as PNG in the message.

What is sent: messages made from a Case's facts, a question, and planes of a Case's image as PNG without metadata. To an
address that is not this machine's (see ``chat``) no picture of a kind goes that often has text burned into its pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NotAdmitted, QuestionRefused
from ..imaging import to_png
from ..records import Answer, Image
from .admission import refuse_unless_admitted
from .chat import Endpoint, complete, refuse_unless_allowed
from .hf import pictures
from .protocols import Setup, Written

MOST_WORDS = 2000
"""Characters of a question."""
MOST_PICTURES = 6
LONGEST_SIDE = 1024
"""Pixels of a picture that is sent: more than today's models look at, and a film is not ten megabytes."""
WRITTEN_ON = ("US", "SC", "OT", "XC", "ES", "GM", "SM", "OP", "IVUS")
"""Modalities that often carry a name in the pixels."""
UNSURE = (
    "cannot tell",
    "can't tell",
    "cannot determine",
    "can't determine",
    "i don't know",
    "i do not know",
    "not sure",
)
SYSTEM = (
    "You are shown de-identified medical images and asked one question. Answer only from what can be seen, in one or "
    "two sentences, in the question's language. If the images do not show it, answer: cannot tell."
)
BLIND = "You are asked one question. Answer in one or two sentences. If you do not know, answer: cannot tell."


@dataclass(frozen=True)
class Seen:
    """Messages, and which (image id, plane) they show. left_out counts planes that were too many."""

    messages: list[dict[str, Any]]
    shown: tuple[tuple[str, int], ...]
    left_out: int


class ServerWriter:
    """Writer."""

    def __init__(self, setup: Setup, endpoint: Endpoint) -> None:
        self.card, self.endpoint = setup.card, endpoint
        refuse_unless_allowed(endpoint)

    def write(
        self,
        messages: Sequence[dict[str, str]],
        *,
        schema: dict[str, Any] | None = None,
        max_tokens: int = 60,
        timeout_s: float = 20.0,
    ) -> Written:
        """See ``Writer.write``. Raises what ``chat.complete`` raises."""
        told = [dict(m) for m in messages]
        return complete(self.endpoint, told, schema=schema, max_tokens=max_tokens, timeout_s=timeout_s)

    def close(self) -> None:
        """Nothing is held open between calls."""


class ServerReader:
    """Reader."""

    def __init__(self, setup: Setup, endpoint: Endpoint) -> None:
        self.card, self.endpoint = setup.card, endpoint
        refuse_unless_allowed(endpoint)

    def answer(
        self, images: Sequence[Image], question: str, *, max_tokens: int = 120, timeout_s: float = 60.0
    ) -> Answer:
        """See ``Reader.answer``. Raises NotAdmitted, QuestionRefused, and what ``chat.complete`` raises."""
        here = refuse_unless_allowed(self.endpoint)
        for image in images:
            refuse_unless_admitted(self.card, image.facts)
            if not here and image.facts.modality in WRITTEN_ON:
                raise NotAdmitted(
                    f"a {image.facts.modality} image, whose pixels may hold a name, for a server elsewhere",
                    "images without burned-in text",
                    "ask a reader on this machine",
                )
        seen = asked(images, question)
        written = complete(self.endpoint, seen.messages, max_tokens=max_tokens, timeout_s=timeout_s)
        return answer_of(written, seen)

    def close(self) -> None:
        """Nothing is held open between calls."""


class ServerModel(ServerWriter, ServerReader):
    """Both, for a model that words and looks."""


def asked(images: Sequence[Image], question: str) -> Seen:
    """The messages of one question: pictures as PNG data URLs, each under its number, then the question.

    Raises QuestionRefused for no question or a very long one.
    """
    words = question.strip()
    if not words or len(words) > MOST_WORDS:
        raise QuestionRefused(
            f"a question of {len(words)} characters", f"1 to {MOST_WORDS}", "ask one question in a sentence or two"
        )
    planes = [(image.id, z, picture) for image in images for z, picture in pictures(image)]
    content: list[dict[str, Any]] = []
    for _, _, picture in planes[:MOST_PICTURES]:
        data = base64.b64encode(to_png(_smaller(picture))).decode("ascii")
        content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
    content.append({"type": "text", "text": words})
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": SYSTEM if planes else BLIND},
        {"role": "user", "content": content if planes else words},
    ]
    shown = tuple((id, z) for id, z, _ in planes[:MOST_PICTURES])
    return Seen(messages, shown, max(0, len(planes) - MOST_PICTURES))


def _smaller(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(y, x, 3) with its longer side at most LONGEST_SIDE."""
    rows, columns = picture.shape[:2]
    if max(rows, columns) <= LONGEST_SIDE:
        return picture
    from PIL import Image as Pillow

    part = LONGEST_SIDE / max(rows, columns)
    size = (max(1, round(columns * part)), max(1, round(rows * part)))
    return np.asarray(Pillow.fromarray(picture).resize(size, Pillow.Resampling.LANCZOS))


def answer_of(written: Written, seen: Seen) -> Answer:
    """What was written as an Answer. No words, or words that say so, are "cannot_tell"."""
    text = " ".join(written.text.split())
    notes = [f"looked at plane {z} of {id}" for id, z in seen.shown if len(seen.shown) > 1]
    if seen.left_out:
        notes.append(f"{seen.left_out} more planes were not looked at")
    if written.stopped != "done":
        notes.append("the answer was cut off: " + ("its time was over" if written.stopped == "time" else "too long"))
    told = bool(text) and not any(words in text.lower() for words in UNSURE)
    return Answer(
        text=text or "the model gave no answer",
        status="answered" if told else "cannot_tell",
        rests_on=tuple(dict.fromkeys(id for id, _ in seen.shown)),
        notes=tuple(notes),
    )
