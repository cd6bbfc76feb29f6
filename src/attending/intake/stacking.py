"""From planes to stacks: what belongs together, in what order, on which grid. Nothing is stacked that does not fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Affine
from .planes import Plane

COSINE = 1e-3  # cosines nearer than this are one orientation: rounding to 3 digits, 0.06 degrees, 0.5 mm over 500 mm
PLACE_MM = 0.01  # planes nearer than this are at one place: finer than any scanner's table, coarser than DS rounding
LATERAL_PX = 0.1  # in-plane drift below a tenth of a voxel is rounding, not a tilt
EVEN_FIT = 0.1  # a plane may lie a tenth of a step off the even grid: positions rounded to 0.1 mm in thin series
EVEN_STEP = 0.35  # and no single step may differ by more than this from the mean: a missing plane doubles one
RUN_STEP = 0.05  # steps within 5 % make one run when an uneven series is split
GAP_LIMIT = 3.0  # a gap above three median steps is never filled by interpolation


@dataclass(frozen=True)
class Warp:
    """How decoded planes become an even, straight grid: voxels shifted by (x, y) per plane on a canvas grown by
    ``grow`` (left, top, right, bottom), then linear interpolation from depths to even, both in mm along the normal."""

    shifts: tuple[tuple[float, float], ...] | None = None
    grow: tuple[int, int, int, int] = (0, 0, 0, 0)
    depths: tuple[float, ...] | None = None
    even: tuple[float, ...] | None = None


@dataclass(frozen=True)
class StackPlan:
    """One stack to decode: planes in z order (as decoded), the grid that results and what to say of it."""

    planes: tuple[Plane, ...]
    affine: Affine | None
    spacing: tuple[float, float, float] | None
    axis: str
    view: str | None
    notes: tuple[str, ...]
    warp: Warp | None = None

    @property
    def voxels(self) -> int:
        return sum(p.rows * p.columns for p in self.planes)


def plan(planes: Sequence[Plane]) -> list[StackPlan]:
    """Every plane in exactly one stack; stacks in the order of their first plane."""
    order = {id(p): i for i, p in enumerate(planes)}
    plans = [made for group in _groups(planes) for made in _stack(group)]
    return sorted(plans, key=lambda s: min(order[id(p)] for p in s.planes if id(p) in order) if s.planes else 0)


def _groups(planes: Sequence[Plane]) -> list[list[Plane]]:
    kinds: dict[Hashable, list[Plane]] = defaultdict(list)
    for p in planes:
        if p.position is None:
            alone: Hashable = p.instance if p.multiframe else (p.instance, p.frame)
            kinds["unplaced", alone, p.rows, p.columns, p.colour, p.key if not p.multiframe else ()].append(p)
        else:
            spacing = None if p.spacing is None else tuple(round(s, 4) for s in p.spacing)
            kinds[p.key, p.rows, p.columns, p.colour, spacing].append(p)
    groups: list[list[Plane]] = []
    for members in kinds.values():
        groups += [members] if members[0].position is None else _cluster(members, _directions, COSINE)
    return groups


def _directions(p: Plane) -> NDArray[np.float64]:
    return np.array([*(p.row or ()), *(p.column or ())])


def _cluster(planes: list[Plane], of: Callable[[Plane], NDArray[np.float64]], near: float) -> list[list[Plane]]:
    centres: list[NDArray[np.float64]] = []
    clusters: list[list[Plane]] = []
    for p in planes:
        value = of(p)
        for centre, members in zip(centres, clusters, strict=True):
            if np.max(np.abs(centre - value)) <= near:
                members.append(p)
                break
        else:
            centres.append(value)
            clusters.append([p])
    return clusters


def _stack(group: list[Plane]) -> list[StackPlan]:
    notes = tuple(dict.fromkeys(n for p in group for n in p.notes))
    if group[0].position is None:
        return [_unplaced(group, notes)]
    return _placed(group, notes)


def _unplaced(group: list[Plane], notes: tuple[str, ...]) -> StackPlan:
    first = group[0]
    axis = "space" if len(group) == 1 else "frame"
    spacing = None if first.spacing is None else (*first.spacing, (first.thickness or 0.0) if axis == "space" else 0.0)
    return StackPlan(tuple(group), None, spacing, axis, _view(first), notes)


class Frame:
    """The common axes of parallel planes; depth along the normal, lateral along (x, y), all in mm."""

    def __init__(self, group: list[Plane]) -> None:
        self.x, self.y = np.asarray(group[0].row), np.asarray(group[0].column)
        self.normal = np.cross(self.x, self.y)
        places = np.array([p.position for p in group])
        self.depth = places @ self.normal
        self.lateral = np.stack([places @ self.x, places @ self.y], axis=1)


def _placed(group: list[Plane], notes: tuple[str, ...]) -> list[StackPlan]:
    """Planes of one size, spacing and orientation."""
    frame = Frame(group)
    order = sorted(range(len(group)), key=lambda i: (frame.depth[i], group[i].number, group[i].instance))
    group = [group[i] for i in order]
    frame = Frame(group)
    places = _places(frame.depth)
    pixel = min(group[0].spacing) if group[0].spacing else 1.0
    slabs = _slabs(group, frame, LATERAL_PX * pixel)
    if len(slabs) > 1:
        note = "parallel slices beside each other: split"
        return [s for slab in slabs for s in _placed(slab, (*notes, note))]
    if len(places) == 1 and len(group) > 1:
        return [_in_time(group, notes)]
    if any(len(at) > 1 for at in places):
        return _by_time(group, places, notes)
    if group[0].spacing is None:
        return [StackPlan((p,), None, None, "space", _view(p), notes) for p in group]
    if len(group) == 1:
        return [_single(group[0], frame, notes)]
    return _by_gaps(group, frame, notes)


def _places(depth: NDArray[np.float64]) -> list[list[int]]:
    places = [[0]]
    for i in range(1, len(depth)):
        if depth[i] - depth[places[-1][0]] <= PLACE_MM:
            places[-1].append(i)
        else:
            places.append([i])
    return places


def _slabs(group: list[Plane], frame: Frame, near: float) -> list[list[Plane]]:
    """Groups of planes that share a lateral place, where the planes follow no straight line."""
    if _line(frame)[1] <= near:
        return [group]
    lateral = {id(p): frame.lateral[i] for i, p in enumerate(group)}
    slabs = _cluster(group, lambda p: lateral[id(p)], near)
    same_depth = len(_places(frame.depth)) < len(group)
    return slabs if same_depth or len(slabs) <= len(group) // 2 else [group]


def _line(frame: Frame) -> tuple[NDArray[np.float64], float]:
    """(in-plane place of each plane on the fitted straight line, largest distance from it), mm."""
    depth = frame.depth - frame.depth.mean()
    spread = float(depth @ depth)
    slope = (depth @ (frame.lateral - frame.lateral.mean(axis=0))) / spread if spread > PLACE_MM**2 else np.zeros(2)
    fitted = frame.lateral.mean(axis=0) + depth[:, None] * slope
    return fitted, float(np.abs(frame.lateral - fitted).max())


def _in_time(group: list[Plane], notes: tuple[str, ...]) -> StackPlan:
    """One place, many images: z is time."""
    varying = [i for i in range(len(group[0].times)) if len({p.times[i] for p in group}) == len(group)]
    telling = [i for i in varying if all(p.times[i] not in (None, "") for p in group)]
    ordered = sorted(group, key=lambda p: (p.times[telling[0]] if telling else p.number, p.instance, p.frame))
    spacing = None if group[0].spacing is None else (*group[0].spacing, 0.0)
    note = f"{len(group)} images at one place: the third axis is time"
    return StackPlan(tuple(ordered), None, spacing, "time", _view(group[0]), (*notes, note))


def _by_time(group: list[Plane], places: list[list[int]], notes: tuple[str, ...]) -> list[StackPlan]:
    """Several images at each place: split by the first attribute that makes each part a plain stack."""
    at = {id(group[i]): k for k, members in enumerate(places) for i in members}
    most = max(len(members) for members in places)
    for complete in (True, False):
        for index in range(len(group[0].times)):
            parts: dict[Any, list[Plane]] = defaultdict(list)
            for p in group:
                parts[p.times[index]].append(p)
            unique = all(len({at[id(p)] for p in part}) == len(part) for part in parts.values())
            whole = all(len(part) == len(places) for part in parts.values())
            if None in parts or "" in parts or len(parts) < 2 or not unique:
                continue
            if whole or (not complete and len(parts) <= 2 * most):
                return _parts([parts[k] for k in sorted(parts)], notes, "split by time point")
    ranks: dict[int, list[Plane]] = defaultdict(list)
    for members in places:
        for rank, i in enumerate(sorted(members, key=lambda i: (group[i].number, group[i].instance, group[i].frame))):
            ranks[rank].append(group[i])
    return _parts(list(ranks.values()), notes, "several images at one place: split in the order of their numbers")


def _parts(parts: list[list[Plane]], notes: tuple[str, ...], why: str) -> list[StackPlan]:
    return [s for k, part in enumerate(parts) for s in _placed(part, (*notes, f"{why}, part {k + 1} of {len(parts)}"))]


def _by_gaps(group: list[Plane], frame: Frame, notes: tuple[str, ...]) -> list[StackPlan]:
    depth = frame.depth
    thick = group[0].thickness
    if len(group) == 2 and thick and depth[1] - depth[0] > GAP_LIMIT * thick:
        why = f"two slices {depth[1] - depth[0]:.2f} mm apart but {thick:g} mm thick: split"
        return _parts([[group[0]], [group[1]]], notes, why)
    if _is_even(depth):
        return [_even(group, frame, notes)]
    runs = _runs(depth)
    steps = np.diff(depth)
    median = float(np.median(steps))
    if len(runs) > max(2, -(-len(group) // 3)) and steps.max() <= GAP_LIMIT * median:
        return [_uneven(group, frame, median, notes)]
    why = f"uneven slice distances ({steps.min():.2f} to {steps.max():.2f} mm)"
    return _parts([[group[i] for i in run] for run in runs], notes, f"{why}: split")


def _is_even(depth: NDArray[np.float64]) -> bool:
    if len(depth) < 3:
        return True
    index = np.arange(len(depth)) - (len(depth) - 1) / 2
    step = float(index @ depth / (index @ index))
    off = np.abs(depth - depth.mean() - index * step).max()
    return bool(off <= EVEN_FIT * step and np.abs(np.diff(depth) - step).max() <= EVEN_STEP * step)


def _runs(depth: NDArray[np.float64]) -> list[list[int]]:
    """Maximal runs of equal steps; a plane between two unlike steps goes with the nearer neighbour."""
    median = float(np.median(np.diff(depth)))
    runs: list[list[int]] = [[0]]
    for i in range(1, len(depth)):
        run = runs[-1]
        step = depth[i] - depth[run[-1]]
        if len(run) > 1:
            own = depth[run[1]] - depth[run[0]]
            fits = abs(step - own) <= max(PLACE_MM, RUN_STEP * own)
        else:
            later = depth[i + 1] - depth[i] if i + 1 < len(depth) else median
            fits = step <= later * (1 + RUN_STEP) + PLACE_MM
        if fits:
            run.append(i)
        else:
            runs.append([i])
    return runs


def _single(p: Plane, frame: Frame, notes: tuple[str, ...]) -> StackPlan:
    step = p.thickness or (abs(p.between) if p.between else 0.0)
    if not step:
        notes = (*notes, "slice thickness unknown: the affine's third column is a direction only")
    spacing = None if p.spacing is None else (*p.spacing, step)
    return StackPlan((p,), _affine(p, frame, step or 1.0, (0.0, 0.0)), spacing, "space", _view(p), notes)


def _even(group: list[Plane], frame: Frame, notes: tuple[str, ...]) -> StackPlan:
    step = round(float(frame.depth[-1] - frame.depth[0]) / (len(group) - 1), 6)  # a nanometre: DS rounding below it
    thick = group[0].thickness
    if thick and step > thick * (1 + RUN_STEP):
        notes = (*notes, f"gaps between the slices: {thick:g} mm thick, {step:g} mm apart")
    return _straight(group, frame, step, notes, None)


def _uneven(group: list[Plane], frame: Frame, step: float, notes: tuple[str, ...]) -> StackPlan:
    first, last = float(frame.depth[0]), float(frame.depth[-1])
    count = max(2, round((last - first) / step) + 1)
    even = tuple(float(v) for v in np.linspace(first, last, count))
    why = f"uneven slice distances ({np.diff(frame.depth).min():.2f} to {np.diff(frame.depth).max():.2f} mm)"
    note = f"{why}: resampled to {even[1] - even[0]:.2f} mm by linear interpolation"
    return _straight(group, frame, even[1] - even[0], (*notes, note), even)


def _straight(
    group: list[Plane], frame: Frame, step: float, notes: tuple[str, ...], even: tuple[float, ...] | None
) -> StackPlan:
    """The grid of planes at even depth; planes that drift sideways (a tilted gantry) are shifted back."""
    first = group[0]
    assert first.spacing is not None
    sx, sy = first.spacing
    drift = (frame.lateral - frame.lateral[0]) / np.array([sx, sy])
    shifts = None
    left = top = right = bottom = 0
    if np.abs(drift).max() > LATERAL_PX * 2:
        low, high = np.floor(drift.min(axis=0)), np.ceil(drift.max(axis=0))
        left, top, right, bottom = int(-low[0]), int(-low[1]), int(high[0]), int(high[1])
        if left + right > first.columns or top + bottom > first.rows:
            note = "slices that drift sideways by more than their own size: not stacked"
            return _alone(group, frame, (*notes, note))
        shifts = tuple((float(x), float(y)) for x, y in drift)
        angle = np.degrees(
            np.arctan(np.linalg.norm(frame.lateral[-1] - frame.lateral[0]) / (frame.depth[-1] - frame.depth[0]))
        )
        notes = (*notes, f"tilted or drifting slices ({angle:.1f} degrees): resampled in plane onto a straight grid")
    warp = None
    if shifts is not None or even is not None:
        depths = tuple(float(v) for v in frame.depth) if even is not None else None
        warp = Warp(shifts, (left, top, right, bottom), depths, even)
    affine = _affine(first, frame, step, (-left * sx, -top * sy))
    return StackPlan(tuple(group), affine, (sx, sy, step), "space", _view(first), notes, warp)


def _alone(group: list[Plane], frame: Frame, notes: tuple[str, ...]) -> StackPlan:
    plan_ = _single(group[0], frame, notes)
    spacing = None if plan_.spacing is None else (plan_.spacing[0], plan_.spacing[1], 0.0)
    return replace(plan_, planes=tuple(group), affine=None, spacing=spacing, axis="frame")


def _affine(p: Plane, frame: Frame, step: float, offset: tuple[float, float]) -> Affine | None:
    if p.spacing is None or p.position is None:
        return None
    matrix = np.eye(4)
    matrix[:3, 0] = frame.x * p.spacing[0]
    matrix[:3, 1] = frame.y * p.spacing[1]
    matrix[:3, 2] = frame.normal * step
    matrix[:3, 3] = np.asarray(p.position) + frame.x * offset[0] + frame.y * offset[1]
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in matrix)


def _view(p: Plane) -> str | None:
    """The anatomical plane that the slices lie nearest to."""
    if p.row is None or p.column is None:
        return None
    return ("SAGITTAL", "CORONAL", "AXIAL")[int(np.argmax(np.abs(np.cross(p.row, p.column))))]
