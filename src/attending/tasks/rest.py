"""What a radiologist would have read on such an image and no admitted model did: said honestly, once per study."""

from __future__ import annotations

from ..records import ImageFacts
from .gate import PROJECTIONS
from .head import HEAD_WORDS

CHEST = ("CHEST", "THORAX", "LUNG", "HEART", "RIB")
TRUNK = ("ABDOMEN", "ABDOMENPELVIS", "PELVIS", "LIVER", "KIDNEY", "PANCREAS", "SPLEEN")
SPINE = ("SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE", "NECK")


def unread(facts: ImageFacts) -> tuple[str, ...]:
    """What would be read on an image of this modality and body part, in reading order."""
    body = facts.body_part or ""
    if facts.modality in PROJECTIONS:
        if body in CHEST:
            return ("lungs and pleura", "heart and mediastinum", "bones and soft tissues")
        return ("bones and joints", "soft tissues")
    if facts.modality == "US":
        return ("the organs shown",)
    if facts.modality in ("NM", "PT"):
        return ("tracer uptake",)
    if facts.modality in ("CT", "MR"):
        if body in HEAD_WORDS:
            return ("brain, ventricles and extra-axial spaces", "skull, sinuses and orbits")
        if body in CHEST:
            return ("lungs and pleura", "heart, vessels and mediastinum", "bones and soft tissues")
        if body in TRUNK:
            return ("solid organs", "bowel and vessels", "bones and soft tissues")
        if body in SPINE:
            return ("vertebrae, discs and spinal canal", "soft tissues")
    return ("everything shown",)
