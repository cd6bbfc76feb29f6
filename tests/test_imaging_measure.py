"""Measures of masks against bodies whose measures are known, on grids of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from analytic import Body, box, cylinder, ellipsoid, rotation, sampled, sphere, upright
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from attending.errors import GeometryRefused
from attending.imaging import measure_codes as c
from attending.imaging.measure_between import cardiothoracic, distance
from attending.imaging.measure_mask import densities, measure, values_inside
from attending.imaging.measure_space import space_from, space_of
from attending.imaging.measure_surface import surface
from attending.records import Image, ImageFacts
from attending.records.mask import Segment, segments_of

SPACINGS = [(0.8, 0.8, 0.8), (0.7, 0.8, 1.25), (0.7, 0.7, 2.5)]
BODIES = [sphere(20), ellipsoid(22, 14, 12), cylinder(12, 40), box(40, 30, 24)]
ONE = lambda mask: segments_of(mask.astype(np.uint8))[0]  # noqa: E731


def facts(shape, affine=None, spacing=None, **more) -> ImageFacts:
    rows = None if affine is None else tuple(tuple(float(v) for v in row) for row in affine)
    if affine is not None:
        spacing = tuple(float(v) for v in np.linalg.norm(np.asarray(affine)[:3, :3], axis=0))
    return ImageFacts("i1", tuple(shape), rows, spacing, more.pop("modality", "CT"), **more)


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
@pytest.mark.parametrize("body", BODIES, ids=lambda b: b.name)
def test_volumes_and_diameters_are_exact_to_one_per_cent(body: Body, spacing) -> None:
    rng = np.random.default_rng(4)
    longs, shorts, spaces, volumes = [], [], [], []
    for _ in range(3):
        mask, affine = sampled(body, spacing, upright(rng), rng)
        found = measure(ONE(mask), space_from(affine))
        longs.append(found.long_mm / body.in_plane[0] - 1)
        shorts.append(found.short_mm / body.in_plane[1] - 1)
        spaces.append(found.get(c.LONGEST_3D).value / body.longest - 1)
        # A lid that runs with the planes falls on one of them or not: the stated uncertainty knows.
        assert abs(found.volume_ml * 1000 - body.volume) <= 1000 * found.get(c.VOLUME).uncertainty
        mask, affine = sampled(body, spacing, rotation(rng), rng)
        volumes.append(mask.sum() * space_from(affine).voxel / body.volume - 1)
    assert np.abs(volumes).mean() < 0.01
    assert np.abs(longs).mean() < 0.01
    # A box's corners let the perpendicular chord sway by half a pixel.
    assert np.abs(shorts).mean() < (0.02 if "box" in body.name else 0.01)
    assert np.abs(spaces).mean() < (0.02 if spacing[2] > 2 else 0.01)


def test_the_stated_uncertainty_holds_the_truth() -> None:
    rng = np.random.default_rng(5)
    inside = []
    for body in BODIES:
        for _ in range(4):
            mask, affine = sampled(body, (1.0, 1.0, 1.5), rotation(rng), rng)
            found = measure(ONE(mask), space_from(affine)).get(c.LONGEST_3D)
            inside.append(abs(found.value - body.longest) <= found.uncertainty)
    assert np.mean(inside) > 0.9


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    turn=st.integers(0, 2**32 - 1),
    shift=st.tuples(*[st.floats(-500, 500)] * 3),
    mirror=st.booleans(),
    shape=st.integers(0, 3),
)
def test_rigid_motion_leaves_every_measure_unchanged(turn, shift, mirror, shape) -> None:
    mask, affine = sampled(BODIES[shape], (2.0, 1.7, 3.0), np.eye(3), np.random.default_rng(1))
    moved = np.eye(4)
    moved[:3, :3] = rotation(np.random.default_rng(turn)) * (-1 if mirror else 1)
    moved[:3, 3] = shift
    here, there = (measure(ONE(mask), space_from(a)) for a in (affine, moved @ affine))
    for a, b in zip(here.measured, there.measured, strict=True):
        assert b.code == a.code and b.value == pytest.approx(a.value, rel=1e-6)
    centre = moved @ np.append(here.centre, 1.0)
    assert there.centre == pytest.approx(tuple(centre[:3]), abs=1e-6)


def test_a_box_of_whole_voxels_is_measured_from_edge_to_edge() -> None:
    mask = np.zeros((20, 40, 50), bool)
    mask[5:15, 10:30, 10:40] = True
    found = measure(ONE(mask), space_from(np.diag([0.7, 0.9, 2.0, 1.0])))
    assert found.volume_ml * 1000 == pytest.approx(30 * 20 * 10 * 0.7 * 0.9 * 2)
    assert found.long_mm == pytest.approx(np.hypot(21, 18), rel=0.01)
    assert found.get(c.LONGEST_3D).value == pytest.approx(np.sqrt(21**2 + 18**2 + 20**2), rel=0.02)


def test_the_centre_is_the_patients() -> None:
    mask, affine = sampled(
        sphere(15), (0.8, 0.9, 2.0), np.eye(3), np.random.default_rng(2), centre=(30.0, -40.0, 500.0)
    )
    found = measure(ONE(mask), space_from(affine))
    assert found.centre == pytest.approx((30.0, -40.0, 500.0), abs=0.1)


def test_a_sheared_grid_keeps_its_volume() -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 2] = 0.7
    mask = np.zeros((10, 10, 10), bool)
    mask[2:8, 2:8, 2:8] = True
    assert measure(ONE(mask), space_from(affine)).volume_ml * 1000 == pytest.approx(216 * 2)


def test_the_short_axis_is_a_chord_at_a_right_angle() -> None:
    rng = np.random.default_rng(3)
    mask, affine = sampled(ellipsoid(25, 10, 10), (0.6, 0.6, 1.0), upright(rng), rng)
    found = measure(ONE(mask), space_from(affine))
    long, short = found.get(c.LONG_AXIS), found.get(c.PERPENDICULAR)
    ends = [np.subtract(m.ends[1], m.ends[0]) for m in (long, short)]
    assert abs(ends[0] @ ends[1]) / np.prod([np.linalg.norm(e) for e in ends]) < 1e-6
    assert long.plane == short.plane
    assert found.get(c.PRODUCT).value == pytest.approx(50 * 20, rel=0.02)


def test_without_a_spacing_nothing_is_a_millimetre() -> None:
    mask = np.zeros((1, 30, 30), bool)
    mask[0, 5:15, 5:15] = True
    found = measure(ONE(mask), space_of(facts(mask.shape, modality="CR")))
    assert [m.unit for m in found.measured] == ["{voxels}"]
    assert found.volume_ml is None and found.long_mm is None
    assert "nothing is given in millimetres" in found.notes[0]


def test_a_film_has_an_area_and_no_volume() -> None:
    mask = np.zeros((1, 60, 60), bool)
    mask[0, 10:40, 10:50] = True
    found = measure(ONE(mask), space_of(facts(mask.shape, spacing=(0.5, 0.5, 0.0), modality="DX")))
    assert found.volume_ml is None
    assert found.get(c.AREA).value == pytest.approx(30 * 40 * 0.25)
    assert found.long_mm == pytest.approx(np.hypot(20, 15), rel=0.01)


def test_shares_of_voxels_are_summed() -> None:
    shares = np.zeros((6, 6, 6), np.float32)
    shares[2:4, 2:4, 2:4] = 1.0
    shares[2:4, 2:4, 4] = 0.25
    segment = Segment(1, "lesion", shares >= 0.5, (0, 0, 0), shares)
    found = measure(segment, space_from(np.diag([2.0, 2.0, 2.0, 1.0])))
    assert found.volume_ml * 1000 == pytest.approx((8 + 1) * 8)


def test_parts_are_counted_and_measured_one_by_one() -> None:
    mask = np.zeros((20, 20, 40), bool)
    mask[5:10, 5:10, 5:10] = True
    mask[5:8, 5:8, 30:33] = True
    found = measure(ONE(mask), space_from(np.eye(4)))
    assert found.parts_in_all == 2
    assert [p.voxels for p in found.parts] == [125, 27]
    assert found.long_mm < 10  # never from one part to the other


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_speck_of_voxels_is_measured(count: int) -> None:
    mask = np.zeros((3, 3, 9), bool)
    mask[1, 1, 1 : 1 + count] = True
    found = measure(ONE(mask), space_from(np.diag([1.0, 1.0, 3.0, 1.0])))
    assert found.volume_ml * 1000 == pytest.approx(3 * count)
    assert count - 1 < found.long_mm <= np.hypot(count + 1, 1)
    assert 0 < found.get(c.SPHERICITY).value <= 1


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
def test_the_surface_of_a_sphere(spacing) -> None:
    mask, affine = sampled(sphere(15), spacing, np.eye(3), np.random.default_rng(6))
    made = surface(mask, space_from(affine))
    assert made.volume == pytest.approx(mask.sum() * space_from(affine).voxel, rel=1e-3)
    assert made.area == pytest.approx(4 * np.pi * 225, rel=0.02)
    assert made.sphericity > 0.97


def test_distances_between_surfaces_and_centres() -> None:
    affine = np.diag([0.8, 0.8, 1.5, 1.0])
    z, y, x = np.mgrid[0:40, 0:60, 0:120]
    places = np.stack([x * 0.8, y * 0.8, z * 1.5], -1)
    a, b = (ONE(((places - centre) ** 2).sum(-1) <= r * r) for centre, r in (((20, 24, 30), 10), ((65, 24, 30), 15)))
    least, centres = distance(a, b, space_from(affine))
    assert least.value == pytest.approx(20, abs=0.5)
    assert centres.value == pytest.approx(45, abs=0.2)
    assert np.linalg.norm(np.subtract(*least.ends)) == pytest.approx(least.value)
    touching = np.zeros((40, 60, 120), bool)
    touching[20, 30, 38:40] = True
    assert distance(a, ONE(touching), space_from(affine))[0].value == 0.0


def test_densities_are_in_hounsfield_units_for_ct() -> None:
    voxels = np.zeros((4, 8, 8), np.int16)
    voxels[1:3, 2:6, 2:6] = np.arange(32).reshape(2, 4, 4)
    mask = np.zeros((4, 8, 8), bool)
    mask[1:3, 2:6, 2:6] = True
    image = Image(facts(voxels.shape, np.diag([1, 1, 2, 1.0]), unit="[hnsf'U]"), voxels)
    values, note = values_inside(ONE(mask), facts(mask.shape, np.diag([1, 1, 2, 1.0])), image)
    found = densities(values, image.facts)
    assert note == ""
    assert (found[0].value, found[0].unit, found[0].code) == (15.5, "[hnsf'U]", c.ATTENUATION)
    assert found[1].value == pytest.approx(np.arange(32).std(ddof=1))


def test_a_mask_on_flipped_planes_is_laid_over_its_image_by_the_patients_place() -> None:
    voxels = np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(np.int16)
    mask = voxels > 60
    turned = np.diag([1.0, 1.0, -1.0, 1.0])
    turned[2, 3] = 4.0
    image = Image(facts(voxels.shape, np.eye(4)), voxels)
    values, note = values_inside(ONE(mask[::-1].copy()), facts(mask.shape, turned), image)
    assert sorted(values) == sorted(voxels[mask]) and note == ""
    far = np.eye(4)
    far[0, 3] = 500
    with pytest.raises(GeometryRefused, match="lies outside the image"):
        values_inside(ONE(mask), facts(mask.shape, far), image)


def test_the_cardiothoracic_ratio_needs_no_spacing() -> None:
    film = facts((1, 100, 200), modality="CR", view="PA")
    heart = np.zeros((1, 100, 200), bool)
    heart[0, 50:70, 80:130] = True
    right, left = np.zeros_like(heart), np.zeros_like(heart)
    right[0, 20:90, 20:75], left[0, 20:90, 130:170] = True, True
    found = cardiothoracic(heart, [right, left], film)
    assert found.ratio.value == pytest.approx(50 / 150)
    by_box = cardiothoracic((80, 50, 0, 129, 69, 0), [(20, 20, 0, 169, 89, 0)], film)
    assert by_box.ratio.value == found.ratio.value
    with pytest.raises(GeometryRefused, match="LL view"):
        cardiothoracic(heart, [right, left], facts((1, 100, 200), modality="CR", view="LL"))
    with pytest.raises(GeometryRefused, match="wider than the heart"):
        cardiothoracic(heart, [(80, 50, 0, 100, 69, 0)], film)
