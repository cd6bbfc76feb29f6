"""What a worker's misfortunes are called: the messages of WorkerFailed and OutOfMemory, in one place."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelRefused, OutOfMemory, WorkerFailed


@dataclass(frozen=True)
class Misfortune:
    """label is the model's id."""

    label: str

    def refuse_without_room(self, memory_mib: int) -> None:
        if not memory_mib:
            return
        import psutil

        available = psutil.virtual_memory().available >> 20
        if available < memory_mib:
            raise OutOfMemory(
                f"{self.label} needs about {memory_mib} MiB of memory, {available} MiB are available",
                "models that fit into this machine",
                "end other programs, choose a smaller model, or run it on a larger machine",
            )

    def failed(self, seen: str, allowed: str) -> WorkerFailed:
        return WorkerFailed(
            f"the process of {self.label} {seen}",
            allowed,
            "try again; if it fails again, set ATTENDING_WORKER_LOG to a file and look there",
        )

    def died(self, process: subprocess.Popen[bytes], killed_before: int, nonsense: bool) -> ModelRefused:
        code = process.returncode
        if nonsense:
            return self.failed("answered nonsense", "frames of the worker's protocol")
        if code == -9 and kernel_kills() > killed_before:
            return self.memory("the system ended its process because memory ran out")
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        return self.failed(how, "a process that keeps running")

    def memory(self, seen: str) -> OutOfMemory:
        return OutOfMemory(
            f"{self.label}: {seen}",
            "models and images that fit into this machine's memory",
            "end other programs, choose a smaller model, or run it on a larger machine",
        )

    def problem(self, problem: dict[str, Any]) -> ModelRefused:
        if problem.get("kind") == "memory":
            return self.memory("memory ran out while it ran")
        if problem.get("kind") == "refused":
            return ModelRefused(f"{self.label}: {problem.get('text')}", "requests that it can answer", "ask otherwise")
        where = f"{problem.get('type')} at {problem.get('place')}"
        return self.failed(f"could not answer ({where})", "requests that its program can answer")

    def unready(
        self, problem: dict[str, Any] | None, process: subprocess.Popen[bytes], killed_before: int
    ) -> ModelRefused:
        if problem is None:
            return self.died(process, killed_before, nonsense=False)
        if problem.get("kind") == "memory":
            return self.memory("memory ran out while it was loaded")
        where = f"{problem.get('type')} at {problem.get('place')}: {problem.get('text')}"
        return self.failed(f"could not load ({where})", "an environment and files that its program can load")


def kernel_kills() -> int:
    """How often the kernel's out-of-memory killer struck, here or on the machine; 0 where that is not told."""
    total = 0
    for path, word in (("/proc/vmstat", "oom_kill"), ("/sys/fs/cgroup/memory.events", "oom_kill")):
        with contextlib.suppress(OSError, ValueError):
            for line in Path(path).read_text().splitlines():
                name, _, value = line.partition(" ")
                total += int(value) if name == word else 0
    return total
