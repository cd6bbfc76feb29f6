"""Real cases with label maps for the prompt benchmarks, and prompts as a person gives them. No command of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from attending.records import Image, ImageFacts, Point, Prompts, Stroke

Mask = NDArray[np.bool_]
MRICRON = Path("/usr/share/mricron/templates")
LEAST_PIXELS, LEAST_VOXELS = 30, 200
SPLIT = {"ct-3mm": "development", "ch2-aal": "development", "mr-3mm": "test", "ct-dicom": "test"}
"""The classical engine's constants were set while looking at the development cases only."""


@dataclass(frozen=True)
class Target:
    """One structure to be segmented: an image (one plane or a volume) and its mask (z, y, x)."""

    case: str
    name: str
    dims: int
    image: Image
    mask: Mask

    @property
    def id(self) -> str:
        return f"{self.case}/{self.name}/{self.dims}D"


def cases(
    mirror: Path | None, mricron: Path = MRICRON
) -> tuple[dict[str, tuple[Image, Any, dict[int, str]]], list[str]]:
    """Case -> (image, labels (z, y, x), names), and the reasons why a case is left out."""
    import nibabel as nib

    found: dict[str, tuple[Image, Any, dict[int, str]]] = {}
    left: list[str] = []

    def add(name: str, image: Path, labels: Path, modality: str, names: dict[int, str] | None) -> None:
        if not image.exists() or not labels.exists():
            left.append(f"{name}: {image.name} or {labels.name} is not there")
            return
        volume, truth = nib.load(image), nib.load(labels)
        found[name] = (
            _image(np.asanyarray(volume.dataobj).T, volume.affine, modality),
            np.ascontiguousarray(np.asanyarray(truth.dataobj).T),
            names or _caret(truth),
        )

    folder = mirror / "data/ct_totalsegmentator" if mirror else None
    if folder is None:
        left.append("CT and MR of TotalSegmentator: ATTENDING_MIRROR is not set")
    else:
        add("ct-3mm", folder / "example_ct_sm.nii.gz", folder / "example_seg.nii.gz", "CT", None)
        add("mr-3mm", folder / "example_mr_sm.nii.gz", folder / "example_seg_mr.nii.gz", "MR", None)
        found["ct-dicom"] = _dicom_case(folder)
    if (mricron / "ch2.nii.gz").exists() and (mricron / "aal.nii.gz").exists():
        add("ch2-aal", mricron / "ch2.nii.gz", mricron / "aal.nii.gz", "MR", _aal(mricron))
    else:
        left.append(
            f"ch2/AAL: Debian's mricron-data is not in {mricron.name} (apt-get install mricron-data, or --mricron)"
        )
    return found, left


def targets(found: dict[str, tuple[Image, Any, dict[int, str]]], dims: int, quick: bool) -> list[Target]:
    """Each structure once per case: in 3-D whole, in 2-D the plane where it is largest and one where it is smaller."""
    out = []
    for case, (image, labels, names) in found.items():
        boxes = ndimage.find_objects(labels.astype(np.int32))
        step = 3 if quick else (2 if case == "ch2-aal" else 1)
        for value, place in list(enumerate(boxes, 1))[::step]:
            if place is None:
                continue
            whole = labels == value
            name = names.get(value, str(value))
            if dims == 3:
                part = _largest(whole)
                if part.sum() >= LEAST_VOXELS and np.ptp(np.flatnonzero(part.any((1, 2)))) >= 2:
                    out.append(Target(case, name, 3, image, part))
                continue
            areas = whole.sum((1, 2))
            for z in dict.fromkeys([int(areas.argmax()), _smaller(areas)][: 1 if quick else 2]):
                part = _largest(whole[z : z + 1])
                if part.sum() >= LEAST_PIXELS and min(np.ptp(np.argwhere(part)[:, 1:], axis=0)) >= 3:
                    out.append(Target(case, f"{name}@{z}", 2, plane(image, z), part))
    return out


