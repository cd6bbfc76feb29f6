"""A volume of one row or column is a plane across the file's axes: worked on as that plane, and turned back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..records import Image, Masked, Prompts
from .protocols import Session


def across(image: Image) -> int | None:
    """The axis of (z, y, x), not z, along which a volume in space is one voxel thick; None where there is none."""
    shape = image.voxels.shape[:3]
    if image.facts.axis != "space" or shape[0] == 1 or 1 not in shape:
        return None
    return 1 if shape[1] == 1 else 2


class Turned:
    """A session on the image with that axis taken as z."""

    def __init__(self, image: Image, axis: int, session: Callable[[Image], Session]) -> None:
        self._axis = axis
        self._order = [axis, *(a for a in range(3) if a != axis)]
        voxels = np.ascontiguousarray(np.moveaxis(image.voxels, axis, 0))
        mm = image.facts.spacing
        spacing = None if mm is None else tuple(self._turned(mm))
        facts = replace(image.facts, shape=voxels.shape, spacing=spacing, affine=None)
        self._session = session(Image(facts, voxels))

    def predict(self, prompts: Prompts) -> Masked:
        """The mask on the image's own axes."""
        box = prompts.box
        turned = replace(
            prompts,
            points=tuple(replace(p, voxel=tuple(self._turned(p.voxel))) for p in prompts.points),
            strokes=tuple(replace(s, voxels=tuple(tuple(self._turned(v)) for v in s.voxels)) for s in prompts.strokes),
            box=None if box is None else (*self._turned(box[:3]), *self._turned(box[3:])),
            mask=None if prompts.mask is None else np.moveaxis(prompts.mask, self._axis, 0),
        )
        got = self._session.predict(turned)
        mask = np.ascontiguousarray(np.moveaxis(got.mask, 0, self._axis))
        changed = got.changed
        back = None if changed is None else (*self._back(changed[:3]), *self._back(changed[3:]))
        return replace(got, mask=mask, changed=back)

    def close(self) -> None:
        """Lets go of the session. Twice is fine."""
        self._session.close()

    def _turned(self, xyz: Any) -> list[Any]:
        zyx = list(xyz)[::-1]
        return [zyx[a] for a in self._order][::-1]

    def _back(self, xyz: Any) -> list[Any]:
        zyx = list(xyz)[::-1]
        return [zyx[self._order.index(a)] for a in range(3)][::-1]
