"""Pictures and grids: windowing, PNG, overlays, and the way to a model's grid and back. Pure functions, no state.

Arrays are (z, y, x) and affines take an index (x, y, z, 1) to patient LPS millimetres, as everywhere in the house.
"""

from .grid import Grid, axis_codes, canonical, conform, is_conformed
from .measure import boxes, centre, masked_box, slice_for, volumes_ml, voxel_ml
from .render import (
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

__all__ = [
    "Grid",
    "auto_window",
    "axis_codes",
    "boxes",
    "canonical",
    "centre",
    "conform",
    "heat_layer",
    "is_conformed",
    "label_colours",
    "label_layer",
    "masked_box",
    "montage",
    "overlay",
    "plane",
    "section",
    "slice_for",
    "to_png",
    "volumes_ml",
    "voxel_ml",
    "window",
]
