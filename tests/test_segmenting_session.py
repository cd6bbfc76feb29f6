"""Segmenting in Python: analytic shapes in oblique geometry, each prompt mode, undo, changed box, planes, words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attending import models
from attending.errors import PromptRefused, UnknownModel
from attending.metrics import dice
from attending.models.prompt_rules import changed_box, filled
from attending.records import Image, ImageFacts, Point, Prompts, Stroke
from attending.site import Site, cache_dir, load
from attending.tasks.segmenting import Session, Tools, plane_of, propagate
from attending.tasks.segmenting.choosing import choose, measured
from attending.tasks.segmenting.words import named, one_side
from attending.testing.dicom import oblique

SPACING = (1.2, 0.9, 2.5)
CENTRE, RADII_MM = (34.0, 30.0, 11.0), (16.0, 12.0, 17.0)


def shape_image(modality: str = "OT", planes: int = 24) -> tuple[Image, np.ndarray]:
    """A bright ellipsoid, beside another of its kind, in noise, on an oblique anisotropic grid; and its mask."""
    z, y, x = np.indices((planes, 64, 72), dtype=np.float32)

    def inside(centre: tuple[float, ...]) -> np.ndarray:
        parts = zip((x, y, z), centre, SPACING, RADII_MM, strict=True)
        return sum(((axis - c) * mm / r) ** 2 for axis, c, mm, r in parts) <= 1

    mask = inside(CENTRE)
    values = 100.0 + 80.0 * mask + 80.0 * inside((60.0, 52.0, 11.0)) - 60.0 * (x < 6)
    values = values + np.random.default_rng(0).normal(0, 12, mask.shape)
    affine = oblique((20, -10, 15), SPACING, (-40, 12, 70))
    rows = tuple(tuple(float(v) for v in row) for row in affine)
    facts = ImageFacts("i1", mask.shape, rows, SPACING, modality)
    return Image(facts, values.astype(np.int16)), mask


@pytest.fixture(scope="module")
def site() -> Site:
    return load(Path("no-such-home"))


@pytest.fixture
def tools(site: Site) -> Tools:
    return Tools(site, cache_dir())


def box_of(mask: np.ndarray) -> tuple[int, int, int, int, int, int]:
    box = changed_box(None, mask)
    assert box is not None
    return box


def circle(z: int, grow: float) -> tuple[tuple[int, int, int], ...]:
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x = CENTRE[0] + grow * RADII_MM[0] / SPACING[0] * np.cos(turn)
    y = CENTRE[1] + grow * RADII_MM[1] / SPACING[1] * np.sin(turn)
    return tuple((int(a), int(b), z) for a, b in zip(np.rint(x), np.rint(y), strict=True))


def prompts(mode: str, mask: np.ndarray) -> Prompts:
    middle = (34, 30, 11)
    if mode == "point":
        return Prompts(points=(Point(middle),))
    if mode == "box":
        return Prompts(box=box_of(mask))
    if mode == "scribble":
        return Prompts(strokes=(Stroke(tuple((x, 30, 11) for x in range(26, 43))),))
    if mode == "lasso":
        return Prompts(strokes=(Stroke(circle(11, 1.15), closed=True),))
    shifted = np.roll(mask, (2, -2), axis=(1, 2))
    return Prompts(mask=shifted, points=(Point(middle),))


@pytest.mark.parametrize("mode", ["point", "box", "scribble", "lasso", "mask"])
def test_each_mode_outlines_an_ellipsoid_in_a_volume(mode: str, tools: Tools) -> None:
    image, mask = shape_image()
    got = Session(image, tools, model="classical").add(prompts(mode, mask))
    assert got.mask.shape == mask.shape
    assert (dice(got.mask, mask) or 0) > 0.85
    assert got.changed == box_of(got.mask)
    assert got.score is None or 0 <= got.score <= 1


@pytest.mark.parametrize("mode", ["point", "box", "scribble", "lasso"])
def test_each_mode_outlines_an_ellipse_on_one_plane(mode: str, tools: Tools) -> None:
    image, mask = shape_image()
    flat, truth = plane_of(image, 11), mask[11:12]
    asked = prompts(mode, mask)
    down = Prompts(
        tuple(Point((*p.voxel[:2], 0)) for p in asked.points),
        box_of(truth) if asked.box else None,
        tuple(Stroke(tuple((x, y, 0) for x, y, _ in s.voxels), closed=s.closed) for s in asked.strokes),
    )
    got = Session(flat, tools, model="classical").add(down)
    assert (dice(got.mask, truth) or 0) > 0.9


def test_volumes_are_within_a_tenth_in_oblique_geometry(tools: Tools) -> None:
    image, mask = shape_image()
    got = Session(image, tools, model="classical").box(box_of(mask))
    millilitres = got.mask.sum() * np.prod(SPACING) / 1000
    assert millilitres == pytest.approx(4 / 3 * np.pi * np.prod(RADII_MM) / 1000, rel=0.1)


def test_undo_gives_the_mask_before_and_the_box_that_changed(tools: Tools) -> None:
    image, _ = shape_image()
    session = Session(image, tools, model="classical")
    first = session.point((34, 30, 11)).mask
    second = session.point((60, 52, 11))
    assert second.mask[11, 52, 60] and not first[11, 52, 60]
    assert second.changed == changed_box(first, second.mask)
    back = session.undo()
    assert np.array_equal(back.mask, first)
    assert back.changed == second.changed
    assert np.array_equal(session.point((60, 52, 11)).mask, second.mask)
    session.undo()
    assert not session.undo().mask.any()
    with pytest.raises(PromptRefused, match="nothing to undo"):
        session.undo()


def test_a_negative_point_takes_away_and_a_positive_one_adds(tools: Tools) -> None:
    image, _ = shape_image()
    session = Session(image, tools, model="classical")
    session.point((34, 30, 11))
    both = session.point((60, 52, 11)).mask
    less = session.point((60, 52, 11 + 3), positive=False)
    assert not less.mask[14, 52, 60]
    assert less.mask[11, 30, 34] and both[11, 30, 34]


def test_the_same_prompts_give_the_same_mask_in_a_fresh_session(tools: Tools) -> None:
    image, mask = shape_image()
    masks = []
    for _ in range(2):
        session = Session(image, tools, model="classical")
        session.box(box_of(mask))
        masks.append(session.point((40, 33, 12)).mask)
    assert np.array_equal(*masks)


def test_a_box_on_one_plane_is_carried_through_the_volume_and_ends_where_the_thing_does(tools: Tools) -> None:
    image, mask = shape_image()
    flat = box_of(mask[11:12])
    box = (*flat[:2], 11, *flat[3:5], 11)
    got = Session(image, tools, model="classical").box(box)  # type: ignore[arg-type]
    assert (dice(got.mask, mask) or 0) > 0.8
    planes = np.flatnonzero(got.mask.any(axis=(1, 2)))
    truth = np.flatnonzero(mask.any(axis=(1, 2)))
    assert abs(planes[0] - truth[0]) <= 2 and abs(planes[-1] - truth[-1]) <= 2
    assert any("carried from plane 11" in note for note in got.notes)
    kept = Session(image, tools, model="classical", one_plane=True).box(box)  # type: ignore[arg-type]
    assert list(np.flatnonzero(kept.mask.any(axis=(1, 2)))) == [11]


def test_frames_of_a_cine_are_never_carried_on(tools: Tools) -> None:
    from dataclasses import replace

    image, mask = shape_image()
    cine = Image(replace(image.facts, axis="time"), image.voxels)
    engine = tools.load("classical")
    got, notes = propagate(engine, cine, np.where(np.arange(24)[:, None, None] == 11, mask, False))
    assert list(np.flatnonzero(got.any(axis=(1, 2)))) == [11] and notes == ()


def test_plane_of_lies_where_its_plane_lay() -> None:
    image, _ = shape_image()
    plane = plane_of(image, 7)
    assert image.affine is not None and plane.affine is not None
    assert np.allclose(plane.affine @ [3, 4, 0, 1], image.affine @ [3, 4, 7, 1])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Prompts(), "no prompt at all"),
        (Prompts(points=(Point((72, 0, 0)),)), "outside the image"),
        (Prompts(points=(Point((0, 0, -1)),)), "outside the image"),
        (Prompts(points=(Point((3, 3, 3)), Point((3, 3, 3), False))), "as positive and as negative"),
        (Prompts(points=(Point((3, 3, 3), False),)), "negative prompts only"),
        (Prompts(box=(9, 0, 0, 3, 5, 5)), "beyond its second"),
        (Prompts(box=(0, 0, 0, 5, 5, 99)), "outside the image"),
        (Prompts(points=(Point((30, 30, 3)),), box=(0, 0, 0, 5, 5, 5)), "outside the box"),
        (Prompts(mask=np.zeros((24, 64, 72), dtype=bool)), "an empty mask"),
        (Prompts(mask=np.ones((2, 3, 4), dtype=bool)), "a mask of 4x3x2 voxels"),
        (Prompts(text="  "), "an empty word"),
        (Prompts(strokes=(Stroke(((1, 1, 1), (2, 2, 2), (3, 1, 1)), closed=True),)), "encloses nothing"),
        (
            Prompts(points=(Point((4, 1, 1), False),), strokes=(Stroke(((3, 1, 1), (4, 1, 1))),)),
            "as positive and as negative",
        ),
    ],
)
def test_a_bad_prompt_is_refused_and_changes_nothing(bad: Prompts, words: str, tools: Tools) -> None:
    image, mask = shape_image()
    session = Session(image, tools, model="classical")
    before = session.box(box_of(mask)).mask if bad.box is None and bad.points and bad.points[0].voxel[0] == 99 else None
    with pytest.raises(PromptRefused, match=words):
        session.add(bad)
    assert session.prompts.empty is (before is None)


def test_text_outlines_nothing_and_says_why_where_no_model_knows_it(tools: Tools) -> None:
    image, _ = shape_image(modality="CT")
    got = Session(image, tools).text("left lung")
    assert not got.mask.any() and got.changed is None
    assert len(got.notes) == 1 and got.notes[0]
    unknown = Session(image, tools).text("flux capacitor")
    assert not unknown.mask.any()
    assert unknown.notes[0]


def test_words_become_coded_terms_with_their_side() -> None:
    lung = named("Left  lung")
    assert lung.code is not None and (lung.code.scheme, lung.code.value, lung.side) == ("SCT", "39607008", "left")
    assert named("brain tumour").name == "brain tumor"
    assert named("flux capacitor").code is None


def test_everything_is_the_foreground_and_a_blank_image_has_none(tools: Tools) -> None:
    values = np.zeros((5, 40, 40), dtype=np.int16)
    values[:, 8:33, 6:35] = 500
    facts = ImageFacts("i1", values.shape, None, None, "OT")
    got = Session(Image(facts, values), tools).everything()
    assert np.array_equal(got.mask, values > 0)
    assert not Session(Image(facts, np.zeros_like(values)), tools).everything().mask.any()


def test_an_engine_that_is_not_there_or_is_not_pointed_at_is_refused(tools: Tools) -> None:
    image, _ = shape_image()
    with pytest.raises(UnknownModel):
        Session(image, tools, model="no-such-engine")
    with pytest.raises(PromptRefused, match="no model that is pointed at"):
        Session(image, tools, model="skimage-descriptors")


def test_the_default_of_each_mode_is_a_known_engine_and_the_best_measured(tools: Tools) -> None:
    known = {e.id for e in models.catalog()}
    for dims, modes in measured().items():
        for row in modes.values():
            assert row["engine"] in known
            # in volumes what is carried from plane to plane must lead by 0.03
            lead = 0.03 if dims == "3" and row["engine"] == "classical" else 0.0
            assert row["dice"][row["engine"]] >= max(row["dice"].values()) - lead
    image, mask = shape_image()
    chosen = choose(tools, image.facts, Prompts(box=box_of(mask)))
    assert "box" in chosen.plugin.modes


def test_colour_and_missing_values_are_taken(tools: Tools) -> None:
    image, mask = shape_image()
    grey = np.clip(image.voxels[11:12], 0, 255).astype(np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=3)
    facts = ImageFacts("i1", colour.shape, None, None, "OT")
    got = Session(Image(facts, colour), tools, model="classical").point((34, 30, 0))
    assert (dice(got.mask, mask[11:12]) or 0) > 0.9
    holes = image.voxels.astype(np.float32)
    holes[:, :3] = np.nan
    got = Session(Image(image.facts, holes), tools, model="classical").point((34, 30, 11))
    assert got.mask[11, 30, 34]


def test_a_tiny_image_and_a_constant_one_give_a_mask(tools: Tools) -> None:
    for shape in ((1, 1, 1), (1, 3, 2), (1, 20, 20), (2, 2, 2), (4, 9, 9)):
        for values in (np.zeros(shape, np.int16), np.arange(np.prod(shape), dtype=np.int16).reshape(shape)):
            image = Image(ImageFacts("i1", shape, None, None, "OT"), values)
            x, y, z = shape[2] // 2, shape[1] // 2, shape[0] // 2
            assert Session(image, tools, model="classical").point((x, y, z)).mask[z, y, x]
            box = (0, 0, 0, shape[2] - 1, shape[1] - 1, shape[0] - 1)
            assert Session(image, tools, model="classical").box(box).mask.any()


def test_a_lasso_holds_its_outline_and_what_it_encloses() -> None:
    square = ((2, 2, 0), (6, 2, 0), (6, 5, 0), (2, 5, 0))
    mask = filled(Stroke(square, closed=True), (1, 9, 9))
    assert mask.sum() == 5 * 4 and mask[0, 2:6, 2:7].all()


@pytest.mark.parametrize("flip", [1, -1])
def test_a_side_is_the_patients_whichever_way_the_file_runs(flip: int) -> None:
    labelled = np.zeros((3, 4, 20), dtype=bool)
    labelled[:, :, 2:18] = True
    affine = ((float(flip), 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    image = Image(ImageFacts("i1", labelled.shape, affine, (1, 1, 1), "MR"), labelled.astype(np.int16))
    left = one_side(labelled, image, "left")
    right = one_side(labelled, image, "right")
    assert left is not None and right is not None
    high_x = np.broadcast_to(np.arange(20) > 9.5, labelled.shape)
    assert np.array_equal(left, high_x if flip == 1 else ~high_x)
    assert np.array_equal(right, ~left)
    nowhere = Image(ImageFacts("i1", labelled.shape, None, None, "MR"), labelled.astype(np.int16))
    assert one_side(labelled, nowhere, "left") is None


@pytest.mark.parametrize("corner", [(7, 5, 3), (40, 31, 9)])
def test_nothing_lies_outside_the_box_that_was_drawn(corner: tuple[int, int, int], tools: Tools) -> None:
    image, _ = shape_image()
    x, y, z = corner
    session = Session(image, tools, model="classical")
    session.box((x, y, z, x + 22, y + 19, z + 7))
    got = session.point((x + 11, y + 9, z + 4))
    found = box_of(got.mask)
    assert all(a >= b for a, b in zip(found[:3], corner, strict=True))
    assert all(a <= b for a, b in zip(found[3:], (x + 22, y + 19, z + 7), strict=True))


@pytest.mark.parametrize("noise", [0, 10])
@pytest.mark.parametrize("shape", ["cube", "column", "one row", "one column", "plane"])
def test_a_click_finds_a_clear_thing_however_large_and_thin(shape: str, noise: int, tools: Tools) -> None:
    if shape in ("one row", "one column"):
        z, y, x = np.indices((25, 1, 60) if shape == "one row" else (25, 60, 1))
        truth = (z - 12) ** 2 + (y + x - 30) ** 2 <= 64
        place = (30, 0, 12) if shape == "one row" else (0, 30, 12)
    else:
        truth = np.zeros((1 if shape == "plane" else 20, 40, 40), dtype=bool)
        truth[5 : 15 if shape == "cube" else None, 10:30, 10:30] = True
        if shape != "cube":
            truth[:, 10:30, 10:30] = True
        place = (20, 20, len(truth) // 2)
    values = 200 * truth + np.random.default_rng(0).normal(0, 1, truth.shape) * noise
    facts = ImageFacts("i1", truth.shape, None, (1.0, 1.0, 1.0), "OT")
    got = Session(Image(facts, values.astype(np.int16)), tools, model="classical").point(place)
    assert (dice(got.mask, truth) or 0) > 0.95


@pytest.mark.parametrize("axis", [1, 2])
def test_a_plane_across_the_axes_is_answered_as_one_along_them(axis: int, tools: Tools) -> None:
    image, mask = shape_image()
    flat, truth = plane_of(image, 11), mask[11:12]
    facts = ImageFacts("i1", flat.voxels.shape, None, (1.2, 0.9, 2.5), "OT")
    order = [1, 0, 2] if axis == 1 else [1, 2, 0]
    voxels = np.ascontiguousarray(flat.voxels.transpose(order))
    x0, y0, _, x1, y1, _ = box_of(truth)
    box = (x0, 0, y0, x1, 0, y1) if axis == 1 else (0, x0, y0, 0, x1, y1)
    spacing = (1.2, 2.5, 0.9) if axis == 1 else (2.5, 1.2, 0.9)
    across = Image(ImageFacts("i1", voxels.shape, None, spacing, "OT"), voxels)
    straight = Session(Image(facts, flat.voxels), tools, model="classical").box((x0, y0, 0, x1, y1, 0))
    turned = Session(across, tools, model="classical").box(box)
    assert np.array_equal(turned.mask, straight.mask.transpose(order))
    assert turned.changed == box_of(turned.mask) and (dice(straight.mask, truth) or 0) > 0.9
