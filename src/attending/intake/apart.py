"""Decoding in a process of its own: a damaged codestream makes GDCM abort the whole process that it runs in.

JPEG lossless (1.2.840.10008.1.2.4.57 and .70) has no other decoder here. The child is started with the first such
frame, serves all that follow, is replaced where it dies, and ends with its parent: its input ends then.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

PATIENCE_S = 120  # for one frame: far more than the largest radiograph takes
LENGTH = struct.Struct("<Q")
_child: subprocess.Popen[bytes] | None = None


def frames(syntax: str, source: bytes, options: dict[str, Any]) -> Iterator[tuple[NDArray[Any], dict[str, Any]]]:
    """What ``Decoder.iter_array(source, decoding_plugin="gdcm", **options)`` yields: (array, properties).

    Raises RuntimeError where the decoder fails, hangs or dies.
    """
    child = _running()
    assert child.stdin is not None and child.stdout is not None
    whole = False
    try:
        asked = {**options, "extended_offsets": [part.hex() for part in options.get("extended_offsets", ())]}
        _send(child.stdin, json.dumps({"syntax": syntax, "options": asked}).encode())
        _send(child.stdin, source)
        while True:
            said = json.loads(_receive(child.stdout))
            if "error" in said:
                whole = True
                raise RuntimeError(said["error"])
            if "end" in said:
                whole = True
                return
            array = np.frombuffer(_receive(child.stdout), said["dtype"]).reshape(said["shape"])
            whole = said["last"]
            yield array, {"photometric_interpretation": said["photometric"]}
    except (OSError, EOFError, ValueError) as error:
        raise RuntimeError("the decoder ended") from error
    finally:
        if not whole:  # dead, or in the middle of an answer that nobody waits for
            _stop()


def _running() -> subprocess.Popen[bytes]:
    global _child
    if _child is None or _child.poll() is not None:
        command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
        _child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment()
        )
    return _child


def _environment() -> dict[str, str]:
    """The child finds this package where the parent found it."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@atexit.register
def _stop() -> None:
    global _child
    child, _child = _child, None
    if child is not None:
        child.kill()
        for pipe in (child.stdin, child.stdout):
            with suppress(OSError):
                pipe.close() if pipe is not None else None
        child.wait()


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytearray:
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        length = LENGTH.unpack(_exactly(pipe, LENGTH.size, selector))[0]
        return _exactly(pipe, length, selector)


def _exactly(pipe: IO[bytes], count: int, selector: selectors.BaseSelector | None = None) -> bytearray:
    """count bytes. Raises EOFError where the other side ended, or said nothing for PATIENCE_S."""
    got = bytearray()
    while len(got) < count:
        if selector is not None and not selector.select(PATIENCE_S):
            raise EOFError
        part = os.read(pipe.fileno(), min(count - len(got), 2**20))
        if not part:
            raise EOFError
        got += part
    return got


def serve() -> None:
    """The child: decodes what it is sent until its input ends. Nothing that a library prints gets into the answers."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    from .quiet import quiet

    with os.fdopen(os.dup(1), "wb") as answers, os.fdopen(os.dup(0), "rb") as asked, suppress(EOFError), quiet():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        while True:
            request = json.loads(_exactly(asked, LENGTH.unpack(_exactly(asked, LENGTH.size))[0]))
            source = bytes(_exactly(asked, LENGTH.unpack(_exactly(asked, LENGTH.size))[0]))
            options = request["options"]
            offsets = tuple(bytes.fromhex(part) for part in options.pop("extended_offsets"))
            options |= {"extended_offsets": offsets} if offsets else {}
            try:
                decoder = get_decoder(UID(request["syntax"]))
                decoded = decoder.iter_array(source, decoding_plugin="gdcm", **options)
                for number, (array, properties) in enumerate(decoded, 1):
                    said = {
                        "dtype": array.dtype.str,
                        "shape": array.shape,
                        "photometric": str(properties.get("photometric_interpretation", "")),
                        "last": number == options["number_of_frames"],
                    }
                    _send(answers, json.dumps(said).encode())
                    _send(answers, np.ascontiguousarray(array).tobytes())
                    if said["last"]:
                        break
                else:
                    _send(answers, b'{"end": true}')
            except Exception as error:  # a foreign decoder on foreign bytes
                _send(answers, json.dumps({"error": str(error)}).encode())
