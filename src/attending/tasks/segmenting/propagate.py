"""From one plane to the volume: each plane's mask is the next plane's prompt, until the thing ends.

Only planes that follow each other in space are neighbours. The walk ends where the mask goes, shrinks or grows out of
all proportion, moves off its neighbour, or takes on other grey values: an engine asked for a mask gives one even where
nothing is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...records import Image, Prompts

LEAST_OVERLAP = 0.5
"""Dice with the neighbour's mask: adjacent planes of one organ overlap more than that unless planes are far apart."""
RATIO = (0.45, 1.7)
"""Allowed area as a share of the neighbour's."""
GREY_APART = 1.2
"""Allowed difference of the median grey value to the first plane's, in standard deviations of that plane's mask."""
LEAST_VOXELS = 4

Mask = NDArray[np.bool_]


def plane_of(image: Image, z: int) -> Image:
    """One z plane of a volume as an image of its own."""
    facts = image.facts
    affine = image.affine
    if affine is not None:
        affine[:3, 3] += z * affine[:3, 2]
    rows = None if affine is None else tuple(tuple(float(v) for v in row) for row in affine)
    voxels = np.ascontiguousarray(image.voxels[z : z + 1])
    source = facts.source[z : z + 1]
    return Image(replace(facts, shape=voxels.shape, affine=rows, source=source), voxels)  # type: ignore[arg-type]


def propagate(
    engine: Any, image: Image, mask: Mask, progress: Callable[[float, str], None] | None = None
) -> tuple[Mask, tuple[str, ...]]:
    """A mask (z, y, x) with voxels on some planes -> carried on above the highest and below the lowest, and notes.

    engine is a Prompted plugin that takes masks or boxes on planes.
    """
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(planes) or image.voxels.shape[0] == 1 or image.facts.axis != "space":
        return mask, ()
    out = mask.copy()
    ends = []
    for start, step in ((int(planes[-1]), 1), (int(planes[0]), -1)):
        z, why, first = start, "the end of the scan", out[start]
        reference = _grey(image, start, first)
        while 0 <= z + step < out.shape[0]:
            got = _next(engine, image, out[z], z + step)
            stop = _ends(got, out[z], _grey(image, z + step, got), reference)
            if stop:
                why = stop
                break
            z += step
            out[z] = got
            if progress:
                progress(min(abs(z - start) / out.shape[0], 1.0), "following it through the planes")
        ends.append(f"plane {z} ({why})")
    return out, (f"carried from plane {' to '.join(dict.fromkeys((str(planes[0]), str(planes[-1]))))}: "
                 f"up to {ends[0]}, down to {ends[1]}",)  # fmt: skip


def _next(engine: Any, image: Image, before: Mask, z: int) -> Mask:
    """The plane's mask, with its neighbour's as the prompt."""
    session = engine.session(plane_of(image, z))
    try:
        if "mask" in engine.modes:
            prompts = Prompts(mask=before[None])
        else:
            y, x = np.argwhere(before).min(0), np.argwhere(before).max(0)
            prompts = Prompts(box=(int(y[1]), int(y[0]), 0, int(x[1]), int(x[0]), 0))
        return np.asarray(session.predict(prompts).mask[0])
    finally:
        session.close()


def _grey(image: Image, z: int, mask: Mask) -> tuple[float, float]:
    plane = image.voxels[z].astype(np.float32)
    values = (plane.mean(axis=-1) if image.facts.colour else plane)[mask]
    if not values.size:
        return 0.0, 0.0
    return float(np.median(values)), float(values.std())


def _ends(got: Mask, before: Mask, grey: tuple[float, float], first: tuple[float, float]) -> str | None:
    size, last = int(got.sum()), int(before.sum())
    if size < LEAST_VOXELS:
        return "nothing is left beyond"
    if not RATIO[0] <= size / last <= RATIO[1]:
        return "its size jumps beyond"
    if 2 * int((got & before).sum()) < LEAST_OVERLAP * (size + last):
        return "it moves off beyond"
    if abs(grey[0] - first[0]) > GREY_APART * max(first[1], 0.05 * abs(first[0]), 1e-6):
        return "its grey values change beyond"
    return None
