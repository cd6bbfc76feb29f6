"""What the promptable net is shown, and the synthetic scenes it learns from."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attending.models.promptcrop import CHANNELS, SIZE, Marks, Window, look, paste, resample, strokes_to_places
from attending.models.promptlook import answer, first_windows
from attending.pretraining import pointing
from attending.pretraining.prompted_check import dice, synthetic
from attending.pretraining.samples import MODES, carried_on, first
from attending.pretraining.scenes import scene

SEEDS = st.integers(0, 10_000)


def disc(shape: tuple[int, int], y: float, x: float, r: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= r * r


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.floats(0.2, 0.8), st.floats(0.2, 0.8), st.floats(0.4, 0.8))
def test_a_mask_comes_back_to_its_place(rows: int, columns: int, y: float, x: float, zoom: float) -> None:
    radius = 0.15 * min(rows, columns)
    mask = disc((rows, columns), y * rows, x * columns, max(radius, 3))
    y0, x0, y1, x1 = pointing.bounds(mask)
    window = Window.around(y0, x0, y1, x1, zoom)
    back = paste(resample(mask, window), window, mask.shape, 0.0) > 0.5
    assert dice(back, mask) > 0.97, "a window and its way back must not move a mask"


def test_a_ramp_is_read_at_voxel_centres() -> None:
    ramp = np.tile(np.arange(64, dtype=np.float32), (64, 1))
    window = Window(10.0, 20.0, 16.0)
    expected = 20 + (np.arange(SIZE) + 0.5) * 16 / SIZE
    assert np.allclose(resample(ramp, window)[5], expected, atol=1e-3)


def test_a_large_film_is_read_at_the_same_places_as_a_small_one() -> None:
    ramp = np.tile(np.arange(4096, dtype=np.float32), (4096, 1))
    expected = -0.5 + (np.arange(SIZE) + 0.5) * 4096 / SIZE
    assert np.allclose(resample(ramp, Window.whole(ramp.shape))[7, 1:-1], expected[1:-1], atol=16)


def test_grey_values_are_read_whatever_their_unit() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(60, 80)).astype(np.float32)
    window, marks = Window.whole(plane.shape), Marks(positive=np.array([[30, 40]], np.float32))
    seen = look(plane, window, marks)
    assert seen.shape == (len(CHANNELS), SIZE, SIZE)
    assert np.allclose(seen, look(plane * 1000 - 24, window, marks), atol=0.02)
    assert np.abs(seen).max() <= 2
    places = np.unravel_index(seen[CHANNELS.index("positive")].argmax(), (SIZE, SIZE))
    assert np.allclose(places, window.to_grid(np.array([[30, 40]]))[0], atol=0.6)


def test_a_constant_plane_shows_nothing() -> None:
    seen = look(np.full((40, 40), 7, np.float32), Window.whole((40, 40)), Marks(box=(5, 5, 20, 20)))
    assert np.isfinite(seen).all()
    assert not seen[: CHANNELS.index("positive")].any()


def test_beyond_the_border_nothing_is_inside() -> None:
    seen = look(np.ones((10, 10), np.float32), Window(-10, -10, 20), Marks())
    assert seen[CHANNELS.index("inside")].mean() == pytest.approx(0.25, abs=0.01)


def test_strokes_have_no_gaps() -> None:
    places = strokes_to_places([np.array([[0, 0], [0, 10], [7, 10]])])
    assert np.abs(np.diff(places, axis=0)).max() <= 1
    assert len(places) == 18


def test_windows_for_a_click_go_from_the_whole_plane_to_close_by() -> None:
    windows = first_windows((512, 400), Marks(positive=np.array([[100, 50]], np.float32)))
    assert windows[0].side == 512
    assert all(a.side > b.side for a, b in pairwise(windows))
    assert all(w.y < 100 < w.y + w.side and w.x < 50 < w.x + w.side for w in windows)


@pytest.mark.parametrize(("surest", "area"), [(0, 200 * 200), (5, (20 / 0.6) ** 2)])
def test_the_best_guess_is_taken(surest: int, area: int) -> None:
    """A net that says everything everywhere, surest of one window; the second look is around that one's answer."""

    def net(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        guesses = np.zeros(len(inputs), np.float32)
        guesses[surest if len(inputs) > 1 else 0] = 0.9
        return np.ones((len(inputs), SIZE, SIZE), np.float32), guesses

    plane = np.random.default_rng(0).normal(size=(200, 200)).astype(np.float32)
    made = answer(net, [plane], [Marks(positive=np.array([[100, 100]], np.float32))])[0]
    assert (made.probability > 0.5).sum() == pytest.approx(area, rel=0.25)
    assert made.guess == pytest.approx(0.9)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_scenes_are_finite_and_their_targets_lie_in_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made = scene(rng)
    assert np.isfinite(made.image).all()
    assert np.ptp(made.image) > 0
    target = made.target(rng)
    assert target is None or (target.shape == made.image.shape and target.any())


def test_the_same_seed_gives_the_same_tasks() -> None:
    for a, b in zip(synthetic(4, seed=3), synthetic(4, seed=3), strict=True):
        assert np.array_equal(a.plane, b.plane)
        assert np.array_equal(a.target, b.target)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from(sorted(MODES)))
def test_prompts_point_at_their_target(seed: int, mode: str) -> None:
    rng = np.random.default_rng(seed)
    sample = None
    while sample is None:
        sample = first(rng, scene(rng), mode)
    marks, target = sample.marks, sample.target
    places = marks.positive.astype(int)
    assert target[places[:, 0], places[:, 1]].all()
    places = marks.negative.astype(int)
    assert not target[places[:, 0], places[:, 1]].any()
    if marks.box is not None:
        y0, x0, y1, x1 = (int(v) for v in marks.box)
        assert target[y0 : y1 + 1, x0 : x1 + 1].any()
    if marks.mask is not None:
        assert marks.mask.any()
    assert np.isfinite(sample.input(64)).all()


def test_a_correction_points_at_what_is_wrong() -> None:
    rng = np.random.default_rng(2)
    sample = None
    while sample is None:
        sample = first(rng, scene(rng), "box")
    clicked = 0
    for _ in range(20):
        on = carried_on(rng, sample, np.zeros((64, 64), np.float32))
        assert on is not None
        assert len(on.marks.positive) == len(sample.marks.positive) + 1, "all is missing: the click must be positive"
        y, x = on.marks.positive[-1].astype(int)
        assert sample.target[y, x]
        clicked += 1
    assert clicked == 20
