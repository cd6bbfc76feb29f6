"""The site's operating point per finding, the head's abstention, and the watch over its stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attending import models, site
from attending.drifting import Watched
from attending.learning.graph import to_onnx
from attending.learning.head import fit
from attending.models.head import Head, head_conformal
from attending.records import Candidate, Code, Image, ImageFacts, Release
from attending.site import Thresholds
from attending.tasks.detection import point, presence

PNEUMONIA = Code("SCT", "233604007", "Pneumonia")


@pytest.mark.parametrize(
    ("kind", "score", "found"),
    [
        ("", 0.6, "uncertain"),
        ("sensitive", 0.6, "present"),
        ("sensitive", 0.15, "uncertain"),
        ("precise", 0.85, "uncertain"),
        ("precise", 0.45, "absent"),
        ("precise", 0.95, "present"),
    ],
)
def test_a_finding_is_read_at_its_sites_operating_point(kind: str, score: float, found: str) -> None:
    thresholds = replace(Thresholds(), **({kind: (PNEUMONIA.value,)} if kind else {}))
    assert presence(score, thresholds, PNEUMONIA) == found
    assert presence(score, thresholds, Code("SCT", "1", "Other")) == presence(score, Thresholds(), PNEUMONIA)
    assert (kind in point(thresholds, PNEUMONIA)) if kind else point(thresholds, PNEUMONIA) == ""


@pytest.mark.parametrize(
    ("possible", "found"), [(("present",), "present"), (("present", "absent"), "uncertain"), ((), "uncertain")]
)
def test_a_head_abstains_where_its_set_is_not_one_answer(possible: tuple, found: str) -> None:
    assert presence(0.95, Thresholds(), PNEUMONIA, possible) == found


def test_the_site_file_takes_the_operating_points(home: Path) -> None:
    home.mkdir()
    (home / "site.toml").write_text('[thresholds]\nsensitive = ["233604007"]\ncoverage = 0.95\n')
    loaded = site.load(home)
    assert loaded.thresholds.at("233604007") == (0.5, 0.1, "sensitive")
    assert loaded.thresholds.coverage == 0.95


def release(conformal: str) -> Release:
    card = (("modalities", "CR"), ("conformal", conformal))
    made = Candidate("r", "233604007", "skimage-descriptors/1", "w", "t", ("person",), "now", card)
    return Release("r", made, None, "approved")


def test_the_release_gives_the_least_coverage_that_is_enough() -> None:
    kept = release('{"0.8": [0.4, 0.3], "0.95": [0.7, 0.6]}')
    assert head_conformal(kept, 0.9) == (0.95, 0.7, 0.6)
    assert head_conformal(kept, 0.8) == (0.8, 0.4, 0.3)
    assert head_conformal(kept, 0.0) is None
    assert head_conformal(kept, 0.99) is None
    assert head_conformal(release("{}"), 0.9) is None


def test_a_learned_head_says_that_it_abstains(home: Path, cache: Path) -> None:
    encoder = models.load("skimage-descriptors", site.load(home), cache)
    rng = np.random.default_rng(0)

    def film(level: float) -> Image:
        facts = ImageFacts("i1", (1, 64, 64), None, None, "CR", "PA", "CHEST")
        pixels = np.clip(rng.normal(0, 40, (64, 64)) + level * np.mgrid[:64, :64][0] + 900, 0, 4000)
        return Image(facts, pixels[None].astype(np.uint16))

    levels = np.repeat([-6.0, 6.0], 30)
    x = encoder.encode([film(v) for v in levels])
    head = fit(x, (levels > 0).astype(int), [str(i) for i in range(60)])
    card = models.Card("head-233604007", "r", "t", ("Detector",), "onnxruntime", "MIT", modalities=("CR",))
    # At thresholds this low neither answer is ever possible, at thresholds this high both always are.
    for sets, said in (((0.9, 1.0, 1.0), "both answers remain"), ((0.9, -1.0, -1.0), "like neither")):
        made = Head(card, to_onnx(head, {}), encoder, PNEUMONIA, 1, sets)
        (found,) = made.detect(film(6.0))
        assert found.possible is not None
        assert len(found.possible) != 1
        assert any(said in note for note in found.notes)
    assert Head(card, to_onnx(head, {}), encoder, PNEUMONIA).detect(film(6.0))[0].possible is None


def test_the_watch_says_in_words_what_it_saw() -> None:
    kept = release("{}")
    assert "at least 50 are needed" in Watched(kept, 100, 3, 0, 0.5, 1.0, False).words
    assert "look like those" in Watched(kept, 100, 60, 1, 0.52, 0.4, False).words
    assert Watched(kept, 100, 60, 1, 0.9, 1e-9, True).words.startswith("ALERT")
