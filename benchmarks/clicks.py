"""Click to mask, end to end: milliseconds at the 50th and 95th percentile for every installed engine, 2-D and 3-D.

    python benchmarks/clicks.py [--targets 6] [--clicks 5] [--threads 2] [--engines ID ...] [--json FILE]

A session takes the image up once (printed apart: for nets that embed, the encoder); then clicks come as a person gives
them, each with all before it, and one box. Engines take turns target by target, after one unmeasured click each.
Wall time and CPU time of this process: on a busy machine the first counts other people's work too. Images are the
mirror's CT (512x512 planes; 512x512x20) and an ellipsoid in noise of 256x256x25, which needs no file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import prompt_cases as pc

from attending import models, site
from attending.errors import AttendingError
from attending.records import Image, ImageFacts, Point, Prompts


def phantom(planes: int) -> tuple[Image, Any]:
    """An ellipsoid in noise, 256x256x25 or one plane of it, and its mask."""
    z, y, x = np.indices((planes, 256, 256), dtype=np.float32)
    middle = (planes - 1) / 2
    mask = ((x - 140) / 40) ** 2 + ((y - 120) / 30) ** 2 + ((z - middle) / max(planes / 3, 1)) ** 2 <= 1
    values = 100 + 60 * mask + np.random.default_rng(0).normal(0, 15, mask.shape)
    rows = ((0.9, 0.0, 0.0, 0.0), (0.0, 0.9, 0.0, 0.0), (0.0, 0.0, 3.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return Image(ImageFacts("i1", mask.shape, rows, (0.9, 0.9, 3.0), "MR"), values.astype(np.int16)), mask


def targets(count: int) -> dict[str, list[tuple[Image, Any]]]:
    """Image size -> images with a mask to click on."""
    found, left = pc.cases(pc.mirror_folder(), Path("none"))
    for why in left:
        print(f"left out: {why}")
    sets: dict[str, list[tuple[Image, Any]]] = {"2-D 256x256": [phantom(1)], "3-D 256x256x25": [phantom(25)]}
    found = {name: case for name, case in found.items() if name == "ct-dicom"}
    if found:
        for dims, name in ((2, "2-D 512x512"), (3, "3-D 512x512x20")):
            large = sorted(pc.targets(found, dims, dims == 3), key=lambda t: -t.mask.sum())
            sets[name] = [(t.image, t.mask) for t in large[:: max(1, len(large) // count)][:count]]
    return sets


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--targets", type=int, default=6)
    ask.add_argument("--clicks", type=int, default=5)
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--engines", nargs="+", default=[])
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    here, cache = site.load(site.default_home()), site.cache_dir()
    engines: dict[str, Any] = {}
    for status in models.installed(here, cache):
        card = status.card
        if "Prompted" in card.protocols and card.use == "care" and (not given.engines or card.id in given.engines):
            try:
                if not status.usable:
                    raise RuntimeError(status.why)
                engines[card.id] = models.load(card.id, here, cache)
            except (AttendingError, RuntimeError) as why:
                print(f"{card.id} is left out: {why}")
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {given.threads} threads, {load}")
    times: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)

    def timed(key: tuple[str, str, str], call: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        out = call()
        times[key].append((time.perf_counter() - wall, time.process_time() - cpu))
        return out

    for size, images in targets(given.targets).items():
        for number, (image, mask) in enumerate(images):
            for id, engine in engines.items():
                if models.admit(engine.card, image.facts):
                    continue
                rng = np.random.default_rng([5, number])
                points: list[Point] = [pc.click(mask, rng)]
                if number == 0:
                    warm = engine.session(image)
                    warm.predict(Prompts(points=tuple(points)))
                    warm.close()
                session = timed((size, id, "session"), lambda e=engine, i=image: e.session(i))
                for _ in range(given.clicks):
                    prompts = Prompts(points=tuple(points))
                    got = timed((size, id, "click"), lambda s=session, p=prompts: s.predict(p)).mask
                    more = pc.correcting_click(mask, got, rng)
                    if more is None:
                        break
                    points = [*points, more] if all(p.voxel != more.voxel for p in points) else points
                if "box" in engine.modes:
                    box = Prompts(box=pc.box_of(mask))
                    timed((size, id, "box"), lambda s=session, p=box: s.predict(p))
                session.close()
    print(f"{'image':<18}{'engine':<22}{'step':<9}{'n':>4}{'p50 ms':>9}{'p95 ms':>9}{'CPU p50':>9}{'CPU p95':>9}")
    for (size, id, step), each in times.items():
        wall, cpu = np.array(each).T * 1000
        row = [*np.percentile(wall, (50, 95)), *np.percentile(cpu, (50, 95))]
        print(f"{size:<18}{id:<22}{step:<9}{len(each):4}" + "".join(f"{v:9.0f}" for v in row))
    if given.json:
        rows = [{"image": s, "engine": i, "step": st, "wall_cpu_s": each} for (s, i, st), each in times.items()]
        given.json.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
