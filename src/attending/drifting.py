"""The story of a release in use: do the images that it reads still look like those that it learned from?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .equipment import encoder_of
from .errors import UnknownRelease
from .metrics import Drift
from .metrics.drift import EVERY, LEAST
from .records import Release

if TYPE_CHECKING:
    from .site import Site
    from .store import Store

__all__ = ["Watched", "watch"]


@dataclass(frozen=True)
class Watched:
    """release; calibration and seen: how many cases; told_apart: AUROC of telling the last ``window`` cases read from
    the calibration cases (0.5: alike); p of that; alarmed: the stream left the calibration set."""

    release: Release
    calibration: int
    seen: int
    looks: int
    told_apart: float
    p: float
    alarmed: bool

    @property
    def words(self) -> str:
        if not self.looks:
            return f"{self.seen} images read since it was learned: at least {EVERY} are needed for a first look"
        if self.alarmed:
            return (
                f"ALERT: the {self.seen} images read no longer look like those it learned from (told apart with an "
                f"AUROC of {self.told_apart:.2f}); its probability and coverage do not hold for them: sign readings of "
                "them, learn and compare, or roll back"
            )
        return f"{self.seen} images read look like those it learned from (told apart: AUROC {self.told_apart:.2f})"


def watch(release: Release, store: Store, site: Site, cache: Path) -> Watched:
    """Look at every image that a release has read, in the order of reading, beside the labelled cases of its task.

    Raises UnknownRelease where too few labelled cases with vectors are kept, and what loading its encoder raises.
    """
    task, space = release.candidate.task, release.candidate.encoder
    labelled = {r.reading for r in store.reviews() if task in dict(r.labels)}
    known = [v.array for v in store.vectors(space) if v.case in labelled]
    if len(known) < LEAST:
        raise UnknownRelease(
            f"{len(known)} labelled cases with vectors of {space} are kept for this release",
            f"at least {LEAST}",
            "sign more readings, or pull a labelled set and learn again",
        )
    import numpy as np

    drift = Drift(np.stack(known))
    encoder = encoder_of(space, site, cache)
    for row in sorted(store.readings(), key=lambda r: str(r.created)):
        if row.id in labelled and row.status == "final":
            continue  # it taught: no part of the stream
        reading = store.reading(row.id)
        read = {f.region.image if f.region else None for f in reading.findings if f.producer.version == release.id}
        if not read:
            continue
        for image in store.images(reading).values():
            drift.see(encoder.encode([image])[0])
    return Watched(release, len(known), drift.seen, drift.looks, drift.told_apart, drift.p, drift.alarmed)
