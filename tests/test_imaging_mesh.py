"""Meshes are closed, face outwards, keep their volume, and lie in the patient's millimetres."""

from __future__ import annotations

import io

import numpy as np
import pytest
import trimesh
from analytic import ellipsoid, rotation, sampled, sphere

from attending.errors import GeometryRefused
from attending.imaging.measure_space import space_from, space_of
from attending.imaging.mesh import mesh, write
from attending.records import ImageFacts
from attending.records.mask import segments_of


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (0.7, 0.9, 3.0)], ids=str)
def test_a_mesh_is_closed_outward_and_at_the_masks_volume(spacing, mirror: bool) -> None:
    rng = np.random.default_rng(1)
    mask, affine = sampled(ellipsoid(18, 12, 10), spacing, rotation(rng), rng, centre=(10.0, 20.0, 300.0))
    if mirror:
        affine[:, 0] *= -1
        affine[:3, 3] -= affine[:3, 0] * (mask.shape[2] - 1)
        mask = mask[:, :, ::-1].copy()
    made = mesh(segments_of(mask.astype(np.uint8))[0], space_from(affine))
    assert made.is_watertight and made.is_winding_consistent
    assert made.volume == pytest.approx(mask.sum() * space_from(affine).voxel, rel=0.01)
    assert made.center_mass == pytest.approx((10.0, 20.0, 300.0), abs=0.3)
    outward = np.einsum("ij,ij->i", made.face_normals, made.triangles_center - made.center_mass)
    assert (outward > 0).mean() > 0.99


def test_a_mask_at_the_images_border_is_closed_there() -> None:
    made = mesh(segments_of(np.ones((4, 6, 8), np.uint8))[0], space_from(np.diag([1.0, 1.0, 2.0, 1.0])))
    assert made.is_watertight
    assert made.volume == pytest.approx(4 * 6 * 8 * 2, rel=0.01)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4), (2, 3, 1)], ids=str)
def test_specks_have_a_mesh_of_their_volume(shape) -> None:
    mask = np.zeros((6, 7, 8), np.uint8)
    mask[1 : 1 + shape[0], 1 : 1 + shape[1], 1 : 1 + shape[2]] = 1
    made = mesh(segments_of(mask)[0], space_from(np.diag([1.0, 1.0, 3.0, 1.0])))
    assert made.is_watertight and made.volume == pytest.approx(3 * np.prod(shape), rel=0.01)


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".glb"])
def test_a_written_mesh_reads_back_in_millimetres(suffix: str) -> None:
    rng = np.random.default_rng(2)
    mask, affine = sampled(sphere(12), (1.0, 1.0, 1.5), np.eye(3), rng, centre=(5.0, -7.0, 40.0))
    made = mesh(segments_of(mask.astype(np.uint8))[0], space_from(affine))
    data = write([("lesion", made)], suffix)
    back = trimesh.load(io.BytesIO(data), file_type=suffix[1:], force="mesh")
    assert back.is_watertight
    assert back.volume == pytest.approx(made.volume, rel=1e-3)
    assert back.bounds == pytest.approx(made.bounds, abs=1e-2)
    if suffix == ".stl":
        assert data[:80].startswith(b"SPACE=LPS UNIT=mm")


def test_a_plane_has_no_mesh() -> None:
    facts = ImageFacts("i1", (1, 8, 8), None, (0.5, 0.5, 0.0), "DX")
    with pytest.raises(GeometryRefused, match="without depth or spacing"):
        mesh(segments_of(np.ones((1, 8, 8), np.uint8))[0], space_of(facts))
