"""Segmenting: what a person points at or names becomes a mask. ``Session`` holds one image, its prompts and an engine.

    session = Session(image, Tools(site, cache))
    session.point((120, 80, 12))            # -> Masked: mask (z, y, x), score, changed box, notes
    session.point((131, 95, 12), positive=False)
    session.undo()
    session.text("left hippocampus")        # word -> code -> label map, heat map or box -> mask; empty with the reason
    session.close()

Voxels are (x, y, z) of the image's own grid, from 0. Bad prompts raise PromptRefused and change nothing.
"""

from .choosing import Chosen, Tools, choose
from .propagate import plane_of, propagate
from .session import Session
from .syntax import Asked, read_prompts
from .words import Named, outline_word

__all__ = [
    "Asked",
    "Chosen",
    "Named",
    "Session",
    "Tools",
    "choose",
    "outline_word",
    "plane_of",
    "propagate",
    "read_prompts",
]
