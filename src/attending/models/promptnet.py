"""attending-prompted: our own small promptable net, shipped in the package, run by ONNX Runtime. Any modality, planes.

It learned on synthetic images only, by ``attending.pretraining prompted``; docs/pretraining.md says how, and how it
does on real ones. It works plane by plane: each plane that prompts lie on is looked at through one to five small
windows (``promptlook``), all in one batch. Clicks are taken in order, each correcting the answer to those before it.
Planes without a prompt stay empty: ``tasks`` carries a mask on from plane to plane. Nothing is pulled.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import HashMismatch
from ..records import Box, Image, Masked, Prompts
from .admission import refuse_unless_admitted
from .prompt_rules import filled, refuse_bad_prompts
from .promptcrop import Marks, strokes_to_places
from .promptlook import Answer, Net, answer
from .protocols import Progress, Setup

MODES = ("point", "box", "scribble", "lasso", "mask")
WEIGHTS = Path(__file__).parent / "weights" / "attending-prompted.onnx"
SHA256 = "4ec7bb3849230c522963aae64bdffd71f44dcde0a4ec2909de0d074bf9a6db83"
BATCH = 16
"""Windows that go through the net at once: 60 MiB of activations."""
IN_TURN = 8
"""Clicks that are taken one after the other; where there are more, the first ones are taken together."""
REMEMBERED = 32
Mask = NDArray[np.bool_]


class PromptedNet:
    """The plugin ``attending-prompted``. No files: the weights lie in the package."""

    modes = MODES

    def __init__(self, setup: Setup) -> None:
        self._net = onnx_net(weights(), setup.threads)
        self.card = replace(setup.card, files={WEIGHTS.name: SHA256})

    def session(self, image: Image, progress: Progress | None = None) -> PromptedSession:
        """Raises NotAdmitted for an image that the card does not admit."""
        refuse_unless_admitted(self.card, image.facts)
        return PromptedSession(image, self._net)


@dataclass(frozen=True)
class _Click:
    """One point or open stroke on one plane: places (n, 2) as (y, x)."""

    places: NDArray[np.float32]
    positive: bool


class PromptedSession:
    """One image as grey planes; answers to the clicks so far are remembered, so that one more click costs one step."""

    def __init__(self, image: Image, net: Net) -> None:
        z, y, x = image.voxels.shape[:3]
        self._shape = (int(z), int(y), int(x))
        self._voxels, self._colour, self._net = image.voxels, image.facts.colour, net
        self._planes: dict[int, NDArray[np.float32]] = {}
        self._answers: dict[tuple[Any, ...], Answer] = {}
        self._last: Mask | None = None

    def predict(self, prompts: Prompts) -> Masked:
        """The mask (z, y, x) on the planes that prompts lie on. Raises PromptRefused for prompts it cannot use."""
        refuse_bad_prompts(prompts, self._shape, MODES, "attending-prompted")
        mask, notes, scores = np.zeros(self._shape, dtype=bool), [], []
        planes = self._prompted(prompts)
        blank = [z for z in planes if not np.ptp(self._plane(z)) > 0]
        asked = [z for z in planes if z not in blank]
        clicks = {z: self._clicks(prompts, z) for z in asked}
        starts = {z: self._start(prompts, z, clicks[z]) for z in asked}
        for z, found in self._answered(asked, starts, clicks).items():
            mask[z] = _kept(found.probability > 0.5, starts[z], clicks[z])
            scores.append(found.guess)
        for stroke in prompts.strokes:
            if stroke.closed and not stroke.positive:
                mask &= ~filled(stroke, self._shape)
        if blank:
            notes.append("empty where the image is constant: there is nothing to go by")
        if self._shape[0] > len(planes):
            notes.append(f"on {len(planes)} of {self._shape[0]} planes: those that prompts lie on")
        if not mask.any() and not blank:
            notes.append("empty: the net found nothing there that stands out")
        changed = _difference(self._last, mask)
        self._last = mask
        score = round(float(np.mean(scores)), 3) if scores and mask.any() else None
        return Masked(mask, score, changed, tuple(notes))

    def close(self) -> None:
        """Lets go of planes and answers."""
        self._planes.clear()
        self._answers.clear()

    def _plane(self, z: int) -> NDArray[np.float32]:
        if z not in self._planes:
            plane = self._voxels[z].astype(np.float32)
            plane = plane.mean(axis=-1) if self._colour else plane
            self._planes[z] = np.nan_to_num(plane, nan=0.0, posinf=0.0, neginf=0.0)
        return self._planes[z]

    def _prompted(self, prompts: Prompts) -> list[int]:
        """Planes that something positive says anything of."""
        planes = {p.voxel[2] for p in prompts.points if p.positive}
        planes |= {v[2] for s in prompts.strokes if s.positive for v in s.voxels}
        if prompts.box is not None:
            planes |= set(range(prompts.box[2], prompts.box[5] + 1))
        if prompts.mask is not None:
            planes |= set(np.flatnonzero(prompts.mask.any(axis=(1, 2))).tolist())
        return sorted(planes)

    def _clicks(self, prompts: Prompts, z: int) -> list[_Click]:
        clicks = [
            _Click(np.array([[p.voxel[1], p.voxel[0]]], np.float32), p.positive)
            for p in prompts.points
            if p.voxel[2] == z
        ]
        for stroke in prompts.strokes:
            on = np.array([[v[1], v[0]] for v in stroke.voxels if v[2] == z], np.float32)
            if not stroke.closed and len(on):
                clicks.append(_Click(strokes_to_places([on]), stroke.positive))
        return clicks

    def _start(self, prompts: Prompts, z: int, clicks: list[_Click]) -> Marks:
        """What is there beside the clicks: box, lasso, mask."""
        marks = Marks()
        if prompts.box is not None and prompts.box[2] <= z <= prompts.box[5]:
            x0, y0, _, x1, y1, _ = prompts.box
            marks.box = (float(y0), float(x0), float(y1), float(x1))
        mask = None if prompts.mask is None else prompts.mask[z] > 0
        drawn = [s for s in prompts.strokes if s.closed and s.positive and s.voxels[0][2] == z]
        if len(drawn) == 1:
            marks.lasso = np.array([[v[1], v[0]] for v in drawn[0].voxels], np.float32)
        for stroke in drawn if len(drawn) > 1 else []:
            mask = filled(stroke, self._shape)[z] | (np.zeros(self._shape[1:], bool) if mask is None else mask)
        if mask is not None and mask.any():
            marks.mask = mask
        if marks.box is None and marks.lasso is None and marks.mask is None and not any(c.positive for c in clicks):
            raise AssertionError(f"no prompt on plane {z}")
        return marks

    def _answered(
        self, planes: list[int], starts: dict[int, Marks], clicks: dict[int, list[_Click]]
    ) -> dict[int, Answer]:
        """All planes step by step: what is given first on each in one batch, then the next click of each, and so on."""
        steps = {z: _steps(starts[z], clicks[z]) for z in planes}
        found: dict[int, Answer] = {}
        for k in range(max((len(s) for s in steps.values()), default=0)):
            now = [z for z in planes if k < len(steps[z])]
            marks = {}
            for z in now:
                marks[z] = steps[z][k]
                before = found.get(z)
                if before is not None and (said := before.probability > 0.5).any():
                    marks[z] = replace(marks[z], mask=said)
            new = [z for z in now if (z, *_key(marks[z])) not in self._answers]
            for start in range(0, len(new), BATCH):
                part = new[start : start + BATCH]
                made = answer(self._net, [self._plane(z) for z in part], [marks[z] for z in part])
                for z, one in zip(part, made, strict=True):
                    self._remember((z, *_key(marks[z])), one)
            found |= {z: self._answers[(z, *_key(marks[z]))] for z in now}
        return found

    def _remember(self, key: tuple[Any, ...], made: Answer) -> None:
        if len(self._answers) >= max(REMEMBERED, 2 * self._shape[0]):
            self._answers.pop(next(iter(self._answers)))
        self._answers[key] = made


def onnx_net(model: bytes, threads: int) -> Net:
    """An exported model as the plain function that ``promptlook`` calls."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def net(inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        parts = [
            session.run(["probability", "guess"], {"look": inputs[k : k + BATCH]}) for k in range(0, len(inputs), BATCH)
        ]
        return np.concatenate([p for p, _ in parts]), np.concatenate([g for _, g in parts])

    return net


