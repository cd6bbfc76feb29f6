"""Conforming and its inverse, on grids of every kind, and the measures taken on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attending.errors import GeometryRefused
from attending.imaging import (
    axis_codes,
    boxes,
    canonical,
    centre,
    conform,
    is_conformed,
    masked_box,
    slice_for,
    volumes_ml,
)
from attending.records import Image, ImageFacts


def volume(voxels: np.ndarray, affine: np.ndarray | None, **facts) -> Image:
    spacing = None if affine is None else tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    rows = None if affine is None else tuple(tuple(float(v) for v in row) for row in affine)
    return Image(ImageFacts("i1", voxels.shape, rows, spacing, facts.pop("modality", "MR"), **facts), voxels)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    cx, cy, cz, sx, sy, sz = *np.cos([x, y, z]), *np.sin([x, y, z])
    return (
        np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    )


def affine_of(
    spacing, order=(0, 1, 2), signs=(1, 1, 1), turn=(0.0, 0.0, 0.0), origin=(-60.0, -80.0, 30.0)
) -> np.ndarray:
    directions = np.zeros((3, 3))
    for axis, (patient, sign) in enumerate(zip(order, signs, strict=True)):
        directions[patient, axis] = sign
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(*turn) @ directions @ np.diag(spacing)
    matrix[:3, 3] = origin
    return matrix


def ball(shape, affine, radius_mm=30.0) -> np.ndarray:
    """A ball of label 1 with a smaller, off-centre ball of label 2 within, drawn in millimetres on the source grid."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    points = np.stack([x, y, z], -1) @ affine[:3, :3].T + affine[:3, 3]
    middle = affine[:3, :3] @ (np.array(shape[::-1]) / 2) + affine[:3, 3]
    labels = (np.linalg.norm(points - middle, axis=-1) < radius_mm).astype(np.uint8)
    labels[np.linalg.norm(points - middle - [0, 0, 12], axis=-1) < 12] = 2
    return labels


GRIDS = {
    "isotropic axial": ((80, 96, 90), affine_of((1, 1, 1))),
    "anisotropic 5 mm": ((24, 120, 110), affine_of((0.9, 0.9, 5.0))),
    "sagittal": ((90, 100, 96), affine_of((1.0, 1.0, 1.2), order=(1, 2, 0), signs=(1, -1, 1))),
    "coronal, flipped": ((60, 90, 90), affine_of((1.0, 1.0, 2.0), order=(0, 2, 1), signs=(-1, -1, -1))),
    "left-handed": ((80, 90, 90), affine_of((1.0, 1.0, 1.0), signs=(-1, 1, 1))),
    "oblique": ((70, 100, 100), affine_of((0.8, 0.9, 1.5), turn=(0.2, -0.3, 0.15))),
    "odd sizes": ((81, 97, 91), affine_of((1.0, 1.0, 1.0))),
}


@pytest.mark.parametrize("name", GRIDS)
def test_labels_go_there_and_come_back(name: str) -> None:
    shape, affine = GRIDS[name]
    labels = ball(shape, affine)
    conformed, grid = conform(volume((labels * 100).astype(np.int16), affine))
    assert conformed.shape == (256, 256, 256) and conformed.dtype == np.uint8
    assert axis_codes(grid.affine) == ("L", "I", "A")
    back = grid.restore(grid.carry(labels))
    assert back.shape == shape
    for label in (1, 2):
        dice = 2 * ((labels == label) & (back == label)).sum() / ((labels == label).sum() + (back == label).sum())
        assert dice > 0.97, f"{name}: label {label} came back with Dice {dice:.3f}"
    assert grid.outside == 0.0
    # The volume in millilitres is the same on either side, within the staircase of the coarser grid.
    there, here = (
        volumes_ml(grid.carry(labels), grid.spacing),
        volumes_ml(labels, np.linalg.norm(affine[:3, :3], axis=0)),
    )
    assert there[1] == pytest.approx(here[1], rel=0.03)


def test_a_conformed_volume_comes_back_voxel_for_voxel_from_any_order_of_axes() -> None:
    rng = np.random.default_rng(3)
    cube = np.zeros((256, 256, 256), dtype=np.uint8)
    cube[60:200, 50:210, 70:190] = rng.integers(0, 256, (140, 160, 120), dtype=np.uint8)
    lia = affine_of((1, 1, 1), order=(0, 2, 1), signs=(1, -1, -1), origin=(-127.6, 133.48, 134.48))
    image = volume(cube.astype(np.int16), lia)
    assert is_conformed(image)
    once, grid = conform(image)
    assert (once == cube).all()
    assert np.allclose(grid.affine, lia)
    axial, matrix = canonical(cube, lia)
    assert axis_codes(matrix) == ("L", "P", "S")
    again, other = conform(volume(np.ascontiguousarray(axial).astype(np.int16), matrix))
    assert (again == cube).all()
    assert (other.restore(again) == axial).all()
    assert "no interpolation" in other.steps[0]


