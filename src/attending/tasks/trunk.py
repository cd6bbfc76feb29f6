"""Which part of the body a CT shows, where the header does not say: a head by its skull, a chest by its lungs."""

from __future__ import annotations

import numpy as np

from ..records import Image

# Everything denser than this is body; skin against air, fat at -100 inside.
BODY_HU = -300.0
BONE_HU, LUNG_HU = 300.0, -500.0
# Skull makes up 10 to 30 % of a section of the head, vertebra and ribs under 8 % of one of the trunk.
SKULL_SHARE = 0.09
# Lungs fill a third to a half of a section of the chest; gas in the bowel stays below a tenth.
LUNG_SHARE = 0.15
HEAD_MM = (100.0, 205.0)


def part_of(image: Image) -> tuple[str, str] | None:
    """("HEAD" or "CHEST", what was seen); None where neither is clear, or without Hounsfield units or spacing."""
    from scipy import ndimage

    facts = image.facts
    if facts.unit != "[hnsf'U]" or facts.spacing is None or facts.colour:
        return None
    plane = image.voxels[image.voxels.shape[0] // 2]
    step = max(1, min(plane.shape) // 256)
    thin = plane[::step, ::step].astype(np.float32)
    mask = ndimage.binary_opening(thin > BODY_HU)
    labels, count = ndimage.label(mask)
    if not count or facts.view not in (None, "AXIAL"):
        return None
    body = labels == int(np.argmax(ndimage.sum_labels(mask, labels, range(1, count + 1)))) + 1
    body = ndimage.binary_fill_holes(body)
    rows, columns = ndimage.find_objects(body.astype(np.int8))[0]
    inside = thin[body]
    width = (columns.stop - columns.start) * step * facts.spacing[0]
    height = (rows.stop - rows.start) * step * facts.spacing[1]
    bone, lung = float((inside > BONE_HU).mean()), float((inside < LUNG_HU).mean())
    if lung >= LUNG_SHARE:
        return "CHEST", f"{lung:.0%} of the section is as light as lung"
    if HEAD_MM[0] <= min(width, height) and max(width, height) <= 265 and bone >= SKULL_SHARE:
        return "HEAD", f"a section of {width:.0f} x {height:.0f} mm, {bone:.0%} of it bone"
    return None
