"""Dice of the promptable net by prompt mode: on synthetic scenes held out by their seed, and on real labelled slices.

The real cases are for validation only and never train: CT and MR of TotalSegmentator's tests, whose labels are another
model's output, from the mirror (``ATTENDING_MIRROR``); ch2 with the AAL atlas where Debian's mricron-data is installed.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..models.promptcrop import Marks
from ..models.promptlook import Net, answer
from . import pointing
from .anatomy import Rng
from .pointing import Mask
from .scenes import scene

HELP = "print Dice by prompt mode of the shipped promptable net (no torch)"
log = logging.getLogger(__name__)
MODES = ("1 click", "3 clicks", "5 clicks", "box", "jittered box", "scribble", "lasso", "mask")
MRICRON = Path("/usr/share/mricron/templates")
REAL = {
    "CT": ("example_ct_sm.nii.gz", "example_seg.nii.gz"),
    "MR": ("example_mr_sm.nii.gz", "example_seg_mr.nii.gz"),
}
HELD_OUT = 7_000_001
"""Seed of the held-out scenes; training takes its seeds from below one million."""


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=150, help="tasks of each set")
    parser.add_argument("--model", type=Path, help="an ONNX file instead of the shipped one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Held-out synthetic tasks, and the real sets where ATTENDING_MIRROR and mricron-data are there."""
    from ..models.promptnet import onnx_net, weights

    net = onnx_net(args.model.read_bytes() if args.model else weights(), threads=1)
    report(net, {"synthetic": synthetic(args.count)} | real(mirror_folder(), args.count), log.info)
    return 0


def mirror_folder() -> Path | None:
    named = os.environ.get("ATTENDING_MIRROR")
    return Path(named) if named else None


@dataclass(frozen=True)
class Task:
    """One plane, what is meant in it, and the slice before's mask of the same thing where there is one."""

    plane: NDArray[np.float32]
    target: Mask
    before: Mask | None = None


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 1.0


def synthetic(count: int, seed: int = HELD_OUT) -> list[Task]:
    """Held-out synthetic tasks, the same for the same seed."""
    rng = np.random.default_rng(seed)
    tasks: list[Task] = []
    while len(tasks) < count:
        made = scene(rng)
        target = made.target(rng)
        if target is not None:
            tasks.append(Task(made.image, target))
    return tasks


def real(mirror: Path | None, per_set: int, seed: int = 1) -> dict[str, list[Task]]:
    """Real tasks by name of the set: slices in all three directions, of structures of at least 40 pixels there."""
    pairs: dict[str, tuple[Path, Path]] = {}
    if mirror is not None:
        folder = mirror / "data" / "ct_totalsegmentator"
        pairs |= {name: (folder / image, folder / labels) for name, (image, labels) in REAL.items()}
    pairs["MR head (ch2, AAL)"] = (MRICRON / "ch2.nii.gz", MRICRON / "aal.nii.gz")
    return {
        name: _slices(image, labels, per_set, seed)
        for name, (image, labels) in pairs.items()
        if image.is_file() and labels.is_file()
    }


def _slices(image: Path, labels: Path, count: int, seed: int) -> list[Task]:
    import nibabel as nib

    voxels = np.asarray(nib.load(str(image)).dataobj, dtype=np.float32)
    names = np.asarray(nib.load(str(labels)).dataobj).astype(np.int32)
    if voxels.shape != names.shape:
        return []
    rng = np.random.default_rng(seed)
    every = np.unique(names[names > 0])
    tasks: list[Task] = []
    for _ in range(60 * count):
        if len(tasks) == count:
            break
        value, axis = every[int(rng.integers(len(every)))], int(rng.choice(3, p=(0.2, 0.2, 0.6)))
        sizes = (names == value).sum(tuple(a for a in range(3) if a != axis))
        fit = np.flatnonzero(sizes >= 40)
        if not len(fit):
            continue
        z = int(rng.choice(fit))
        target = np.take(names, z, axis) == value
        step = int(rng.choice([-1, 1]))
        near = z + step
        before = np.take(names, near, axis) == value if 0 <= near < names.shape[axis] else None
        if before is not None and not before.any():
            before = None
        tasks.append(Task(np.take(voxels, z, axis), target, before))
    return tasks


def score(net: Net, tasks: Sequence[Task], modes: Sequence[str] = MODES, seed: int = 5) -> dict[str, float]:
    """Mean Dice by mode. Boxes filled are given as "filled box" and "filled jittered box" beside; the slice before's
    mask as it stands as "mask as it was"."""
    out: dict[str, list[float]] = {}
    for k, task in enumerate(tasks):
        for mode in modes:
            rng = np.random.default_rng((seed, k))
            for name, value in _tried(net, rng, task, mode):
                out.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in out.items()}


def _tried(net: Net, rng: Rng, task: Task, mode: str) -> list[tuple[str, float]]:
    target, rest = task.target, []
    marks = Marks()
    if mode.endswith(("click", "clicks")):
        return [(mode, _clicked(net, task, int(mode.split()[0])))]
    if mode in ("box", "jittered box"):
        marks.box = pointing.box(rng, target, 0.1 if mode == "jittered box" else 0.0)
        y0, x0, y1, x1 = (int(v) for v in marks.box)
        filled = np.zeros_like(target)
        filled[y0 : y1 + 1, x0 : x1 + 1] = True
        rest = [(f"filled {mode}", dice(filled, target))]
    if mode == "scribble":
        marks.positive = pointing.scribble(rng, target)
        if not len(marks.positive):
            return []
    if mode == "lasso":
        marks.lasso = pointing.lasso(rng, target)
        if marks.lasso is None:
            return []
    if mode == "mask":
        before = pointing.earlier(rng, target) if task.before is None else task.before
        marks.mask = before
        rest = [("mask as it was", dice(before, target))]
    said = answer(net, [task.plane], [marks])[0].probability > 0.5
    return [(mode, dice(said, target)), *rest]


def _clicked(net: Net, task: Task, clicks: int) -> float:
    """A click in the middle of the target's largest part, then each in the middle of the largest wrong part."""
    marks, said = Marks(), np.zeros_like(task.target)
    for _ in range(clicks):
        wrong = said != task.target
        if not wrong.any():
            break
        y, x = _middle(wrong)
        place = np.array([[y, x]], np.float32)
        if task.target[y, x]:
            marks.positive = np.concatenate([marks.positive, place])
        else:
            marks.negative = np.concatenate([marks.negative, place])
        said = answer(net, [task.plane], [marks])[0].probability > 0.5
        marks.mask = said if said.any() else None
    return dice(said, task.target)


def _middle(wrong: Mask) -> tuple[int, int]:
    from scipy.ndimage import label

    parts, count = label(wrong)
    if count > 1:
        wrong = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return pointing.central(wrong)


def report(net: Net, sets: dict[str, list[Task]], say: Callable[[str], None], modes: Sequence[str] = MODES) -> None:
    """A line for each set: mode and mean Dice."""
    for name, tasks in sets.items():
        figures = score(net, tasks, modes)
        say(f"{name} ({len(tasks)}): " + "  ".join(f"{mode} {value:.3f}" for mode, value in figures.items()))
