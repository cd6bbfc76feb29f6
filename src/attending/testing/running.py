"""How the conformance test runs: one result a check, whatever goes wrong in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import AttendingError
from ..models import Card
from ..records import Image
from .phantoms import Content, image_for

CONTENTS: tuple[Content, ...] = ("phantom", "mirrored", "noise", "blank")
SAME = 1e-5
"""Largest difference between two runs that is still the same answer: threads may add float32 in another order."""
GRACE_S = 20.0
"""How long after its time a model may take to come back: one step of a large model on a busy machine."""


@dataclass(frozen=True)
class CheckResult:
    """One check: ok, and what was seen."""

    name: str
    ok: bool
    detail: str = ""


class Broken(Exception):
    """A check did not hold; the text says what was seen."""


class Run:
    def __init__(self, plugin: Any) -> None:
        self.plugin, self.results, self.detail = plugin, list[CheckResult](), ""

    @contextmanager
    def check(self, name: str) -> Iterator[None]:
        self.detail = ""
        try:
            yield
        except Broken as broken:
            self.results.append(CheckResult(name, False, str(broken)))
        except AttendingError as refused:
            self.results.append(CheckResult(name, False, f"it refused: {refused}"))
        except (Exception, SystemExit) as failed:
            self.results.append(CheckResult(name, False, f"it raised {type(failed).__name__}: {failed}"))
        else:
            self.results.append(CheckResult(name, True, self.detail or "as it should be"))

    @staticmethod
    def expect(holds: bool, seen: str) -> None:
        if not holds:
            raise Broken(seen)


def shown_to(card: Card, images: Sequence[Image]) -> list[tuple[str, Image]]:
    phantoms = [(content, image_for(card, content)) for content in CONTENTS]
    return phantoms + [(f"image {n}", image) for n, image in enumerate(images, 1)]


def equal(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return bool(a.shape == b.shape and np.allclose(a, b, rtol=SAME, atol=SAME))


def print_of(image: Image) -> str:
    """The hash of an image's voxels: nobody may change them."""
    return hashlib.sha256(image.voxels.tobytes()).hexdigest()
