"""SIGKILL at random moments across read, sign, learn, approve: nothing signed is lost, nothing half is seen."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from attending import Hospital

WORKER = textwrap.dedent(
    """
    import json, random, sys
    from pathlib import Path
    from attending import Hospital, models

    home, seed = Path(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    print("UP", flush=True)
    with Hospital(home) as hospital:
        files = models.files("pneumoniamnist", hospital.cache)
        names = sorted(name for name in files if name.endswith(".png"))
        for turn in range(10_000):
            (item,) = hospital.read([files[rng.choice(names)]])
            print("READ", item.id, flush=True)
            if item.status == "draft":
                edited = hospital.public(item)
                code = {"scheme": "SCT", "value": "233604007", "meaning": "Pneumonia"}
                if not edited["findings"]:
                    edited["findings"].append({"code": code, "presence": rng.choice(["present", "absent"])})
                hospital.sign(item.id, "demo", edited=edited, ratings={"accuracy": 4})
                print("SIGNED", item.id, flush=True)
            if turn % 4 == 3:
                for release in hospital.learn():
                    if release.status == "candidate":
                        hospital.approve(release.id, "demo")
                        print("APPROVED", release.id, flush=True)
    """
)


def kill_loop(home: Path, times: int, seed: int) -> tuple[int, int]:
    """Start the worker and kill it, ``times`` times over one home; returns how many readings and signatures it saw."""
    rng = random.Random(seed)
    (home.parent / "worker.py").write_text(WORKER)
    read: set[str] = set()
    signed: set[str] = set()
    approved: list[str] = []
    for n in range(times):
        worker = subprocess.Popen(
            [sys.executable, str(home.parent / "worker.py"), str(home), str(seed * 1000 + n)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert worker.stdout and worker.stderr
        assert worker.stdout.readline().strip() == "UP", worker.stderr.read()
        time.sleep(rng.uniform(0.3, 4.0))
        died_by_itself = worker.poll()
        os.killpg(worker.pid, signal.SIGKILL)
        out, err = worker.communicate()
        assert died_by_itself is None, err
        for line in out.splitlines():
            word, _, id = line.partition(" ")
            {"READ": read, "SIGNED": signed}.get(word, set()).add(id)
            if word == "APPROVED":
                approved.append(id)
        check(home, read, signed, approved)
    return len(read), len(signed)


def check(home: Path, read: set[str], signed: set[str], approved: list[str]) -> None:
    with Hospital(home) as hospital:
        assert hospital.verify_audit() > 0
        rows = hospital.readings()
        known = {row.id for row in rows}
        assert read <= known
        for row in rows:
            reading = hospital.show(row.id)
            public = hospital.public(reading)
            assert Path(public["files"]["page"]).read_bytes().rstrip().endswith(b"</html>")
            for image in reading.case.images:
                assert hospital.store.image_voxels(row.id, image.id).shape == tuple(image.shape)
        final = {row.id for row in rows if row.status == "final"}
        assert signed <= final
        assert {review.reading for review in hospital.store.reviews(source="person")} == final
        if approved:
            assert hospital.release(approved[-1]).status in {"approved", "retired"}


@pytest.fixture
def ready(home: Path, pulled: Callable[[str], dict[str, Path]]) -> Path:
    """A home with a quick deterministic writer, the teaching set pulled."""
    pulled("pneumoniamnist")
    home.mkdir(parents=True)
    (home / "site.toml").write_text('schema = 1\n[models]\nwriter = "none"\nhead = "none"\ntumour = "none"\n')
    return home


def test_ten_kills(ready: Path) -> None:
    read, signed = kill_loop(ready, 10, seed=1)
    assert read and signed


@pytest.mark.slow
def test_a_hundred_kills(ready: Path) -> None:
    read, signed = kill_loop(ready, 100, seed=2)
    assert read > 100 and signed > 100
