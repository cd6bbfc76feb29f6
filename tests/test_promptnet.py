"""attending-prompted on shapes whose mask is known exactly, and on prompts that it must refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attending import models
from attending.errors import HashMismatch, PromptRefused
from attending.models.promptnet import SHA256, WEIGHTS, weights
from attending.records import Image, ImageFacts, Masked, Point, Prompts, Stroke
from attending.site import load as load_site


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> models.Prompted:
    folder = tmp_path_factory.mktemp("home")
    plugin = models.load("attending-prompted", load_site(folder), folder / "cache")
    assert isinstance(plugin, models.Prompted)
    return plugin


def image(voxels: np.ndarray, modality: str = "MR") -> Image:
    return Image(ImageFacts("i1", voxels.shape, None, None, modality), voxels)


def disc(shape: tuple[int, int], y: float, x: float, r: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= r * r


def painted(mask: np.ndarray, low: float, high: float, noise: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (np.where(mask, high, low) + rng.normal(0, noise, mask.shape)).astype(np.float32)


def dice(masked: Masked, truth: np.ndarray) -> float:
    return 2 * float((masked.mask & truth).sum()) / float(masked.mask.sum() + truth.sum())


def point(x: int, y: int, z: int = 0, positive: bool = True) -> Point:
    return Point((x, y, z), positive)


SCALES = [(0.0, 1.0, 0.05), (1000.0, -300.0, 60.0), (-1000.0, 40.0, 30.0)]


@pytest.mark.parametrize(("low", "high", "noise"), SCALES)
def test_one_click_finds_a_disc_in_any_unit(net: models.Prompted, low: float, high: float, noise: float) -> None:
    truth = disc((160, 200), 70, 120, 24)[None]
    made = net.session(image(painted(truth, low, high, noise))).predict(Prompts(points=(point(121, 68),)))
    assert made.mask.shape == truth.shape
    assert dice(made, truth) > 0.9
    assert made.score is not None
    assert 0 < made.score <= 1


@pytest.mark.parametrize("radius", [6, 30, 75])
def test_one_click_finds_the_size(net: models.Prompted, radius: int) -> None:
    truth = disc((200, 200), 100, 100, radius)[None]
    made = net.session(image(painted(truth, 0, 1, 0.05))).predict(Prompts(points=(point(100, 100),)))
    assert dice(made, truth) > 0.88


def test_a_box_finds_a_disc_and_beats_the_box_itself(net: models.Prompted) -> None:
    truth = disc((120, 120), 60, 50, 20)[None]
    made = net.session(image(painted(truth, 0.4, 0.6, 0.1))).predict(Prompts(box=(30, 40, 0, 70, 80, 0)))
    filled = np.zeros_like(truth)
    filled[:, 40:81, 30:71] = True
    assert dice(made, truth) > 0.93 > 2 * truth.sum() / (filled.sum() + truth.sum())


def test_a_box_or_scribble_finds_a_ring(net: models.Prompted) -> None:
    truth = (disc((160, 160), 80, 80, 40) & ~disc((160, 160), 80, 80, 29))[None]
    session = net.session(image(painted(truth, 0.2, 0.8, 0.05)))
    boxed = session.predict(Prompts(box=(39, 39, 0, 121, 121, 0)))
    assert dice(boxed, truth) > 0.85
    turns = np.linspace(0, np.pi, 12)
    places = tuple((int(80 + 34 * np.cos(t)), int(80 + 34 * np.sin(t)), 0) for t in turns)
    assert dice(session.predict(Prompts(strokes=(Stroke(places),))), truth) > 0.85


def test_a_scribble_finds_a_thin_line(net: models.Prompted) -> None:
    rows, columns = np.indices((160, 160))
    truth = (np.abs(rows - 80 - 25 * np.sin(columns / 25)) < 2.5)[None]
    places = tuple((x, round(80 + 25 * float(np.sin(x / 25))), 0) for x in range(10, 150, 4))
    made = net.session(image(painted(truth, 0, 1, 0.1))).predict(Prompts(strokes=(Stroke(places),)))
    assert dice(made, truth) > 0.75


def test_a_lasso_is_drawn_to_the_edge(net: models.Prompted) -> None:
    truth = disc((128, 128), 64, 64, 25)[None]
    outline = tuple(
        (int(64 + 31 * np.cos(t)), int(64 + 30 * np.sin(t)), 0) for t in np.linspace(0, 2 * np.pi, 16, endpoint=False)
    )
    made = net.session(image(painted(truth, 0, 1, 0.1))).predict(Prompts(strokes=(Stroke(outline, closed=True),)))
    assert dice(made, truth) > 0.92


def test_the_slice_before_is_followed(net: models.Prompted) -> None:
    truth = disc((128, 128), 64, 64, 22)[None]
    before = disc((128, 128), 61, 67, 25)[None]
    made = net.session(image(painted(truth, 0, 1, 0.1))).predict(Prompts(mask=before))
    was = 2 * float((before & truth).sum()) / float(before.sum() + truth.sum())
    assert dice(made, truth) > max(0.93, was)


def test_a_negative_click_takes_away(net: models.Prompted) -> None:
    one, other = disc((160, 160), 80, 55, 24), disc((160, 160), 80, 101, 24)
    session = net.session(image(painted((one | other)[None], 0, 1, 0.05)))
    both = session.predict(Prompts(box=(30, 55, 0, 126, 105, 0)))
    less = session.predict(
        Prompts(box=(30, 55, 0, 126, 105, 0), points=(point(50, 80), point(108, 80, positive=False)))
    )
    assert less.mask[0, 80, 50]
    assert not less.mask[0, 80, 108]
    assert (less.mask[0] & other).sum() < 0.5 * (both.mask[0] & other).sum()
    assert less.changed is not None


def test_only_prompted_planes_are_filled_and_the_change_is_named(net: models.Prompted) -> None:
    truth = np.repeat(disc((64, 64), 30, 30, 10)[None], 5, axis=0)
    session = net.session(image(painted(truth, 0, 1, 0.05), "CT"))
    first = session.predict(Prompts(points=(point(30, 30, 2),)))
    assert first.mask.any(axis=(1, 2)).tolist() == [False, False, True, False, False]
    assert first.changed is not None
    assert (first.changed[2], first.changed[5]) == (2, 2)
    assert any("1 of 5 planes" in note for note in first.notes)
    assert session.predict(Prompts(points=(point(30, 30, 2),))).changed is None
    boxed = session.predict(Prompts(box=(19, 19, 1, 41, 41, 3)))
    assert boxed.mask.any(axis=(1, 2)).tolist() == [False, True, True, True, False]
    assert dice(boxed, truth & np.array([0, 1, 1, 1, 0], bool)[:, None, None]) > 0.9


def test_the_answer_does_not_depend_on_what_was_asked_before(net: models.Prompted) -> None:
    voxels = painted(disc((90, 90), 40, 40, 15)[None], 0, 1, 0.2)
    asked = Prompts(points=(point(40, 40), point(48, 44)))
    session = net.session(image(voxels))
    session.predict(Prompts(points=(point(40, 40),)))
    session.predict(Prompts(box=(20, 20, 0, 60, 60, 0)))
    assert np.array_equal(session.predict(asked).mask, net.session(image(voxels)).predict(asked).mask)


def test_colour_single_rows_and_nan_are_taken(net: models.Prompted) -> None:
    truth = disc((80, 80), 40, 40, 16)
    grey = (painted(truth, 40, 200, 5).clip(0, 255)).astype(np.uint8)
    colour = Image(ImageFacts("i2", (1, 80, 80, 3), None, None, "US"), np.repeat(grey[None, ..., None], 3, axis=-1))
    assert dice(net.session(colour).predict(Prompts(points=(point(40, 40),))), truth[None]) > 0.85
    holes = painted(truth[None], 0, 1, 0.05)
    holes[0, 0, :5] = np.nan
    assert dice(net.session(image(holes)).predict(Prompts(points=(point(40, 40),))), truth[None]) > 0.85
    thin = np.arange(40, dtype=np.float32).reshape(1, 1, 40)
    assert net.session(image(thin)).predict(Prompts(points=(point(20, 0),))).mask.shape == (1, 1, 40)


def test_a_constant_image_gives_an_empty_mask_with_the_reason(net: models.Prompted) -> None:
    made = net.session(image(np.full((1, 50, 50), 3, np.int16))).predict(Prompts(box=(10, 10, 0, 30, 30, 0)))
    assert not made.mask.any()
    assert made.score is None
    assert "constant" in made.notes[0]


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        (Prompts(), "no prompt"),
        (Prompts(points=(point(64, 10),)), "outside the image"),
        (Prompts(points=(point(10, -1),)), "outside the image"),
        (Prompts(points=(point(10, 10, 1),)), "outside the image"),
        (Prompts(points=(point(9, 9), point(9, 9, positive=False))), "positive and as negative"),
        (Prompts(points=(point(9, 9, positive=False),)), "negative prompts only"),
        (Prompts(box=(30, 30, 0, 20, 40, 0)), "lies beyond its second"),
        (Prompts(box=(0, 0, 0, 64, 40, 0)), "outside the image"),
        (Prompts(mask=np.zeros((1, 64, 64), bool)), "empty mask"),
        (Prompts(mask=np.ones((1, 32, 64), bool)), "mask of 64x32x1 voxels"),
        (Prompts(text="liver"), "text prompt"),
        (Prompts(strokes=(Stroke(((5, 5, 0), (6, 6, 0)), closed=True),)), "encloses nothing"),
    ],
)
def test_bad_prompts_are_refused_by_name(net: models.Prompted, prompts: Prompts, words: str) -> None:
    session = net.session(image(np.random.default_rng(0).normal(size=(1, 64, 64)).astype(np.float32)))
    with pytest.raises(PromptRefused, match=words):
        session.predict(prompts)
    session.close()
    session.close()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    assert 1_000_000 < len(weights()) < 2_100_000
    changed = bytearray(WEIGHTS.read_bytes())
    changed[1000] ^= 1
    other = tmp_path / "other.onnx"
    other.write_bytes(changed)
    with pytest.raises(HashMismatch, match=SHA256[:12]):
        weights(other)