def weights(file: Path = WEIGHTS) -> bytes:
    """The shipped model, proved. Raises HashMismatch where the file is not the one that was tested."""
    blob = file.read_bytes()
    if hashlib.sha256(blob).hexdigest() != SHA256:
        raise HashMismatch(
            f"{file.name} in the package is not the file that was tested", f"sha256 {SHA256}", "install attending again"
        )
    return blob


def _steps(start: Marks, clicks: list[_Click]) -> list[Marks]:
    """Marks of each step: the first holds box, lasso, mask and as many clicks as it needs, each further adds one."""
    alone = start.box is None and start.lasso is None and start.mask is None
    if alone:
        first = next(k for k, c in enumerate(clicks) if c.positive)
        clicks = [clicks[first], *clicks[:first], *clicks[first + 1 :]]
    together = max(1 if alone else 0, len(clicks) - IN_TURN)
    return [_with(start, clicks[:k]) for k in range(together, len(clicks) + 1)]


def _with(start: Marks, clicks: list[_Click]) -> Marks:
    none = [np.zeros((0, 2), np.float32)]
    return replace(
        start,
        positive=np.concatenate([*none, *(c.places for c in clicks if c.positive)]),
        negative=np.concatenate([*none, *(c.places for c in clicks if not c.positive)]),
    )


def _key(marks: Marks) -> tuple[Any, ...]:
    arrays = (marks.positive, marks.negative, marks.lasso, marks.mask)
    return (marks.box, *(None if a is None else hashlib.sha256(np.ascontiguousarray(a).data).digest() for a in arrays))


def _kept(mask: Mask, start: Marks, clicks: list[_Click]) -> Mask:
    """The parts that were pointed at, where clicks say which; clicked voxels are as the clicks say."""
    positive = [c.places.astype(int) for c in clicks if c.positive]
    if positive and mask.any() and start.mask is None:
        from scipy.ndimage import label

        parts, _ = label(mask)
        hit = np.unique(np.concatenate([parts[p[:, 0], p[:, 1]] for p in positive]))
        hit = hit[hit > 0]
        if len(hit):
            mask = np.isin(parts, hit)
    for places in positive:
        mask[places[:, 0], places[:, 1]] = True
    for click in clicks:
        if not click.positive:
            places = click.places.astype(int)
            mask[places[:, 0], places[:, 1]] = False
    return mask


def _difference(before: Mask | None, now: Mask) -> Box | None:
    """The box (x0, y0, z0, x1, y1, z1), inclusive, in which two masks differ."""
    off = now if before is None else now ^ before
    if not off.any():
        return None
    spans = [np.flatnonzero(off.any(axis=tuple(a for a in range(3) if a != axis))) for axis in (2, 1, 0)]
    low, high = [int(s[0]) for s in spans], [int(s[-1]) for s in spans]
    return (low[0], low[1], low[2], high[0], high[1], high[2])
