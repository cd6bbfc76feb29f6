"""classical: a weightless model that is pointed at. Any modality, planes and volumes; the baseline a net must beat.

Box, clicks, scribbles, lasso and an earlier mask each give a prior; appearance and a random walker with priors refine
it (``classical_field``). How large a clicked thing is comes from geodesic regions at several scales
(``classical_scale``), what a box holds from several readings of it (``classical_box``). Nothing is learned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Image, Masked, Prompts
from .admission import refuse_unless_admitted
from .classical_box import coordinates, read_box
from .classical_field import Field, Grid, Mask, grid_around, refine
from .classical_scale import expected, mixed
from .classical_turned import Turned, across
from .prompt_rules import changed_box, filled, refuse_bad_prompts
from .protocols import Progress, Session, Setup

MODES = ("point", "box", "scribble", "lasso", "mask")
MARGIN = 0.3
DATA_CLICK, DATA_LASSO, DATA_MASK = 0.6, 1.0, 0.3
UNLIKELY = 0.03
"""Below this a voxel is left out of the neighbourhood of a click."""
SOFT_EDGE = 1.5
"""Samples over which an earlier mask's outline is in doubt: a correction moves it, noise does not."""
LASSO_INSIDE = 0.6
HOLE_SHARE = 0.02
"""Holes smaller than this share of the mask are noise and filled; a spinal canal stays open."""
REMEMBERED = 64
DEPTH_TO_RADIUS = 2.0
"""A correcting click is rarely deeper than half the radius of what it corrects."""
NONE = np.zeros((0, 3), dtype=np.intp)
REST_SHARE = 0.15
"""Separate parts smaller than this share of the largest are left out, unless they were pointed at."""


class Classical:
    """The plugin; its card is the catalog's."""

    modes = MODES

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card

    def session(self, image: Image, progress: Progress | None = None) -> Session:
        """Raises NotAdmitted for an image that the card does not admit."""
        refuse_unless_admitted(self.card, image.facts)
        thin = across(image)
        return ClassicalSession(image) if thin is None else Turned(image, thin, ClassicalSession)


@dataclass(frozen=True, eq=False)
class _Event:
    """One point or open stroke: places (n, 3) as (z, y, x)."""

    places: NDArray[np.intp]
    positive: bool

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Event):
            return NotImplemented
        return self.positive == other.positive and np.array_equal(self.places, other.places)

    def __hash__(self) -> int:
        return hash((self.positive, self.places.tobytes()))


@dataclass(frozen=True, eq=False)
class _State:
    """How likely each sample belongs to it, after some of the prompts."""

    grid: Grid
    field: Field
    note: str


