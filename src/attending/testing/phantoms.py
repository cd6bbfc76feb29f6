"""Images that nobody had to be scanned for: a head-like phantom, noise and blank, made to fit a model's card."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..models import Card
from ..records import Image, ImageFacts

Content = Literal["phantom", "mirrored", "noise", "blank"]
SIDE = 96
FIELD_MM = 220.0
"""Width of the field of view: an adult head with air around it."""
SHELLS = (
    # half axes as parts of the half field (x, y, z), centre (x, y, z), brightness
    ((0.70, 0.86, 0.80), (0.0, 0.0, 0.0), 900.0),
    ((0.64, 0.80, 0.74), (0.0, 0.0, 0.0), 150.0),
    ((0.60, 0.76, 0.70), (0.0, 0.0, 0.0), 480.0),
    ((0.48, 0.62, 0.56), (0.0, 0.0, 0.0), 640.0),
    ((0.08, 0.26, 0.16), (-0.12, 0.04, 0.0), 120.0),
    ((0.08, 0.26, 0.16), (0.12, 0.04, 0.0), 120.0),
    ((0.12, 0.10, 0.14), (0.28, -0.30, 0.1), 830.0),
)
"""Scalp, skull, cortex, white matter, two ventricles, and one bright spot on one side so that left is not right."""


def image_for(card: Card, content: Content = "phantom", dims: int | None = None) -> Image:
    """An image that the card admits, as far as a phantom can: int16 (1, 96, 96), or (96, 96, 96) for volumes, larger
    or smaller where the card's matrix bounds ask for it; axial, patient LPS, 220 mm wide."""
    dims = dims or max(card.dims)
    side = min(max(SIDE, card.min_matrix or 0), card.max_matrix or SIDE * 1000)
    voxels = _voxels(content, side, dims)
    step = FIELD_MM / side
    start = -FIELD_MM / 2
    affine = ((step, 0.0, 0.0, start), (0.0, step, 0.0, start), (0.0, 0.0, step, start), (0.0, 0.0, 0.0, 1.0))
    modality = card.modalities[0] if card.modalities else "MR"
    facts = ImageFacts(
        id="i1",
        shape=voxels.shape,
        affine=affine,
        spacing=(step, step, step),
        modality=modality,
        view=card.views[0] if card.views else "AXIAL",
        body_part=card.body_parts[0] if card.body_parts else "HEAD",
        unit="[hnsf'U]" if modality == "CT" else "1",
        sequence=card.sequences[0] if card.sequences else None,
    )
    return Image(facts, voxels)


def with_voxels(image: Image, voxels: NDArray[Any]) -> Image:
    """The same facts around other voxels."""
    return Image(replace(image.facts, shape=voxels.shape), voxels)


def _voxels(content: Content, side: int, dims: int) -> NDArray[np.int16]:
    shape = (side if dims == 3 else 1, side, side)
    if content == "blank":
        return np.zeros(shape, dtype=np.int16)
    if content == "noise":
        return np.random.default_rng(7).integers(0, 1000, shape, dtype=np.int16)
    half = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    x, y = half[None, None, :], half[None, :, None]
    z = half[:, None, None] if dims == 3 else np.zeros((1, 1, 1), dtype=np.float32)
    voxels = np.zeros(shape, dtype=np.float32)
    for (a, b, c), (cx, cy, cz), brightness in SHELLS:
        inside = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2 <= 1
        voxels[inside] = brightness
    voxels += np.random.default_rng(3).normal(0, 12, shape)
    if content == "mirrored":
        voxels = voxels[:, ::-1, ::-1] * 0.8
    return np.clip(voxels, 0, None).astype(np.int16)
