"""Nothing that identifies a patient leaves the vault: read, refuse and sign, then search everything outside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from attending import Hospital, deidentify, intake
from attending.testing.identifiers import plant

Pulled = Callable[[str], dict[str, Path]]
SHORT = 5  # shorter strings ("1", "CT", "M") are in every file by chance


def everything_outside_the_vault(home: Path) -> bytes:
    """All bytes and all names below the hospital's folder, the vault's own files left out."""
    found = []
    for path in sorted(home.rglob("*")):
        inside = path.relative_to(home)
        if inside.parts[0] == "vault":
            continue
        found.append(str(inside).encode())
        if path.is_file():
            found.append(path.read_bytes())
    return b"\n".join(found)


def leaked(strings: frozenset[str], *places: bytes) -> set[str]:
    text = b"\n".join(places).lower()
    return {s for s in strings if len(s) >= SHORT and s.lower().encode() in text}


def run(*words: object, home: Path) -> bytes:
    command = [sys.executable, "-c", "from attending.cli import main; main()", *map(str, words), "--home", str(home)]
    result = subprocess.run(command, capture_output=True)
    return result.stdout + result.stderr


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "SC_rgb_small_odd.dcm"])
def test_a_study_planted_in_every_attribute(name: str, home: Path, tmp_path: Path) -> None:
    planted = plant(dcmread(str(get_testdata_file(name, download=False))))
    home.mkdir()
    (home / "site.toml").write_text('schema = 1\n[models]\nwriter = "none"\n')
    file, cut = tmp_path / "one.dcm", tmp_path / "two.dcm"
    file.write_bytes(planted.data)
    cut.write_bytes(planted.data[: len(planted.data) * 2 // 3])
    said = run("read", file, cut, "--json", home=home)
    rows = [json.loads(line) for line in said.splitlines() if line.startswith(b'{"schema"')]
    (read,) = [row for row in rows if "id" in row]
    assert sum("error" in row for row in rows) == 1
    said += run("show", read["id"], home=home) + run("list", home=home)
    said += run("sign", read["id"], "--by", "demo", home=home)
    assert not leaked(planted.strings, said, everything_outside_the_vault(home))


def test_every_demo_study(home: Path, pulled: Pulled) -> None:
    home.mkdir()
    (home / "site.toml").write_text('schema = 1\n[models]\nwriter = "none"\ntumour = "none"\n')
    files = pulled("pydicom-data")
    names = ("RG1_UNCR.dcm", "693_UNCR.dcm", "MR2_UNCR.dcm", "US1_UNCR.dcm")
    paths = [path for name, path in files.items() if name.endswith(names)]
    assert len(paths) == len(names)
    with Hospital(home) as hospital:
        done = list(hospital.read(paths))
        assert len(done) == len(paths)
    opened = intake.open(paths)
    strings = frozenset().union(*(deidentify.identifiers(study) for study in opened.studies))
    assert any(len(s) > 20 for s in strings)
    assert not leaked(strings, everything_outside_the_vault(home))


def test_the_search_itself_finds_what_is_there(home: Path) -> None:
    home.mkdir()
    (home / "page.html").write_text("signed for Quillfeather")
    assert leaked(frozenset({"QUILLFEATHER"}), everything_outside_the_vault(home)) == {"QUILLFEATHER"}
