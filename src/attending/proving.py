"""Before a model may answer: the conformance test with the image-dependence gate, on drawn or real pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import labelled, models
from .errors import AttendingError
from .models.eyes import eyes_of
from .models.looked import code_of, keep, recall
from .records import Image, Release

if TYPE_CHECKING:
    from .site import Site
    from .testing import CheckResult

__all__ = ["check", "refuse_unless_head_looks"]

Progress = Callable[[str, float], None]


def check(
    id: str,
    site: Site,
    cache: Path,
    *,
    data: str | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> list[CheckResult]:
    """The results of the conformance test on a model, admitted or not. What the gate sees is kept, and decides from
    then on whether ``models.load`` lets the model answer.

    data    a pulled data set whose pictures are shown at the gate; None: drawn ones, or what was seen before.
    again   ask the gate anew although it has a record of these very files.
    """
    from . import testing

    plugin = models.load(id, site, cache, unseeing=True)
    images: tuple[Image, ...] = ()
    if data is not None:
        images = labelled.gate_pictures(labelled.data_set(data), plugin.card, site, cache)
    code = code_of(type(plugin))
    seen = None if again or images else recall(plugin.card, code, cache)
    wanted = {eye.protocol for eye in eyes_of(plugin)}
    failed: list[CheckResult] = []
    if wanted and (seen is None or not wanted <= {c.protocol for c in seen.conditions}):
        try:
            tell = (lambda fraction, words: progress(words, fraction)) if progress else None
            seen = models.look(plugin, images, pictures=data or "", progress=tell, code=code)
            keep(seen, cache)
        except AttendingError as refused:
            failed = [testing.CheckResult("looking", False, str(refused))]
    return [*testing.check_model(plugin, images[:2], looked=seen, ask=False), *failed]


def refuse_unless_head_looks(head: Any, release: Release, site: Site, cache: Path) -> None:
    """The gate for a learned head, on pictures of the set that taught it where that is pulled, else on drawn ones.
    Asked once for its weights. Raises NotLooking."""
    taught = [name.removeprefix("imported:") for name in release.candidate.sources if name.startswith("imported:")]
    here = [name for name in taught if models.status(name, cache) == "pulled"]
    if recall(head.card, code_of(type(head)), cache) is None and here:
        images = labelled.gate_pictures(labelled.data_set(here[0]), head.card, site, cache)
        models.refuse_unless_looking(head, cache, images, pictures=here[0])
    else:
        models.refuse_unless_looking(head, cache)
