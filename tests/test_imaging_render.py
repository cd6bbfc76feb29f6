"""Windows, sections, layers, montage, PNG."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image as Pillow

from attending.errors import GeometryRefused
from attending.imaging import (
    auto_window,
    heat_layer,
    label_colours,
    label_layer,
    montage,
    overlay,
    plane,
    section,
    to_png,
    window,
)
from attending.records import Image, ImageFacts


def image(voxels: np.ndarray, **facts) -> Image:
    return Image(ImageFacts("i1", voxels.shape, None, None, facts.pop("modality", "MR"), **facts), voxels)


def test_window_is_the_standards() -> None:
    values = np.array([-1000, 0, 39, 40, 80, 3000], dtype=np.int16)
    shown = window(values, 40, 80)
    assert shown.dtype == np.uint8
    assert shown[0] == 0 and shown[-1] == 255 and 120 < shown[3] < 136
    assert (np.diff(shown.astype(int)) >= 0).all()
    assert window(np.array([0.0, 1.0]), 1.0, 1.0).tolist() == [0, 255]


def test_automatic_windows() -> None:
    ct = image(np.zeros((1, 4, 4), np.int16), modality="CT", unit="[hnsf'U]", body_part="HEAD")
    assert auto_window(ct) == (40.0, 80.0)
    mr = np.zeros((1, 100, 100), np.int16)
    mr[0, 40:60, 40:60] = np.linspace(100, 900, 400).reshape(20, 20)
    centre, width = auto_window(image(mr))
    assert centre - width / 2 == 0 and 850 < centre + width / 2 <= 900
    assert plane(image(mr)).max() == 255
    assert plane(image(np.zeros((1, 8, 8), np.int16))).shape == (8, 8)
    fine = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    assert len(np.unique(plane(image(fine)))) == 64
    with pytest.raises(IndexError, match="plane 3 of 1"):
        plane(image(fine), 3)


def test_sections_are_radiological() -> None:
    # One bright voxel at the patient's left, anterior, superior corner of an LPS volume.
    volume = np.zeros((4, 6, 8), np.int16)
    volume[3, 0, 7] = 100
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    assert np.argwhere(section(volume, affine, "axial", 1.0)).tolist() == [[0, 7]]
    assert np.argwhere(section(volume, affine, "coronal", 0.0)).tolist() == [[0, 7]]
    assert np.argwhere(section(volume, affine, "sagittal", 1.0)).tolist() == [[0, 0]]
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = 7
    assert np.argwhere(section(volume[:, :, ::-1], flipped, "axial", 1.0)).tolist() == [[0, 7]]
    # Anisotropic: square pixels, and labels stay labels.
    tall = section(volume, np.diag([1.0, 1.0, 2.0, 1.0]), "coronal", 0.0)
    assert tall.shape == (8, 8)
    assert set(np.unique(section(volume, np.diag([1.0, 1.0, 2.0, 1.0]), "coronal", 0.0, smooth=False))) == {0, 100}
    with pytest.raises(GeometryRefused, match="4 axes"):
        section(np.zeros((2, 2, 2, 3)), affine, "axial")


def test_layers_and_overlay() -> None:
    base = np.full((6, 6), 100, np.uint8)
    labels = np.zeros((6, 6), np.uint8)
    labels[1:5, 1:5] = 3
    layer = label_layer(labels)
    assert layer[0, 0, 3] == 0 and layer[1, 1, 3] == 255 and 0 < layer[2, 2, 3] < 255
    assert tuple(layer[2, 2, :3]) == label_colours([3])[3]
    mixed = overlay(base, layer)
    assert mixed.shape == (6, 6, 3) and (mixed[0, 0] == 100).all() and tuple(mixed[1, 1]) == label_colours([3])[3]
    heat = heat_layer(np.array([[0.0, 0.5, 1.0]]))
    assert heat[0, 0, 3] == 0 and heat[0, 1, 3] < heat[0, 2, 3]
    assert (label_layer(np.zeros((3, 3), np.uint8))[..., 3] == 0).all()
    with pytest.raises(ValueError, match="under a layer of"):
        overlay(base, heat)
    assert len(set(label_colours(range(1, 105)).values())) > 100


def test_montage_and_png() -> None:
    sheet = montage([np.full((4, 6), 10, np.uint8), np.full((2, 2, 3), 200, np.uint8)], columns=2, gap=1)
    assert sheet.shape == (4, 13, 3) and sheet[0, 0, 0] == 10 and sheet[2, 10, 1] == 200
    data = to_png(sheet)
    assert data == to_png(sheet)
    assert (np.asarray(Pillow.open(BytesIO(data))) == sheet).all()
    with pytest.raises(ValueError, match="PNG takes uint8"):
        to_png(np.zeros((3, 3), np.int16))
    with pytest.raises(ValueError, match="no pictures"):
        montage([])
