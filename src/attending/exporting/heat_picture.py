"""A map over its image as a PNG for people: planes, a colour bar with its unit, what it is, and the draft mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..imaging import auto_window, montage, overlay, plane, to_png
from ..records import DRAFT_MARK, Image

SIDE = 480
"""Pixels of a plane's longer side, at most tripled from a small image; larger ones are reduced."""
BAR = 16
WARM = ((40, 8, 0), (214, 48, 12), (255, 190, 60), (255, 250, 200))
COOL = ((0, 10, 40), (20, 90, 200), (110, 190, 255), (225, 245, 255))
"""From nothing to most: what speaks for the label, and what speaks against it."""
OPAQUE = 0.6
EDGE = 0.5
"""A line is drawn where the map is half as hot as its hottest point: the edge of the box that the JSON gives."""


def heat_picture(image: Image, heat: NDArray[np.float32], title: str, unit: str, notes: Sequence[str] = ()) -> bytes:
    """PNG bytes. title: model, label and score; nothing of the patient. The plane of the hottest point, and in volumes
    one on either side of it; beside it the same without the map."""
    peak = float(np.abs(heat).max()) or 1.0
    tiles = []
    of = None if image.facts.colour else auto_window(image)
    for z in _planes(heat):
        base = plane(image, z, of)
        base, level = _scaled(base, image, np.asarray(heat[z] / peak, dtype=np.float32))
        tiles.append(base if base.ndim == 3 else np.repeat(base[..., None], 3, axis=2))
        tiles.append(overlay(base, layer(level)))
    across = 2
    sheet = montage(tiles, columns=across)
    return to_png(_captioned(sheet, peak, unit, [title, *notes, DRAFT_MARK]))


def layer(level: NDArray[np.float32], alpha: float = OPAQUE) -> NDArray[np.uint8]:
    """(y, x) in -1..1 -> RGBA: red to yellow for, blue to white against; clear at 0; lined at half of the hottest."""
    clipped = np.clip(np.nan_to_num(level), -1, 1)
    out = np.zeros((*level.shape, 4), np.uint8)
    out[..., :3] = _colours(clipped)
    out[..., 3] = np.clip(alpha * 255 * np.sqrt(np.abs(clipped)), 0, 255)
    top = float(level.max())
    if top > 0:
        hot = np.pad(level >= EDGE * top, 1, mode="edge")
        inside = hot[1:-1, 1:-1]
        edge = inside & ~(hot[:-2, 1:-1] & hot[2:, 1:-1] & hot[1:-1, :-2] & hot[1:-1, 2:])
        out[edge] = (255, 255, 255, 255)
    return out


def _colours(level: NDArray[np.float32]) -> NDArray[np.uint8]:
    steps = np.linspace(0, 1, len(WARM))
    out = np.zeros((*level.shape, 3), np.float32)
    for channel in range(3):
        warm = np.interp(np.abs(level), steps, [c[channel] for c in WARM])
        cool = np.interp(np.abs(level), steps, [c[channel] for c in COOL])
        out[..., channel] = np.where(level >= 0, warm, cool)
    return out.astype(np.uint8)


def _planes(heat: NDArray[np.float32]) -> list[int]:
    if heat.shape[0] == 1:
        return [0]
    most = heat.max(axis=(1, 2))
    middle = int(most.argmax())
    hot = np.flatnonzero(most >= EDGE * most[middle]) if most[middle] > 0 else np.array([middle])
    return sorted({int(hot[0]), middle, int(hot[-1])})


def _scaled(base: NDArray[np.uint8], image: Image, level: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both in square millimetres and of a size to look at."""
    from PIL import Image as Pillow

    rows, columns = base.shape[:2]
    spacing = image.facts.spacing
    across, down = (spacing[0], spacing[1]) if spacing and min(spacing[:2]) > 0 else (1.0, 1.0)
    width, height = columns * across, rows * down
    scale = min(SIDE / max(width, height), 3 * max(columns / width, rows / height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = np.asarray(Pillow.fromarray(np.ascontiguousarray(base)).resize(size, Pillow.Resampling.BILINEAR))
    warm = np.asarray(Pillow.fromarray(level).resize(size, Pillow.Resampling.BILINEAR))
    return shown, warm


def _captioned(sheet: NDArray[np.uint8], peak: float, unit: str, lines: Sequence[str]) -> NDArray[np.uint8]:
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(13)
    width = max(sheet.shape[1] + 80, 420)
    wrapped = [part for text in lines for part in _wrapped(text, width - 16, font)]
    out = Pillow.new("RGB", (width, sheet.shape[0] + 18 * len(wrapped) + 16), (16, 16, 18))
    out.paste(Pillow.fromarray(sheet), (0, 0))
    draw = ImageDraw.Draw(out)
    tall = max(40, min(sheet.shape[0] - 40, 300))
    ramp = np.repeat(np.linspace(1, -1, tall, dtype=np.float32)[:, None], BAR, axis=1)
    out.paste(Pillow.fromarray(_colours(ramp)), (sheet.shape[1] + 8, 20))
    for part, text in ((0.0, f"{peak:+.2g}"), (0.5, "0"), (1.0, f"{-peak:+.2g}")):
        draw.text((sheet.shape[1] + 10 + BAR, 20 + part * tall - 8), text, (230, 230, 230), font)
    draw.text((sheet.shape[1] + 6, 0), unit, (230, 230, 230), font)
    for number, text in enumerate(wrapped):
        mark = number >= len(wrapped) - len(_wrapped(lines[-1], width - 16, font))
        draw.text((8, sheet.shape[0] + 8 + 18 * number), text, (255, 200, 90) if mark else (230, 230, 230), font)
    return np.asarray(out)


def _wrapped(text: str, width: int, font: Any) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line]
