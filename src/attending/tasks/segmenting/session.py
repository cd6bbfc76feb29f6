"""Session: one image, an engine that holds its embedding, and the prompts so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import PromptRefused
from ...models.prompt_rules import MODES, changed_box, refuse_bad_prompts
from ...records import Box, Image, Masked, Point, Prompts, Stroke, Voxel
from .choosing import Chosen, Tools, choose
from .propagate import propagate
from .words import outline_word

Progress = Callable[[float, str], None]
Mask = NDArray[np.bool_]
LONGEST_WORD = 200


class Session:
    """Prompts accumulate; each call gives the mask for all of them and the box in which it changed.

    image      what models may see (de-identified); its grid is the mask's.
    tools      the models of a site.
    model      the id of an engine; None takes the measured default for the prompts, which may change with them.
    one_plane  keep to the planes that were prompted; else a mask on one plane of a volume is carried on through it.

    Every method that prompts raises PromptRefused for what cannot be used and then leaves the session as it was.
    """

    def __init__(
        self,
        image: Image,
        tools: Tools,
        *,
        model: str | None = None,
        one_plane: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.image = image
        self.engine: str | None = model
        self._tools, self._asked, self._one_plane, self._progress = tools, model, one_plane, progress
        self._sessions: dict[str, Any] = {}
        self._words: dict[str, Any] = {}
        self._history: list[tuple[Prompts, Mask]] = []
        z, y, x = image.voxels.shape[:3]
        self._empty = np.zeros((z, y, x), dtype=bool)
        if model is not None:
            choose(tools, image.facts, Prompts(), model)

    @property
    def prompts(self) -> Prompts:
        """All prompts so far."""
        return self._history[-1][0] if self._history else Prompts()

    @property
    def mask(self) -> Mask:
        """The mask (z, y, x) as it stands; empty before the first prompt."""
        return self._history[-1][1] if self._history else self._empty

    def point(self, voxel: Voxel, positive: bool = True) -> Masked:
        """A click on voxel (x, y, z)."""
        return self.add(Prompts(points=(Point(voxel, positive),)))

    def box(self, box: Box) -> Masked:
        """(x0, y0, z0, x1, y1, z1), inclusive; it replaces an earlier box."""
        return self.add(Prompts(box=box))

    def scribble(self, voxels: tuple[Voxel, ...], positive: bool = True) -> Masked:
        """The voxels (x, y, z) that a stroke passes."""
        return self.add(Prompts(strokes=(Stroke(voxels, positive),)))

    def lasso(self, voxels: tuple[Voxel, ...], positive: bool = True) -> Masked:
        """The outline drawn around it in one plane; negative: what it encloses is taken away."""
        return self.add(Prompts(strokes=(Stroke(voxels, positive, closed=True),)))

    def start_from(self, mask: Mask) -> Masked:
        """An earlier mask (z, y, x) to be refined."""
        return self.add(Prompts(mask=mask))

    def text(self, word: str) -> Masked:
        """Outlines what a word names. Empty, with the reason in its notes, where it is absent or no model knows it."""
        return self.add(Prompts(text=word))

    def add(self, more: Prompts) -> Masked:
        """Several prompts at once, together with those before. A box, mask or word replaces the earlier one."""
        if more.empty:
            raise PromptRefused(
                "no prompt at all", "a point, box, scribble, lasso, mask or word", "point at something, or name it"
            )
        before = self.prompts
        prompts = Prompts(
            points=before.points + tuple(p for p in more.points if p not in before.points),
            box=more.box or before.box,
            strokes=before.strokes + more.strokes,
            mask=before.mask if more.mask is None else more.mask,
            text=before.text if more.text is None else _word(more.text),
        )
        refuse_bad_prompts(prompts, self._empty.shape, MODES, "a session")
        mask, score, notes = self._predict(prompts)
        return self._keep(prompts, mask, score, notes)

    def everything(self) -> Masked:
        """Unasked: the foreground, the largest thing that is not background. No anatomy is claimed for it."""
        mask = _foreground(self.image)
        said = "the foreground, told from the background by its grey values" if mask.any() else "the image is blank"
        return self._keep(Prompts(mask=mask if mask.any() else None), mask, None, (f"no prompt: {said}",))

    def undo(self) -> Masked:
        """Takes the last prompt back. Raises PromptRefused where there is none."""
        if not self._history:
            raise PromptRefused("nothing to undo", "a session with a prompt", "prompt first")
        after = self._history.pop()[1]
        return Masked(self.mask.copy(), None, changed_box(after, self.mask), ("the last prompt was taken back",))

    def close(self) -> None:
        """Lets go of embeddings. Twice is fine."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _keep(self, prompts: Prompts, mask: Mask, score: float | None, notes: tuple[str, ...]) -> Masked:
        changed = changed_box(self.mask, mask)
        kept = mask.copy()
        kept.flags.writeable = False
        self._history.append((prompts, kept))
        return Masked(mask, score, changed, notes)

    def _predict(self, prompts: Prompts) -> tuple[Mask, float | None, tuple[str, ...]]:
        if prompts.text is None:
            return self._engine(prompts)
        found = self._words.get(prompts.text)
        if found is None:
            found = self._words[prompts.text] = outline_word(prompts.text, self.image, self._tools, self._progress)
        rest = replace(prompts, text=None)
        if found.mask is None and found.box is None:
            return self._empty.copy(), None, (found.reason,)
        self.engine = found.producer
        if found.mask is not None:
            mask = found.mask & _boxed(prompts.box, found.mask.shape)
            if not mask.any():
                return mask, None, (*found.notes, f"no part of {found.named.words} lies in the box")
            if not (prompts.points or prompts.strokes):
                return mask, found.score, found.notes
            refined, score, notes = self._engine(replace(rest, box=None, mask=mask))
            return refined, score, (*found.notes, *notes)
        mask, score, notes = self._engine(replace(rest, box=prompts.box or found.box))
        return mask, score, (*found.notes, *notes)

    def _engine(self, prompts: Prompts) -> tuple[Mask, float | None, tuple[str, ...]]:
        chosen = choose(self._tools, self.image.facts, prompts, self._asked)
        self.engine = chosen.id
        got = self._session(chosen).predict(prompts)
        mask = np.array(got.mask, dtype=bool)
        notes = (chosen.why, *got.notes)
        if self._grows(prompts, mask):
            mask, said = propagate(chosen.plugin, self.image, mask, self._progress)
            notes += said
            mask &= ~_taken_away(prompts, mask.shape)
        if not mask.any():
            notes += ("nothing was found there",)
        return mask, got.score, notes

    def _session(self, chosen: Chosen) -> Any:
        if chosen.id not in self._sessions:
            self._sessions[chosen.id] = chosen.plugin.session(self.image, self._progress)
        return self._sessions[chosen.id]

    def _grows(self, prompts: Prompts, mask: Mask) -> bool:
        """A volume, prompts that do not bound z, and an answer on prompted planes alone."""
        if self._one_plane or mask.shape[0] == 1 or self.image.facts.axis != "space" or not mask.any():
            return False
        if prompts.mask is not None or (prompts.box is not None and prompts.box[2] != prompts.box[5]):
            return False
        return set(np.flatnonzero(mask.any(axis=(1, 2))).tolist()) <= _planes(prompts)


