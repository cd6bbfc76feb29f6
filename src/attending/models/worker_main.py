"""The far side of a worker, run as a script by any Python 3.10 or newer that has numpy; see ``worker.py``.

It must not import ``attending``: the other Python need not have it. Nothing is ever unpickled: a frame is a JSON header
and the raw bytes of its arrays.
"""

from __future__ import annotations

import importlib.util
import json
import os
import struct
import sys
import threading
import traceback
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"ATW1"
HEAD = struct.Struct("<4sI")
LONGEST_HEAD = 64 << 20
KINDS = "biuf"
"""numpy kinds of arrays that may travel: booleans, integers and floats, never objects."""


def send(stream: BinaryIO, head: dict[str, Any], arrays: dict[str, Any] | None = None) -> None:
    """Write one frame: magic, length of the header, the header as JSON, then each array's bytes in C order."""
    import numpy as np

    bodies = []
    described = []
    for name, given in (arrays or {}).items():
        array = np.ascontiguousarray(given)
        if array.dtype.kind not in KINDS:
            raise TypeError(f"{name} has dtype {array.dtype}, which cannot travel")
        array = array.reshape(np.shape(given))
        described.append({"name": name, "dtype": array.dtype.str, "shape": list(array.shape)})
        bodies.append(array)
    text = json.dumps({**head, "arrays": described}, allow_nan=True).encode()
    stream.write(HEAD.pack(MAGIC, len(text)))
    stream.write(text)
    for array in bodies:
        if array.size:
            stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """One frame: (header, arrays), or None at the end of the stream. Raises ValueError for anything else."""
    import numpy as np

    start = _exactly(stream, HEAD.size)
    if start is None:
        return None
    magic, length = HEAD.unpack(start)
    if magic != MAGIC or length > LONGEST_HEAD:
        raise ValueError("not a frame of this protocol")
    text = _exactly(stream, length)
    if text is None:
        return None
    head = json.loads(bytes(text))
    arrays = {}
    for one in head.pop("arrays"):
        dtype = np.dtype(str(one["dtype"]))
        if dtype.kind not in KINDS:
            raise ValueError(f"an array of dtype {dtype}")
        array = np.empty([int(n) for n in one["shape"]], dtype)
        if array.size and not _fill(stream, array.reshape(-1).view(np.uint8).data):
            return None
        arrays[str(one["name"])] = array
    return head, arrays


def _exactly(stream: BinaryIO, count: int) -> bytearray | None:
    data = bytearray(count)
    return data if not count or _fill(stream, memoryview(data)) else None


def _fill(stream: BinaryIO, view: memoryview) -> bool:
    done = 0
    while done < len(view):
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            return False
        done += count
    return True


def split(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what is JSON, what is an array) of one dict."""
    import numpy as np

    arrays = {name: value for name, value in values.items() if isinstance(value, (np.ndarray, np.generic))}
    return {name: value for name, value in values.items() if name not in arrays}, arrays


class _Queue:
    """Requests that wait, in order; the reading thread puts, the main thread takes, alone or as a batch."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[dict[str, Any], dict[str, Any]]] = deque()
        self.changed = threading.Condition()

    def put(self, frame: tuple[dict[str, Any], dict[str, Any]]) -> None:
        with self.changed:
            cancelled = frame[0].get("cancel")
            if cancelled is not None:
                self.waiting = deque(f for f in self.waiting if f[0]["id"] != cancelled)
            else:
                self.waiting.append(frame)
                self.changed.notify()

    def take(self, batches: dict[str, int]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        with self.changed:
            while not self.waiting:
                self.changed.wait()
            taken = [self.waiting.popleft()]
            call = taken[0][0]["call"]
            while self.waiting and self.waiting[0][0]["call"] == call and len(taken) < batches.get(call, 1):
                taken.append(self.waiting.popleft())
            return taken


def _offline() -> None:
    """No connection but UNIX sockets from here on: no telemetry, no download behind anyone's back."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(args[1], tuple):
            raise PermissionError("a worker makes no network connections")

    sys.addaudithook(hook)


def _loaded(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("attending_worker_program", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["attending_worker_program"] = module
    spec.loader.exec_module(module)
    return module.Program


def _problem(error: BaseException) -> dict[str, str]:
    """What the parent is told: a kind, the error's type and place. The text only of what the program raised as a
    refusal or while loading: others may quote what they were given."""
    name = type(error).__name__
    out_of_memory = isinstance(error, MemoryError) or "OutOfMemory" in name or "can't allocate memory" in str(error)
    kind = "memory" if out_of_memory else "refused" if name == "Refused" else "failed"
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    text = str(error)[:400] if kind == "refused" else ""
    return {"kind": kind, "type": name, "place": place, "text": text}


def _freed() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _answer(program: Any, taken: list[tuple[dict[str, Any], dict[str, Any]]], out: BinaryIO) -> None:
    ids = [head["id"] for head, _ in taken]
    call = taken[0][0]["call"]
    for id in ids:
        send(out, {"id": id, "started": True})
    given = [{**head.get("args", {}), **arrays} for head, arrays in taken]
    try:
        if call.startswith("_") or call == "batches":
            raise AttributeError("no such call")
        method = getattr(program, call)
        answers = method(given) if call in getattr(program, "batches", {}) else [method(**given[0])]
    except BaseException as error:
        traceback.print_exc()
        problem = _problem(error)
        error.__traceback__ = None
        if problem["kind"] == "memory":
            _freed()
        if len(taken) > 1:  # one bad request must not fail its neighbours
            for one in taken:
                _answer(program, [one], out)
            return
        send(out, {"id": ids[0], "error": problem})
        return
    for id, answer in zip(ids, answers, strict=True):
        values, arrays = split(answer or {})
        send(out, {"id": id, "ok": values}, arrays)


def main() -> None:
    """Frames come on standard input and go out on a copy of standard output; prints of libraries go to standard error.
    The first frame is the setup. Ends when the input ends: with the parent, however that dies."""
    source = sys.stdin.buffer
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    first = receive(source)
    if first is None:
        return
    setup = first[0]
    if setup.get("offline", True):
        _offline()
    queue = _Queue()

    def read() -> None:
        while True:
            frame = receive(source)
            if frame is None:
                os._exit(0)
            queue.put(frame)

    threading.Thread(target=read, daemon=True).start()
    try:
        program = _loaded(setup["program"])(setup["setup"])
    except BaseException as error:
        traceback.print_exc()
        problem = _problem(error)
        problem["text"] = str(error)[:400]
        send(out, {"unready": problem})
        os._exit(1)
    send(out, {"ready": True, "python": sys.version.split()[0], "facts": getattr(program, "facts", {})})
    while True:
        _answer(program, queue.take(getattr(program, "batches", {})), out)


if __name__ == "__main__":
    # A script's own folder comes first on the path: the files beside this one must not hide anyone's modules.
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [p for p in sys.path if p and str(Path(p).resolve()) != here]
    main()
