"""Workers: what travels, who waits, and what is said when a process dies, hangs or answers nonsense."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from attending.errors import ModelRefused, OutOfMemory, WorkerFailed
from attending.models import worker as workers
from attending.models.worker import Worker, shared
from attending.models.worker_main import receive, send

PROGRAM = Path(__file__).with_name("worker_program.py")


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(PROGRAM, {"named": "x"}, label="model-x")
    yield made
    made.close()


@given(
    st_numpy.arrays(
        st.sampled_from([np.uint8, np.int16, np.int64, np.float32, np.float64, np.bool_]),
        st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    )
)
def test_arrays_travel_unchanged(array: Any) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as out:
        send(out, {"id": 1, "words": "é"}, {"a": array, "turned": array.T})
    with os.fdopen(read, "rb") as source:
        frame = receive(source)
        assert receive(source) is None
    assert frame is not None
    head, arrays = frame
    assert head == {"id": 1, "words": "é"}
    for sent, came in ((array, arrays["a"]), (array.T, arrays["turned"])):
        assert came.dtype == sent.dtype and came.shape == sent.shape
        assert sent.tobytes() == came.tobytes()


def test_objects_do_not_travel(worker: Worker) -> None:
    with pytest.raises(TypeError, match="cannot travel"):
        worker.call("double", {"a": np.array([None])})


def test_a_call_gives_values_and_arrays_and_what_the_program_prints_does_no_harm(worker: Worker) -> None:
    answer = worker.call("double", {"a": np.arange(3, dtype=np.int16), "words": "left lung"})
    assert answer["a"].tolist() == [0, 2, 4] and answer["a"].dtype == np.int16
    assert answer["words"] == "left lung" and answer["pid"] == worker.pid != os.getpid()
    assert worker.facts == {"named": "x", "offline": "1"}


def test_many_threads_share_one_process_and_are_answered_together(worker: Worker) -> None:
    worker.start()
    with ThreadPoolExecutor(12) as pool:
        busy = pool.submit(worker.call, "wait", {"seconds": 1.0})
        time.sleep(0.3)
        asked = [pool.submit(worker.call, "add", {"a": np.array([i])}) for i in range(10)]
        answers = [one.result() for one in asked]
        busy.result()
    assert sorted(int(a["a"][0]) for a in answers) == list(range(1, 11))
    assert max(a["together"] for a in answers) == 8
    assert worker.generation == 1


def test_one_bad_request_of_a_batch_fails_alone(worker: Worker) -> None:
    worker.start()
    with ThreadPoolExecutor(8) as pool:
        busy = pool.submit(worker.call, "wait", {"seconds": 0.8})
        time.sleep(0.3)
        asked = [pool.submit(worker.call, "add", {"a": np.array([i])}) for i in (1, -1, 2)]
        busy.result()
        assert int(asked[0].result()["a"][0]) == 2 and int(asked[2].result()["a"][0]) == 3
        with pytest.raises(WorkerFailed, match=r"could not answer \(ValueError at worker_program\.py:\d+\)") as failed:
            asked[1].result()
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    ("call", "args", "kind", "seen"),
    [
        ("quote", {}, WorkerFailed, r"could not answer \(KeyError at worker_program\.py:\d+\)"),
        ("exhaust", {}, OutOfMemory, "memory ran out while it ran"),
        ("refuse", {}, ModelRefused, "that cannot be asked"),
        ("call_home", {}, WorkerFailed, "PermissionError"),
        ("nothing_of_that_name", {}, WorkerFailed, "AttributeError"),
        ("_answer", {}, WorkerFailed, "AttributeError"),
        ("leave", {"status": 3}, WorkerFailed, "ended with status 3"),
    ],
)
def test_what_goes_wrong_is_named_and_the_next_call_is_answered(
    worker: Worker, call: str, args: dict[str, Any], kind: type[ModelRefused], seen: str
) -> None:
    with pytest.raises(kind, match=seen) as failed:
        worker.call(call, args)
    assert type(failed.value) is kind and "model-x" in str(failed.value) and "secret" not in str(failed.value)
    assert worker.call("double", {"a": np.ones(1)})["a"].tolist() == [2]


def test_kill_9_fails_the_running_call_and_those_that_waited_are_answered_by_a_new_process(worker: Worker) -> None:
    worker.start()
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(worker.call, "wait", {"seconds": 20})
        time.sleep(0.4)
        waiting = [pool.submit(worker.call, "add", {"a": np.array([i])}) for i in range(3)]
        time.sleep(0.2)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerFailed, match="ended by signal 9"):
            running.result(30)
        assert sorted(int(w.result(30)["a"][0]) for w in waiting) == [1, 2, 3]
    assert worker.generation == 2


def test_a_call_that_kills_its_process_is_not_asked_again_by_itself(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match="signal 9"):
        worker.call("once", {"mark": str(tmp_path / "mark")})
    assert worker.call("once", {"mark": str(tmp_path / "mark")}) == {"alive": True}


def test_a_hung_call_ends_and_others_go_on(worker: Worker) -> None:
    worker.start()
    started = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        hung = pool.submit(worker.call, "wait", {"seconds": 60}, 0.5, 0.3)
        time.sleep(0.2)
        other = pool.submit(worker.call, "double", {"a": np.ones(1)})
        with pytest.raises(WorkerFailed, match="did not answer"):
            hung.result()
        assert other.result()["a"].tolist() == [2]
    assert time.monotonic() - started < 20


def test_a_request_that_only_waited_says_so_and_harms_nobody(worker: Worker) -> None:
    worker.start()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(worker.call, "wait", {"seconds": 1.5})
        time.sleep(0.3)
        with pytest.raises(WorkerFailed, match="busy with other requests"):
            worker.call("double", {"a": np.ones(1)}, 0.3)
        assert running.result() == {}
    assert worker.generation == 1


def test_nonsense_ends_the_process(worker: Worker) -> None:
    with pytest.raises(WorkerFailed, match="answered nonsense"):
        worker.call("babble")
    assert worker.call("double", {"a": np.ones(1)})["a"].tolist() == [2]


@pytest.mark.parametrize(
    ("setup", "seen"),
    [
        ({"broken": True}, r"could not load \(OSError at worker_program\.py:\d+: no such weights\)"),
        ({"dies": True}, "ended with status 7"),
        ({"silent": True}, "did not finish loading in 1 s"),
    ],
)
def test_a_program_that_cannot_load_is_named(setup: dict[str, Any], seen: str) -> None:
    made = Worker(PROGRAM, setup, label="model-x", start_s=1.0 if "silent" in setup else 60.0)
    with pytest.raises(WorkerFailed, match=seen):
        made.call("double", {"a": np.ones(1)})
    assert made.pid is None


def test_a_python_that_is_not_there_is_named() -> None:
    with pytest.raises(WorkerFailed, match="could not be started"):
        Worker(PROGRAM, {}, python="/nowhere/python", label="model-x").call("double")


def test_another_python_runs_it_without_attending(tmp_path: Path) -> None:
    """A wrapper that takes this interpreter's site packages but not attending's source."""
    import numpy

    python = tmp_path / "python"
    packages = Path(numpy.__file__).parents[1]
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    made = Worker(PROGRAM, {}, python=python, label="model-x")
    assert made.call("double", {"a": np.ones(2)})["a"].tolist() == [2, 2]
    made.close()


def test_what_needs_more_memory_than_there_is_does_not_start() -> None:
    made = Worker(PROGRAM, {}, label="model-x", memory_mib=1 << 30)
    with pytest.raises(OutOfMemory, match="model-x needs about 1073741824 MiB"):
        made.call("double")
    assert made.generation == 0


def test_equal_setups_share_a_worker() -> None:
    first, second = (shared(PROGRAM, {"named": "y"}, label="y") for _ in range(2))
    assert first is second and shared(PROGRAM, {"named": "z"}, label="z") is not first
    with ThreadPoolExecutor(4) as pool:
        pids = {a["pid"] for a in pool.map(lambda _: first.call("double", {"a": np.ones(1)}), range(8))}
    assert pids == {first.pid}
    workers.close_all()
    assert first.pid is None


PARENT = """
import sys, time
from pathlib import Path
from attending.models.worker import shared
worker = shared(Path(sys.argv[1]), {}, label="x")
worker.start()
print(worker.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_with_its_parent(how: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(PROGRAM)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(how)
        parent.wait(20)
    deadline = time.monotonic() + 20
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except OSError:
        return False


def test_closing_ends_the_process_and_the_next_call_starts_another(worker: Worker) -> None:
    first = worker.call("double", {"a": np.ones(1)})["pid"]
    worker.close()
    worker.close()
    assert not _runs(first)
    assert worker.call("double", {"a": np.ones(1)})["pid"] != first


def test_closing_during_a_call_is_said(worker: Worker) -> None:
    worker.start()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(worker.call, "wait", {"seconds": 30})
        time.sleep(0.4)
        worker.close()
        with pytest.raises(WorkerFailed, match="closed during the call"):
            running.result(20)
    assert threading.active_count() < 20
