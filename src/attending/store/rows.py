"""What the store's listings are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class ReadingRow:
    """One line of ``attending list``. status is "draft" or "final"; created ISO 8601 in UTC."""

    id: str
    version: int
    status: str
    modality: str
    created: str


@dataclass(frozen=True, eq=False)
class Vector:
    """One image vector: array (d,) float32 in the space of the encoder; key is its array_key."""

    case: str
    image: str
    key: str
    array: NDArray[Any] = field(repr=False)