class ClassicalSession:
    """One image as float32 grey values; each prompt works on a grid around what it points at."""

    def __init__(self, image: Image) -> None:
        z, y, x = image.voxels.shape[:3]
        self._shape = (int(z), int(y), int(x))
        grey = image.voxels.mean(axis=-1) if image.facts.colour else image.voxels
        self._grey: Field = np.nan_to_num(grey.astype(np.float32))
        mm = image.facts.spacing or (1.0, 1.0, 1.0)
        self._last: Mask | None = None
        self._states: dict[tuple[Any, ...], _State] = {}
        # Frames of a cine are no neighbours in space: one of them counts as one in-plane voxel, as if it were.
        known = min(mm) > 0 and image.facts.axis == "space"
        self._spacing = np.array(mm[::-1] if known else (1.0, 1.0, 1.0), dtype=np.float64)

    def predict(self, prompts: Prompts) -> Masked:
        """The mask (z, y, x) for all prompts. Raises PromptRefused for prompts that cannot be used.

        Points and scribbles are taken in order: the first positive one (or the box, mask or lasso) says what is meant,
        each further one corrects the answer so far around itself. What came before is remembered.
        """
        refuse_bad_prompts(prompts, self._shape, MODES, "classical")
        lasso = _lassos(prompts, self._shape, True)
        events = _events(prompts)
        if prompts.box is None and prompts.mask is None and lasso is None:
            first = next(k for k, e in enumerate(events) if e.positive)
            events.insert(0, events.pop(first))
            state, rest = self._known((events[0],), lambda: self._from_clicks(events[0].places)), events[1:]
            base: tuple[Any, ...] = (events[0],)
        else:
            base = (prompts.box, _digest(prompts.mask), _digest(lasso))
            state, rest = self._known(base, lambda: self._from_region(prompts, lasso)), events
        for k, event in enumerate(rest):
            before = state
            state = self._known((*base, *rest[: k + 1]), lambda: self._corrected(before, event, rest[:k]))  # noqa: B023
        mask = self._masked(state, [e for e in events if e.positive], [e for e in events if not e.positive])
        if (out := _lassos(prompts, self._shape, False)) is not None:
            mask &= ~out
        if prompts.box is not None:
            # Samples of a coarse grid reach over the box's faces.
            x0, y0, z0, x1, y1, z1 = prompts.box
            held = np.zeros_like(mask)
            held[z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1] = mask[z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1]
            mask = held
        changed, self._last = changed_box(self._last, mask), mask
        return Masked(mask, _expected_dice(state, mask[state.grid.bounds]), changed, (state.note,))

    def close(self) -> None:
        """Lets go of what was remembered."""
        self._states.clear()
        self._last = None

    def _known(self, key: tuple[Any, ...], make: Callable[[], _State]) -> _State:
        if key not in self._states:
            if len(self._states) >= REMEMBERED:
                self._states.pop(next(iter(self._states)))
            self._states[key] = make()
        return self._states[key]

    def _from_region(self, prompts: Prompts, lasso: Mask | None) -> _State:
        if prompts.box is not None:
            return self._from_box(prompts.box)
        if prompts.mask is not None:
            return self._from_mask(prompts.mask.astype(bool) if lasso is None else prompts.mask.astype(bool) | lasso)
        assert lasso is not None
        return self._from_lasso(lasso)

    def _from_box(self, box: tuple[int, ...]) -> _State:
        low, high = np.array(box[2::-1]), np.array(box[:2:-1])
        grid = grid_around(low, high, self._shape, self._spacing, MARGIN)
        if low[0] == high[0]:
            # Drawn on one plane: the neighbours of that plane are not asked.
            grid = Grid((int(low[0]), *grid.start[1:]), (int(low[0]) + 1, *grid.stop[1:]), (1, *grid.shape[1:]))
        places = coordinates(grid, low, high)
        grey = mixed(grid.down(self._grey), np.maximum.reduce([np.abs(p) for p in places]) <= 1 + MARGIN)
        nothing = np.zeros(grid.shape, dtype=bool)
        return _State(grid, read_box(grey, places, nothing, nothing), "what the box holds")

    def _from_clicks(self, places: NDArray[Any]) -> _State:
        likely = expected(self._grey, self._spacing, places, NONE)
        where = np.concatenate([np.argwhere(likely > UNLIKELY), places])
        grid = grid_around(where.min(0), where.max(0), self._shape, self._spacing, 0.1)
        seeds = _placed(grid, places, NONE)
        field = refine(mixed(grid.down(self._grey)), grid.down(likely, smooth=False), *seeds, data=DATA_CLICK)
        return _State(grid, field, "what lies around the click, its size judged at several scales")

    def _from_lasso(self, lasso: Mask) -> _State:
        where = np.argwhere(lasso)
        low, high = where.min(0), where.max(0)
        radius = float(np.sqrt(lasso.sum() * self._spacing[1] * self._spacing[2] / np.pi))
        flat = self._shape[0] == 1
        deep = 0 if flat else int(np.ceil(radius / self._spacing[0]))
        low[0], high[0] = max(low[0] - deep, 0), min(high[0] + deep, self._shape[0] - 1)
        grid = grid_around(low, high, self._shape, self._spacing, 0.1)
        drawn = np.zeros(self._shape, dtype=np.float32)
        drawn[low[0] : high[0] + 1] = lasso.any(axis=0)
        inside = grid.down(drawn, smooth=False) >= 0.5
        depth = _depth(inside)
        prior = np.where(inside, LASSO_INSIDE + (0.95 - LASSO_INSIDE) * np.clip(depth / max(depth.max(), 1), 0, 1), 0.0)
        if not flat:
            planes = np.arange(grid.shape[0]) * grid.step[0] + grid.start[0]
            off = np.abs(planes - float(where[:, 0].mean())) * self._spacing[0] / max(radius, 1e-6)
            prior *= np.clip(1.15 - off, 0, 1)[:, None, None]
        nothing = np.zeros(grid.shape, dtype=bool)
        grey = mixed(grid.down(self._grey))
        field = refine(grey, prior.astype(np.float32), nothing, nothing, data=DATA_LASSO)
        return _State(grid, field, "what the lasso encloses")

    def _from_mask(self, mask: Mask) -> _State:
        where = np.argwhere(mask)
        grid = grid_around(where.min(0), where.max(0), self._shape, self._spacing, 0.15)
        prior = np.clip(_softened(grid.down(mask, smooth=False)), 0.0, 0.98)
        nothing = np.zeros(grid.shape, dtype=bool)
        field = refine(mixed(grid.down(self._grey)), prior, nothing, nothing, data=DATA_MASK, rounds=2)
        return _State(grid, field, "the earlier mask, drawn to the edges nearby")

    def _corrected(self, before: _State, event: _Event, earlier: list[_Event]) -> _State:
        """The answer so far, changed around one point or stroke; as it was where that agrees with it already."""
        from scipy.ndimage import distance_transform_edt

        whole = np.zeros(self._shape, dtype=np.float32)
        whole[before.grid.bounds] = np.clip(before.grid.up(before.field), 0, 1)
        mask = whole >= 0.5
        at = tuple(event.places.T)
        wrong = mask[at] != event.positive
        places = {sign: [e.places for e in earlier if e.positive is sign] for sign in (True, False)}
        places[event.positive].append(event.places)
        plus, minus = (np.concatenate(places[s]) if places[s] else NONE for s in (True, False))
        if wrong.any():
            # The click lies near the middle of what is wrong: its depth there says how large that is.
            area = ~mask if event.positive else mask
            # The crop holds the whole mask and the click, so that distances to the mask are those of the volume.
            near = np.concatenate([np.argwhere(mask), event.places])
            corner = np.maximum(near.min(0) - 1, 0)
            crop = tuple(slice(a, b + 2) for a, b in zip(corner, near.max(0), strict=True))
            inside = tuple((event.places - corner).T)
            depth = distance_transform_edt(area[crop], self._spacing)[inside].max() / self._spacing[-1]
            flat = self._shape[0] == 1
            deep = max(DEPTH_TO_RADIUS * float(depth), 1.5)
            usual = np.pi * deep**2 if flat else 4 / 3 * np.pi * deep**3 * self._spacing[-1] / self._spacing[0]
            usual = min(usual, 2.0 * max(int(mask.sum()), 20)) if event.positive else min(usual, 0.7 * int(mask.sum()))
            against = minus if event.positive else plus
            likely = expected(
                self._grey, self._spacing, event.places[wrong], against, usual=max(usual, 4.0), within=area
            )
            whole = np.maximum(whole, likely) if event.positive else whole * (1 - likely)
        where = np.concatenate([np.argwhere(whole > UNLIKELY), plus])
        grid = grid_around(where.min(0), where.max(0), self._shape, self._spacing, 0.1)
        prior = np.clip(grid.down(whole, smooth=False), 0.0, 0.98)
        seeds = _placed(grid, plus, minus)
        field = refine(mixed(grid.down(self._grey)), prior, *seeds, data=DATA_MASK, rounds=1)
        return _State(grid, field, before.note)

    def _masked(self, state: _State, positive: list[_Event], negative: list[_Event]) -> Mask:
        """Thresholded, what was pointed at kept, specks and pinholes gone."""
        from scipy.ndimage import binary_fill_holes, label

        fine, grid = state.grid.up(state.field), state.grid
        part = fine >= 0.5
        if not part.any():
            part = fine >= max(0.6 * float(fine.max()), 1e-3)
        offset = np.array(grid.start)
        kept = [tuple(v - offset) for e in positive for v in e.places if _within(v, grid)]
        for v in kept:
            part[v] = True
        parts, count = label(part)
        if count > 1:
            sizes = np.bincount(parts.ravel())[1:]
            stay = {int(parts[v]) for v in kept} or {
                k + 1 for k, s in enumerate(sizes) if s >= REST_SHARE * sizes.max()
            }
            part = np.isin(parts, list(stay))
        holes = (binary_fill_holes(part[0])[None] if part.shape[0] == 1 else binary_fill_holes(part)) & ~part
        if holes.any():
            parts, _ = label(holes)
            small = np.bincount(parts.ravel()) < max(HOLE_SHARE * int(part.sum()), 2)
            small[0] = False
            part |= small[parts]
        mask = np.zeros(self._shape, dtype=bool)
        mask[grid.bounds] = part
        for event in negative:
            mask[tuple(event.places.T)] = False
        return mask


