"""Click to mask with a cached embedding: attending's SAM through ONNX Runtime against transformers.SamModel in torch.

    python benchmarks/sam_click.py [--weights FOLDER] [--keep FOLDER] [--clicks 20] [--encodings 3] [--json FILE]

Needs the torch extra. Without --weights (a folder of SamModel: config.json and safetensors) a SAM ViT-B of full size is
drawn at random and labelled so: times do not depend on the weights, and equal masks of a random network are as hard to
get as of a trained one. --keep keeps the drawn weights and the graphs made of them for another run.

Each contender has a process of its own; both are warm, and are asked in turn, click after click. A click counts from
the prompt to the mask on the image's own grid (512x512): for transformers the decoder on its cached embedding, its
post-processing and the choice of the best of three masks; for attending ``Session.predict``. Then the encoder, in turn:
attending, torch in float32 and in bfloat16, with the floor: the encoder's multiplications and additions at the rate at
which this machine multiplies matrices just then. Under load by others compare the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np

SIDE = 512
STD = 0.02
GEMM = 1536
WARM = 3


class Program:
    """The worker program of the torch side: transformers' own SAM."""

    batches: ClassVar[dict[str, int]] = {}

    def __init__(self, setup: dict[str, Any]) -> None:
        import torch
        from transformers import SamImageProcessor, SamModel

        torch.set_num_threads(setup["threads"])
        torch.set_grad_enabled(False)
        self.model = SamModel.from_pretrained(setup["folder"], local_files_only=True, dtype=torch.float32).eval()
        self.half = None
        self.look = SamImageProcessor()
        self.embedding: Any = None

    def encode(self, image: np.ndarray, bf16: bool = False) -> dict[str, Any]:
        import torch

        if bf16 and self.half is None:
            from copy import deepcopy

            self.half = deepcopy(self.model.vision_encoder).to(torch.bfloat16)
        start = time.perf_counter()
        given = self.look(images=image, return_tensors="pt")
        if bf16:
            out = self.half(given["pixel_values"].to(torch.bfloat16))[0].float()
            off = float((out - self.embedding).abs().max() / self.embedding.abs().max())
        else:
            out = self.embedding = self.model.get_image_embeddings(given["pixel_values"])
            self.sizes, off = (given["original_sizes"], given["reshaped_input_sizes"]), 0.0
        return {"seconds": time.perf_counter() - start, "off": off, "embedding": out.numpy()}

    def click(self, x: int, y: int) -> dict[str, Any]:
        import torch

        start = time.perf_counter()
        scale = 1024 / SIDE
        out = self.model(
            image_embeddings=self.embedding,
            input_points=torch.tensor([[[[x * scale, y * scale]]]]),
            input_labels=torch.tensor([[[1]]]),
            multimask_output=True,
        )
        masks = self.look.post_process_masks(out.pred_masks, *self.sizes)[0][0]
        mask = masks[int(out.iou_scores[0, 0].argmax())].numpy()
        return {"seconds": time.perf_counter() - start, "mask": mask}

    def rate(self) -> dict[str, Any]:
        """Best of several float32 matrix products, in operations a second."""
        import torch

        a, b = torch.randn(GEMM, GEMM), torch.randn(GEMM, GEMM)
        best = 1e9
        for _ in range(8):
            start = time.perf_counter()
            a @ b
            best = min(best, time.perf_counter() - start)
        return {"rate": 2 * GEMM**3 / best}


