"""Worker: a heavy model in a process of its own, so that a door never blocks, its death kills nobody, and its libraries
stay out of ours. One process holds one copy of the weights for all threads and sessions of this program.

    worker = shared(program, setup, python=..., threads=..., label="sam-vit-base")
    answer = worker.call("embed", {"image": array, "key": "7"}, timeout_s=60)

``program`` is a Python file that any Python >= 3.10 with numpy can run; it need not (and should not) import attending.
``python`` is the interpreter, this one by default: an adapter with an environment of its own names that one's.

The file defines::

    class Refused(Exception): ...           # optional: its text is shown to the user as the reason

    class Program:
        batches = {"encode": 16}            # optional: calls that take up to so many requests at once
        facts = {...}                       # optional, JSON: told to the parent when it is ready (worker.facts)

        def __init__(self, setup: dict): ...                    # setup: JSON; load the weights here
        def embed(self, image, key) -> dict: ...                # any name; JSON values and numpy arrays, in and out
        def encode(self, requests: list[dict]) -> list[dict]:   # a call named in ``batches``: an answer per request

What travels: one JSON header and the raw bytes of arrays of booleans, integers or floats, over pipes. Nothing is ever
unpickled. A call's arguments and its answer are flat dicts: values that are numpy arrays travel as arrays, all others
as JSON. Standard output and standard error of the program are kept out of the way (``ATTENDING_WORKER_LOG`` names a
file to append them to).

- Requests of many threads are queued in order; calls named in ``batches`` that wait together are answered together. A
  batch that fails is done again one by one, so that one bad request fails alone.
- ``timeout_s`` counts from the call, waiting included. A request that still waits is taken back; one that runs on
  ``grace_s`` past its time has hung: the process is killed and started again, and requests that only waited are asked
  again. (Programs that can stop early, as language models, should be told their time as an argument.)
- A process that dies fails the request it was at (WorkerFailed; OutOfMemory where the kernel's killer or the program
  says so); requests that waited, and all later ones, go to a new process. A session that keeps something in the process
  must be ready to put it there again: ``worker.generation`` counts the processes.
- It ends with this program, however that ends: the end of its input is its end.
- It makes no network connections (``offline=False`` lifts that) and is told to keep telemetry off.
- Arguments never carry identifiers: models see Cases. Errors name type and place, not the text that a library raised.

Errors: WorkerFailed, OutOfMemory, and ModelRefused with the text of a ``Refused``.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ModelRefused, WorkerFailed
from .worker_errors import Misfortune, kernel_kills
from .worker_main import receive, send, split

MAIN = Path(__file__).with_name("worker_main.py")
GRACE_S = 5.0
"""How long after its time a running request may still answer: one step of a slow model."""
START_S = 600.0
"""How long loading may take: gigabytes from a slow disk."""
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(eq=False)
class _Asked:
    """One request: where its answer goes, and whether the process has begun it."""

    id: int
    head: dict[str, Any]
    arrays: dict[str, Any]
    done: threading.Event = field(default_factory=threading.Event)
    process: Any = None
    started: bool = False
    again: bool = False
    answer: dict[str, Any] | None = None
    error: ModelRefused | None = None


class Worker:
    """One program in one process, started at the first call and again after it died. Safe to use from many threads."""

    def __init__(
        self,
        program: Path,
        setup: Mapping[str, Any],
        *,
        python: str | Path | None = None,
        threads: int = 2,
        label: str = "",
        memory_mib: int = 0,
        offline: bool = True,
        environment: Mapping[str, str] | None = None,
        start_s: float = START_S,
    ) -> None:
        """label: the model's id, for messages. memory_mib: what it needs at least; refused before it is started where
        the machine has less available."""
        self.program, self.setup, self.label = Path(program), dict(setup), label or Path(program).stem
        self.python = str(python or sys.executable)
        self.threads, self.memory_mib, self.offline, self.start_s = threads, memory_mib, offline, start_s
        self.environment = dict(environment or {})
        self.says = Misfortune(self.label)
        self.generation = 0
        self._killed_before = 0
        self.facts: dict[str, Any] = {}
        self._ids = itertools.count(1)
        self._lock = threading.RLock()
        self._sending = threading.Lock()
        self._asked: dict[int, _Asked] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._closed: set[subprocess.Popen[bytes]] = set()

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def call(
        self, name: str, args: Mapping[str, Any] | None = None, timeout_s: float = 60.0, grace_s: float = GRACE_S
    ) -> dict[str, Any]:
        """Ask, wait, and give the answer. The first call, and the first after a death, also loads; that has time of its
        own (``start_s``). grace_s: how long a running request may go on past its time before its process is ended.

        Raises WorkerFailed, OutOfMemory, or ModelRefused with the program's own reason.
        """
        values, arrays = split(dict(args or {}))
        id = next(self._ids)
        asked = _Asked(id, {"id": id, "call": name, "args": values}, arrays)
        self.start()
        deadline = time.monotonic() + timeout_s
        self._put(asked)
        if not asked.done.wait(max(0.0, deadline - time.monotonic())):
            self._late(asked, timeout_s, grace_s)
        if asked.error is not None:
            raise asked.error
        return asked.answer or {}

    def start(self) -> None:
        """Start the process and load, where that is not done. Raises WorkerFailed or OutOfMemory."""
        with self._lock:
            if self.pid is not None:
                return
            self.says.refuse_without_room(self.memory_mib)
            process = self._spawned()
            ready = threading.Event()
            said: dict[str, Any] = {}
            threading.Thread(
                target=self._listen, args=(process, ready, said), name=f"worker {self.label}", daemon=True
            ).start()
            try:
                send(_pipe(process.stdin), {"program": str(self.program), "setup": self.setup, "offline": self.offline})
            except OSError:  # it died at once: the listener says so
                ready.wait(10)
            if not ready.wait(self.start_s):
                process.kill()
                raise self.says.failed(
                    f"did not finish loading in {self.start_s:.0f} s", "a machine and disk fast enough"
                )
            if "ready" not in said:
                process.wait(10)
                raise self.says.unready(said.get("unready"), process, self._killed_before)
            self.facts = dict(said.get("facts", {}))
            self._process = process
            self.generation += 1

    def close(self) -> None:
        """End the process and free its memory. The next call starts it again. Twice is fine."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                self._closed.add(process)
        if process is not None:
            with contextlib.suppress(OSError):
                _pipe(process.stdin).close()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def _put(self, asked: _Asked) -> None:
        with self._lock:
            self._asked[asked.id] = asked
            asked.process = process = self._process
        if process is None:
            self._drop(asked, self.says.failed("was closed during the call", "an open worker"))
            return
        try:
            with self._sending:
                send(_pipe(process.stdin), asked.head, asked.arrays)
        except (OSError, ValueError):
            # It is dead or closing: its listener settles what was asked of it. Where that was faster than this thread
            # nobody would, so the request is settled here.
            process.wait(10)
            with self._lock:
                left = asked.id in self._asked and self._process is not process
            if left:
                self._drop(asked, self.says.failed("ended during the call", "a process that keeps running"))

    def _drop(self, asked: _Asked, error: ModelRefused) -> None:
        with self._lock:
            self._asked.pop(asked.id, None)
        asked.error = error
        asked.done.set()

    def _late(self, asked: _Asked, timeout_s: float, grace_s: float) -> None:
        if not asked.started:
            process = self._process
            with contextlib.suppress(OSError, ValueError), self._sending:
                if process is not None:
                    send(_pipe(process.stdin), {"cancel": asked.id})
            if not asked.done.is_set():
                seen = f"was busy with other requests for {timeout_s:.0f} s"
                self._drop(asked, self.says.failed(seen, "an answer within the time given"))
            return
        if asked.done.wait(grace_s):
            return
        with self._lock:
            process = self._process
            if asked.done.is_set():
                return
            self._asked.pop(asked.id, None)
            asked.error = self.says.failed(f"did not answer in {timeout_s:.0f} s", "an answer within the time given")
        if process is not None:
            process.kill()

    def _listen(self, process: subprocess.Popen[bytes], ready: threading.Event, said: dict[str, Any]) -> None:
        """One thread per process: hands answers out until its output ends, then settles what was left open."""
        nonsense = False
        stream = _pipe(process.stdout)
        while True:
            try:
                frame = receive(stream)
            except (ValueError, KeyError, TypeError, OSError, MemoryError):
                nonsense = True
                process.kill()
                break
            if frame is None:
                break
            head, arrays = frame
            if "ready" in head or "unready" in head:
                said.update(head)
                ready.set()
            else:
                self._heard(head, arrays)
        process.wait()
        for pipe in (process.stdout, process.stdin):
            with contextlib.suppress(OSError, ValueError):  # what was still to be written has nowhere to go
                _pipe(pipe).close()
        said.setdefault("ended", True)
        ready.set()
        self._ended(process, nonsense)

    def _heard(self, head: dict[str, Any], arrays: dict[str, Any]) -> None:
        with self._lock:
            asked = self._asked.get(head.get("id", 0))
            if asked is None:
                return
            if head.get("started"):
                asked.started = True
                return
            self._asked.pop(asked.id)
        problem = head.get("error")
        if problem is None:
            asked.answer = {**head.get("ok", {}), **arrays}
        else:
            asked.error = self.says.problem(problem)
        asked.done.set()

    def _ended(self, process: subprocess.Popen[bytes], nonsense: bool) -> None:
        with self._lock:
            left = [a for a in self._asked.values() if a.process is process]
            closed = process in self._closed
            self._closed.discard(process)
            if self._process is process:
                self._process = None
        waited = [a for a in left if not a.started and not a.again]
        error = (
            self.says.failed("was closed during the call", "an open worker")
            if closed
            else self.says.died(process, self._killed_before, nonsense)
        )
        for asked in left:
            if closed or asked not in waited:
                self._drop(asked, error)
        if waited and not closed:
            try:
                self.start()
            except ModelRefused as refused:
                for asked in waited:
                    self._drop(asked, refused)
                return
            for asked in waited:
                asked.again = True
                self._put(asked)

    def _spawned(self) -> subprocess.Popen[bytes]:
        log = os.environ.get("ATTENDING_WORKER_LOG")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        threads = str(self.threads)
        environment |= QUIET | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads} | self.environment
        self._killed_before = kernel_kills()
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(Path(log).open("ab")) if log else subprocess.DEVNULL
            try:
                return subprocess.Popen(
                    [self.python, str(MAIN)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for the door, which then closes its workers
                )
            except OSError as failed:
                raise WorkerFailed(
                    f"the Python that {self.label} runs in could not be started ({type(failed).__name__})",
                    "a path of a Python interpreter",
                    "mend the path of its environment",
                ) from None


_workers: dict[str, Worker] = {}
_workers_lock = threading.Lock()


def shared(
    program: Path,
    setup: Mapping[str, Any],
    *,
    python: str | Path | None = None,
    threads: int = 2,
    label: str = "",
    memory_mib: int = 0,
    offline: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Worker:
    """The one worker of this program and setup in this process: everyone who asks for the same gets the same copy."""
    key = json.dumps([str(program), dict(setup), str(python or ""), threads, dict(environment or {})], sort_keys=True)
    with _workers_lock:
        if key not in _workers:
            _workers[key] = Worker(
                program,
                setup,
                python=python,
                threads=threads,
                label=label,
                memory_mib=memory_mib,
                offline=offline,
                environment=environment,
            )
        return _workers[key]


@atexit.register
def close_all() -> None:
    """End every shared worker."""
    with _workers_lock:
        workers = list(_workers.values())
    for worker in workers:
        worker.close()


def _pipe(stream: Any) -> Any:
    if stream is None:  # never: both are pipes
        raise OSError("no pipe")
    return stream


__all__ = ["Worker", "close_all", "shared"]
