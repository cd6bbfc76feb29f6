"""What a reading is made with: the plugins that the site names, loaded once, and the releases people approved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import models, tasks
from .errors import AttendingError, ModelRefused
from .records import Release

if TYPE_CHECKING:
    from .site import Site
    from .store import Store

__all__ = ["Equipment", "encoder_of", "equip", "head_of"]


@dataclass(frozen=True)
class Equipment:
    """Loaded plugins and approved releases. refused: (model id, why) of what the site names and cannot use."""

    readers: tasks.Readers
    writer: models.Writer | None = None
    releases: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


def equip(site: Site, store: Store, cache: Path) -> Equipment:
    """Load what the site names. What cannot be loaded is listed with why, and the readings it would serve say so."""
    refused: list[tuple[str, str]] = []

    def loaded(id: str) -> Any:
        if id == "none":
            return None
        try:
            return models.load(id, site, cache)
        except ModelRefused as why:
            refused.append((id, f"{why.seen}; do: {why.do}"))
            return None

    segmenter, tumour, writer = (loaded(id) for id in (site.models.head, site.models.tumour, site.models.writer))
    heads, releases = [], []
    for release in store.approved():
        try:
            heads.append(head_of(release, store, site, cache))
            releases.append(release.id)
        except AttendingError as why:
            refused.append((f"release {release.id}", str(why)))
    readers = tasks.Readers(
        segmenters=tuple(s for s in (segmenter,) if s is not None),
        detectors=tuple(d for d in (tumour, *heads) if d is not None),
        refused=tuple(refused),
    )
    return Equipment(readers, writer, tuple(releases), tuple(refused))


def head_of(release: Release, store: Store, site: Site, cache: Path) -> models.Detector:
    """The Detector of a release: its ONNX bytes by hash, on the encoder that it was trained on."""
    from .models.head import Head, head_card, head_code

    encoder = encoder_of(release.candidate.encoder, site, cache)
    weights = store.get_bytes(release.candidate.weights)
    return Head(head_card(release), weights, encoder, head_code(release), site.models.threads)


def encoder_of(space: str, site: Site, cache: Path) -> models.Encoder:
    """The encoder whose vectors live in a space: the space's name starts with the encoder's id."""
    encoder: models.Encoder = models.load(space.split("/")[0], site, cache)
    return encoder
