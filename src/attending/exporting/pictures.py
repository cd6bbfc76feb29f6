"""Images and their overlays as small PNGs: what a page shows. Display only; nothing here is measured.

Volumes with an affine are turned to patient axes (inferior to superior, anterior to posterior, right to left) and shown
in three orthogonal planes by radiological convention: the patient's right is on the left of the picture. Stacks that
are thin, temporal or without an affine keep their own plane.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..imaging import auto_window, heat_layer, label_layer, overlay, to_png, window
from ..records import Finding, Image
from .views import Crop, View, views_of

STRIP = {"axial": 15, "coronal": 7, "sagittal": 7, "own": 15}
"""Evenly spaced slices per plane: enough to scroll through, few enough to keep a page light."""

SMALL_RANGE = 4.0
"""Float images that stay below this are maps in 0..1 or the like: shown over their own range."""

EXTRA = 10
"""More slices per plane for small regions that none of the evenly spaced ones shows."""

FILLED = 0.004
"""Share of a plane that must be brighter than air before the plane belongs to the body: noise is thinner than that."""

MAX_SIDE = 1024
"""Longest side of a picture in pixels; a page is for reading the draft, not for primary diagnosis."""


@dataclass(frozen=True)
class Slice:
    """One picture. index counts display slices of the plane in the volume; layers: array_key -> overlay PNG."""

    index: int
    png: bytes = field(repr=False)
    width: int
    height: int
    layers: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Plane:
    """One plane's slices in order. letters: patient directions at (top, right, bottom, left), or None."""

    name: str
    of: int
    letters: tuple[str, str, str, str] | None
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Spot:
    """Where a finding's region is drawn.

    label  value in the overlay PNG of ``ref`` (masks); None for heat maps and boxes.
    at     plane name -> position in ``Plane.slices`` that shows most of it.
    boxes  plane name -> (left, top, right, bottom) as fractions of the picture.
    """

    image: str
    kind: str
    ref: str | None
    label: int | None
    at: Mapping[str, int]
    boxes: Mapping[str, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Picture:
    """One image of the study as planes of slices, with the spots of the findings that are on it."""

    image: str
    planes: tuple[Plane, ...]
    spots: Mapping[str, Spot]

    @property
    def size(self) -> int:
        """Bytes of all PNGs."""
        return sum(len(s.png) + sum(map(len, s.layers.values())) for p in self.planes for s in p.slices)


def picture(
    image: Image,
    findings: Sequence[Finding],
    arrays: Mapping[str, NDArray[Any]],
    budget: int,
    greyed: bool = False,
) -> Picture:
    """Pictures of one image, its PNGs together at most about ``budget`` bytes.

    arrays   array_key -> label map or heat map on the image's grid (z, y, x).
    greyed   every picture becomes an even grey; the overlays stay. For pictures that may not be copied.
    """
    own = [f for f in findings if f.region is not None and f.region.image == image.id]
    views = views_of(image)
    tone = _tone(image)
    extents = _profiles(image, own, arrays)
    crop = _crop(image, extents) if len(views) == 3 else [(0, n) for n in image.facts.shape[:3]]
    chosen = {v.name: _choose(v, image, extents, crop) for v in views}
    labels = _compact(own)
    side = MAX_SIDE
    for _ in range(4):
        planes = tuple(_plane(v, image, chosen[v.name], crop, own, arrays, labels, tone, side, greyed) for v in views)
        drawn = Picture(image.id, planes, _spots(views, image, own, extents, labels, chosen, crop))
        largest = max(max(s.width, s.height) for p in planes for s in p.slices)
        if drawn.size <= budget or largest <= 64:
            break
        side = max(64, int(largest * min(0.9, (budget / drawn.size) ** 0.5 * 0.95)))
    return drawn


def thumbnail(drawn: Picture) -> bytes:
    """A PNG of at most 320 pixels with every region painted in, for an index."""
    plane = drawn.planes[0]
    spots = [s.at[plane.name] for s in drawn.spots.values() if plane.name in s.at]
    at = spots[0] if spots else len(plane.slices) // 2
    chosen = plane.slices[at]
    from PIL import Image as Pil

    base = np.asarray(Pil.open(io.BytesIO(chosen.png)))
    for ref, png in chosen.layers.items():
        drawn_layer = np.asarray(Pil.open(io.BytesIO(png)))
        heat = any(s.ref == ref and s.kind == "heatmap" for s in drawn.spots.values())
        base = overlay(base, heat_layer(drawn_layer / 255.0) if heat else label_layer(drawn_layer))
    small = Pil.fromarray(base)
    small.thumbnail((320, 320))
    return to_png(np.asarray(small))


def _tone(image: Image) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """Voxels -> 8-bit grey by one window for the whole image; colour stays as it is."""
    if image.facts.colour:
        return lambda cut: np.ascontiguousarray(cut.astype(np.uint8))
    voxels = image.voxels
    if voxels.dtype.kind == "f":
        finite = voxels[np.isfinite(voxels)]
        peak = float(np.abs(finite).max()) if finite.size else 1.0
        if peak < SMALL_RANGE:
            scale = 1000.0 / max(peak, 1e-12)  # a DICOM window cannot be narrower than one unit
            return lambda cut: window(np.nan_to_num(cut) * scale, 500.0, 1000.0)
    centre, width = auto_window(image)
    return lambda cut: window(np.nan_to_num(cut), centre, width)


def _profiles(
    image: Image, own: Sequence[Finding], arrays: Mapping[str, NDArray[Any]]
) -> dict[str, list[NDArray[np.float64]]]:
    """Finding id -> how much of its region lies on each index, per array axis; regions that are empty are left out."""
    grid = tuple(image.facts.shape[:3])
    boxes: dict[str, dict[int, tuple[slice, ...]]] = {}
    out = {}
    for f in own:
        region = f.region
        if region is None:
            continue
        array = arrays.get(region.ref or "")
        if array is not None and tuple(array.shape) != grid:
            array = None
        profiles = [np.zeros(n) for n in grid]
        if region.kind == "mask" and array is not None and region.ref and region.label is not None:
            if region.ref not in boxes:
                boxes[region.ref] = _boxes(array)
            where = boxes[region.ref].get(region.label)
            if where is not None:
                _add(profiles, where, array[where] == region.label)
        elif region.kind == "heatmap" and array is not None:
            _add(profiles, (slice(None),) * 3, np.where(array >= 0.5 * array.max(), array, 0))
        elif region.box is not None:
            x0, y0, z0, x1, y1, z1 = region.box
            for profile, low, high in zip(profiles, (z0, y0, x0), (z1, y1, x1), strict=True):
                inside = np.arange(len(profile))
                inside = inside[(inside >= low) & (inside <= high)]
                profile[inside] = 1 + (high - low) - np.abs(inside - (low + high) / 2)
        if all(p.any() for p in profiles):
            out[f.id] = profiles
    return out


def _boxes(labels: NDArray[Any]) -> dict[int, tuple[slice, ...]]:
    from scipy.ndimage import find_objects

    found = find_objects(labels if labels.dtype.kind == "i" else labels.astype(np.int32))
    return {value: where for value, where in enumerate(found, start=1) if where is not None}


def _add(profiles: list[NDArray[np.float64]], where: tuple[slice, ...], inside: NDArray[Any]) -> None:
    for axis in range(3):
        profiles[axis][where[axis]] += inside.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)


