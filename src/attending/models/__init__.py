"""Models by one door: protocols, cards, the catalog with its hash and licence gates, pull, and the registry.

``pull(id)`` is the only verb of the program that touches the network. ``load(id)`` gives a plugin that is licensed and
whose files are the ones that the catalog names; ``admit(card, facts)`` says whether it may see an image.
"""

from .admission import admit, refuse_unless_admitted
from .card import Card
from .protocols import (
    PROTOCOLS,
    Detector,
    Encoder,
    Plugin,
    Progress,
    Segmentation,
    Segmenter,
    Setup,
    Writer,
    Written,
    protocols_of,
)

__all__ = [
    "PROTOCOLS",
    "Card",
    "Detector",
    "Encoder",
    "Plugin",
    "Progress",
    "Segmentation",
    "Segmenter",
    "Setup",
    "Writer",
    "Written",
    "admit",
    "protocols_of",
    "refuse_unless_admitted",
]
