"""Label maps that look like anatomy without being anybody's: one function per kind, each returns a filled Sheet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .fields import Sheet, smooth

Rng = np.random.Generator
Kind = Callable[[Rng, int], Sheet]


def partition(rng: Rng, size: int) -> Sheet:
    """Every place belongs to the strongest of several smooth fields: SynthSeg's random shapes."""
    sheet = Sheet(size, rng)
    count = int(rng.integers(3, 12))
    fields = np.stack([smooth(rng, size, int(rng.integers(2, 12))) for _ in range(count)])
    sheet.labels = fields.argmax(0).astype(np.int16)
    sheet.last = count
    sheet.groups = [(k,) for k in range(count)]
    return sheet


def cells(rng: Rng, size: int) -> Sheet:
    """Voronoi cells, sometimes with walls between them."""
    sheet = Sheet(size, rng)
    count = int(rng.integers(5, 40))
    y, x = rng.uniform(0, size, (2, count)).astype(np.float32)
    pixels = np.arange(size, dtype=np.float32)
    far = (pixels[None, :, None] - y[:, None, None]) ** 2 + (pixels[None, None, :] - x[:, None, None]) ** 2
    nearest = np.sqrt(np.partition(far, 1, axis=0)[:2])
    sheet.labels = (far.argmin(0) + 1).astype(np.int16)
    sheet.last = count
    sheet.groups = [(k + 1,) for k in range(count)]
    if rng.random() < 0.5:
        sheet.labels[nearest[1] - nearest[0] < rng.uniform(2, 8)] = 0
    return sheet


def layers(rng: Rng, size: int) -> Sheet:
    """Level sets of smooth noise: thin curved bands, closed shells, a folded ribbon."""
    sheet = Sheet(size, rng)
    field = smooth(rng, size, int(rng.integers(2, 9)))
    if rng.random() < 0.5:
        grid = np.linspace(-1, 1, size, dtype=np.float32)
        field = field * 0.4 + 4 * np.hypot(grid[:, None], grid[None, :])
    edges = np.sort(rng.uniform(np.quantile(field, 0.05), np.quantile(field, 0.95), int(rng.integers(2, 9))))
    sheet.labels = np.digitize(field, edges).astype(np.int16)
    sheet.last = len(edges)
    sheet.groups = [(k,) for k in range(len(edges) + 1)]
    sheet.groups += [tuple(range(k, len(edges) + 1)) for k in range(1, len(edges))]
    return sheet


def torso(rng: Rng, size: int) -> Sheet:
    """A body with skin, wall, spine, ribs, lungs or organs in pairs and alone, vessels and bowel as rings."""
    sheet = Sheet(size, rng)
    ry, rx = rng.uniform(0.28, 0.46), rng.uniform(0.36, 0.49)
    wall = 1 - rng.uniform(0.05, 0.25)
    body = sheet.blob(
        (0.5, 0.5), (ry, rx), wobble=0.08, rings=(1.0, float(wall), float(wall - rng.uniform(0.03, 0.12)))
    )
    inner = body[-1:]
    if rng.random() < 0.6:
        _pair(sheet, 0.5 + rng.uniform(-0.05, 0.05), rx * 0.48, (ry * 0.5, rx * 0.33), inner, vessels=True)
    for _ in range(int(rng.integers(1, 9))):
        _organ(sheet, (0.5, 0.5), (ry * 0.6, rx * 0.7), inner if rng.random() < 0.7 else None)
    if rng.random() < 0.5:
        _pair(sheet, 0.5 + ry * 0.35, rx * 0.4, (ry * 0.2, rx * 0.13), None)
    for _ in range(int(rng.integers(0, 8))):
        _tube(sheet, (0.5 + rng.uniform(-0.7, 0.7) * ry, 0.5 + rng.uniform(-0.7, 0.7) * rx), rng.uniform(0.01, 0.05))
    _vertebra(sheet, (0.5 + ry * rng.uniform(0.45, 0.7), 0.5 + rng.uniform(-0.03, 0.03)), rng.uniform(0.035, 0.08))
    for _ in range(int(rng.integers(0, 16))):
        turn, at = rng.uniform(0, 6.28), wall - rng.uniform(0.0, 0.08)
        place = (0.5 + ry * at * np.sin(turn), 0.5 + rx * at * np.cos(turn))
        _bone(sheet, place, (rng.uniform(0.008, 0.02), rng.uniform(0.02, 0.07)), turn)
    return sheet


