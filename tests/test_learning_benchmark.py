"""benchmarks/closed_loop.py runs, goes on where it stopped, and gives no verdict on few seeds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "closed_loop.py"


def run(*more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *more], capture_output=True, text=True, timeout=300)


@pytest.mark.mirror
def test_two_rounds_of_one_seed(mirror: Path, tmp_path: Path) -> None:
    asked = ("--seeds", "1", "--rounds", "1", "--json", "--state", str(tmp_path))
    first, again = run(*asked), run(*asked)
    assert first.returncode == 0, first.stderr
    result, repeated = json.loads(first.stdout), json.loads(again.stdout)
    assert [row["labelled"] for row in result["rounds"]] == [10, 20]
    assert result["rounds"][0]["difference"]["value"] == 0  # both arms start from the same cases
    assert 0.6 < result["area"]["random"]["value"] < 1
    assert result["verdict"] == "no verdict: 1 seeds, at least 15 are needed"
    assert (result["pool"], result["test"]) == (524, 624)
    for key in ("seconds", "machine"):
        assert result.pop(key) and repeated.pop(key)
    assert result == repeated
    assert "vectors 1148 of 1148" in first.stderr and "vectors" not in again.stderr


def test_more_than_the_pool_holds_is_a_usage_error() -> None:
    asked = run("--start", "2")
    assert asked.returncode == 2 and "start at least 4" in asked.stderr
