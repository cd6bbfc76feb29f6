"""The protocols that models answer to, and what they hand back.

A plugin is a class (or a function) under the entry-point group ``attending.models``. The entry point's name is the
model's id. It is called with one ``Setup`` and gives an object with ``card: Card`` and the methods of one or more of
the protocols below. Where the id is in the catalog, ``setup.card`` and ``setup.files`` come from there; another
plugin carries its own ``card`` as a class attribute and gets no files. Loading must not touch the network; heavy
libraries are imported inside the methods that need them. Image voxels are read-only and stay untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..records import Answer, Detection, Image, LabelMap, Located, Masked, Prompts
from .card import Card

Progress = Callable[[float, str], None]
"""Called with a fraction in 0..1 and a few words; never with anything of the patient."""

PROTOCOLS = ("Segmenter", "Prompted", "Encoder", "TextEncoder", "Detector", "Locator", "Writer", "Reader")


@dataclass(frozen=True)
class Setup:
    """What a plugin is built with.

    id       the entry point's name.
    card     the catalog's card, or the plugin's own.
    files    file name -> path of its pulled files, hashes verified just now; empty for weightless plugins.
    threads  how many CPU threads it may use.
    precision   "auto", "fp32" or "bf16": for engines that can choose.
    """

    id: str
    card: Card
    files: Mapping[str, Path] = field(default_factory=dict)
    threads: int = 2
    precision: str = "auto"


@dataclass(frozen=True, eq=False)
class Segmentation:
    """labels on the image's own grid; where the model works on another grid, the same on that grid too.

    conformed   labels (z, y, x) on the model's grid, from which volumes are measured; None where it is the same grid.
    spacing_mm  millimetres along (x, y, z) of ``conformed``, or of the image where ``conformed`` is None; None where
                unknown.
    notes       what was done, in words ("conformed to 256x256x256 at 1 mm").
    certainty   mean probability of the label over the labelled voxels, 0..1; None where the model gives none.
    """

    labels: LabelMap
    conformed: LabelMap | None = None
    spacing_mm: tuple[float, float, float] | None = None
    notes: tuple[str, ...] = ()
    certainty: float | None = None


@dataclass(frozen=True)
class Written:
    """What a Writer wrote. stopped: "done" (it ended itself), "length" (max_tokens) or "time" (timeout_s)."""

    text: str
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    seconds: float
    stopped: Literal["done", "length", "time"]


@runtime_checkable
class Plugin(Protocol):
    """Anything with a card."""

    @property
    def card(self) -> Card: ...


@runtime_checkable
class Segmenter(Plugin, Protocol):
    """Image -> label map."""

    def segment(self, image: Image, progress: Progress | None = None) -> Segmentation:
        """Raises NotAdmitted for an image that the card does not admit."""
        ...


class Session(Protocol):
    """One image taken up by a Prompted model, its embedding kept: a prompt costs only the decoder."""

    def predict(self, prompts: Prompts) -> Masked:
        """The mask for all prompts so far (they replace those of the call before). On the image's own grid.

        Raises PromptRefused for prompts that are empty, outside the image, contradictory, or of a kind it cannot use.
        """
        ...

    def close(self) -> None:
        """Lets go of the embedding. Twice is fine."""
        ...


@runtime_checkable
class Prompted(Plugin, Protocol):
    """Image + prompts -> mask. modes names the prompts it takes: "point", "box", "scribble", "lasso", "mask", "text",
    "none" (everything, unasked)."""

    @property
    def modes(self) -> tuple[str, ...]: ...

    def session(self, image: Image, progress: Progress | None = None) -> Session:
        """Takes the image up (the costly part). Raises NotAdmitted for an image that the card does not admit."""
        ...


@runtime_checkable
class Detector(Plugin, Protocol):
    """Image -> one Detection per class it knows, in the card's order of labels."""

    def detect(self, image: Image, progress: Progress | None = None) -> tuple[Detection, ...]:
        """Raises NotAdmitted for an image that the card does not admit."""
        ...


@runtime_checkable
class Encoder(Plugin, Protocol):
    """Images -> vectors. space names the vectors' space with its version; only equal spaces may be compared."""

    @property
    def space(self) -> str: ...

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, d) float32, finite; row i does not depend on the other images."""
        ...


@runtime_checkable
class TextEncoder(Plugin, Protocol):
    """Texts -> vectors. An image-text model is an Encoder too, with one space for both."""

    @property
    def space(self) -> str: ...

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32, finite; row i does not depend on the other texts."""
        ...


@runtime_checkable
class Locator(Plugin, Protocol):
    """Image + phrase -> places: boxes or heat maps, best first; empty where it finds none."""

    def locate(self, image: Image, phrase: str, progress: Progress | None = None) -> tuple[Located, ...]: ...


@runtime_checkable
class Reader(Plugin, Protocol):
    """Images + question -> answer. Must pass the image-dependence gate before it may answer."""

    def answer(
        self, images: Sequence[Image], question: str, *, max_tokens: int = 120, timeout_s: float = 60.0
    ) -> Answer:
        """No images: text alone (only the image-dependence gate asks so). Deterministic (temperature 0)."""
        ...

    def close(self) -> None:
        """Frees memory and sockets. Twice is fine."""
        ...


@runtime_checkable
class Writer(Plugin, Protocol):
    """Messages -> text, on this machine."""

    def write(
        self,
        messages: Sequence[dict[str, str]],
        *,
        schema: dict[str, Any] | None = None,
        max_tokens: int = 60,
        timeout_s: float = 20.0,
    ) -> Written:
        """messages: dicts with "role" ("system", "user", "assistant") and "content". With a JSON schema the text is
        JSON that fits it, unless stopped is not "done". Deterministic (temperature 0)."""
        ...

    def close(self) -> None:
        """Frees memory and sockets. Twice is fine."""
        ...


def protocols_of(plugin: object) -> tuple[str, ...]:
    """The names of the protocols that an object has the methods of, in PROTOCOLS' order."""
    kinds = {
        "Segmenter": Segmenter,
        "Prompted": Prompted,
        "Encoder": Encoder,
        "TextEncoder": TextEncoder,
        "Detector": Detector,
        "Locator": Locator,
        "Writer": Writer,
        "Reader": Reader,
    }
    return tuple(name for name in PROTOCOLS if isinstance(plugin, kinds[name]))
