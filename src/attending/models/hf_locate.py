"""Locator: CLIPSeg (a heat map of a phrase) and GroundingDINO (boxes of a phrase), in a worker process."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PromptRefused
from ..records import Box, Image, Located
from .admission import refuse_unless_admitted
from .hf import VISION, pictures, refuse_unless_type, worker_of
from .protocols import Progress, Setup

CALL_S = 120.0
LEAST_HEAT = 0.3
"""A heat map that never gets this far shows nothing. Uncalibrated: chosen for CLIPSeg on photographs by its authors'
demonstrations (0.3 to 0.5), low so that a person sees doubtful places too; the score says how doubtful."""
LEAST_BOX = 0.25
"""GroundingDINO's usual threshold (transformers' default)."""
LONGEST = 200


class HfLocator:
    """Locator. Files: config.json, safetensors, tokenizer and preprocessor files."""

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card
        found = refuse_unless_type(setup, ("clipseg", "grounding-dino", "mm-grounding-dino"))
        self._heat = found == "clipseg"
        self._worker = worker_of(setup, VISION, "heat" if self._heat else "boxes", least=LEAST_BOX)

    def locate(self, image: Image, phrase: str, progress: Progress | None = None) -> tuple[Located, ...]:
        """See ``Locator.locate``. Of a volume three planes are looked at; a box lies on one of them, a heat map is 0 on
        the others. Raises PromptRefused for an empty or endless phrase."""
        words = " ".join(phrase.split())
        if not words or len(words) > LONGEST:
            raise PromptRefused(
                f"a phrase of {len(words)} characters", f"1 to {LONGEST}", "name one thing in a few words"
            )
        refuse_unless_admitted(self.card, image.facts)
        planes, found = pictures(image), []
        for number, (z, picture) in enumerate(planes):
            if progress:
                progress(number / len(planes), "looking")
            answer = self._worker.call("locate", {"image": picture, "phrase": words}, CALL_S)
            found += self._hot(image, z, words, answer) if self._heat else _boxes(image, z, words, answer)
        return tuple(sorted(found, key=lambda one: -one.score))

    def close(self) -> None:
        """Ends the process, for everyone who shares it. The next call starts it again."""
        self._worker.close()

    @staticmethod
    def _hot(image: Image, z: int, phrase: str, answer: dict[str, Any]) -> list[Located]:
        rows, columns = image.voxels.shape[1:3]
        small: NDArray[np.float32] = np.asarray(answer["heat"], np.float32)
        if float(small.max()) < LEAST_HEAT:
            return []
        heat = np.zeros(image.voxels.shape[:3], np.float32)
        heat[z] = _resized(small, rows, columns)
        ys, xs = np.nonzero(heat[z] >= max(LEAST_HEAT, 0.5 * float(heat[z].max())))
        box: Box = (int(xs.min()), int(ys.min()), z, int(xs.max()), int(ys.max()), z)
        return [Located(phrase, float(heat[z].max()), box, heat)]


def _resized(small: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    from PIL import Image as Pillow

    wide = Pillow.fromarray(small).resize((columns, rows), Pillow.Resampling.BILINEAR)
    return np.clip(np.asarray(wide, np.float32), 0, 1)


def _boxes(image: Image, z: int, phrase: str, answer: dict[str, Any]) -> list[Located]:
    rows, columns = image.voxels.shape[1:3]
    found = []
    for (x0, y0, x1, y1), score in zip(answer["boxes"], answer["scores"], strict=True):
        left, right = (int(np.clip(round(float(v)), 0, columns - 1)) for v in (x0, x1))
        top, bottom = (int(np.clip(round(float(v)), 0, rows - 1)) for v in (y0, y1))
        found.append(Located(phrase, float(np.clip(score, 0, 1)), (left, top, z, right, bottom, z)))
    return found
