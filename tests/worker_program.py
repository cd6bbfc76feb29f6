"""The worker program of test_models_worker.py. Needs numpy only."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np


class Refused(Exception):
    """Shown to the user."""


class Program:
    batches: ClassVar[dict[str, int]] = {"add": 8}

    def __init__(self, setup: dict[str, Any]) -> None:
        sys.stdout.write("a library's greeting")
        os.write(1, b"and one from C")
        if setup.get("broken"):
            raise OSError("no such weights")
        if setup.get("silent"):
            time.sleep(60)
        if setup.get("dies"):
            os._exit(7)
        self.facts = {"named": setup.get("named", ""), "offline": os.environ.get("HF_HUB_OFFLINE")}

    def double(self, a: np.ndarray, words: str = "") -> dict[str, Any]:
        return {"a": a * 2, "words": words, "pid": os.getpid(), "python": sys.executable}

    def add(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if any(int(r["a"][0]) < 0 for r in requests):
            raise ValueError("a patient's secret")
        return [{"a": r["a"] + 1, "together": len(requests)} for r in requests]

    def wait(self, seconds: float) -> dict[str, Any]:
        time.sleep(seconds)
        return {}

    def once(self, mark: str) -> dict[str, Any]:
        """Dies at its first call, answers at its second."""
        path = Path(mark)
        if not path.exists():
            path.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"alive": True}

    def leave(self, status: int) -> None:
        os._exit(status)

    def exhaust(self) -> None:
        raise MemoryError

    def quote(self) -> None:
        raise KeyError("a patient's secret")

    def refuse(self) -> None:
        raise Refused("that cannot be asked")

    def call_home(self) -> None:
        socket.create_connection(("127.0.0.1", 9), 1)

    def babble(self) -> None:
        for thread in threading.enumerate():
            assert thread is not None
        for number in range(3, 64):  # whichever descriptor the answers go out on
            try:
                os.write(number, b"not a frame of the protocol" * 10)
            except OSError:
                continue
        time.sleep(5)

    def objects(self) -> dict[str, Any]:
        return {"a": np.array([object()])}
