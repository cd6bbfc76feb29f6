"""attending bundle: read, prepare and write, as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from attending.cli import app
from attending.errors import PluginFailed

RUN = CliRunner()


@pytest.mark.mirror
def test_a_meshnet_is_written_and_read_back(
    mirror: Path, pulled: Callable[[str], dict[str, Path]], tmp_path: Path
) -> None:
    pulled("brainchop-model5_gw_ae")
    folder = tmp_path / "bundle"
    done = RUN.invoke(app, ["bundle", "write", "brainchop-model5_gw_ae", str(folder), "--home", str(tmp_path / "home")])
    assert done.exit_code == 0 and done.stdout.strip() == str(folder)
    told = RUN.invoke(app, ["bundle", "read", str(folder), "--json"])
    facts = json.loads(told.stdout)
    assert facts["schema"] == 1 and facts["weights"] == "model.safetensors"
    assert facts["labels"] == ["White Matter", "Grey Matter"] and facts["spacing_mm"] == [1.0, 1.0, 1.0]
    assert "README.md" in {p.name for p in (folder / "docs").iterdir()} and "MIT" in (folder / "LICENSE").read_text()


def test_no_bundle_is_one_message(tmp_path: Path) -> None:
    told = RUN.invoke(app, ["bundle", "read", str(tmp_path)])
    assert isinstance(told.exception, PluginFailed) and "no readable configs/metadata.json" in told.exception.seen
    told = RUN.invoke(app, ["bundle", "prepare", str(tmp_path)])
    assert isinstance(told.exception, PluginFailed) and "no models/model.pt" in told.exception.seen
