"""Measures against analytic truth and SimpleITK's label statistics, registration against known motion, growth.

Each body is sampled several times on oblique grids, off any voxel's centre; both contenders see the same masks. Usage:
python benchmarks/measure.py [--times N]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from analytic import box, cylinder, ellipsoid, rotation, sampled, sphere, upright

from attending.comparing import growth
from attending.imaging import measure_codes as c
from attending.imaging.measure_mask import measure
from attending.imaging.measure_space import space_from
from attending.imaging.mesh import mesh
from attending.records.mask import segments_of

SPACINGS = [(0.8, 0.8, 0.8), (0.7, 0.8, 1.25), (0.7, 0.7, 2.5)]
BODIES = [sphere(20), sphere(8), ellipsoid(22, 14, 12), cylinder(12, 40), box(40, 30, 24)]


def itk(mask, affine) -> tuple[float, float]:
    """(mm3, Feret mm) of SimpleITK's LabelShapeStatistics on the same mask."""
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    size = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(size.tolist())
    image.SetDirection((affine[:3, :3] / size).ravel().tolist())
    stats = SimpleITK.LabelShapeStatisticsImageFilter()
    stats.ComputeFeretDiameterOn()
    stats.Execute(image)
    return stats.GetPhysicalSize(1), stats.GetFeretDiameter(1)


def told(errors: list[float]) -> str:
    return f"{100 * np.mean(np.abs(errors)):5.2f} {100 * np.max(np.abs(errors)):5.2f}"


def bodies(times: int) -> None:
    print(
        "mean and largest error, %                volume        long axis     short axis    longest 3D    ITK Feret"
        "     longest 3D, volume within the stated interval"
    )
    rng = np.random.default_rng(0)
    for body in BODIES:
        for spacing in SPACINGS:
            rows: dict[str, list[float]] = {k: [] for k in ("volume", "long", "short", "space", "feret")}
            held, volumes_held = [], []
            for _ in range(times):
                mask, affine = sampled(body, spacing, rotation(rng), rng)
                found = measure(segments_of(mask.astype(np.uint8))[0], space_from(affine))
                volume, feret = itk(mask, affine)
                longest = found.get(c.LONGEST_3D)
                rows["volume"].append(found.volume_ml * 1000 / body.volume - 1)
                rows["space"].append(longest.value / body.longest - 1)
                rows["feret"].append(feret / body.longest - 1)
                stated = found.get(c.VOLUME).uncertainty * 1000
                volumes_held.append(abs(found.volume_ml * 1000 - body.volume) <= stated)
                held.append(abs(longest.value - body.longest) <= longest.uncertainty)
                assert abs(volume / (found.volume_ml * 1000) - 1) < 1e-6, "two counts of the same voxels"
                mask, affine = sampled(body, spacing, upright(rng), rng)
                found = measure(segments_of(mask.astype(np.uint8))[0], space_from(affine))
                rows["long"].append(found.long_mm / body.in_plane[0] - 1)
                rows["short"].append(found.short_mm / body.in_plane[1] - 1)
            shown = "   ".join(told(rows[k]) for k in ("volume", "long", "short", "space", "feret"))
            print(
                f"{body.name:18} {spacing!s:18}   {shown}   {np.mean(held):.0%} {np.mean(volumes_held):.0%}", flush=True
            )


def meshes() -> None:
    rng = np.random.default_rng(1)
    for body in BODIES:
        mask, affine = sampled(body, (0.7, 0.8, 2.5), rotation(rng), rng)
        start = time.perf_counter()
        made = mesh(segments_of(mask.astype(np.uint8))[0], space_from(affine))
        counted = mask.sum() * space_from(affine).voxel
        print(
            f"mesh {body.name:18} watertight {made.is_watertight}, volume {100 * (made.volume / counted - 1):+.3f} % "
            f"of the mask's, {len(made.faces)} faces, {time.perf_counter() - start:.2f} s"
        )


def grown(times: int) -> None:
    rng = np.random.default_rng(2)
    inside, diameters, widths = [], [], []
    for _ in range(4 * times):
        r1, r2 = rng.uniform(5, 12, 2)
        found = []
        for r in (r1, r2):
            spacing = tuple(rng.uniform((0.6, 0.6, 1.0), (1.0, 1.0, 3.0)))
            mask, affine = sampled(sphere(r), spacing, np.eye(3), rng)
            found.append(measure(segments_of(mask.astype(np.uint8))[0], space_from(affine)))
        change = growth(found[1], found[0], 90)
        volume, long = change.get(c.VOLUME), change.get(c.LONG_AXIS)
        inside.append(abs(volume.difference - 4 / 3 * np.pi * (r2**3 - r1**3) / 1000) <= volume.uncertainty)
        diameters.append(abs(long.difference - 2 * (r2 - r1)) <= long.uncertainty)
        widths.append(long.uncertainty)
    print(
        f"growth of spheres of 5 to 12 mm radius, two grids each: the truth lies within the stated 95 % uncertainty in "
        f"{np.mean(inside):.0%} (volume), {np.mean(diameters):.0%} (long axis, mean +-{np.mean(widths):.1f} mm) "
        f"of {len(inside)}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=6)
    asked = parser.parse_args()
    bodies(asked.times)
    meshes()
    grown(asked.times)
