"""Reader: a GGUF language model with its multimodal projector (``mmproj``) by llama.cpp in this process (xllamacpp).

What LLaVA, Gemma 3 and MedGemma, Qwen-VL, SmolVLM and their kin are published as for llama.cpp: ``model.gguf`` and an
``mmproj`` file. The same private socket, key and one-call-at-a-time lock as the writer's (``llama``).
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import PluginFailed
from ..records import Answer, Image
from .admission import refuse_unless_admitted
from .card import Card
from .llama import _ask, _Engine, registered
from .openai_server import answer_of, asked
from .protocols import Setup, Written

CONTEXT = 8192
"""Tokens of pictures, question and answer: six pictures of Gemma 3 are 1536."""
BATCH = 512
"""Tokens per step. A picture's tokens see each other and must fit into one step."""


class LlamaReader:
    """Reader. Files: one GGUF whose architecture is "clip" (the projector), and one that is not (the model)."""

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card
        self._model, self._projector = parts_of(setup.id, list(setup.files.values()))
        self._threads = setup.threads
        self._engine: _Engine | None = None
        self._opening = threading.Lock()

    def answer(
        self, images: Sequence[Image], question: str, *, max_tokens: int = 120, timeout_s: float = 60.0
    ) -> Answer:
        """See ``Reader.answer``. timeout_s counts from the call, loading included.

        Raises NotAdmitted, QuestionRefused, ModelRefused for pictures and words beyond the context, PluginFailed.
        """
        start = time.monotonic()
        for image in images:
            refuse_unless_admitted(self.card, image.facts)
        seen = asked(images, question)
        engine = self._opened()
        if not engine.lock.acquire(timeout=max(0.0, timeout_s - (time.monotonic() - start))):
            return answer_of(Written("", 0, 0, 0, time.monotonic() - start, "time"), seen)
        try:
            if engine.server is None:
                raise PluginFailed("a reader that was closed during the call", "an open reader", "ask again")
            written = _ask(engine.server, seen.messages, None, max_tokens, start, timeout_s, True)
        finally:
            engine.lock.release()
        return answer_of(written, seen)

    def _opened(self) -> _Engine:
        with self._opening:
            if self._engine is None:
                self._engine = registered(_Engine(self._model, self._threads, self._projector, CONTEXT, BATCH))
            return self._engine

    def close(self) -> None:
        """Frees the model's memory, its socket and its folder. Twice is fine."""
        with self._opening:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()


def parts_of(id: str, files: Sequence[Path]) -> tuple[Path, Path]:
    """(model, projector) among GGUF files. Raises PluginFailed where there is not one of each."""
    kinds = {path: architecture(path) for path in files if path.suffix == ".gguf"}
    projectors = [path for path, kind in kinds.items() if kind == "clip"]
    language = [path for path, kind in kinds.items() if kind not in ("clip", "")]
    if len(projectors) != 1 or len(language) != 1:
        raise PluginFailed(
            f"{id} has {len(language)} language models and {len(projectors)} projectors in GGUF",
            "one of each: model.gguf and mmproj.gguf",
            "place both files of the model, and no other GGUF, in its folder",
        )
    return language[0], projectors[0]


def architecture(path: Path) -> str:
    """``general.architecture`` of a GGUF file, read from its first facts; "" for anything else."""
    try:
        with path.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                return ""
            stream.read(12)
            (count,) = struct.unpack("<Q", stream.read(8))
            for _ in range(min(count, 64)):
                key, kind = _text(stream.read(8), stream), struct.unpack("<I", stream.read(4))[0]
                if kind == 8:
                    value = _text(stream.read(8), stream)
                    if key == "general.architecture":
                        return value
                elif kind in SIZES:
                    stream.read(SIZES[kind])
                else:
                    return ""
    except (OSError, struct.error, UnicodeDecodeError):
        return ""
    return ""


SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of GGUF's scalar kinds."""


def _text(length: bytes, stream: object) -> str:
    (size,) = struct.unpack("<Q", length)
    if size > 1 << 16:
        return ""
    data: bytes = stream.read(size)  # type: ignore[attr-defined]
    return data.decode()


def described(folder: Path, id: str, licence: str) -> tuple[Card, dict[str, Path]]:
    """The card of a folder with the two files, as a site names it. Raises PluginFailed."""
    files = {path.name: path for path in sorted(folder.glob("*.gguf"))}
    parts_of(id, list(files.values()))
    size = sum(path.stat().st_size for path in files.values()) >> 20
    card = Card(
        id,
        version="1",
        title=f"{id}, a reader of this site (GGUF with projector)",
        protocols=("Reader",),
        engine="llama.cpp",
        licence=licence or None,
        source="a folder of this site",
        intended_use="what its publisher says",
        limits="as its publisher says; nothing of it was measured here",
        training_data="as its publisher says",
        memory_mib=size + 600,
    )
    return card, files
