"""Models by one door: protocols, cards, the catalog with its hash and licence gates, pull, and the registry.

``pull(id)`` is the only verb of the program that touches the network. ``load(id)`` gives a plugin that is licensed and
whose files are the ones that the catalog names; ``admit(card, facts)`` says whether it may see an image.
"""

from .admission import admit, refuse_unless_admitted
from .card import Card, Claim
from .catalog import Entry, catalog, entry
from .looked import refuse_unless_looking
from .looking import Condition, Looked, look
from .protocols import (
    PROTOCOLS,
    Detector,
    Encoder,
    Locator,
    Plugin,
    Progress,
    Prompted,
    Reader,
    Segmentation,
    Segmenter,
    Session,
    Setup,
    TextEncoder,
    Writer,
    Written,
    protocols_of,
)
from .pull import adopt, files, pull, status
from .registry import GROUP, Status, card_of, installed, load

__all__ = [
    "GROUP",
    "PROTOCOLS",
    "Card",
    "Claim",
    "Condition",
    "Detector",
    "Encoder",
    "Entry",
    "Locator",
    "Looked",
    "Plugin",
    "Progress",
    "Prompted",
    "Reader",
    "Segmentation",
    "Segmenter",
    "Session",
    "Setup",
    "Status",
    "TextEncoder",
    "Writer",
    "Written",
    "admit",
    "adopt",
    "card_of",
    "catalog",
    "entry",
    "files",
    "installed",
    "load",
    "look",
    "protocols_of",
    "pull",
    "refuse_unless_admitted",
    "refuse_unless_looking",
    "status",
]