def head(rng: Rng, size: int) -> Sheet:
    """Scalp, skull and fluid as shells, a brain with a folded ribbon of cortex, ventricles, paired nuclei, lesions."""
    sheet = Sheet(size, rng)
    ry, rx = rng.uniform(0.36, 0.48), rng.uniform(0.3, 0.46)
    rings = 1 - np.cumsum(rng.uniform(0.02, 0.09, 4))
    shells = sheet.blob((0.5, 0.5), (ry, rx), wobble=0.05, rings=(1.0, *(float(r) for r in rings)))
    brain, fluid = shells[-1], shells[-2]
    white, inside = sheet.new(), sheet.labels == brain
    folds = smooth(rng, size, int(rng.integers(7, 20)))
    depth = np.clip(4 * rng.uniform(0.3, 1.2) * (1 - _far(size, ry, rx)), 0, 2) - 0.5
    sheet.labels[inside & (folds * 0.5 + depth > 0.35)] = white
    sheet.labels[inside & (folds < -1.7)] = fluid
    sheet.groups += [(white,), (brain,), (brain, white)]
    if rng.random() < 0.7:
        _pair(sheet, 0.5 + rng.uniform(-0.1, 0.1), rng.uniform(0.03, 0.08), (rng.uniform(0.05, 0.16), 0.03), None)
    for _ in range(int(rng.integers(1, 4))):
        reach = rng.uniform(0.06, 0.2)
        _pair(sheet, 0.5 + rng.uniform(-0.2, 0.2), reach, (rng.uniform(0.02, 0.06), rng.uniform(0.015, 0.05)), None)
    for _ in range(int(rng.integers(0, 4))):
        _organ(sheet, (0.5, 0.5), (ry * 0.7, rx * 0.7), None, least=0.01, most=0.1)
    return sheet


def limb(rng: Rng, size: int) -> Sheet:
    """One or two limbs: skin, fat, muscles apart by septa, bones with a bright cortex and marrow, vessels."""
    sheet = Sheet(size, rng)
    two = rng.random() < 0.4
    for cx in (0.27, 0.73) if two else (0.5,):
        r = rng.uniform(0.17, 0.22) if two else rng.uniform(0.25, 0.45)
        fat = float(rng.uniform(0.65, 0.95))
        body = sheet.blob((0.5, cx), (r * rng.uniform(0.8, 1.2), r), wobble=0.08, rings=(1.0, 0.97, fat))
        for _ in range(int(rng.integers(2, 7))):
            _organ(sheet, (0.5, cx), (r * 0.6, r * 0.6), body[-1:], least=0.15 * r, most=0.5 * r)
        for _ in range(int(rng.integers(1, 3))):
            at = (0.5 + rng.uniform(-0.4, 0.4) * r, cx + rng.uniform(-0.4, 0.4) * r)
            bone = r * rng.uniform(0.12, 0.3)
            sheet.blob(at, (bone, bone * rng.uniform(0.7, 1.3)), rings=(1.0, float(rng.uniform(0.5, 0.85))), wobble=0.1)
        for _ in range(int(rng.integers(1, 6))):
            at = (0.5 + rng.uniform(-0.7, 0.7) * r, cx + rng.uniform(-0.7, 0.7) * r)
            _tube(sheet, at, rng.uniform(0.008, 0.03))
    return sheet


