"""Writer: small language models (GGUF) by llama.cpp inside this process, through xllamacpp.

llama.cpp comes as a server, and xllamacpp starts its HTTP listener whether one wants it or not: by default a port on
127.0.0.1 without a key, which every user of the machine can reach. Here it is bound to a UNIX socket in a fresh folder
of mode 0700 and given a random key that nobody is told. No TCP port exists, other users cannot enter the folder, and
the program never uses the listener: its calls go through memory. A test proves each of the three.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ..errors import ModelRefused, PluginFailed
from .protocols import Setup, Written

CONTEXT = 2048
"""Tokens of prompt and answer together."""
# Prompt tokens per step. Between steps a call can be stopped, so this bounds by how much a timeout is overrun: under a
# second for the 135M model on a busy core.
BATCH = 64
SEED = 1
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing zero included.
LONGEST_SOCKET_PATH = 100
STREAM = {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}


class _Engine:
    """One loaded model with its listener's folder. Calls are one at a time. mmproj: what turns pictures into tokens."""

    def __init__(
        self, path: Path, threads: int, mmproj: Path | None = None, context: int = CONTEXT, batch: int = BATCH
    ) -> None:
        import xllamacpp

        self.lock = threading.Lock()
        self.folder = _private_folder()
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context
        if mmproj is not None:
            params.mmproj.path = str(mmproj)
            params.mmproj_use_gpu = False
        params.n_parallel = 1
        params.n_batch = params.n_ubatch = batch
        params.verbosity = -1
        params.warmup = False
        # llama.cpp's threads wait for each other by spinning: with a thread for every core, one busy neighbour makes a
        # token take a hundred times as long. One core stays free.
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, threads - 1)
        params.cache_prompt = True
        # A second cache of whole prompts, 8 GiB by default. The slot's own prefix is what is wanted.
        params.cache_ram_mib = 0
        params.hostnames = [str(self.folder / "x.sock")]
        params.api_keys = [secrets.token_hex(32)]
        params.ui = False
        params.endpoint_slots = False
        params.n_threads_http = 1
        try:
            with _silenced():
                self.server: Any = xllamacpp.Server(params)
        except Exception as failed:  # the engine raises whatever C++ throws
            shutil.rmtree(self.folder, ignore_errors=True)
            raise PluginFailed(
                f"llama.cpp could not load {path.name} ({type(failed).__name__})",
                "a GGUF file that this version of xllamacpp reads",
                "pull the model again; if it fails again, choose another writer in site.toml",
            ) from None

    def close(self) -> None:
        with self.lock, _silenced():
            self.server = None
        shutil.rmtree(self.folder, ignore_errors=True)


class LlamaWriter:
    """Writer. File: ``model.gguf``. The model is loaded on the first ``write`` and shared by all writers of that file
    in this process; ``close`` frees it for all of them, and the next ``write`` loads it again."""

    prefix_cache = True
    """False reads the whole prompt again, also where it begins like the last one: only to measure what that costs."""

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card
        self._path = setup.files["model.gguf"]
        self._threads = setup.threads

    def write(
        self,
        messages: Sequence[dict[str, str]],
        *,
        schema: dict[str, Any] | None = None,
        max_tokens: int = 60,
        timeout_s: float = 20.0,
    ) -> Written:
        """See ``Writer.write``. timeout_s counts from the call, loading and waiting for another call included.

        Raises ModelRefused for a prompt longer than the context, PluginFailed where the engine fails, ValueError for a
        schema that is no JSON schema.
        """
        start = time.monotonic()
        engine = _engine(self._path, self._threads)
        if not engine.lock.acquire(timeout=max(0.0, timeout_s - (time.monotonic() - start))):
            return Written("", 0, 0, 0, time.monotonic() - start, "time")
        try:
            if engine.server is None:
                raise PluginFailed("a writer that was closed during the call", "an open writer", "write again")
            return _ask(engine.server, messages, schema, max_tokens, start, timeout_s, self.prefix_cache)
        finally:
            engine.lock.release()

    def close(self) -> None:
        """Frees the model's memory, its socket and its folder. Twice is fine."""
        with _engines_lock:
            engine = _engines.pop(self._path, None)
        if engine is not None:
            engine.close()


