"""Brain and tissue on head MR of several contrasts: attending-tissue against the MeshNets and deepbet, Dice and cost.

    python benchmarks/tissue.py [--rounds 2] [--threads 1] [--json FILE] [--only ID ...] [--images NAME ...]

Images: the mirror's T1 (ATTENDING_MIRROR), and Colin27 (ch2) where Debian's mricron-data is installed. No radiologist
drew the references. On the mirror's T1 they are other networks' outputs (brain: mindgrab; tissue: model20chan3cls), on
ch2 the brain is FSL BET's (ch2bet) and the tissue model20chan3cls'. The T2-like, FLAIR-like and inverted images are
SYNTHETIC: the T1's own intensities mapped anew, inside the brain by a curve for that contrast; so is the averaging into
thick slices. A reference network is marked "reference" where it would be scored against itself.

Each contender runs in a process of its own, warmed, and all of them in turn on each image. The T1 models are shown the
other contrasts too, against their cards, to see what would happen. Printed: Dice of brain, grey and white matter, the
share of AAL's labelled voxels found as brain, wall and CPU seconds, and peak resident MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attending import models
from attending.records import Image, ImageFacts
from attending.site import Site
from attending.site.folders import cache_dir

CONTENDERS = (
    "attending-tissue",
    "brainchop-mindgrab",
    "brainchop-model20chan3cls",
    "brainchop-model5_gw_ae",
    "deepbet",
)
BRAIN_BY, TISSUE_BY = "brainchop-mindgrab", "brainchop-model20chan3cls"
MRICRON = Path("/usr/share/mricron/templates")
# T1 brightness within the brain, as a share of its white matter -> brightness in the other contrast.
CURVES = {
    "T2-like": ((0.0, 0.35, 0.62, 0.72, 1.0, 1.3), (1.0, 1.0, 0.62, 0.55, 0.38, 0.3)),
    "FLAIR-like": ((0.0, 0.35, 0.62, 0.72, 1.0, 1.3), (0.08, 0.12, 0.66, 0.66, 0.5, 0.45)),
    "inverted": ((0.0, 1.3), (1.0, 0.05)),
}
CLOSE_MM = 4
"""Sulci up to twice as wide are closed when a brain mask is made of grey and white matter."""


def head(id: str, voxels: NDArray[Any], affine: NDArray[Any], sequence: str | None) -> Image:
    """A head MR volume, voxels (z, y, x)."""
    spacing = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    frozen = tuple(tuple(float(v) for v in row) for row in affine)
    facts = ImageFacts(id, voxels.shape, frozen, spacing, "MR", body_part="HEAD", sequence=sequence)  # type: ignore[arg-type]
    return Image(facts, voxels)


def loaded(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """NIfTI -> voxels (z, y, x) and affine to LPS."""
    import nibabel as nib

    image = nib.load(str(path))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    return np.ascontiguousarray(np.asanyarray(image.dataobj).transpose(2, 1, 0)), affine


def recoloured(t1: NDArray[Any], brain: NDArray[Any], white: NDArray[Any], curve: str) -> NDArray[np.float32]:
    """The T1 with another contrast: inside the brain (2 mm wider, for its fluid) by the curve, outside it dimmed."""
    from scipy import ndimage

    share = t1.astype(np.float32) / max(float(np.median(t1[white])), 1.0)
    inside = ndimage.gaussian_filter(ndimage.binary_dilation(brain, iterations=2).astype(np.float32), 0.7)
    anew = np.interp(share, *CURVES[curve]).astype(np.float32)
    return 1000 * (inside * anew + (1 - inside) * 0.6 * share)


def thick(array: NDArray[Any], axis: int, planes: int, mean: bool) -> NDArray[Any]:
    """``planes`` planes made one: their mean, or, for labels, the middle one."""
    count = array.shape[axis] // planes
    cut = np.moveaxis(array, axis, 0)[: count * planes]
    cut = cut.reshape(count, planes, *cut.shape[1:])
    return np.ascontiguousarray(np.moveaxis(cut.mean(axis=1) if mean else cut[:, planes // 2], 0, axis))


def thick_affine(affine: NDArray[Any], axis: int, planes: int) -> NDArray[np.float64]:
    """axis: of the array (z, y, x)."""
    step = np.eye(4)
    step[2 - axis, 2 - axis], step[2 - axis, 3] = planes, (planes - 1) / 2
    out: NDArray[np.float64] = affine @ step
    return out


def subjects() -> dict[str, tuple[NDArray[Any], NDArray[np.float64], dict[str, NDArray[Any]]]]:
    """Name -> T1 voxels, affine, and what is known of them by others than these networks."""
    found = {}
    if os.environ.get("ATTENDING_MIRROR"):
        found["mirror"] = (*loaded(Path(os.environ["ATTENDING_MIRROR"]) / "data/brain_t1/t1_crop.nii.gz"), {})
    if (MRICRON / "ch2.nii.gz").exists():
        known = {"brain": loaded(MRICRON / "ch2bet.nii.gz")[0] > 0, "aal": loaded(MRICRON / "aal.nii.gz")[0] > 0}
        found["ch2"] = (*loaded(MRICRON / "ch2.nii.gz"), known)
    return found


def made(folder: Path, site: Site) -> list[str]:
    """Write every image and its references into the folder; their names in order."""
    brain_by, tissue_by = (models.load(id, site, cache_dir()) for id in (BRAIN_BY, TISSUE_BY))
    names = []
    for subject, (t1, affine, known) in subjects().items():
        image = head(subject, t1.astype(np.int16), affine, "T1")
        tissue = tissue_by.segment(image).labels
        own = {name.lower(): value for value, name in tissue.names.items()}
        truth = np.zeros(t1.shape, np.uint8)
        truth[tissue.labels == own["grey matter"]] = 2
        truth[tissue.labels == own["white matter"]] = 3
        brain = known.get("brain", brain_by.segment(image).labels.labels > 0)
        seen = {"T1": t1.astype(np.float32)}
        seen |= {curve: recoloured(t1, brain, truth == 3, curve) for curve in CURVES}
        parts: dict[str, NDArray[Any]] = {"brain": brain, "tissue": truth} | (
            {"aal": known["aal"]} if "aal" in known else {}
        )
        axial, sagittal = _axis(affine, 2), _axis(affine, 0)
        for contrast, axis, planes in (
            ("T1", None, 1),
            ("T2-like", None, 1),
            ("FLAIR-like", None, 1),
            ("inverted", None, 1),
            ("T1", axial, 5),
            ("T2-like", axial, 5),
            ("FLAIR-like", axial, 6),
            ("T2-like", sagittal, 4),
        ):
            which = {axial: "axial", sagittal: "sagittal"}.get(axis, "")
            name = f"{subject} {contrast}" + (f", {which} {planes} mm" if axis is not None else "")
            voxels, at, refs = seen[contrast], affine, parts
            if axis is not None:
                voxels, at = thick(voxels, axis, planes, True), thick_affine(affine, axis, planes)
                refs = {key: thick(part, axis, planes, False) for key, part in parts.items()}
            np.savez(folder / f"{len(names)}.npz", voxels=voxels.astype(np.float32), affine=at, **refs)
            names.append(name)
    return names


def _axis(affine: NDArray[Any], patient: int) -> int:
    """The array axis (z, y, x) that runs along the patient's x, y or z."""
    return 2 - int(np.abs(affine[patient, :3]).argmax())


