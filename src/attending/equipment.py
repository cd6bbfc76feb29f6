"""What a reading is made with: the plugins that the site names, loaded once, and the releases people approved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import models, tasks
from .errors import AttendingError, ModelRefused, ReleaseRefused
from .records import Release, dumps

if TYPE_CHECKING:
    from .site import Site
    from .store import Store

__all__ = ["Equipment", "approval", "encoder_of", "equip", "head_of"]


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
    tissue = loaded(site.models.tissue) if site.models.tissue != site.models.head else None
    further = [loaded(id) for id in site.models.detectors]
    heads, releases = [], []
    for release in store.approved():
        try:
            heads.append(head_of(release, store, site, cache))
            releases.append(release.id)
        except AttendingError as why:
            refused.append((f"release {release.id}", str(why)))
    readers = tasks.Readers(
        segmenters=tuple(s for s in (segmenter, tissue) if s is not None),
        detectors=tuple(d for d in (tumour, *further, *heads) if d is not None),
        refused=tuple(refused),
    )
    return Equipment(readers, writer, tuple(releases), tuple(refused))


def head_of(release: Release, store: Store, site: Site, cache: Path) -> models.Detector:
    """The Detector of a release: its ONNX bytes by hash, on the encoder that it was trained on.

    Raises ReleaseRefused where nobody signed its approval as it stands, and NotLooking where its answers do not change
    with the picture.
    """
    from .models.head import Head, head_card, head_code
    from .proving import refuse_unless_head_looks

    _refuse_unless_signed(release, store)
    encoder = encoder_of(release.candidate.encoder, site, cache)
    weights = store.get_bytes(release.candidate.weights)
    head = Head(head_card(release), weights, encoder, head_code(release), site.models.threads)
    refuse_unless_head_looks(head, release, site, cache)
    return head


def approval(release: Release) -> bytes:
    """What the person who approves signs: the release's canonical JSON, without the signature."""
    return dumps(replace(release, signature="")).encode()


def _refuse_unless_signed(release: Release, store: Store) -> None:
    from cryptography.exceptions import InvalidSignature

    try:
        key = store.signing_key(release.approved_by or "").public_key()
        key.verify(bytes.fromhex(release.signature), approval(release))
    except (InvalidSignature, ValueError):
        raise ReleaseRefused(
            f"release {release.id} is in use, but its approval is not signed as it stands",
            "releases that a person of this site approved and nobody changed since",
            "run `attending audit verify`; roll back, learn again and approve",
        ) from None


def encoder_of(space: str, site: Site, cache: Path) -> models.Encoder:
    """The encoder whose vectors live in a space: the space's name starts with the encoder's id."""
    encoder: models.Encoder = models.load(space.split("/")[0], site, cache)
    return encoder