_engines: dict[Path, _Engine] = {}
_engines_lock = threading.Lock()


def _engine(path: Path, threads: int) -> _Engine:
    with _engines_lock:
        if path not in _engines:
            _engines[path] = _Engine(path, threads)
        return _engines[path]


_others: list[_Engine] = []


def registered(engine: _Engine) -> _Engine:
    """Closed when the program ends, like the writers'."""
    with _engines_lock:
        _others.append(engine)
    return engine


@atexit.register
def _close_all() -> None:
    with _engines_lock:
        engines = [*_engines.values(), *_others]
        _engines.clear()
        _others.clear()
    for engine in engines:
        engine.close()


class _Heard:
    """Collects the stream; returns True, which stops the engine, once the time is over."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.pieces: list[str] = []
        self.prompt = self.cached = self.tokens = 0
        self.stopped: Literal["done", "length", "time"] = "time"
        self.error: dict[str, Any] | None = None

    def __call__(self, chunk: dict[str, Any]) -> bool:
        if "error" in chunk:
            self.error = chunk["error"]
            return True
        progress, usage = chunk.get("prompt_progress"), chunk.get("usage")
        if progress:
            self.prompt, self.cached = int(progress["total"]), int(progress["cache"])
        if usage:
            self.tokens, self.prompt = int(usage["completion_tokens"]), int(usage["prompt_tokens"])
            self.cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens", self.cached))
        for choice in chunk.get("choices", ()):
            piece = choice["delta"].get("content")
            if piece:
                self.pieces.append(piece)
                self.tokens += 1
            if choice["finish_reason"]:
                self.stopped = "length" if choice["finish_reason"] == "length" else "done"
        # The figures come after the end: what is already done must not be called late.
        return self.stopped == "time" and time.monotonic() > self.deadline


def _ask(
    server: Any,
    messages: Sequence[dict[str, Any]],
    schema: dict[str, Any] | None,
    max_tokens: int,
    start: float,
    timeout_s: float,
    prefix_cache: bool,
) -> Written:
    request: dict[str, Any] = {
        "messages": [dict(m) for m in messages],
        "max_tokens": max_tokens,
        "temperature": 0,
        "seed": SEED,
        "cache_prompt": prefix_cache,
        **STREAM,
    }
    if schema is not None:
        request["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    heard = _Heard(start + timeout_s)
    reply = server.handle_chat_completions(request, heard)
    error = heard.error or (reply.get("error") if isinstance(reply, dict) else None)
    if error:
        raise _refused(error)
    return Written(
        text="".join(heard.pieces),
        prompt_tokens=heard.prompt,
        cached_tokens=heard.cached,
        tokens=heard.tokens,
        seconds=time.monotonic() - start,
        stopped=heard.stopped,
    )


def _refused(error: dict[str, Any]) -> ModelRefused:
    if error.get("type") == "exceed_context_size_error":
        return ModelRefused(
            f"a prompt of {error.get('n_prompt_tokens', 'too many')} tokens",
            f"at most {CONTEXT} tokens, prompt and answer together",
            "give the writer fewer facts at once",
        )
    # The engine's own message may quote the prompt: it stays out.
    return PluginFailed(
        f"llama.cpp answered with an error of kind {error.get('type', 'unknown')!r}", "an answer", "report it"
    )


def _private_folder() -> Path:
    """A new folder of mode 0700 whose socket path is short enough."""
    for base in (None, "/tmp"):
        folder = Path(tempfile.mkdtemp(prefix="attending-", dir=base))  # mkdtemp makes it 0700
        if len(os.fsencode(folder / "x.sock")) <= LONGEST_SOCKET_PATH:
            return folder
        folder.rmdir()
    raise PluginFailed(
        "a folder for temporary files whose path is too long for a socket",
        f"a path of at most {LONGEST_SOCKET_PATH} bytes",
        "set TMPDIR to a short path",
    )


@contextmanager
def _silenced() -> Iterator[None]:
    """What C++ writes to file descriptor 2 goes nowhere. Only around loading and freeing: it holds for the process."""
    import sys

    if sys.stderr is not None:
        sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
