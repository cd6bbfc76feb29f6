"""Writer: any causal language model of transformers, from safetensors or a GGUF file, in a worker process."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from ..errors import ModelRefused, PluginFailed, WorkerFailed
from .hf import LANGUAGE, STEP_S, worker_of
from .protocols import Setup, Written


class HfWriter:
    """Writer. Files: config.json, safetensors and tokenizer; or one GGUF file, which torch reads and takes apart into
    whole numbers (so it needs the memory of the model in full, not of the file).

    A JSON schema is enforced token by token by the library lm-format-enforcer, and the result is read back.
    """

    def __init__(self, setup: Setup) -> None:
        self.card, self._setup = setup.card, setup
        names = sorted(setup.files)
        gguf = [name for name in names if name.endswith(".gguf")]
        if not gguf and not any(name.endswith(".safetensors") for name in names):
            raise PluginFailed(
                f"no weights among the files of {setup.id}", "safetensors or GGUF", "place its files again"
            )
        self._worker = worker_of(setup, LANGUAGE, "writer", gguf=gguf[0] if gguf else None)

    def write(
        self,
        messages: Sequence[dict[str, str]],
        *,
        schema: dict[str, Any] | None = None,
        max_tokens: int = 60,
        timeout_s: float = 20.0,
    ) -> Written:
        """See ``Writer.write``. Loading has time of its own. cached_tokens is always 0: no prefix is kept.

        Raises ModelRefused for a prompt that is too long, WorkerFailed and OutOfMemory.
        """
        start = time.monotonic()
        given = {
            "messages": [dict(m) for m in messages],
            "schema": schema,
            "max_tokens": max_tokens,
            "timeout_s": timeout_s,
        }
        self._worker.start()
        try:
            answer = self._worker.call("write", given, timeout_s, STEP_S)
        except WorkerFailed:
            if time.monotonic() - start >= timeout_s:  # others were before it all that time
                return Written("", 0, 0, 0, time.monotonic() - start, "time")
            raise
        text = str(answer["text"])
        if schema is not None and answer["stopped"] == "done":
            try:
                json.loads(text)
            except ValueError:
                raise ModelRefused(
                    f"{self.card.id} did not keep to the JSON schema",
                    "JSON that fits the schema",
                    "choose another writer",
                ) from None
        return Written(
            text, int(answer["prompt_tokens"]), 0, int(answer["tokens"]), float(answer["seconds"]), answer["stopped"]
        )

    def close(self) -> None:
        """Ends the process, for everyone who shares it. The next call starts it again."""
        self._worker.close()