def _crop(image: Image, extents: Mapping[str, list[NDArray[np.float64]]]) -> list[tuple[int, int]]:
    """The box of what is not empty around the body, a margin, and every region: air is not worth a page's bytes."""
    voxels = image.voxels
    centre, width = auto_window(image)
    filled = voxels > centre - 0.4 * width if not image.facts.colour else voxels.max(axis=3) > 16
    out = []
    for axis in range(3):
        n = voxels.shape[axis]
        share = filled.mean(axis=tuple(a for a in range(3) if a != axis))
        inside = np.flatnonzero((share > FILLED) | np.any([p[axis] > 0 for p in extents.values()], axis=0))
        margin = n // 40
        low, high = (int(inside[0]) - margin, int(inside[-1]) + 1 + margin) if inside.size else (0, n)
        out.append((max(0, low), min(n, high)))
    return out


def _choose(view: View, image: Image, extents: Mapping[str, list[NDArray[np.float64]]], crop: Crop) -> list[int]:
    """Display indices to draw: evenly through the regions (or the whole), and what more it takes to show each region
    at least at half its largest section."""
    shape = image.facts.shape
    profiles = [p[view.axis] for p in extents.values()]
    inside = np.flatnonzero(np.sum(profiles, axis=0)) if profiles else range(*crop[view.axis])
    low, high = sorted(round(view.place(view.axis, int(i), shape)) for i in (inside[0], inside[-1]))
    count = min(STRIP[view.name], high - low + 1)
    chosen = {round(v) for v in np.linspace(low, high, count)} if count > 1 else {(low + high) // 2}
    if not profiles:
        return sorted(chosen)
    order = [round(view.place(view.axis, i, shape)) for i in range(shape[view.axis])]
    shows = np.array([p >= 0.5 * p.max() for p in profiles])[:, np.argsort(order)]
    open_ = ~shows[:, sorted(chosen)].any(axis=1)
    while open_.any() and len(chosen) < STRIP[view.name] + EXTRA:
        best = int(np.argmax(shows[open_].sum(axis=0)))
        chosen.add(best)
        open_ &= ~shows[:, best]
    return sorted(chosen)


def _compact(own: Sequence[Finding]) -> dict[str, dict[int, int]]:
    """ref -> label value -> its value in the 8-bit overlay."""
    out: dict[str, dict[int, int]] = {}
    for f in own:
        region = f.region
        if region is not None and region.kind == "mask" and region.ref and region.label is not None:
            known = out.setdefault(region.ref, {})
            if region.label not in known and len(known) < 255:
                known[region.label] = len(known) + 1
    return out


def _plane(
    view: View,
    image: Image,
    indices: Sequence[int],
    crop: Crop,
    own: Sequence[Finding],
    arrays: Mapping[str, NDArray[Any]],
    labels: Mapping[str, Mapping[int, int]],
    tone: Callable[[NDArray[Any]], NDArray[np.uint8]],
    side: int,
    greyed: bool,
) -> Plane:
    from PIL import Image as Pil

    grid = tuple(image.facts.shape[:3])
    heats = {f.region.ref for f in own if f.region and f.region.kind == "heatmap" and f.region.ref}
    slices = []
    for index in indices:
        base = tone(view.cut(image.voxels, index, crop))
        if greyed:
            base = np.full(base.shape[:2], 96, np.uint8)
        size = _size(base.shape[0], base.shape[1], view.pixel, side)
        layers: dict[str, bytes] = {}
        for ref, table in labels.items():
            array = arrays.get(ref)
            if array is None or tuple(array.shape) != grid:
                continue
            cut = view.cut(array, index, crop)
            drawn = np.zeros(cut.shape, np.uint8)
            for value, small in table.items():
                drawn[cut == value] = small
            if drawn.any():
                layers[ref] = to_png(np.asarray(Pil.fromarray(drawn).resize(size, Pil.Resampling.NEAREST)))
        for ref in sorted(heats):
            array = arrays.get(ref)
            if array is None or tuple(array.shape) != grid:
                continue
            cut = np.clip(np.nan_to_num(view.cut(array, index, crop)), 0, 1)
            grey = np.ascontiguousarray((cut * 255).astype(np.uint8))
            layers[ref] = to_png(np.asarray(Pil.fromarray(grey).resize(size, Pil.Resampling.BILINEAR)))
        scaled = Pil.fromarray(np.ascontiguousarray(base))
        if scaled.size != size:
            scaled = scaled.resize(size, Pil.Resampling.LANCZOS)
        slices.append(Slice(index, to_png(np.asarray(scaled)), *size, layers))
    return Plane(view.name, image.facts.shape[view.axis], view.letters, tuple(slices))


def _size(rows: int, cols: int, pixel: tuple[float, float], side: int) -> tuple[int, int]:
    """(width, height) with square millimetres, the longest side at most ``side``; never enlarged beyond the finer
    of its two pixel spacings."""
    finest = min(pixel)
    height, width = rows * pixel[0] / finest, cols * pixel[1] / finest
    scale = min(1.0, side / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _spots(
    views: Sequence[View],
    image: Image,
    own: Sequence[Finding],
    extents: Mapping[str, list[NDArray[np.float64]]],
    labels: Mapping[str, Mapping[int, int]],
    chosen: Mapping[str, Sequence[int]],
    crop: Crop,
) -> dict[str, Spot]:
    shape = image.facts.shape
    spots = {}
    for f in own:
        profiles = extents.get(f.id)
        if profiles is None or f.region is None:
            continue
        at, boxes = {}, {}
        for view in views:
            along = profiles[view.axis]
            places = [round(view.place(view.axis, i, shape)) for i in chosen[view.name]]
            shown = along[places]
            if not shown.any():
                at[view.name] = int(np.argmin(np.abs(np.array(places) - int(np.argmax(along)))))
                continue
            at[view.name] = int(np.argmax(shown))
            ends = []
            for axis in (view.cols, view.rows):
                filled = np.flatnonzero(profiles[axis])
                a, b, first, last = (view.place(axis, i, shape) for i in (filled[0], filled[-1], *crop[axis]))
                first, last = sorted((first, last + (1 if last < first else -1)))
                extent = last - first + 1
                ends.append(((min(a, b) - first) / extent, (max(a, b) + 1 - first) / extent))
            boxes[view.name] = (ends[0][0], ends[1][0], ends[0][1], ends[1][1])
        label = labels.get(f.region.ref or "", {}).get(f.region.label) if f.region.label is not None else None
        spots[f.id] = Spot(image.id, f.region.kind, f.region.ref, label, at, boxes)
    return spots
