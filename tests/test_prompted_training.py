"""The training command: it goes on from its checkpoint, learns, and its export says what torch says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from attending.pretraining.__main__ import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None or importlib.util.find_spec("safetensors") is None,
        reason="training needs the torch extra",
    ),
]


def state(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "state.json").read_text())
    return found


def test_training_goes_on_and_exports(tmp_path: Path) -> None:
    command = ["prompted", "--minutes", "0.15", "--check", "0", "--out", str(tmp_path / "run")]
    assert main(command) == 0
    first = state(tmp_path / "run")
    assert first["steps"] > 0
    assert main(command) == 0
    second = state(tmp_path / "run")
    assert second["steps"] > first["steps"]
    assert second["planned"] == pytest.approx(first["minutes"] + 0.15)
    out = tmp_path / "net.onnx"
    assert main(["prompted_export", "--checkpoint", str(tmp_path / "run"), "--out", str(out), "--no-figures"]) == 0
    assert 1_500_000 < out.stat().st_size < 2_000_000
