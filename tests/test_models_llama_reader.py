"""GGUF with a projector: SmolLM2 looks through a tiny one with random weights. It sees; it says nothing sensible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_file import projector, write

from attending import models, site
from attending.errors import LicenceRefused, NotAdmitted, PluginFailed, QuestionRefused
from attending.models import Card, Setup
from attending.models.llama_reader import LlamaReader, architecture, parts_of
from attending.records import Image, ImageFacts

WIDTH = 576
"""Of SmolLM2's embeddings."""


def image(seed: int, modality: str = "CR") -> Image:
    rng = np.random.default_rng(seed)
    voxels = np.kron(rng.integers(0, 900, (1, 7, 7)), np.ones((1, 16, 16))).astype(np.int16)
    return Image(ImageFacts(f"i{seed}", voxels.shape, None, None, modality), voxels)


@pytest.fixture(scope="module")
def folder(pulled: Callable[[str], dict[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reader")
    (made / "model.gguf").symlink_to(pulled("smollm2-135m-instruct")["model.gguf"])
    projector(made / "mmproj.gguf", WIDTH)
    return made


@pytest.fixture(scope="module")
def reader(folder: Path) -> Iterator[LlamaReader]:
    card = Card("tiny", "1", "t", ("Reader",), "llama.cpp", "MIT", modalities=("CR",), intended_use="x", limits="y")
    files = {path.name: path for path in folder.iterdir()}
    made = LlamaReader(Setup("tiny", card, files, threads=1))
    yield made
    made.close()
    made.close()


def test_architectures_are_read_from_the_first_facts(folder: Path, tmp_path: Path) -> None:
    assert architecture(folder / "model.gguf") == "llama"
    assert architecture(folder / "mmproj.gguf") == "clip"
    (tmp_path / "text.gguf").write_text("GGUF")
    assert architecture(tmp_path / "text.gguf") == ""
    assert parts_of("x", list(folder.iterdir())) == (folder / "model.gguf", folder / "mmproj.gguf")


def test_it_loads_and_its_answer_changes_with_the_picture(reader: LlamaReader) -> None:
    answers = [reader.answer([image(seed)], "What is seen?", max_tokens=24, timeout_s=60) for seed in (1, 2, 3, 1)]
    assert all(a.text for a in answers)
    assert answers[0].text == answers[3].text
    assert len({a.text for a in answers}) >= 2
    assert answers[0].rests_on == ("i1",)
    assert "cut off: too long" in reader.answer([image(1)], "What is seen?", max_tokens=2, timeout_s=60).notes[-1]
    blind = reader.answer([], "What is seen?", max_tokens=24, timeout_s=60)
    assert blind.rests_on == () and blind.text not in {a.text for a in answers}


def test_it_keeps_its_time_and_its_card(reader: LlamaReader) -> None:
    assert "its time was over" in reader.answer([image(1)], "Tell all.", max_tokens=400, timeout_s=0.6).notes[-1]
    with pytest.raises(NotAdmitted, match="its modality is MR, the card admits CR"):
        reader.answer([image(1, "MR")], "What is seen?")
    with pytest.raises(QuestionRefused, match="a question of 0 characters"):
        reader.answer([image(1)], "")


def test_one_of_each_is_needed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PluginFailed, match="1 language models and 0 projectors"):
        parts_of("x", [folder / "model.gguf"])
    with pytest.raises(PluginFailed, match="0 language models and 1 projectors"):
        parts_of("x", [folder / "mmproj.gguf"])


def test_a_projector_of_another_width_is_a_named_error(folder: Path, tmp_path: Path) -> None:
    projector(tmp_path / "mmproj.gguf", 64)
    card = Card("tiny", "1", "t", ("Reader",), "llama.cpp", "MIT")
    files = {"model.gguf": folder / "model.gguf", "mmproj.gguf": tmp_path / "mmproj.gguf"}
    with pytest.raises(PluginFailed, match=r"llama\.cpp could not load model\.gguf"):
        LlamaReader(Setup("tiny", card, files, 1)).answer([image(1)], "What is seen?")


def test_a_broken_projector_is_a_named_error(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "mmproj.gguf", {"general.architecture": "clip"}, {})
    files: dict[str, Any] = {"model.gguf": folder / "model.gguf", "mmproj.gguf": tmp_path / "mmproj.gguf"}
    card = Card("tiny", "1", "t", ("Reader",), "llama.cpp", "MIT")
    with pytest.raises(PluginFailed, match=r"llama\.cpp could not load model\.gguf"):
        LlamaReader(Setup("tiny", card, files, 1)).answer([image(1)], "What is seen?")


def test_the_site_file_adds_one(folder: Path, home: Path, tmp_path: Path) -> None:
    home.mkdir()
    text = f'[[folders]]\nid = "tiny"\npath = "{folder}"\nkind = "gguf"\n'
    (home / "site.toml").write_text(text)
    with pytest.raises(LicenceRefused, match="tiny of this site states no licence"):
        models.load("tiny", site.load(home), tmp_path, unseeing=True)
    (home / "site.toml").write_text(text + 'licence = "MIT"\n')
    plugin = models.load("tiny", site.load(home), tmp_path, unseeing=True)
    assert models.protocols_of(plugin) == ("Reader",)