def serve(id: str, folder: Path, threads: int) -> None:
    """The contender's process: one image number per line on stdin, one JSON line per run on stdout."""
    site = Site(home=folder)
    site = replace(site, models=replace(site.models, threads=threads))
    plugin = models.load(id, site, cache_dir())
    print(json.dumps({"ready": True}), flush=True)
    peak = 0.0
    for line in sys.stdin:
        held = np.load(folder / f"{line.strip()}.npz")
        image = head("x", held["voxels"], held["affine"], "T1")
        cpu, wall = time.process_time(), time.perf_counter()
        got = plugin.segment(image)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = peak or peak_mib()  # of the first run: scoring needs more than some models do
        told = {"wall": wall, "cpu": cpu, "mib": peak, "certainty": getattr(got, "certainty", None)}
        print(json.dumps(told | scores(got, held)), flush=True)


def peak_mib() -> float:
    """This process's own peak: what getrusage says starts from the peak of the process that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(kib) / 1024


def scores(got: Any, held: Any) -> dict[str, Any]:
    """Dice against the references that the image has."""
    names = {name.lower(): value for value, name in got.labels.names.items()}
    labels = np.asarray(got.labels.labels)
    out: dict[str, Any] = {}
    if "grey matter" in names:
        grey, white = labels == names["grey matter"], labels == names["white matter"]
        voxel = abs(float(np.linalg.det(held["affine"][:3, :3]))) / 1000
        ml, ours = (float(mask.sum()) * voxel for mask in (held["tissue"] >= 2, grey | white))
        told = f"{ours:.0f} of {ml:.0f} ({100 * (ours / ml - 1):+.0f} %)"
        out |= {"ml": told, "grey": dice(grey, held["tissue"] == 2), "white": dice(white, held["tissue"] == 3)}
        mask = closed(grey | white, np.linalg.norm(held["affine"][:3, :3], axis=0)[::-1])
    else:
        mask = labels > 0
    out["brain"] = dice(mask, held["brain"])
    if "aal" in held:
        out["aal"] = float((mask & held["aal"]).sum() / held["aal"].sum())
    return out


def closed(mask: NDArray[np.bool_], mm: NDArray[Any]) -> NDArray[np.bool_]:
    """The mask with sulci and ventricles filled; mm along (z, y, x)."""
    from scipy import ndimage

    pad = [int(np.ceil(CLOSE_MM / m)) + 1 for m in mm]
    wide = np.pad(mask, [(p, p) for p in pad])
    grown = ndimage.distance_transform_edt(~wide, sampling=mm) <= CLOSE_MM
    shut = ndimage.binary_fill_holes(ndimage.distance_transform_edt(grown, sampling=mm) > CLOSE_MM)
    out: NDArray[np.bool_] = (shut | wide)[tuple(slice(p, -p) for p in pad)]
    return out


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / max(int(a.sum() + b.sum()), 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS))
    parser.add_argument("--images", nargs="*", help="only images of these names, as the table gives them")
    parser.add_argument("--serve", nargs=2, metavar=("ID", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve[0], Path(args.serve[1]), args.threads)
        return
    with tempfile.TemporaryDirectory(prefix="attending-tissue-") as name:
        folder = Path(name)
        usable = {s.card.id: s for s in models.installed(Site(home=folder), cache_dir())}
        wanted = [id for id in args.only if id in usable and usable[id].usable]
        for id in set(args.only) - set(wanted):
            print(f"left out: {id} ({usable[id].why if id in usable else 'unknown'})")
        names = made(folder, Site(home=folder))
        if not names:
            sys.exit("no image: set ATTENDING_MIRROR, or install Debian's mricron-data")
        rows = compare(wanted, names, folder, args)
    show(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def compare(wanted: list[str], names: list[str], folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Every contender on every image, in turn, ``rounds`` times; the first image once more before, to warm them."""
    call = [sys.executable, str(Path(__file__).resolve()), "--threads", str(args.threads), "--serve"]
    runs = {
        id: subprocess.Popen([*call, id, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for id in wanted
    }

    def ask(id: str, number: int) -> dict[str, Any]:
        process = runs[id]
        assert process.stdin and process.stdout
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        told: dict[str, Any] = json.loads(process.stdout.readline())
        return told

    rows = []
    try:
        for process in runs.values():
            assert process.stdout
            process.stdout.readline()
        for id in wanted:
            ask(id, 0)
        for number, name in enumerate(names):
            if args.images and name not in args.images:
                continue
            several = {id: list[dict[str, Any]]() for id in wanted}
            for _ in range(args.rounds):
                for id in wanted:
                    several[id].append(ask(id, number))
            for id, told in several.items():
                took = {key: round(median(t[key] for t in told), 3) for key in ("wall", "cpu")}
                rows.append({"image": name, "model": id, **told[-1], **took})
    finally:
        for process in runs.values():
            process.terminate()
            process.wait()
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}")
    print("| image | model | brain | grey | white | AAL found | brain ml, of reference | wall s | CPU s | peak MiB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        t1 = row["image"].endswith(" T1")
        own = {
            "brain": row["model"] == BRAIN_BY and row["image"] == "mirror T1",
            "grey": row["model"] == TISSUE_BY and t1,
        }
        own["white"] = own["grey"]
        cells = [
            "reference" if own.get(key) else f"{row[key]:.3f}" if key in row else "-"
            for key in ("brain", "grey", "white", "aal")
        ]
        cost = f"{row['wall']:.1f} | {row['cpu']:.1f} | {row['mib']:.0f}"
        print(f"| {row['image']} | {row['model']} | {' | '.join(cells)} | {row.get('ml', '-')} | {cost} |")


if __name__ == "__main__":
    main()
