"""Labels looked for on one image: by detectors, by examples, by words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

from attending import finding, models, site
from attending.cli import app
from attending.errors import ModelRefused, NotFound, NothingToLearn
from attending.models import Card
from attending.records import Code, Detection, Image, ImageFacts

GLIOMA, MENINGIOMA = Code("SCT", "393564001", "Glioma"), Code("SCT", "302820008", "Intracranial meningioma")
CARD = Card("d", "1", "D", ("Detector",), "numpy", "Apache-2.0", modalities=("MR",),
            labels={"g": GLIOMA, "m": MENINGIOMA})  # fmt: skip


class Two:
    card = CARD

    def detect(self, image: Image, progress: Any = None) -> tuple[Detection, ...]:
        return Detection(GLIOMA, 0.9, calibrated=True), Detection(MENINGIOMA, 0.3)


class Words:
    """An image-text model at the published seam: one axis for bright, one for dark."""

    card = replace(CARD, id="w")
    space = "w/1"

    def encode(self, images: Sequence[Image]) -> Any:
        mean = np.array([i.voxels.mean() / 255 for i in images])
        return np.stack([mean, 1 - mean], axis=1).astype(np.float32)

    def encode_texts(self, texts: Sequence[str]) -> Any:
        return np.array([[float("bright" in t), float("dark" in t)] for t in texts], np.float32) + 0.01


def slice_of(value: int = 200) -> Image:
    facts = ImageFacts("i1", (1, 32, 32), None, None, "MR", body_part="HEAD")
    return Image(facts, np.full((1, 32, 32), value, np.uint16))


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for label in ("disc", "bar"):
        (tmp_path / label).mkdir()
        for n in range(14):
            draw(rng, label).save(tmp_path / label / f"{n}.png")
    return tmp_path


def draw(rng: Any, label: str) -> Picture.Image:
    y, x = np.mgrid[:64, :64]
    cy, cx = rng.uniform(26, 38, 2)
    shape = (y - cy) ** 2 + (x - cx) ** 2 < 150 if label == "disc" else abs(y - cy) < 4
    return Picture.fromarray((shape * 150 + rng.uniform(0, 60, (64, 64))).astype(np.uint8))


def test_a_detector_answers_for_the_labels_it_knows_and_for_broader_ones(home: Path) -> None:
    where = site.load(home)
    found = finding.by_detectors(slice_of(), ["glioma", "brain tumour", "pneumonia"], [Two()], where)
    assert [(f.label, f.code, f.chosen) for f in found if f.label == "glioma"] == [("glioma", GLIOMA, "present")]
    assert {f.code for f in found if f.label == "brain tumour"} == {GLIOMA, MENINGIOMA}
    assert not [f for f in found if f.label == "pneumonia"]
    film = Image(replace(slice_of().facts, modality="CR"), slice_of().voxels)
    assert finding.by_detectors(film, ["glioma"], [Two()], where) == []


def test_examples_teach_a_head_and_promise_coverage(examples: Path, home: Path, cache: Path) -> None:
    where = site.load(home)
    encoder = models.load("skimage-descriptors", where, cache)
    rng = np.random.default_rng(5)
    right = 0
    for label in ("disc", "bar"):
        for n in range(5):
            path = examples / f"new-{label}-{n}.png"
            draw(rng, label).save(path)
            from attending.images import open_image

            image = open_image(path, where).image
            looked = finding.by_examples(image, ["disc", "bar"], examples, encoder, where, 0.9, "linear")
            right += max(looked, key=lambda one: one.score).label == label
            assert any("90% coverage" in note for note in looked[0].notes)
            assert not looked[0].calibrated
    assert right >= 9


def test_examples_that_are_missing_or_too_few_are_refused(examples: Path, home: Path, cache: Path) -> None:
    where = site.load(home)
    encoder = models.load("skimage-descriptors", where, cache)
    with pytest.raises(NotFound, match="no sub-folder"):
        finding.by_examples(slice_of(), ["disc", "ring"], examples, encoder, where, 0.9, "knn")
    (examples / "ring").mkdir()
    with pytest.raises(NothingToLearn, match="14, 0 readable examples of 2 labels"):
        finding.by_examples(slice_of(), ["disc", "ring"], examples, encoder, where, 0.9, "knn")


def test_words_are_compared_in_one_space_and_promise_nothing() -> None:
    bright = finding.by_words(slice_of(230), ["bright", "dark"], finding.image_text_model(Words()))
    dark = finding.by_words(slice_of(10), ["bright", "dark"], Words())
    assert max(bright, key=lambda one: one.score).label == "bright"
    assert max(dark, key=lambda one: one.score).label == "dark"
    assert {one.chosen for one in bright} == {None}
    with pytest.raises(ModelRefused, match="does not encode images and texts"):
        finding.image_text_model(Two())


def test_a_model_that_makes_no_vectors_is_refused(examples: Path, home: Path, tmp_path: Path) -> None:
    image, out = str(next((examples / "disc").iterdir())), str(tmp_path / "v.npy")
    run = CliRunner().invoke
    for words in (
        ["embed", image, "--out", out, "--model", "classical"],
        ["find", image, "--labels", "disc,bar", "--examples", str(examples), "--model", "classical"],
    ):
        refused = run(app, [*words, "--home", str(home)])
        assert isinstance(refused.exception, ModelRefused)
        assert "makes no vectors" in str(refused.exception)


def test_the_commands_print_the_contract(examples: Path, home: Path, tmp_path: Path) -> None:
    image = str(next((examples / "disc").iterdir()))
    run = CliRunner().invoke
    done = run(app, ["find", image, "--labels", "disc,bar", "--examples", str(examples), "--json", "--home", str(home)])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["label"] == "disc"
    assert set(rows[0]) == {
        "schema", "label", "code", "score", "calibrated", "chosen", "way", "modality", "producer", "notes", "mark"
    }  # fmt: skip
    refused = run(app, ["find", image, "--labels", "pneumonia", "--json", "--home", str(home)])
    assert isinstance(refused.exception, ModelRefused)
    out = tmp_path / "v.npy"
    done = run(app, ["embed", image, image, "--out", str(out), "--json", "--home", str(home)])
    assert json.loads(done.stdout)["shape"] == [2, 734]
    vectors = np.load(out)
    assert np.array_equal(vectors[0], vectors[1])
