"""What holds for every prompt, whichever model takes it: inside the image, not empty, not against itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PromptRefused
from ..records import Prompts, Stroke
from ..records.prompts import Box

__all__ = ["changed_box", "filled", "modes_of", "refuse_bad_prompts"]

MODES = ("point", "box", "scribble", "lasso", "mask", "text")


def modes_of(prompts: Prompts) -> tuple[str, ...]:
    """The kinds of prompt given, in the order of MODES; ("none",) where nothing was."""
    given = {
        "point": bool(prompts.points),
        "box": prompts.box is not None,
        "scribble": any(not s.closed for s in prompts.strokes),
        "lasso": any(s.closed for s in prompts.strokes),
        "mask": prompts.mask is not None,
        "text": prompts.text is not None,
    }
    return tuple(mode for mode in MODES if given[mode]) or ("none",)


def refuse_bad_prompts(prompts: Prompts, shape: tuple[int, ...], modes: tuple[str, ...], who: str) -> None:
    """Raises PromptRefused for prompts outside an image of ``shape`` (z, y, x), empty, contradictory, negative only, or
    of a kind that is not among ``modes``; who names the model in the message."""
    taken = ", ".join(modes)
    lacking = [mode for mode in modes_of(prompts) if mode not in modes]
    if lacking == ["none"]:
        raise PromptRefused("no prompt at all", f"what {who} takes: {taken}", "point at something, or name it")
    if lacking:
        raise PromptRefused(
            f"a {lacking[0]} prompt, which {who} does not take",
            f"what it takes: {taken}",
            "use one of these, or choose another model",
        )
    _inside(prompts, shape)
    _not_contradictory(prompts)


def _inside(prompts: Prompts, shape: tuple[int, ...]) -> None:
    size = shape[2::-1]
    allowed = "x 0..{}, y 0..{}, z 0..{}".format(*(n - 1 for n in size))
    told = "give voxel indices of the image's own grid, from 0"
    for kind, voxels in (
        ("a point", [p.voxel for p in prompts.points]),
        ("a stroke", [v for s in prompts.strokes for v in s.voxels]),
        ("a box corner", [prompts.box[:3], prompts.box[3:]] if prompts.box else []),
    ):
        for voxel in voxels:
            if len(voxel) != 3 or not all(0 <= v < n for v, n in zip(voxel, size, strict=True)):
                raise PromptRefused(f"{kind} at {','.join(map(str, voxel))}, outside the image", allowed, told)
    if prompts.box and any(a > b for a, b in zip(prompts.box[:3], prompts.box[3:], strict=True)):
        raise PromptRefused(
            f"a box whose first corner lies beyond its second: {','.join(map(str, prompts.box))}",
            "x0 <= x1, y0 <= y1, z0 <= z1, both corners inside the box",
            "swap the corners",
        )
    if any(not s.voxels for s in prompts.strokes):
        raise PromptRefused("a stroke without a voxel", "strokes of one voxel or more", "draw it again")
    if prompts.mask is not None and tuple(prompts.mask.shape) != tuple(shape[:3]):
        z, y, x = shape[:3]
        seen = "x".join(map(str, reversed(prompts.mask.shape)))
        raise PromptRefused(f"a mask of {seen} voxels", f"a mask on the image's grid, {x}x{y}x{z}", "resample it first")
    if prompts.mask is not None and not prompts.mask.any():
        raise PromptRefused("an empty mask", "an earlier mask of one voxel or more", "leave it out, or draw one")


def _not_contradictory(prompts: Prompts) -> None:
    for a in prompts.points:
        if any(b.voxel == a.voxel and b.positive != a.positive for b in prompts.points):
            at = ",".join(map(str, a.voxel))
            raise PromptRefused(f"voxel {at} as positive and as negative point", "one sign for a voxel", "drop one")
    open_strokes = [s for s in prompts.strokes if not s.closed]
    plus = {p.voxel for p in prompts.points if p.positive} | {v for s in open_strokes if s.positive for v in s.voxels}
    minus = {p.voxel for p in prompts.points if not p.positive}
    minus |= {v for s in open_strokes if not s.positive for v in s.voxels}
    if plus & minus:
        at = ",".join(map(str, min(plus & minus)))
        raise PromptRefused(f"voxel {at} as positive and as negative", "one sign for a voxel", "drop one of the two")
    somewhere = prompts.box is not None or prompts.mask is not None or prompts.text is not None
    if not plus and not somewhere and not any(s.closed and s.positive for s in prompts.strokes):
        raise PromptRefused(
            "negative prompts only", "at least one that says where it is", "add a positive point, a box or a mask"
        )
    if prompts.box is not None and any(not _in_box(v, prompts.box) for v in plus):
        raise PromptRefused(
            "a positive point outside the box", "positive points inside the box", "widen the box, or drop the point"
        )
    for stroke in prompts.strokes:
        if stroke.closed and (len({v[2] for v in stroke.voxels}) != 1 or len(set(stroke.voxels)) < 3):
            raise PromptRefused(
                "a lasso that encloses nothing in one plane", "three voxels or more of one plane z", "draw it again"
            )


def _in_box(voxel: tuple[int, int, int], box: tuple[int, ...]) -> bool:
    # A box drawn on one plane says nothing of other planes.
    axes = (0, 1) if box[2] == box[5] else (0, 1, 2)
    return all(box[a] <= voxel[a] <= box[a + 3] for a in axes)


def filled(stroke: Stroke, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """What a lasso encloses in its plane, its outline included, (z, y, x)."""
    from skimage.draw import line, polygon

    mask = np.zeros(shape[:3], dtype=bool)
    x, y, z = np.array(stroke.voxels).T
    rows, columns = polygon(y, x, shape[1:3])
    mask[z[0], rows, columns] = True
    for k in range(len(x)):
        rows, columns = line(y[k - 1], x[k - 1], y[k], x[k])
        mask[z[0], rows, columns] = True
    return mask


def changed_box(before: NDArray[Any] | None, after: NDArray[Any]) -> Box | None:
    """The inclusive box (x0, y0, z0, x1, y1, z1) in which two masks (z, y, x) differ; None before: an empty one."""
    places = np.argwhere(after if before is None else before ^ after)
    if not len(places):
        return None
    low, high = places.min(0)[::-1], places.max(0)[::-1]
    return (int(low[0]), int(low[1]), int(low[2]), int(high[0]), int(high[1]), int(high[2]))
