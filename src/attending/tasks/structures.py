"""Structures of the brain: a segmenter's class name -> code, side, and whether it is tissue or fluid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..records import Code, Side

BRAIN = Code("SCT", "12738006", "Brain")
VOLUME = Code("SCT", "118565006", "Volume")
SHARE = Code("99ATTENDING", "share-of-brain", "Share of brain volume")

# Ventricles and free fluid: in the head, and in no brain volume.
FLUID = ("66720007", "53118009", "49841001", "35918002", "35764002", "65216001")
FLUID_WORDS = ("ventricle", "vent", "csf")
BACKGROUND = ("", "unknown", "background")
SIDES: tuple[tuple[str, Side], ...] = (
    ("ctx-lh-", "left"),
    ("ctx-rh-", "right"),
    ("left-", "left"),
    ("right-", "right"),
)


@dataclass(frozen=True)
class Structure:
    """words: the name in a sentence, side left out. fluid: part of no brain volume. whole: the brain itself."""

    code: Code
    side: Side | None
    fluid: bool
    whole: bool

    @property
    def words(self) -> str:
        return self.code.meaning.lower()


def structure(name: str, codes: Mapping[str, Code]) -> Structure | None:
    """The structure that a model's class name means, by the codes of its card; None for background.

    A name without a code keeps itself, under our own scheme.
    """
    key = re.sub(r"[\s_]+", "-", name.strip().rstrip("*").lower())
    if key in BACKGROUND:
        return None
    side: Side | None = None
    for prefix, which in SIDES:
        if side is None and key.startswith(prefix):
            key, side = key.removeprefix(prefix), which
    code = codes.get(name) or Code("99ATTENDING", key, key.replace("-", " ").capitalize())
    fluid = code.value in FLUID or any(word in key.split("-") for word in FLUID_WORDS)
    return Structure(code, side, fluid, code.value == BRAIN.value)
