"""SIGKILL at random moments: nothing half-written is visible, nothing acknowledged is lost, the log stays whole."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attending.records import Study
from attending.store import Store

WORKER = Path(__file__).with_name("store_worker.py")


def kill_one(home: Path, name: str, dice: random.Random) -> dict[str, set[str]]:
    """Start a worker, let it say something, kill it within the next two tenths of a second; what it had said."""
    worker = subprocess.Popen([sys.executable, str(WORKER), str(home), name], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    first = worker.stdout.readline()
    time.sleep(dice.uniform(0, 0.2))
    worker.send_signal(signal.SIGKILL)
    lines = [first, *worker.stdout.read().splitlines(keepends=True)]
    worker.stdout.close()
    assert worker.wait() == -signal.SIGKILL
    said: dict[str, set[str]] = {"read": set(), "signed": set(), "approved": set()}
    for line in lines:
        if line.endswith("\n"):
            what, id = line.split()
            said[what].add(id)
    assert said["read"], "the worker was killed before it did anything: the test proved nothing"
    return said


def whole(home: Path, said: dict[str, set[str]]) -> None:
    with Store.open(home) as store:
        store.verify_audit()
        rows = store.readings(versions=True)
        assert said["read"] <= {row.id for row in rows}
        assert said["signed"] <= {row.id for row in rows if row.status == "final"}
        assert said["signed"] <= {review.reading for review in store.reviews(source="person")}
        assert said["approved"] <= {r.id for r in store.releases() if r.status in ("approved", "retired")}
        assert len(store.approved("task")) <= 1
        for row in rows:
            reading = store.reading(row.id, row.version)
            assert store.images(reading)["i1"].voxels.shape == (4, 8, 8)
            if row.version == 1:
                assert len(store.arrays(reading)) == 1
            page = store.files(row.id, row.version)["page.html"].read_text()
            assert page == f"{row.status} {row.id}" * 100
            assert isinstance(store.vault_get(row.id, "demo", "test"), Study)
        # A final version and its review come into being together.
        assert {r.reading for r in store.reviews()} == {row.id for row in rows if row.status == "final"}
        kept = {(row.id, f"v{row.version}") for row in rows}
        assert {(p.parent.name, p.name) for p in home.glob("readings/*/*")} == kept
        assert [p for p in (home / "tmp").iterdir() if p != store._temporary._path] == []
        store.verify_audit()


def many(home: Path, times: int, seed: int, look: int = 1) -> None:
    dice = random.Random(seed)
    said: dict[str, set[str]] = {"read": set(), "signed": set(), "approved": set()}
    for n in range(times):
        for what, ids in kill_one(home, f"w{n}", dice).items():
            said[what] |= ids
        if n % look == look - 1:
            whole(home, said)


def test_kills(home: Path) -> None:
    many(home, 6, seed=3)


@pytest.mark.slow
def test_a_hundred_kills(home: Path) -> None:
    many(home, 100, seed=4, look=10)


def test_two_writers_at_once_and_one_is_killed(home: Path) -> None:
    other = subprocess.Popen([sys.executable, str(WORKER), str(home), "other"], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    try:
        said = kill_one(home, "victim", random.Random(5))
        ids = {other.stdout.readline().split()[1] for _ in range(2)}
        assert ids
    finally:
        other.kill()
        other.stdout.close()
        other.wait()
    whole(home, said)
