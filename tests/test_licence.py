"""Whose licence a study is under: bytes decide, wherever they lie."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.data import get_testdata_file

from attending import Hospital, models
from attending.errors import ExportRefused, Refusal
from attending.records import Reading

VIEW, TEACH = "brain-mr-slices", "pneumoniamnist"


def picture(path: Path, seed: int) -> Path:
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64)).astype(np.uint8)).save(path)
    return path


def put(cache: Path, id: str, name: str, data: bytes) -> Path:
    """A data set of one file in the cache, as ``pull`` leaves it."""
    entry = models.entry(id)
    folder = cache / id / entry.version
    folder.mkdir(parents=True)
    (folder / name).write_bytes(data)
    facts = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}
    convert = f"{entry.convert}/1" if entry.convert else None
    (folder / "manifest.json").write_text(json.dumps({"schema": 1, "files": facts, "convert": convert}))
    return folder / name


@pytest.fixture
def hospital(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    monkeypatch.setenv("ATTENDING_CACHE", str(tmp_path / "cache"))
    home.mkdir()
    (home / "site.toml").write_text('schema = 1\n[models]\nwriter = "none"\nhead = "none"\ntumour = "none"\n')
    return Hospital(home)


def read(hospital: Hospital, *paths: Path) -> Reading:
    (item,) = (i for i in hospital.read(paths, modality="MR") if not isinstance(i, Refusal))  # the manifest is refused
    return item


def test_a_copy_of_what_may_only_be_viewed_may_only_be_viewed(hospital: Hospital, tmp_path: Path) -> None:
    copy = picture(tmp_path / "copy.png", 1)
    kept = put(hospital.cache, VIEW, "a.png", copy.read_bytes())
    for given in (kept, copy, hospital.cache):
        reading = read(hospital, given)
        assert (reading.case.source, reading.case.use) == (VIEW, "view")
        with pytest.raises(ExportRefused):
            hospital.export(reading.id, tmp_path / "out")


def test_a_stranger_in_a_teaching_set_s_folder_is_not_of_the_set(hospital: Hospital, tmp_path: Path) -> None:
    known = put(hospital.cache, TEACH, "a.png", picture(tmp_path / "a.png", 2).read_bytes())
    stranger = Path(str(get_testdata_file("CT_small.dcm", download=False)))
    (known.parent / "b.dcm").write_bytes(stranger.read_bytes())
    taught, patient = read(hospital, known), read(hospital, known.parent / "b.dcm")
    assert (taught.case.source, taught.case.use, taught.case.pixels_checked) == (TEACH, "teach", True)
    assert (patient.case.source, patient.case.use) == (None, "care")
