"""The SAM family, whatever runs it: from an image and prompts to the network's frame, and from its logits to a mask.

A plane is resized to the network's square frame, encoded once, and kept; a prompt costs only the decoder. Volumes are
worked plane by plane: a plane is encoded when a prompt first lies on it, and only planes with prompts get a mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelRefused, PromptRefused
from ..imaging import auto_window, plane
from ..records import Box, Image, Masked, Prompts, Stroke, Voxel
from .prompt_rules import filled, refuse_bad_prompts
from .protocols import Progress

MODES = ("point", "box", "scribble", "lasso", "mask")
PAD, NEGATIVE, POSITIVE, CORNER, OTHER_CORNER = -1, 0, 1, 2, 3
"""What a coordinate is to the prompt encoder. PAD follows clicks where there is no box, as in training."""
STROKE_POINTS = 8
"""Points that stand for a scribble: the networks saw no more than about that many clicks."""
MASK_LOGIT = 8.0
"""Logit of a voxel that an earlier mask holds wholly: near the range of what the decoders give back."""
MOST_PLANES = 64
"""Planes that one box may span: each costs an encoding."""


@dataclass(frozen=True)
class Frame:
    """How planes become the network's input. side: pixels of its square; stretch: both axes fill the square (SAM 2),
    else the longer one does and the rest stays empty (SAM); mean and std per channel, of values in 0..1."""

    side: int = 1024
    stretch: bool = False
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @property
    def low(self) -> int:
        """Side of the decoder's masks, and of an earlier mask that it is given: a quarter of the frame's."""
        return self.side // 4

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        """(rows, columns) that a plane has inside the square."""
        if self.stretch:
            return self.side, self.side
        scale = self.side / max(rows, columns)
        return int(rows * scale + 0.5), int(columns * scale + 0.5)

    def pixels(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(y, x, 3) uint8 -> (1, 3, side, side) float32, normalised; what the plane does not fill is 0."""
        from PIL import Image as Pillow

        rows, columns = self.size(*picture.shape[:2])
        resized = np.asarray(Pillow.fromarray(picture).resize((columns, rows), Pillow.Resampling.BILINEAR), np.float32)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        out = np.zeros((1, 3, self.side, self.side), np.float32)
        out[0, :, :rows, :columns] = ((resized / np.float32(255) - mean) / std).transpose(2, 0, 1)
        return out

    def matrices(self, rows: int, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(rows, low) and (columns, low): what takes the decoder's mask to the plane, along y and along x.

        The reference resizes twice (to the square, cropped, then to the plane), each time linearly and along each axis
        by itself: the product is the same map and costs two small multiplications.
        """
        inside = self.size(rows, columns)
        if self.stretch:
            return _linear(self.low, rows), _linear(self.low, columns)
        whole = _linear(self.low, self.side)
        return (
            _linear(inside[0], rows) @ whole[: inside[0]],
            _linear(inside[1], columns) @ whole[: inside[1]],
        )


def _linear(source: int, target: int) -> NDArray[np.float32]:
    """(target, source): linear interpolation between pixel centres, edges repeated, nothing smoothed."""
    at = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, None)
    low = np.minimum(at.astype(np.int64), source - 1)
    high = np.minimum(low + 1, source - 1)
    weight = (at - low).astype(np.float32)
    out = np.zeros((target, source), np.float32)
    out[np.arange(target), low] = 1 - weight
    np.add.at(out, (np.arange(target), high), weight)
    return out


@dataclass(frozen=True, eq=False)
class Asked:
    """One plane's prompts in the network's frame. points (n, 2) float32 x, y; labels (n,) as above; earlier (low, low)
    float32 logits or None; several: whether three masks are wanted, of which the best is taken."""

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    earlier: NDArray[np.float32] | None
    several: bool


class Engine(Protocol):
    """What runs the network."""

    frame: Frame

    def embed(self, pixels: NDArray[np.float32]) -> Any:
        """(1, 3, side, side) -> a handle of the plane's embedding, kept while it is held."""
        ...

    def decode(self, handle: Any, asked: Asked) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n, low, low) logits and (n,) scores."""
        ...

    def forget(self, handle: Any) -> None:
        """The embedding is not needed any more."""
        ...


class SamSession:
    """A ``Session`` of any engine of the family."""

    def __init__(self, image: Image, engine: Engine, progress: Progress | None = None) -> None:
        self._image, self._engine = image, engine
        self._window = None if image.facts.colour else auto_window(image)
        rows, columns = image.voxels.shape[1:3]
        self._down, self._across = engine.frame.matrices(rows, columns)
        self._planes: dict[int, Any] = {}
        self._mask = np.zeros(image.voxels.shape[:3], bool)
        self._logits: dict[int, NDArray[np.float32]] = {}
        if image.voxels.shape[0] == 1:
            if progress:
                progress(0.05, "encoding the image")
            self._handle(0)

    def predict(self, prompts: Prompts) -> Masked:
        """See ``Session.predict``. Score: the network's own guess of its overlap, the mean over planes."""
        asked = by_plane(prompts, self._image.voxels.shape[:3])
        mask = np.zeros_like(self._mask)
        if prompts.mask is not None:
            mask |= prompts.mask.astype(bool)
        scores, logits = [], {}
        for z, one in sorted(asked.items()):
            mask[z], score, logits[z] = self._decoded(z, one)
            scores.append(score)
        box = _difference(mask, self._mask)
        self._mask, self._logits = mask, logits
        notes = ["the score is the network's own guess of its overlap, not measured"]
        if self._image.voxels.shape[0] > 1:
            notes.append(f"one plane at a time: {len(asked)} of {self._image.voxels.shape[0]}")
        if not mask.any():
            notes.append("the network found nothing there")
        return Masked(mask.copy(), float(np.mean(scores)) if scores else None, box, tuple(notes))

    def close(self) -> None:
        """Lets go of every embedding."""
        for handle in self._planes.values():
            self._engine.forget(handle)
        self._planes.clear()

    def _handle(self, z: int) -> Any:
        if z not in self._planes:
            picture = plane(self._image, z, self._window)
            if picture.ndim == 2:
                picture = np.repeat(picture[..., None], 3, axis=2)
            self._planes[z] = self._engine.embed(self._engine.frame.pixels(picture))
        return self._planes[z]

    def _decoded(self, z: int, given: OnPlane) -> tuple[NDArray[np.bool_], float, NDArray[np.float32]]:
        logits, scores = self._engine.decode(self._handle(z), self._asked(z, given))
        best = int(np.argmax(scores))
        low = np.asarray(logits[best], np.float32)
        mask: NDArray[np.bool_] = self._down @ low @ self._across.T > 0
        return mask, float(np.clip(scores[best], 0, 1)), low

    def _asked(self, z: int, given: OnPlane) -> Asked:
        rows, columns = self._image.voxels.shape[1:3]
        inside = self._engine.frame.size(rows, columns)
        scale = np.array([inside[1] / columns, inside[0] / rows])
        points = [p for p, _ in given.points]
        labels = [POSITIVE if positive else NEGATIVE for _, positive in given.points]
        if given.box is not None:
            points += [given.box[:2], given.box[2:]]
            labels += [CORNER, OTHER_CORNER]
        else:
            points.append((0, 0))
            labels.append(PAD)
        at = np.array(points, np.float64) * scale
        at[[label == PAD for label in labels]] = 0
        earlier = None
        if given.mask is not None:
            kept = self._logits.get(z)
            same = kept is not None and bool((given.mask == self._mask[z]).all())
            earlier = kept if same else self._engine_logits(given.mask)
        # Three masks answer one click, which may mean a part or the whole; more than that says which one is meant.
        several = len(given.points) == 1 and given.box is None and earlier is None
        return Asked(at.astype(np.float32), np.array(labels, np.int64), earlier, several)

    def _engine_logits(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """A mask as the decoder would have given it: (low, low) in the network's frame."""
        from PIL import Image as Pillow

        frame = self._engine.frame
        rows, columns = frame.size(*mask.shape)
        rows, columns = round(rows * frame.low / frame.side), round(columns * frame.low / frame.side)
        small = Pillow.fromarray(mask.astype(np.uint8) * 255).resize((columns, rows), Pillow.Resampling.BILINEAR)
        out = np.full((frame.low, frame.low), -MASK_LOGIT, np.float32)
        out[:rows, :columns] = (np.asarray(small, np.float32) / 127.5 - 1) * MASK_LOGIT
        return out


@dataclass(eq=False)
class OnPlane:
    """The prompts of one plane, in its own pixels (x, y)."""

    points: list[tuple[tuple[int, int], bool]]
    box: tuple[int, int, int, int] | None = None
    mask: NDArray[np.bool_] | None = None

    @property
    def says_where(self) -> bool:
        """Negative points alone on a plane say nothing of what is meant there."""
        return self.box is not None or self.mask is not None or any(positive for _, positive in self.points)


def by_plane(prompts: Prompts, shape: tuple[int, ...]) -> dict[int, OnPlane]:
    """Plane -> its prompts. Raises PromptRefused for what is empty, outside, contradictory, or not taken."""
    refuse_bad_prompts(prompts, shape, MODES, "this model")
    found: dict[int, OnPlane] = {}

    def at(z: int) -> OnPlane:
        return found.setdefault(z, OnPlane([]))

    points = [(p.voxel, p.positive) for p in prompts.points]
    points += [(voxel, s.positive) for s in prompts.strokes if not s.closed for voxel in _sampled(s)]
    for voxel, positive in dict.fromkeys(points):
        at(voxel[2]).points.append((voxel[:2], positive))
    if prompts.mask is not None:
        for plane_of_mask in np.flatnonzero(prompts.mask.any(axis=(1, 2))).tolist():
            given = at(plane_of_mask)
            given.mask = prompts.mask[plane_of_mask].astype(bool)
            if not given.points:  # the networks never saw a mask alone
                given.box = _extent(given.mask)
    for lasso in prompts.strokes:
        if lasso.closed:
            _lasso(lasso, at(lasso.voxels[0][2]), shape)
    if prompts.box is not None:
        x0, y0, z0, x1, y1, z1 = prompts.box
        if z1 - z0 >= MOST_PLANES:
            raise PromptRefused(f"a box over {z1 - z0 + 1} planes", f"at most {MOST_PLANES}", "draw it on fewer planes")
        for z in range(z0, z1 + 1):
            at(z).box = (x0, y0, x1, y1)
    return {z: one for z, one in found.items() if one.says_where}


def _sampled(stroke: Stroke) -> list[Voxel]:
    """At most STROKE_POINTS of the voxels it passes, evenly."""
    voxels = list(dict.fromkeys(stroke.voxels))
    if len(voxels) <= STROKE_POINTS:
        return voxels
    return [voxels[round(i)] for i in np.linspace(0, len(voxels) - 1, STROKE_POINTS).tolist()]


def _lasso(lasso: Stroke, given: OnPlane, shape: tuple[int, ...]) -> None:
    """A positive lasso is an earlier mask and its box; a negative one, points inside it."""
    inside = filled(lasso, shape)[lasso.voxels[0][2]]
    if lasso.positive:
        given.mask = inside if given.mask is None else given.mask | inside
        given.box = _extent(given.mask)
        return
    ys, xs = np.nonzero(inside)
    for i in np.linspace(0, len(ys) - 1, min(len(ys), STROKE_POINTS)).round().astype(int).tolist():
        given.points.append(((int(xs[i]), int(ys[i])), False))


def _extent(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())


def _difference(now: NDArray[np.bool_], before: NDArray[np.bool_]) -> Box | None:
    other = np.argwhere(now != before)
    if not len(other):
        return None
    (z0, y0, x0), (z1, y1, x1) = other.min(axis=0).tolist(), other.max(axis=0).tolist()
    return (x0, y0, z0, x1, y1, z1)


def strange(id: str, seen: str) -> ModelRefused:
    """The network gave something else than masks."""
    return ModelRefused(f"{id} gave {seen}", "masks and scores", "place its files again; if that fails, report it")
