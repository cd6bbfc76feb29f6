"""A DICOM study from its instances: planned, decoded in one pass, bad files left out and named."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputRefused, TooLarge
from ..records import Image, ImageFacts, Stack
from . import warp
from .describe import clean, instance_notes, known_view, modality_of, unit_of
from .given import Given, give
from .instance import Instance
from .layout import Layout
from .pixels import Canvas, Values, stored_frames
from .planes import Plane, planes
from .refusals import too_many
from .stacking import StackPlan, plan

Tick = Callable[[], None]


@dataclass(frozen=True, eq=False)
class Entry:
    """One DICOM file on its way into a study."""

    label: str
    folder: str
    name: str
    data: bytes = field(repr=False)
    sha256: str
    instance: Instance = field(repr=False)
    layout: Layout


@dataclass(frozen=True, eq=False)
class Built:
    """entries that were kept, in order; refused ones with why; stacks; what was given (words, and values per entry)."""

    entries: tuple[Entry, ...]
    refused: tuple[tuple[Entry, InputRefused], ...]
    stacks: tuple[Stack, ...]
    given: Given


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Series by series, instance by instance; the same for the same files however they were found."""

    def key(e: Entry) -> tuple[Any, ...]:
        h = e.instance.header
        return (_int(h, "SeriesNumber"), _str(h, "SeriesInstanceUID"), _int(h, "InstanceNumber"), e.sha256)

    return sorted(entries, key=key)


def build(entries: Sequence[Entry], declared: dict[str, str], max_voxels: int, tick: Tick) -> Built:
    """Decode all stacks. Raises TooLarge where the study as a whole is; a file that fails alone is left out."""
    kept: list[Entry] = list(entries)
    refused: list[tuple[Entry, InputRefused]] = []
    while kept:
        placed = [p for i, e in enumerate(kept) for p in planes(i, e.instance, e.layout)]
        plans = plan(placed)
        total = sum(p.voxels for p in plans)
        if total > max_voxels:
            raise too_many(total, max_voxels)
        canvases, failed = _decode(kept, plans, tick)
        if not failed:
            given = give(kept, _placed_instances(placed))
            stacks = tuple(
                _stack(k, p, c, kept, given, declared) for k, (p, c) in enumerate(zip(plans, canvases, strict=True), 1)
            )
            return Built(tuple(kept), tuple(refused), stacks, given)
        refused += [(kept[i], error) for i, error in failed.items()]
        kept = [e for i, e in enumerate(kept) if i not in failed]
    return Built((), tuple(refused), (), Given((), ()))


def _placed_instances(placed: Sequence[Plane]) -> set[int]:
    return {p.instance for p in placed if p.position is not None}


def _decode(
    entries: list[Entry], plans: list[StackPlan], tick: Tick
) -> tuple[list[NDArray[Any] | None], dict[int, InputRefused]]:
    """One pass over the files; every frame goes straight to its place in a preallocated array."""
    where: dict[tuple[int, int], list[tuple[int, int, Plane]]] = defaultdict(list)
    for s, stack in enumerate(plans):
        for z, p in enumerate(stack.planes):
            where[p.instance, p.frame].append((s, z, p))
    canvases: list[Canvas | None] = [None] * len(plans)
    failed: dict[int, InputRefused] = {}
    for i, entry in enumerate(entries):
        modality = modality_of(entry.instance.header, {})[0]
        try:
            convert = Values(entry.instance.header, entry.layout)
            for f, stored in enumerate(stored_frames(entry.instance, entry.layout)):
                values: dict[Any, NDArray[Any]] = {}
                for s, z, p in where[i, f]:
                    if p.rescale not in values:
                        keep = modality in ("CT", "PT") and p.rescale is not None
                        values[p.rescale] = convert(stored, p.rescale, keep)
                    canvas = canvases[s] or _canvas(plans[s])
                    canvases[s] = canvas
                    canvas.put(z, _tile(values[p.rescale], p))
        except TooLarge:
            raise
        except InputRefused as error:
            failed[i] = error
        except MemoryError:
            raise TooLarge("an image larger than the free memory", "an image that fits", "free memory first") from None
        tick()
    return [None if c is None else c.voxels for c in canvases], failed


def _canvas(stack: StackPlan) -> Canvas:
    first = stack.planes[0]
    return Canvas((len(stack.planes), first.rows, first.columns, *((3,) if first.colour else ())))


def _tile(values: NDArray[Any], p: Plane) -> NDArray[Any]:
    if p.tile is None:
        return values
    top, left = p.tile
    return values[top : top + p.rows, left : left + p.columns]


def _stack(
    number: int,
    stack: StackPlan,
    voxels: NDArray[Any] | None,
    entries: list[Entry],
    given: Given,
    declared: dict[str, str],
) -> Stack:
    assert voxels is not None
    first = entries[stack.planes[0].instance]
    source = tuple((p.instance, p.frame) for p in stack.planes)
    if stack.warp is not None:
        source = tuple(source[k] for k in warp.nearest(stack.warp, len(source)))
        voxels = warp.apply(voxels, stack.warp)
    notes: list[str] = list(stack.notes)
    for i in dict.fromkeys(p.instance for p in stack.planes):
        e = entries[i]
        notes += [*instance_notes(e.instance, e.layout, next(p for p in stack.planes if p.instance == i).rescale)]
    voxels, bad = finite(voxels)
    modality, said = modality_of(first.instance.header, declared)
    header = clean(first.instance.header)
    for keyword, value in given.values[stack.planes[0].instance]:
        setattr(header, keyword, value)
    facts = ImageFacts(
        id=f"i{number}",
        shape=tuple(voxels.shape),
        affine=stack.affine,
        spacing=stack.spacing,
        modality=modality,
        view=known_view(first.instance.header, stack.view, declared),
        unit=unit_of(modality, first.instance.header, stack.planes[0].rescale),
        axis=stack.axis,
        source=source,
        notes=tuple(dict.fromkeys((*notes, *said, *bad))),
    )
    return Stack(Image(facts, voxels), header)


def finite(voxels: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Voxels that are no number (NaN, infinity) become 0, and how many is said."""
    if voxels.dtype.kind != "f":
        return voxels, ()
    wrong = ~np.isfinite(voxels)
    count = int(wrong.sum())
    if not count:
        return voxels, ()
    voxels[wrong] = 0
    return voxels, (f"{count} voxels were not numbers: set to 0",)


def common_label(labels: Sequence[str]) -> str:
    """The path that a refusal of several files names: the file itself, or the folder above all of them."""
    if len(labels) == 1:
        return labels[0]
    try:
        return os.path.commonpath(labels) or labels[0]
    except ValueError:
        return labels[0]


def _int(header: Any, keyword: str) -> int:
    try:
        return int(header.get(keyword) or 0)
    except Exception:  # whatever pydicom raises on a malformed number
        return 0


def _str(header: Any, keyword: str) -> str:
    try:
        return str(header.get(keyword) or "")
    except Exception:  # whatever pydicom raises on a malformed value
        return ""
