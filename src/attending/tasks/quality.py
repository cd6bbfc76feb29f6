"""Quality facts of an image: what limits a reading. Each is evidence of kind "quality"; motion is not judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .gate import FILM_SIDE, PROJECTIONS, SECTIONS, Sight
from .looks import busiest, grey

# A chest film's correlation with the drawn scheme turns to -0.33 when it is inverted; upright films stay above -0.05.
INVERTED_CHEST = -0.2
# In thumbnails of 28 pixels a dense, rotated or small chest turns it as well: below this nothing is claimed.
INVERTED_SIDE = 96
# Air is dark on a radiograph. A frame this bright and this even around a darker object means it is not.
BRIGHT_FRAME, EVEN_FRAME = 0.9, 0.05
# Detectors leave a few pixels at their ends; more than this is lost information.
SATURATED = 0.02
# Pixels between the two ends below which the picture is only black and white.
LOW_MATRIX = 128
# Slices this many times thicker than a pixel is wide blur small things along them.
THICK = 3.0
# Words by which intake says what it had to do to the stack.
STACK_WORDS = ("gap", "missing", "resampl", "uneven", "tilt", "split", "dropped", "duplicate", "mixed")


def facts_of(sight: Sight) -> Iterator[str]:
    """Every quality fact of one image, as sentences, in a fixed order."""
    for rule in RULES:
        yield from rule(sight)


def inversion(sight: Sight) -> Iterator[str]:
    if looks_inverted(sight):
        yield "The radiograph looks inverted: lungs are bright where air should be dark."
    elif _white_around(sight):
        yield "The surroundings are white: the radiograph is inverted, or its collimation was filled with white."


def looks_inverted(sight: Sight) -> bool:
    """A chest film whose lungs are bright."""
    seen, facts = sight.look, sight.image.facts
    if seen is None or facts.modality not in PROJECTIONS or facts.body_part not in (None, "CHEST", "THORAX", "LUNG"):
        return False
    return seen.side >= INVERTED_SIDE and -1.0 < seen.chest <= INVERTED_CHEST


def _white_around(sight: Sight) -> bool:
    if sight.image.facts.modality not in PROJECTIONS or sight.image.facts.colour:
        return False
    # A thumbnail is cropped to the body: its sides are bright tissue.
    if sight.look is None or sight.look.side < FILM_SIDE:
        return False
    plane = busiest(sight.image)
    low, high = float(plane.min()), float(plane.max())
    level = (plane - low) / max(high - low, 1e-6)
    rim = max(1, round(0.03 * min(level.shape)))
    sides = np.concatenate([level[:, :rim].ravel(), level[:, -rim:].ravel()])
    around = float(np.median(sides))
    return bool(around > BRIGHT_FRAME and sides.std() < EVEN_FRAME and level.mean() < around)


def saturation(sight: Sight) -> Iterator[str]:
    image = sight.image
    if image.facts.modality not in (*PROJECTIONS, *SECTIONS) or image.facts.colour:
        return
    voxels = image.voxels
    low, high = voxels.min(), voxels.max()
    if low == high:
        return
    top, bottom = float((voxels == high).mean()), float((voxels == low).mean())
    if top > SATURATED:
        yield f"{top:.0%} of the pixels are clipped at the brightest value."
    # Empty air around a body is dark by nature in sections; on a radiograph it is not that even.
    if image.facts.modality in PROJECTIONS and bottom > 5 * SATURATED:
        yield f"{bottom:.0%} of the pixels are at the darkest value: collimated or clipped."


def stack(sight: Sight) -> Iterator[str]:
    image = sight.image
    for note in image.facts.notes:
        if any(word in note.lower() for word in STACK_WORDS):
            yield f"{note[0].upper()}{note[1:].rstrip('.')}."
    if image.facts.axis == "space" and image.voxels.shape[0] > 2 and not image.facts.colour:
        flat = [z for z, plane in enumerate(image.voxels) if plane.min() == plane.max()]
        depth = image.voxels.shape[0]
        inner = [z for z in flat if _between(z, flat, depth)]
        if inner:
            yield f"{len(inner)} of {depth} slices within the stack are empty."
    spacing = image.facts.spacing
    if spacing and image.facts.axis == "space" and image.voxels.shape[0] > 1 and spacing[2] > THICK * min(spacing[:2]):
        across = min(spacing[:2])
        yield f"Slices are {spacing[2]:.3g} mm apart with pixels of {across:.2g} mm: small things may be missed."


def _between(z: int, flat: list[int], depth: int) -> bool:
    """Empty slices at either end of a stack are air or padding; one between filled slices is missing."""
    empty = set(flat)
    return any(a not in empty for a in range(z)) and any(b not in empty for b in range(z + 1, depth))


def field_of_view(sight: Sight) -> Iterator[str]:
    seen, shape, facts = sight.look, sight.outline, sight.image.facts
    if facts.modality not in SECTIONS or seen is None:
        return
    if shape is not None and sight.is_head:
        if shape.at_top:
            yield "The field of view cuts the head at the vertex."
        if shape.stripped:
            yield (
                "No scalp or skull is seen around the brain: a skull-stripped volume"
                + (", evenly symmetric as an average of many people is." if seen.symmetry > 0.985 else ".")
            )
        return
    cut = {"L": "left", "R": "right", "T": "upper", "B": "lower"}
    edges = [word for key, word in cut.items() if key in seen.touches]
    if edges and facts.shape[0] >= 1 and not (sight.is_head and edges == ["lower"]):
        yield f"The body runs into the {_and(edges)} edge of the picture: the field of view does not show all of it."


def matrix(sight: Sight) -> Iterator[str]:
    _, rows, columns = sight.image.facts.shape[:3]
    if min(rows, columns) < LOW_MATRIX:
        yield f"Only {columns} x {rows} pixels: fine detail cannot be seen."


def scale(sight: Sight) -> Iterator[str]:
    if sight.image.facts.spacing is None:
        yield "The pixel spacing is not known: no millimetres possible."


def contrast(sight: Sight) -> Iterator[str]:
    """A picture of two values holds no grey shades."""
    if sight.image.facts.modality not in (*PROJECTIONS, *SECTIONS):
        return
    plane = busiest(sight.image) if not sight.image.facts.colour else grey(sight.image.voxels[0])
    values = np.unique(plane.reshape(-1)[:: max(1, plane.size // 200_000)])
    if 1 < len(values) < 16:
        yield f"Only {len(values)} grey levels: contrast is lost."


RULES: tuple[Callable[[Sight], Iterator[str]], ...] = (
    inversion,
    saturation,
    contrast,
    stack,
    field_of_view,
    matrix,
    scale,
)


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
