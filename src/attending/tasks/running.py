"""Running a model on an image it is admitted to; a failure becomes words, never the end of the reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import AttendingError
from ..models import Card, Detector, Segmenter, admit
from ..records import Case
from .book import Book
from .gate import Sight

Progress = Callable[[str, float], None]
Step = Callable[[float, str], None]

# Words in the messages of ONNX Runtime and NumPy when an allocation fails without a MemoryError.
NO_MEMORY = ("failed to allocate", "unable to allocate", "bad_alloc", "out of memory", "cannot allocate")

LONG = 40
"""Words of a reason beyond which a draft has its first clause only: the gate's figures stand in the models' list."""


@dataclass(frozen=True)
class Readers:
    """The loaded plugins that may read, and those the site names that cannot be used.

    refused  (model id, why), as the loader said it.
    """

    segmenters: tuple[Segmenter, ...] = ()
    detectors: tuple[Detector, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()

    def missing(self, wanted: str) -> str:
        """Why no model of a kind is there, in words; wanted is the id that the site names."""
        for id, why in self.refused:
            if id == wanted:
                # The id once more in the reason would make a sentence that the checker takes for garble.
                why = why.replace(f"the files of {id} ", "its files ").replace("`", "")
                if len(why.split()) > LONG:
                    why = f"{why.split(': ')[0]}; do: see attending models list"
                return f"no admitted model: {id} cannot be used ({why})"
        return "no admitted model"


@dataclass(frozen=True)
class Seen:
    """One image that the gate looked at, and the id of the gate's evidence."""

    sight: Sight
    gate: str

    @property
    def id(self) -> str:
        return self.sight.image.id


def admitted(card: Card, item: Seen, case: Case) -> str | None:
    """The card against what the gate knows of the image; None or the reason for refusal."""
    if card.use != "care" and case.facts.use == "care":
        return f"{card.id} does not admit this image: it is a patient's, the card's use is {card.use!r}"
    return admit(card, item.sight.image.facts, case.facts.source)


def run(call: Callable[[], None], card: Card, what: str, gate: str, book: Book) -> bool:
    """Call a step; True where it ended well. What it wrote before it failed is taken back."""
    before = (len(book.findings), len(book.evidence), len(book.not_assessed), book.measured)
    try:
        call()
    except MemoryError:
        why = "it ran out of memory"
    except AttendingError as refused:
        why = str(refused)
    except Exception as broken:
        # A plugin's own message may quote anything: only its kind is passed on.
        short = any(words in str(broken).lower() for words in NO_MEMORY)
        why = "it ran out of memory" if short else f"it failed with {type(broken).__name__}"
    else:
        return True
    del book.findings[before[0] :], book.evidence[before[1] :], book.not_assessed[before[2] :]
    book.measured = before[3]
    used = {f.region.ref for f in book.findings if f.region is not None}
    book.arrays = {key: array for key, array in book.arrays.items() if key in used}
    book.label_names = {key: names for key, names in book.label_names.items() if key in used}
    book.leave(what, f"{card.id}: {why}", gate)
    return False


def tell(progress: Progress | None, what: str, fraction: float) -> None:
    if progress:
        progress(what, fraction)


def part(progress: Progress | None, what: str, low: float, high: float) -> Step | None:
    """A model's progress (fraction, words), mapped into its share of the room's."""
    if progress is None:
        return None
    return lambda fraction, words: progress(words or what, low + (high - low) * min(max(fraction, 0.0), 1.0))