def drawn(folder: Path) -> None:
    """SamModel of ViT-B's size with random weights, none of them left at a value that hides a part of the network."""
    import torch
    from transformers import SamConfig, SamModel

    torch.manual_seed(1)
    model = SamModel(SamConfig(vision_config={"initializer_range": STD}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(STD * torch.randn_like(parameter))
    model.save_pretrained(folder)


def encoder_operations(config: dict[str, Any]) -> float:
    """Multiplications and additions of one encoding, attention and padding of windows included."""
    hidden, layers, mlp, side, window = 768, 12, 3072, 64, 14
    vision = config.get("vision_config", {})
    hidden, layers = vision.get("hidden_size", hidden), vision.get("num_hidden_layers", layers)
    mlp = vision.get("mlp_dim") or int(hidden * vision.get("mlp_ratio", 4))
    globally = vision.get("global_attn_indexes", [2, 5, 8, 11])
    tokens, padded = side * side, (-(-side // window) * window) ** 2
    total = 2.0 * tokens * hidden * 3 * 16 * 16
    for layer in range(layers):
        whole = layer in globally
        n, reach = (tokens, tokens) if whole else (padded, window * window)
        total += 2.0 * n * hidden * hidden * 4 + 2.0 * n * reach * hidden * 2 + 2.0 * tokens * hidden * mlp * 2
    return total + 2.0 * tokens * hidden * 256 + 2.0 * tokens * 256 * 256 * 9


def phantom() -> np.ndarray:
    """(512, 512) uint8: soft discs on a slope with noise."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:SIDE, :SIDE]
    film = 40 + 60 * x / SIDE + rng.normal(0, 6, (SIDE, SIDE))
    for cx, cy, r, v in ((150, 160, 90, 70), (350, 180, 60, 90), (250, 370, 100, -35)):
        film += v / (1 + np.exp((np.hypot(x - cx, y - cy) - r) / 3))
    return film.clip(0, 255).astype(np.uint8)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--weights", type=Path)
    options.add_argument("--keep", type=Path)
    options.add_argument("--clicks", type=int, default=20)
    options.add_argument("--encodings", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(given, given.keep or Path(temporary))


def run(given: argparse.Namespace, folder: Path) -> None:
    from attending.models import Card, Setup
    from attending.models.sam_onnx import OnnxSam, convert
    from attending.models.worker import Worker
    from attending.records import Image, ImageFacts

    weights, graphs = given.weights or folder / "weights", folder / "graphs"
    if not (weights / "config.json").exists():
        drawn(weights)
    if not (graphs / "refine.onnx").exists():
        graphs.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        convert({p.name: p for p in weights.iterdir()}, graphs)
        print(f"graphs made in {time.perf_counter() - start:.0f} s (once)")
    config = json.loads((weights / "config.json").read_text())
    film = phantom()
    image = Image(ImageFacts("i", (1, SIDE, SIDE, 3), None, None, "OT"), np.repeat(film[None, ..., None], 3, axis=3))
    card = Card("sam", "1", "SAM", ("Prompted",), "onnxruntime", "Apache-2.0")
    ours = OnnxSam(Setup("sam", card, {p.name: p for p in graphs.iterdir()}, given.threads))
    setup = {"folder": str(weights), "threads": given.threads}
    theirs = Worker(Path(__file__), setup, threads=given.threads, label="transformers")
    kind = "weights given" if given.weights else "RANDOM weights"
    width = config.get("vision_config", {}).get("hidden_size", 768)
    print(f"SAM {width} wide, {kind}; {platform.machine()}, {given.threads} threads, load {os.getloadavg()[0]:.0f}")

    picture = {"image": image.voxels[0].copy()}
    session = ours.session(image)
    full = theirs.call("encode", picture, 900)
    mine_embedding = session._planes[0].embedding
    apart = float(np.abs(mine_embedding - full["embedding"]).max() / np.abs(full["embedding"]).max())
    a, b, ious = clicks(given.clicks, session, theirs)
    seconds, floors, off = encodings(given.encodings, ours, image, theirs, picture, config)
    theirs.close()
    print(
        f"  greatest difference of embeddings, of the greatest value: ours to fp32 {apart:.1e}, bf16 to fp32 {off:.1e}"
    )
    if given.json:
        figures = {"click_ms": [1000 * v for v in a], "torch_click_ms": [1000 * v for v in b], "iou": ious}
        given.json.write_text(
            json.dumps({**figures, "encoder_s": seconds, "floor_s": floors, "random": not given.weights})
        )


def clicks(count: int, session: Any, theirs: Any) -> tuple[list[float], list[float], list[float]]:
    """Seconds of ours and theirs, and the overlap of their masks, click by click."""
    from attending.records import Point, Prompts

    rng = np.random.default_rng(2)
    a, b, ious, sizes = [], [], [], []
    for turn in range(count + WARM):
        x, y = (int(v) for v in rng.integers(20, SIDE - 20, 2))
        start = time.perf_counter()
        mask = session.predict(Prompts(points=(Point((x, y, 0)),))).mask[0]
        mine = time.perf_counter() - start
        other = theirs.call("click", {"x": x, "y": y}, 300)
        union = (mask | other["mask"]).sum()
        ious.append(float((mask & other["mask"]).sum() / union) if union else 1.0)
        sizes.append(float(mask.mean()))
        if turn >= WARM:
            a.append(mine)
            b.append(other["seconds"])
    print(f"\nclick to mask, {count} clicks in turn, milliseconds: least, median, 95th percentile")
    for name, times in (("attending (ONNX Runtime)", a), ("transformers (torch fp32)", b)):
        least, high = 1000 * min(times), 1000 * float(np.percentile(times, 95))
        print(f"  {name:28} {least:8.1f} {1000 * median(times):8.1f} {high:8.1f}")
    pairs = median([y / x for x, y in zip(a, b, strict=True)])
    ratio, least = median(b) / median(a), min(b) / min(a)
    print(f"  {ratio:.2f}x faster by median, {least:.2f}x by least, {pairs:.2f}x by the median of pairs")
    print(f"  masks: least IoU {min(ious):.5f}, covering {min(sizes):.0%} to {max(sizes):.0%} of the image", flush=True)
    return a, b, ious


def encodings(
    count: int, ours: Any, image: Any, theirs: Any, picture: dict[str, Any], config: dict[str, Any]
) -> tuple[dict[str, list[float]], list[float], float]:
    """Seconds of each encoder and of the floor, and how far bfloat16 is off. Where that is far slower it runs once."""
    seconds: dict[str, list[float]] = {"attending": [], "torch fp32": [], "torch bf16": []}
    floors, off = [], 0.0
    for _ in range(count):
        start = time.perf_counter()
        ours.session(image).close()
        seconds["attending"].append(time.perf_counter() - start)
        seconds["torch fp32"].append(theirs.call("encode", picture, 900)["seconds"])
        if not seconds["torch bf16"] or min(seconds["torch bf16"]) < 3 * max(seconds["torch fp32"]):
            half = theirs.call("encode", {**picture, "bf16": True}, 900)
            seconds["torch bf16"].append(half["seconds"])
            off = half["off"]
        floors.append(encoder_operations(config) / theirs.call("rate", {}, 60)["rate"])
    print(f"\nencoder, {count} encodings in turn, seconds: least, median")
    for name, times in (*seconds.items(), ("floor", floors)):
        print(f"  {name:28} {min(times):8.2f} {median(times):8.2f}  ({len(times)})")
    total = encoder_operations(config)
    rate = total / min(floors) / 1e9
    print(f"  the floor is {total / 1e12:.2f} TFLOP at {rate:.0f} GFLOP/s, the rate of a float32 matrix product")
    return seconds, floors, off


if __name__ == "__main__":
    main()
