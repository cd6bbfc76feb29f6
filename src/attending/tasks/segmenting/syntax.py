"""Prompts as typed or drawn elsewhere -> records: numbers, millimetres, files of strokes, masks. One refusal each."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import PromptRefused
from ...records import Box, Image, Point, Prompts, Stroke, Voxel

LARGEST_FILE = 64 * 2**20
MOST_PLACES = 200_000
LONGEST_SHOWN = 60
FARTHEST = 1e15
"""Beyond it a float no longer tells two neighbouring voxels apart."""
SAME_MM = 0.1
"""Corners of two grids nearer than this are one grid: affines are rounded when they are written."""


@dataclass(frozen=True)
class Asked:
    """What was typed: points "x,y[,z][:-]", boxes "x0,y0[,z0],x1,y1[,z1]", files of strokes and outlines, a word, a
    mask's file. mm: numbers are LPS millimetres."""

    points: Sequence[str] = ()
    boxes: Sequence[str] = ()
    scribbles: Sequence[Path] = ()
    lassos: Sequence[Path] = ()
    text: str | None = None
    mask: Path | None = None
    mm: bool = False


def read_prompts(asked: Asked, image: Image, nothing: bool = False) -> list[Prompts]:
    """One group of prompts; with several boxes one group for each, its positive points those that lie in the box.

    nothing: the caller wants the foreground, and prompts beside it contradict that.
    Raises PromptRefused.
    """
    grid = _Grid(image, asked.mm)
    points = tuple(dict.fromkeys(_point(text, grid) for text in asked.points))
    boxes = [_box(text, grid) for text in asked.boxes]
    strokes = [s for path in asked.scribbles for s in _strokes(path, grid, False)]
    strokes += [s for path in asked.lassos for s in _strokes(path, grid, True)]
    mask = _mask(asked.mask, image) if asked.mask else None
    all_of_it = Prompts(points, boxes[0] if boxes else None, tuple(strokes), mask, asked.text)
    if nothing:
        if not all_of_it.empty or asked.text is not None:
            raise PromptRefused("--everything beside a prompt", "the one or the other", "leave one of them out")
        return []
    if all_of_it.empty and asked.text is None:
        raise PromptRefused(
            "no prompt",
            "--point, --box, --scribble, --lasso, --text or --mask; or --everything",
            'point at something ("--point 120,80,12"), or name it ("--text liver")',
        )
    if asked.text is not None and not asked.text.strip():
        raise PromptRefused("an empty word", "a word or a short phrase", 'name one thing, such as "left lung"')
    if len(boxes) < 2:
        return [all_of_it]
    if strokes or mask is not None or asked.text is not None:
        raise PromptRefused(
            "several boxes beside a scribble, lasso, mask or word", "several boxes with points only", "give one box"
        )
    groups = []
    for box in boxes:
        inside = [p for p in points if not p.positive or _within(p.voxel, box)]
        groups.append(Prompts(tuple(inside), box))
    for p in points:
        if p.positive and not any(_within(p.voxel, box) for box in boxes):
            at = ",".join(map(str, p.voxel))
            raise PromptRefused(f"a positive point at {at}, in none of the boxes", "points in a box", "widen a box")
    return groups


@dataclass(frozen=True)
class _Grid:
    """The way from typed numbers to voxels of an image."""

    image: Image
    mm: bool

    @property
    def size(self) -> tuple[int, int, int]:
        z, y, x = self.image.voxels.shape[:3]
        return (int(x), int(y), int(z))

    def voxel(self, numbers: Sequence[float], kind: str, typed: str) -> Voxel:
        """2 numbers on one plane mean z = 0. Raises PromptRefused outside the image."""
        flat = self.size[2] == 1
        if len(numbers) == 2 and flat and not self.mm:
            numbers = (*numbers, 0)
        if len(numbers) != 3:
            raise PromptRefused(
                f"{kind} {_short(typed)} with {len(numbers)} numbers",
                "x,y or x,y,z on one plane" if flat and not self.mm else "x,y,z",
                "give a number for each axis" + ("" if flat else f"; this image has {self.size[2]} planes"),
            )
        if self.mm:
            numbers = self._from_mm(numbers)
        elif any(n != int(n) for n in numbers):
            raise PromptRefused(f"{kind} {_short(typed)} between voxels", "whole numbers", "round it, or say --mm")
        x, y, z = (math.floor(n + 0.5) for n in numbers)
        if any(not 0 <= v < n for v, n in zip((x, y, z), self.size, strict=True)):
            allowed = "x 0..{}, y 0..{}, z 0..{}".format(*(n - 1 for n in self.size))
            where = f" at voxel {x:.6g},{y:.6g},{z:.6g}" if self.mm else ""
            raise PromptRefused(f"{kind} {_short(typed)}{where}, outside the image", allowed, "give a place inside it")
        return (x, y, z)

    def _from_mm(self, numbers: Sequence[float]) -> tuple[float, ...]:
        affine = self.image.affine
        if affine is None:
            raise PromptRefused(
                "millimetres on an image without a position in the patient",
                "--mm on DICOM or NIfTI with an affine",
                "give voxel indices, without --mm",
            )
        back = np.linalg.inv(affine) @ np.array([*numbers, 1.0])
        return tuple(float(v) for v in back[:3])