def _word(word: str) -> str:
    said = " ".join(word.split())
    if not said or len(said) > LONGEST_WORD:
        raise PromptRefused(
            "an empty word" if not said else f"a text of {len(said)} letters",
            f"a word or a short phrase, up to {LONGEST_WORD} letters",
            'name one thing, such as "left lung"',
        )
    return said


def _planes(prompts: Prompts) -> set[int]:
    planes = {p.voxel[2] for p in prompts.points} | {v[2] for s in prompts.strokes for v in s.voxels}
    return planes | ({prompts.box[2]} if prompts.box else set())


def _boxed(box: Box | None, shape: tuple[int, ...]) -> Mask:
    inside = np.ones(shape, dtype=bool)
    if box is not None:
        x0, y0, z0, x1, y1, z1 = box
        inside[:] = False
        inside[z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1] = True
    return inside


def _taken_away(prompts: Prompts, shape: tuple[int, ...]) -> Mask:
    """Voxels that were said not to belong to it."""
    out = np.zeros(shape, dtype=bool)
    for x, y, z in [p.voxel for p in prompts.points if not p.positive] + [
        v for s in prompts.strokes if not s.positive and not s.closed for v in s.voxels
    ]:
        out[z, y, x] = True
    return out


def _foreground(image: Image) -> Mask:
    from scipy.ndimage import binary_fill_holes, label
    from skimage.filters import threshold_otsu

    grey = np.nan_to_num(image.voxels.astype(np.float32))
    grey = grey.mean(axis=-1) if image.facts.colour else grey
    if float(np.ptp(grey)) == 0:
        return np.zeros(grey.shape, dtype=bool)
    # Air and table apart first, then body and bright organs: the lower cut is the body's outline.
    low, high = np.percentile(grey, (0.5, 99.5))
    cut = threshold_otsu(np.clip(grey, low, high))
    # Otsu's cut may lie anywhere between two clear classes, so also in the noise of one: halfway is the outline.
    bright = grey > (float(grey[grey > cut].mean()) + float(grey[grey <= cut].mean())) / 2
    rim = np.concatenate(
        [bright[:, 0].ravel(), bright[:, -1].ravel(), bright[:, :, 0].ravel(), bright[:, :, -1].ravel()]
    )
    if rim.mean() > 0.5:  # dark things on a bright ground
        bright = ~bright
    parts, count = label(bright)
    if count > 1:
        bright = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return np.stack([binary_fill_holes(plane) for plane in bright])


__all__ = ["Session"]