def _events(prompts: Prompts) -> list[_Event]:
    """Points and open strokes in the order given."""
    out = [_Event(np.array([p.voxel[::-1]]), p.positive) for p in prompts.points]
    for stroke in prompts.strokes:
        if not stroke.closed:
            out.append(_Event(np.unique([v[::-1] for v in stroke.voxels], axis=0), stroke.positive))
    return out


def _digest(mask: Mask | None) -> str | None:
    return None if mask is None else hashlib.sha256(np.ascontiguousarray(mask).tobytes()).hexdigest()


def _lassos(prompts: Prompts, shape: tuple[int, ...], positive: bool) -> Mask | None:
    drawn = [filled(s, shape) for s in prompts.strokes if s.closed and s.positive == positive]
    return np.logical_or.reduce(drawn) if drawn else None


def _within(voxel: Any, grid: Grid) -> bool:
    return all(a <= v < b for a, v, b in zip(grid.start, voxel, grid.stop, strict=True))


def _placed(grid: Grid, positive: Any, negative: Any) -> tuple[Mask, Mask]:
    """Seeds as samples; where a coarse sample holds both signs neither is forced, the voxels themselves are later."""
    masks = []
    for voxels in (positive, negative):
        mask = np.zeros(grid.shape, dtype=bool)
        for v in voxels:
            if _within(v, grid):
                mask[grid.place((int(v[2]), int(v[1]), int(v[0])))] = True
        masks.append(mask)
    both = masks[0] & masks[1]
    return masks[0] & ~both, masks[1] & ~both


def _depth(inside: Mask) -> Field:
    """In-plane samples to the outline, plane by plane."""
    from scipy.ndimage import distance_transform_edt

    return np.stack([distance_transform_edt(np.pad(p, 1))[1:-1, 1:-1] for p in inside]).astype(np.float32)


def _softened(prior: Field) -> Field:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(prior, [0.0 if n == 1 else SOFT_EDGE for n in prior.shape]), dtype=np.float32)


def _expected_dice(state: _State, part: Mask) -> float | None:
    """Dice of the mask with a truth drawn from the field: 2 sum(field in mask) / (sum(mask) + sum(field))."""
    fine = state.grid.up(state.field)
    total = float(part.sum()) + float(fine.sum())
    return round(min(max(2.0 * float(fine[part].sum()) / total, 0.0), 1.0), 3) if total > 0 else None
