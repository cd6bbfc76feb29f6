"""The modality gate's second half: the card against what is known of the image."""

from __future__ import annotations

from ..errors import NotAdmitted
from ..records import ImageFacts
from .card import Card


def admit(card: Card, image: ImageFacts, source: str | None = None) -> str | None:
    """None where the card admits the image, else the reason in words: what the image is, what the card admits.

    source   the catalog id of the data set that the case came from (``CaseFacts.source``), None for a patient's study.
    """
    reasons = [
        *_stated("modality", image.modality, card.modalities, False),
        *_stated("view", image.view, card.views, "view" in card.unstated),
        *_stated("body part", image.body_part, card.body_parts, "body_part" in card.unstated),
        *_stated("sequence", image.sequence, card.sequences, "sequence" in card.unstated),
        *_shape(card, image),
    ]
    if card.sources and source not in card.sources:
        reasons.append(f"it comes from {source or 'no imported set'}, the card admits {_either(card.sources)}")
    return f"{card.id} does not admit this image: " + "; ".join(reasons) if reasons else None


def refuse_unless_admitted(card: Card, image: ImageFacts, source: str | None = None) -> None:
    """Raises NotAdmitted with the reason of ``admit``. For plugins, as their own last gate."""
    reason = admit(card, image, source)
    if reason:
        raise NotAdmitted(reason, card.intended_use or "what the card names", "choose a model made for such images")


def _stated(what: str, value: str | None, admitted: tuple[str, ...], unstated_is_fine: bool) -> list[str]:
    if not admitted or (value is not None and value.upper() in {a.upper() for a in admitted}):
        return []
    if value is None:
        return [] if unstated_is_fine else [f"its {what} is not stated, the card admits {_either(admitted)}"]
    return [f"its {what} is {value}, the card admits {_either(admitted)}"]


def _shape(card: Card, image: ImageFacts) -> list[str]:
    reasons = []
    planes, rows, columns = image.shape[:3]
    if planes == 1 and 2 not in card.dims:
        reasons.append("it is one plane, the card admits volumes")
    if planes > 1 and 3 not in card.dims:
        reasons.append(f"it has {planes} planes, the card admits single planes")
    if planes > 1 and 2 not in card.dims and image.axis != "space":
        reasons.append(f"its planes are {image.axis}s, the card admits volumes in space")
    if image.colour and not card.colour:
        reasons.append("it is in colour, the card admits grey images")
    low, high = min(rows, columns), max(rows, columns)
    if card.min_matrix is not None and low < card.min_matrix:
        reasons.append(f"its matrix is {columns}x{rows}, the card admits at least {card.min_matrix} on a side")
    if card.max_matrix is not None and high > card.max_matrix:
        reasons.append(f"its matrix is {columns}x{rows}, the card admits at most {card.max_matrix} on a side")
    return reasons


def _either(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]
