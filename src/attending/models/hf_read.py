"""Reader: image-text-to-text models of transformers (LLaVA, BLIP-2, Gemma 3 and their kin), in a worker process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import QuestionRefused
from ..records import Answer, Image
from .admission import refuse_unless_admitted
from .hf import LANGUAGE, STEP_S, pictures, worker_of
from .protocols import Setup

MOST_WORDS = 2000
"""Characters of a question."""
MOST_PICTURES = 6
UNSURE = (
    "cannot tell",
    "can't tell",
    "cannot determine",
    "can't determine",
    "i don't know",
    "i do not know",
    "not sure",
)


class HfReader:
    """Reader. Files: config.json, safetensors, tokenizer and processor files as published."""

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card
        self._worker = worker_of(setup, LANGUAGE, "reader")

    def answer(
        self, images: Sequence[Image], question: str, *, max_tokens: int = 120, timeout_s: float = 60.0
    ) -> Answer:
        """See ``Reader.answer``. A volume is shown as three planes. score: the mean probability of the answer's words
        to the model itself; no probability of being right.

        Raises NotAdmitted, QuestionRefused, and what a worker raises.
        """
        words = question.strip()
        if not words or len(words) > MOST_WORDS:
            raise QuestionRefused(
                f"a question of {len(words)} characters", f"1 to {MOST_WORDS}", "ask one question in a sentence or two"
            )
        shown: list[tuple[str, int, Any]] = []
        for image in images:
            refuse_unless_admitted(self.card, image.facts)
            shown += [(image.id, z, picture) for z, picture in pictures(image)]
        left_out = len(shown) - MOST_PICTURES
        shown = shown[:MOST_PICTURES]
        given: dict[str, Any] = {f"image{i}": picture for i, (_, _, picture) in enumerate(shown)}
        given |= {"question": words, "max_tokens": max_tokens, "timeout_s": timeout_s, "count": len(shown)}
        self._worker.start()
        answer = self._worker.call("answer", given, timeout_s, STEP_S)
        text = " ".join(str(answer["text"]).split())
        notes = [f"looked at plane {z} of {id}" for id, z, _ in shown if len(shown) > 1]
        if left_out > 0:
            notes.append(f"{left_out} more planes were not looked at")
        if answer["stopped"] != "done":
            notes.append(
                "the answer was cut off: " + ("its time was over" if answer["stopped"] == "time" else "too long")
            )
        told = bool(text) and not any(words in text.lower() for words in UNSURE)
        return Answer(
            text=text or "the model gave no answer",
            status="answered" if told else "cannot_tell",
            rests_on=tuple(dict.fromkeys(id for id, _, _ in shown)),
            score=float(answer["sure"]),
            notes=tuple(notes),
        )

    def close(self) -> None:
        """Ends the process, for everyone who shares it. The next call starts it again."""
        self._worker.close()