def _short(typed: str) -> str:
    """What was typed, in quotes, no longer than a message bears."""
    said = " ".join(typed.split())
    return repr(said if len(said) <= LONGEST_SHOWN else f"{said[:LONGEST_SHOWN]}...")


def _numbers(text: str, kind: str, typed: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(math.isfinite(v) and abs(v) < FARTHEST for v in values):
        raise PromptRefused(
            f"{kind} {_short(typed)}", "numbers with commas between, such as 120,80,12", "write it like that"
        )
    return values


def _signed(text: str) -> tuple[str, bool]:
    """("x,y,z", positive) of "x,y,z", "x,y,z:+" or "x,y,z:-"."""
    body, colon, sign = text.strip().partition(":")
    if colon and sign.strip() not in ("+", "-"):
        raise PromptRefused(
            f"the sign of {_short(text)}", ":- for what does not belong, :+ or nothing for what does", "mend it"
        )
    return body, sign.strip() != "-"


def _point(text: str, grid: _Grid) -> Point:
    body, positive = _signed(text)
    return Point(grid.voxel(_numbers(body, "the point", text), "the point", text), positive)


def _box(text: str, grid: _Grid) -> Box:
    numbers = _numbers(text, "the box", text)
    if len(numbers) not in (4, 6):
        raise PromptRefused(
            f"the box {_short(text)} with {len(numbers)} numbers",
            "x0,y0,x1,y1 on one plane, x0,y0,z0,x1,y1,z1 in a volume",
            "give both corners, whole",
        )
    half = len(numbers) // 2
    a = grid.voxel(numbers[:half], "a corner of the box", text)
    b = grid.voxel(numbers[half:], "a corner of the box", text)
    if not grid.mm and any(p > q for p, q in zip(a, b, strict=True)):
        raise PromptRefused(
            f"the box {_short(text)}, whose first corner lies beyond its second",
            "x0 <= x1, y0 <= y1, z0 <= z1",
            "swap the numbers",
        )
    # Patient axes may run against the file's: which corner comes first is decided after the conversion.
    (x0, x1), (y0, y1), (z0, z1) = (sorted(pair) for pair in zip(a, b, strict=True))
    return (x0, y0, z0, x1, y1, z1)


def _strokes(path: Path, grid: _Grid, closed: bool) -> list[Stroke]:
    kind = "lasso" if closed else "scribble"
    lists = _stroke_lists(_text_of(path, kind), kind)
    out = []
    for places, positive in lists:
        voxels = [grid.voxel(p, f"a place of the {kind}", ",".join(f"{n:g}" for n in p)) for p in places]
        if closed:
            if len({v[2] for v in voxels}) > 1:
                raise PromptRefused("a lasso over several planes", "one plane", "draw one lasso for one plane")
            out.append(Stroke(tuple(voxels), positive, closed=True))
        else:
            out.append(Stroke(tuple(_joined(voxels)), positive))
    if not out:
        raise PromptRefused(f"a {kind} file without a place", "lines x,y[,z], or JSON", f"draw a {kind} first")
    return out


def _stroke_lists(text: str, kind: str) -> list[tuple[list[list[float]], bool]]:
    """(places, positive) of each stroke: blank lines part strokes; a line's sign holds for its stroke."""
    if text.lstrip()[:1] in ("[", "{"):
        return _json_strokes(text, kind)
    out: list[tuple[list[list[float]], bool]] = []
    fresh = True
    for line in text.splitlines():
        said = line.split("#", 1)[0].strip()
        if not said:
            fresh = True
            continue
        body, positive = _signed(said)
        numbers = _numbers(body.replace(" ", ",") if "," not in body else body, f"a line of the {kind}", said)
        if fresh or out[-1][1] != positive:
            out.append(([], positive))
            fresh = False
        out[-1][0].append(numbers)
    return out


def _json_strokes(text: str, kind: str) -> list[tuple[list[list[float]], bool]]:
    bad = PromptRefused(
        f"a {kind} file whose JSON is no list of places",
        '[[x, y, z], ...], a list of such lists, or {"strokes": [{"voxels": [[x, y, z], ...], "positive": true}]}',
        "write it like that",
    )
    try:
        document: Any = json.loads(text)
        strokes = document.get("strokes", [document]) if isinstance(document, dict) else document
        if strokes and isinstance(strokes[0], list) and strokes[0] and not isinstance(strokes[0][0], list):
            strokes = [strokes]
        out = []
        for stroke in strokes:
            places = stroke["voxels"] if isinstance(stroke, dict) else stroke
            positive = stroke.get("positive", True) if isinstance(stroke, dict) else True
            if not isinstance(positive, bool):
                raise bad
            numbers = [[float(n) for n in place] for place in places]
            if any(not math.isfinite(n) for place in numbers for n in place):
                raise bad
            if numbers:
                out.append((numbers, positive))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise bad from None
    return out


def _joined(voxels: list[Voxel]) -> list[Voxel]:
    """The voxels between places that follow each other in one plane: a pen does not jump."""
    from skimage.draw import line

    out: list[Voxel] = [voxels[0]]
    for a, b in itertools.pairwise(voxels):
        if a[2] == b[2]:
            rows, columns = line(a[1], a[0], b[1], b[0])
            out += [(int(x), int(y), a[2]) for y, x in zip(rows[1:], columns[1:], strict=True)]
        else:
            out.append(b)
    return list(dict.fromkeys(out))


def _bytes_of(path: Path, kind: str) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise PromptRefused(f"a {kind} file over 64 MiB", "a file of prompts", "check that it is the right file")
        return path.read_bytes()
    except OSError as refused:
        why = "no such file" if isinstance(refused, FileNotFoundError) else "it cannot be read"
        raise PromptRefused(f"the {kind} file: {why}", f"a file with a {kind}", "check the path") from None


def _text_of(path: Path, kind: str) -> str:
    try:
        text = _bytes_of(path, kind).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PromptRefused(f"a {kind} file that is no text", "lines x,y[,z], or JSON", "write it like that") from None
    if text.count(",") > 3 * MOST_PLACES:
        raise PromptRefused(f"a {kind} of too many places", f"up to {MOST_PLACES}", "thin it out")
    return text


def _mask(path: Path, image: Image) -> NDArray[np.bool_]:
    """A NIfTI or picture on the image's own grid: what is not 0."""
    data = _bytes_of(path, "mask")
    if data[:4] == b"\x89PNG":
        mask = _mask_picture(data)
        affine = None
    else:
        mask, affine = _mask_nifti(data)
    if mask.shape != image.voxels.shape[:3]:
        seen, allowed = ("x".join(map(str, reversed(s))) for s in (mask.shape, image.voxels.shape[:3]))
        raise PromptRefused(f"a mask of {seen} voxels", f"a mask on the image's grid, {allowed}", "resample it first")
    if affine is not None and image.affine is not None:
        corner = np.array([*(n - 1 for n in reversed(mask.shape)), 1.0])
        for place in (np.array([0.0, 0.0, 0.0, 1.0]), corner):
            if np.abs((affine - image.affine) @ place)[:3].max() > SAME_MM:
                raise PromptRefused(
                    "a mask that lies elsewhere in the patient than the image",
                    "a mask on the image's own grid",
                    "resample it to the image, or give the image it was drawn on",
                )
    if not mask.any():
        raise PromptRefused("an empty mask", "an earlier mask of one voxel or more", "leave it out, or draw one")
    return mask


def _mask_picture(data: bytes) -> NDArray[np.bool_]:
    import io

    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("L"))[None] > 0
    except Exception:  # a foreign parser on foreign bytes
        raise PromptRefused("a damaged PNG as mask", "a whole PNG", "save it again") from None


def _mask_nifti(data: bytes) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
    import gzip

    import nibabel
    from nibabel.imageglobals import LoggingOutputSuppressor

    try:
        raw = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        kind = nibabel.Nifti2Image if raw[4:8] == b"n+2\0" else nibabel.Nifti1Image
        with LoggingOutputSuppressor():  # of a bad header the refusal says enough
            volume = kind.from_bytes(raw)
        voxels = np.asanyarray(volume.dataobj)
    except Exception:  # a foreign parser on foreign bytes
        raise PromptRefused("a mask file that is no NIfTI or PNG", "NIfTI or PNG", "save it as .nii.gz") from None
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim > 3:
        raise PromptRefused(f"a mask of {voxels.ndim} dimensions", "one mask, 2-D or 3-D", "save one volume of it")
    voxels = voxels.reshape(*voxels.shape, *([1] * (3 - voxels.ndim)))
    placed = int(volume.header["sform_code"]) or int(volume.header["qform_code"])
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine if placed else None
    return np.ascontiguousarray(voxels.T != 0), affine


def _within(voxel: Voxel, box: Box) -> bool:
    return all(box[a] <= voxel[a] <= box[a + 3] for a in range(3))