@settings(max_examples=15, deadline=None)
@given(
    order=st.permutations(range(3)),
    signs=st.tuples(*(st.sampled_from([-1, 1]),) * 3),
    shape=st.tuples(*(st.integers(3, 9),) * 3),
)
def test_canonical_only_moves_voxels(order, signs, shape) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    affine = affine_of((1.0, 2.0, 3.0), tuple(order), signs)
    turned, matrix = canonical(array, affine)
    assert axis_codes(matrix) == ("L", "P", "S")
    for index in np.ndindex(*turned.shape):
        place = matrix @ [*index[::-1], 1]
        x, y, z = np.rint(np.linalg.inv(affine) @ place).astype(int)[:3]
        assert array[z, y, x] == turned[index]


def test_world_positions_are_kept() -> None:
    shape, affine = GRIDS["oblique"]
    labels = ball(shape, affine)
    _, grid = conform(volume((labels * 50).astype(np.int16), affine))
    carried = grid.carry(labels)
    assert centre(carried, 2, np.array(grid.affine)) == pytest.approx(centre(labels, 2, affine), abs=0.6)


def test_a_long_field_of_view_is_cut_at_the_neck_not_at_the_vertex() -> None:
    voxels = np.zeros((320, 80, 80), dtype=np.int16)
    voxels[0:300, 20:60, 20:60] = 100  # neck from the bottom up to a vertex at z = 299
    voxels[200:300, 15:65, 15:65] = 400
    image = volume(voxels, affine_of((1, 1, 1)))
    _, grid = conform(image)
    labels = (voxels > 0).astype(np.uint8)
    back = grid.restore(grid.carry(labels))
    assert (back[200:300] == labels[200:300]).all()
    assert not back[:40].any()
    assert grid.outside > 0.1 and "cut to 256 mm" in grid.steps[0]


def test_brightness_is_scaled_with_the_brightest_saturated() -> None:
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 1000, (60, 60, 60)).astype(np.int16)
    voxels[0, 0, :5] = 20000  # a vessel must not darken the brain
    conformed, grid = conform(volume(voxels, affine_of((1, 1, 1))))
    assert conformed.max() == 255 and np.median(conformed[conformed > 0]) > 100
    assert "scaled to 0..255" in grid.steps[-1]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (volume(np.ones((4, 4, 4), np.int16), None), "without position or spacing"),
        (volume(np.ones((4, 4, 4), np.int16), np.diag([1.0, 1.0, 0.0, 1.0])), "cannot be inverted"),
        (volume(np.ones((4, 4, 4), np.int16), affine_of((1, 1, 1))), "one single value"),
        (volume(np.full((4, 4, 4), np.nan, np.float32), affine_of((1, 1, 1))), "not finite"),
        (volume(np.ones((4, 4, 4), np.int16), affine_of((1, 1, 1)), axis="time"), "follow each other in time"),
        (volume(np.ones((4, 4, 4, 3), np.uint8), affine_of((1, 1, 1))), "colour image"),
    ],
)
def test_what_cannot_be_undone_is_refused(image: Image, message: str) -> None:
    with pytest.raises(GeometryRefused, match=message):
        conform(image)


def test_labels_of_another_grid_are_refused() -> None:
    shape, affine = GRIDS["left-handed"]
    _, grid = conform(volume(ball(shape, affine).astype(np.int16), affine))
    with pytest.raises(GeometryRefused, match="labels on the conformed grid"):
        grid.restore(np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(GeometryRefused, match="labels on the source grid"):
        grid.carry(np.zeros((3, 3, 3), np.uint8))


def test_measures_by_hand() -> None:
    labels = np.zeros((4, 5, 6), dtype=np.uint8)
    labels[1:3, 2:4, 3:6] = 7
    labels[0, 0, 0] = 2
    assert volumes_ml(labels, (2.0, 5.0, 10.0)) == pytest.approx({2: 0.1, 7: 1.2})
    assert boxes(labels) == {2: (0, 0, 0, 0, 0, 0), 7: (3, 2, 1, 5, 3, 2)}
    assert masked_box(labels == 9) is None
    assert centre(labels, 7) == (4.0, 2.5, 1.5)
    assert centre(labels, 9) is None
    assert slice_for(labels, 7) in (1, 2) and slice_for(labels, 2) == 0 and slice_for(np.zeros_like(labels)) == 2


@pytest.mark.mirror
def test_the_mirrors_head_is_conformed_already(mirror) -> None:
    import nibabel

    head = nibabel.load(mirror / "data/brain_t1/t1_crop.nii.gz")
    array = np.asanyarray(head.dataobj).transpose(2, 1, 0)
    image = volume(np.ascontiguousarray(array).astype(np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]) @ head.affine)
    conformed, grid = conform(image)
    assert (conformed == array).all() and grid.outside == 0