def plane(image: Image, z: int) -> Image:
    """One z plane as an image of its own."""
    facts, affine = image.facts, image.affine
    assert affine is not None
    affine[:3, 3] += z * affine[:3, 2]
    rows = tuple(tuple(float(v) for v in row) for row in affine)
    voxels = image.voxels[z : z + 1].copy()
    return Image(
        ImageFacts(f"{facts.id}-{z}", voxels.shape, rows, facts.spacing, facts.modality, unit=facts.unit), voxels
    )


def click(mask: Mask, rng: np.random.Generator, positive: bool = True) -> Point:
    """A click near the middle of a region: among the voxels at least 0.6 as deep inside as the deepest."""
    place = ndimage.find_objects(mask.astype(np.uint8))[0]
    depth = ndimage.distance_transform_edt(np.pad(mask[place], 1))[1:-1, 1:-1, 1:-1]
    z, y, x = rng.choice(np.argwhere(depth >= 0.6 * depth.max())) + np.array([s.start for s in place])
    return Point((int(x), int(y), int(z)), positive)


def correcting_click(target: Mask, mask: Mask, rng: np.random.Generator) -> Point | None:
    """In the largest region of error, as a person corrects; None where nothing is wrong."""
    wrong = target ^ mask
    if not wrong.any():
        return None
    worst = _largest(wrong)
    z, y, x = np.argwhere(worst)[0]
    return click(worst, rng, bool(target[z, y, x]))


def box_of(mask: Mask, rng: np.random.Generator | None = None) -> tuple[int, int, int, int, int, int]:
    """The tight box; with rng each side is moved by up to 10 % of the box's size, as a hurried hand does."""
    places = np.argwhere(mask)[:, ::-1]
    low, high = places.min(0), places.max(0)
    if rng is not None:
        shift = 0.1 * (high - low + 1)
        top = np.array(mask.shape[::-1]) - 1
        low = np.clip(np.rint(low + rng.uniform(-1, 1, 3) * shift), 0, top)
        high = np.clip(np.rint(high + rng.uniform(-1, 1, 3) * shift), low, top)
        if mask.shape[0] == 1:
            low[2] = high[2] = 0
    return tuple(int(v) for v in (*low, *high))  # type: ignore[return-value]


def scribble(mask: Mask, rng: np.random.Generator) -> Stroke:
    """A stroke through the region's middle, in the plane where it is largest: the skeleton's longest run of voxels."""
    from skimage.graph import route_through_array

    z = int(mask.sum((1, 2)).argmax())
    flat = np.pad(mask[z], 1)
    depth = ndimage.distance_transform_edt(flat)[1:-1, 1:-1]
    part, _ = ndimage.label(mask[z])
    inside = part == part[np.unravel_index(depth.argmax(), depth.shape)]
    deep = np.argwhere(inside & (depth >= min(2.0, 0.5 * depth.max())))
    ends = deep[
        [int(deep[:, 0].argmin()), int(deep[:, 0].argmax()), int(deep[:, 1].argmin()), int(deep[:, 1].argmax())]
    ]
    apart = [(np.linalg.norm(a - b), i, j) for i, a in enumerate(ends) for j, b in enumerate(ends)]
    _, i, j = max(apart)
    cost = np.where(inside, 1.0 + 20.0 / (0.5 + depth), 1e6)
    path, _ = route_through_array(cost, ends[i], ends[j])
    short = path[len(path) // 8 : len(path) - len(path) // 8] or path
    return Stroke(tuple((int(x), int(y), z) for y, x in short))


def prompts_for(target: Target, mode: str, seed: int) -> Prompts:
    """The prompts of a mode that do not depend on an engine's answer."""
    rng = np.random.default_rng([seed, *target.id.encode()])
    if mode == "1 point":
        return Prompts(points=(click(target.mask, rng),))
    if mode == "box":
        return Prompts(box=box_of(target.mask))
    if mode == "jittered box":
        return Prompts(box=box_of(target.mask, rng))
    if mode == "scribble":
        return Prompts(strokes=(scribble(target.mask, rng),))
    raise ValueError(mode)


def dice(a: Mask, b: Mask) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 1.0


def nsd(a: Mask, b: Mask, spacing: tuple[float, float, float]) -> float:
    """Normalised surface Dice at a tolerance of one voxel (the largest in-plane size), from voxel surfaces."""
    if not a.any() or not b.any():
        return 0.0
    sampling = spacing[::-1]
    tolerance = max(spacing[:2]) * 1.001
    both = a | b
    area = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in ndimage.find_objects(both.astype(np.uint8))[0])
    one, other = _surface(a[area]), _surface(b[area])
    to_one = ndimage.distance_transform_edt(~one, sampling)
    to_other = ndimage.distance_transform_edt(~other, sampling)
    near = int((to_other[one] <= tolerance).sum()) + int((to_one[other] <= tolerance).sum())
    return near / (int(one.sum()) + int(other.sum()))


