"""Head in any sequence: brain, grey, white, CSF from the site's tissue segmenter, where no T1 model may measure it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..models import Segmentation, Segmenter
from . import head_t1
from .book import Book
from .gate import Sight

WHAT = "brain tissue volumes"
REGIONS = "volumes of single brain regions"
# Mean probability of the labels: 0.51 on noise and 0.59 on a trunk, 0.62 and more on the heads measured. A weak bound:
# an abdomen reached 0.72, and is the gate's to refuse.
CERTAIN = 0.6
# Grey matter's share of grey and white together: 0.45 to 0.65 in adults, wider in children and in disease.
GREY_SHARE = (0.25, 0.85)
# CSF beside tissue: more than this is a label gone astray, hydrocephalus included.
CSF_SHARE = 0.6


def measure(
    sight: Sight,
    segmenter: Segmenter,
    book: Book,
    gate: str,
    progress: Callable[[float, str], None] | None = None,
) -> None:
    """Findings of one head into the book. Lets the segmenter's own errors through."""
    head_t1.measure(sight, segmenter, book, gate, progress, what=WHAT, doubt=doubt, rough=True)


def doubt(result: Segmentation, volumes: Mapping[int, float]) -> str | None:
    """Why labels of tissue are not believed: the net is unsure, or the tissues are in no plausible proportion."""
    if result.certainty is not None and result.certainty < CERTAIN:
        return f"it is unsure of its labels (mean probability {result.certainty:.2f}, at least {CERTAIN:.2f} is asked)"
    named = {name.lower(): volumes.get(value, 0.0) for value, name in result.labels.names.items()}
    grey, white, csf = (named.get(name) for name in ("grey matter", "white matter", "csf"))
    if grey is None or white is None:
        return None
    share = grey / max(grey + white, 1e-6)
    if not GREY_SHARE[0] <= share <= GREY_SHARE[1]:
        return f"grey matter would be {share:.0%} of the tissue"
    if csf is not None and csf > CSF_SHARE * (grey + white + csf):
        return "fluid would be most of the head"
    return None