def tree(rng: Rng, size: int) -> Sheet:
    """Vessels or airways that branch over a background of a few regions."""
    sheet = partition(rng, size) if rng.random() < 0.5 else Sheet(size, rng)
    sheet.groups = []
    for _ in range(int(rng.integers(1, 4))):
        name = sheet.new()
        todo = [(rng.uniform(0, size, 2), rng.uniform(0, 6.28), rng.uniform(1.0, 0.035 * size))]
        for _ in range(int(rng.integers(3, 12))):
            if not todo:
                break
            place, turn, width = todo.pop(0)
            n = int(rng.integers(size // 6, size))
            turns = turn + np.cumsum(rng.normal(0, 0.12, n))
            steps = np.stack([np.sin(turns), np.cos(turns)], axis=1)
            places = place + np.cumsum(steps, axis=0)
            widths = np.linspace(width, max(width * 0.6, 0.7), n)
            sheet.path(places[::2], widths[::2], name)
            for _ in range(2):
                at = int(rng.integers(n // 3, n))
                todo.append((places[at], turns[at] + rng.choice([-1, 1]) * rng.uniform(0.3, 1.2), widths[at] * 0.75))
        sheet.groups.append((name,))
    return sheet


def lesions(rng: Rng, size: int) -> Sheet:
    """Few or many blobs and rings, large and small, on a plain or parted ground."""
    sheet = partition(rng, size) if rng.random() < 0.5 else Sheet(size, rng)
    few = sheet.groups[:2]
    sheet.groups = []
    most = rng.uniform(0.03, 0.3)
    for _ in range(int(rng.integers(1, 14))):
        _organ(sheet, (0.5, 0.5), (0.45, 0.45), None, least=0.012, most=most)
    sheet.groups += few
    return sheet


def _far(size: int, ry: float, rx: float) -> NDArray[np.float32]:
    grid = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    far: NDArray[np.float32] = np.hypot(grid[:, None] / np.float32(ry), grid[None, :] / np.float32(rx))
    return far


def _organ(
    sheet: Sheet,
    centre: tuple[float, float],
    spread: tuple[float, float],
    only: tuple[int, ...] | None,
    least: float = 0.02,
    most: float = 0.16,
) -> None:
    rng = sheet.rng
    at = (centre[0] + rng.uniform(-1, 1) * spread[0], centre[1] + rng.uniform(-1, 1) * spread[1])
    r = float(np.exp(rng.uniform(np.log(least), np.log(max(most, least * 1.1)))))
    long = r * rng.uniform(0.35, 1.0)
    rings: tuple[float, ...] = (1.0,)
    draw = rng.random()
    if draw < 0.3:
        rings = (1.0, float(rng.uniform(0.4, 0.9)))
    elif draw < 0.4:
        rings = (1.0, float(rng.uniform(0.7, 0.9)), float(rng.uniform(0.3, 0.6)))
    sheet.blob(at, (r, long), angle=rng.uniform(0, 3.14), wobble=rng.uniform(0, 0.35), rings=rings, only=only)


def _pair(
    sheet: Sheet, y: float, off: float, radii: tuple[float, float], only: tuple[int, ...] | None, vessels: bool = False
) -> None:
    """Left and right, alike but not equal; a person may mean either or both."""
    rng = sheet.rng
    tilt, wobble = rng.uniform(-0.5, 0.5), rng.uniform(0.05, 0.25)
    both: list[int] = []
    rings = (1.0, float(rng.uniform(0.4, 0.85))) if rng.random() < 0.25 else (1.0,)
    for side in (-1, 1):
        at = (y + rng.normal(0, 0.01), 0.5 + side * off)
        size = (radii[0] * rng.uniform(0.85, 1.15), radii[1] * rng.uniform(0.85, 1.15))
        names = sheet.blob(at, size, angle=side * tilt, wobble=wobble, only=only, rings=rings)
        both += names
        for _ in range(int(rng.integers(2, 8)) if vessels else 0):
            spot = (at[0] + rng.uniform(-0.7, 0.7) * size[0], at[1] + rng.uniform(-0.7, 0.7) * size[1])
            r = rng.uniform(0.004, 0.014)
            sheet.blob(spot, (r, r * rng.uniform(0.6, 1)), only=names, wobble=0.1)
    sheet.groups.append(tuple(both))


def _tube(sheet: Sheet, at: tuple[float, float], r: float) -> None:
    """A vessel or bowel loop across: a wall and what flows in it."""
    rng = sheet.rng
    inner = float(rng.uniform(0.5, 0.9))
    sheet.blob(
        at, (r, r * rng.uniform(0.6, 1)), angle=rng.uniform(0, 3.14), wobble=rng.uniform(0, 0.2), rings=(1.0, inner)
    )


def _bone(sheet: Sheet, at: tuple[float, float], radii: tuple[float, float], turn: float) -> None:
    sheet.blob(at, radii, angle=-turn + 1.57, wobble=0.1, rings=(1.0, float(sheet.rng.uniform(0.4, 0.8))))


def _vertebra(sheet: Sheet, at: tuple[float, float], r: float) -> None:
    """Body, arch around a canal, transverse and spinous processes: one bone with a hole."""
    rng = sheet.rng
    bone, canal = sheet.new(), sheet.new()
    for dy, dx, ry, rx in ((1.6, 0, 0.9, 0.9), (1.6, -1.3, 0.25, 0.9), (1.6, 1.3, 0.25, 0.9), (2.8, 0, 1.0, 0.22)):
        sheet.blob((at[0] + dy * r, at[1] + dx * r), (ry * r, rx * r), wobble=0.12, same=(bone,))
    sheet.blob((at[0] + 1.5 * r, at[1]), (0.55 * r, 0.65 * r), wobble=0.05, same=(canal,))
    sheet.blob(at, (r * rng.uniform(0.8, 1), r * 1.2), wobble=0.08, same=(bone,))
    sheet.groups += [(bone,), (canal,), (bone,)]


KINDS: tuple[tuple[Kind, float], ...] = (
    (partition, 0.1),
    (cells, 0.05),
    (layers, 0.08),
    (torso, 0.34),
    (head, 0.13),
    (limb, 0.1),
    (tree, 0.06),
    (lesions, 0.14),
)