def _surface(mask: Mask) -> Mask:
    flat = mask.shape[0] == 1
    shape = ndimage.generate_binary_structure(3, 1)
    if flat:
        shape[0] = shape[2] = False
    inner: Mask = mask & ndimage.binary_erosion(mask, shape, border_value=1)
    return mask & ~inner


def _largest(mask: Mask) -> Mask:
    place = (ndimage.find_objects(mask.astype(np.uint8)) or [None])[0]
    if place is None:
        return mask
    parts, _ = ndimage.label(mask[place])
    out = np.zeros_like(mask)
    out[place] = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return out


def _smaller(areas: Any) -> int:
    """The plane whose area is nearest to half the largest."""
    return int(np.abs(areas - areas.max() / 2).argmin())


def _image(voxels: Any, ras: Any, modality: str, id: str = "i1") -> Image:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras
    spacing = tuple(float(v) for v in np.linalg.norm(lps[:3, :3], axis=0))
    rows = tuple(tuple(float(v) for v in row) for row in lps)
    kind = np.int16 if np.issubdtype(voxels.dtype, np.integer) else np.float32
    voxels = np.ascontiguousarray(voxels).astype(kind)
    unit = "[hnsf'U]" if modality == "CT" else "1"
    return Image(ImageFacts(id, voxels.shape, rows, spacing, modality, unit=unit), voxels)  # type: ignore[arg-type]


def _dicom_case(folder: Path) -> tuple[Image, Any, dict[int, str]]:
    """The JPEG 2000 series as attending opens it, and its label map turned to the same grid."""
    import nibabel as nib

    from attending import intake

    opened = intake.open([folder / "example_ct_dicom"])
    image = opened.studies[0].stacks[0].image
    truth = nib.load(folder / "example_seg_dicom.nii.gz")
    labels = np.asanyarray(truth.dataobj).T
    assert image.affine is not None
    step = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ truth.affine) @ image.affine
    assert np.abs(np.abs(step[:3, :3]) - np.eye(3)).max() < 1e-2, "the label map's axes are not the series'"
    for axis in range(3):
        if step[axis, axis] < 0:
            labels = np.flip(labels, 2 - axis)
    return image, np.ascontiguousarray(labels), _caret(truth)


def _caret(volume: Any) -> dict[int, str]:
    text = b"".join(bytes(e.get_content()) for e in volume.header.extensions).decode(errors="replace")
    return {int(k): v for k, v in re.findall(r'<Label Key="(\d+)"[^>]*><!\[CDATA\[([^\]]+)', text)}


def _aal(folder: Path) -> dict[int, str]:
    path = folder / "aal.nii.txt"
    rows = path.read_text().splitlines() if path.exists() else []
    return {int(c[0]): c[1] for c in (row.split() for row in rows) if len(c) > 1 and c[0].isdigit()}


def mirror_folder() -> Path | None:
    folder = os.environ.get("ATTENDING_MIRROR")
    return Path(folder) if folder and Path(folder).is_dir() else None


def each_split(all_targets: list[Target]) -> Iterator[tuple[str, list[Target]]]:
    for split in ("development", "test"):
        yield split, [t for t in all_targets if SPLIT.get(t.case) == split]
