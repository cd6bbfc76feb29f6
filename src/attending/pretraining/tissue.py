"""``python -m attending.pretraining tissue --minutes N --out DIR``: train the tissue net on synthetic heads.

Goes on where DIR/state.safetensors stopped. Writes tissue.safetensors (averaged weights) and tissue.onnx beside it.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

HELP = "brain tissue (CSF, grey, white) on a head MR of any sequence"
LOG = logging.getLogger(__name__)
RATE, LEAST_RATE, DECAY = 3e-3, 1e-5, 1e-4
WARM = 50
# Averaging over about the last 200 steps, and over fewer at the beginning.
AVERAGE = 0.995
SAVE_S = 120.0
AHEAD = 4


def add_to(parser: argparse.ArgumentParser) -> None:
    """The arguments of the subcommand."""
    parser.add_argument("--minutes", type=float, default=40.0, help="train for so long in this run")
    parser.add_argument("--plan", type=float, default=None, help="minutes over which the rate falls (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the state and the weights")
    parser.add_argument("--templates", type=Path, default=None, help="nilearn/datasets/data of nilearn's wheel")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, then export."""
    from .tissue_export import export

    weights = train(args.out, args.minutes, args.plan, args.templates or templates(), args.seed, args.threads)
    export(weights, args.out / "tissue.onnx")
    return 0


def templates() -> Path:
    """Where nilearn keeps its templates, found without importing it."""
    from importlib.util import find_spec

    from ..errors import ExtraMissing

    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise ExtraMissing(
            "the MNI152 templates are not here",
            "the folder nilearn/datasets/data of the wheel nilearn==0.14.1",
            "pip download --no-deps nilearn==0.14.1, unpack the wheel, and give that folder with --templates",
        )
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"


def train(out: Path, minutes: float, plan: float | None, folder: Path, seed: int, threads: int) -> Path:
    """The loop, written out. The path of the averaged weights."""
    import torch
    from safetensors.torch import save_file

    from .tissue_torch import tissue_net

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    net = tissue_net().to(memory_format=torch.channels_last_3d)
    mean = {name: value.detach().clone() for name, value in net.state_dict().items()}
    # Momentum of AdamW is kept by our own names so that the state is safetensors and no pickle.
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    step, spent = _resume(out, net, mean, optimiser)
    plan_s = 60 * (plan if plan is not None else spent / 60 + minutes)
    heads = _heads(folder, seed, step)
    began, saved, losses = time.monotonic(), time.monotonic(), []
    while (now := time.monotonic()) - began < 60 * minutes:
        images, labels = next(heads)
        share = min(1.0, (spent + now - began) / plan_s)
        rate = LEAST_RATE + (RATE - LEAST_RATE) * 0.5 * (1 + np.cos(np.pi * share))
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / WARM)
        for image, label in zip(images, labels, strict=True):
            x = torch.from_numpy(image)[None, None].to(memory_format=torch.channels_last_3d)
            y = torch.from_numpy(label.astype(np.int64))[None]
            with torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())):
                scores = net(x)
            loss = _loss(scores.float(), y)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            step += 1
            keep = min(AVERAGE, (1 + step) / (10 + step))
            with torch.no_grad():
                for name, value in net.state_dict().items():
                    mean[name].mul_(keep).add_(value, alpha=1 - keep)
            losses.append(float(loss.detach()))
        if step % 20 == 0:
            done = spent + time.monotonic() - began
            LOG.info("step %d, %.1f min, loss %.4f, rate %.5f", step, done / 60, np.mean(losses[-100:]), rate)
        if time.monotonic() - saved > SAVE_S:
            _save(out, net, mean, optimiser, step, spent + time.monotonic() - began)
            saved = time.monotonic()
    heads.close()
    _save(out, net, mean, optimiser, step, spent + time.monotonic() - began)
    path = out / "tissue.safetensors"
    save_file({name: value.contiguous() for name, value in mean.items()}, str(path))
    return path


def _heads(folder: Path, seed: int, step: int) -> Generator[tuple[Any, Any], None, None]:
    """Examples from this step on, each made from the seed and its step by a process beside the training."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from .tissue_data import CONTRASTS, made, prepare

    with ProcessPoolExecutor(1, get_context("spawn"), prepare, (folder,)) as beside:
        ahead = [beside.submit(made, seed, step + CONTRASTS * k) for k in range(AHEAD)]
        try:
            while True:
                step += CONTRASTS
                yield ahead.pop(0).result()
                ahead.append(beside.submit(made, seed, step + CONTRASTS * (AHEAD - 1)))
        finally:
            for item in ahead:
                item.cancel()


def _loss(scores: Any, labels: Any) -> Any:
    """Cross entropy and soft Dice over the classes; classes that the head does not show count in the first only."""
    import torch
    from torch.nn import functional

    chance = torch.softmax(scores, dim=1)
    truth = functional.one_hot(labels, scores.shape[1]).movedim(-1, 1).to(chance.dtype)
    axes = (0, 2, 3, 4)
    both, size = (chance * truth).sum(axes), truth.sum(axes)
    dice = (2 * both + 1) / (chance.sum(axes) + size + 1)
    there = (size > 0).to(dice.dtype)
    return functional.cross_entropy(scores, labels) + 1 - (dice * there).sum() / there.sum()


def _save(out: Path, net: Any, mean: dict[str, Any], optimiser: Any, step: int, spent: float) -> None:
    from safetensors.torch import save_file

    held = {f"net.{n}": v.contiguous() for n, v in net.state_dict().items()}
    held |= {f"mean.{n}": v.contiguous() for n, v in mean.items()}
    for name, parameter in net.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            held[f"adam.{key}.{name}"] = value.contiguous()
    part = out / "state.part"
    save_file(held, str(part), metadata={"told": json.dumps({"step": step, "spent": spent})})
    part.replace(out / "state.safetensors")


def _resume(out: Path, net: Any, mean: dict[str, Any], optimiser: Any) -> tuple[int, float]:
    """Step and seconds of an earlier run, its weights put in place; (0, 0) for a first one."""
    from safetensors import safe_open

    path = out / "state.safetensors"
    if not path.exists():
        return 0, 0.0
    with safe_open(str(path), "pt") as held:
        told = json.loads(held.metadata()["told"])
        net.load_state_dict({n: held.get_tensor(f"net.{n}") for n in net.state_dict()})
        for name in mean:
            mean[name].copy_(held.get_tensor(f"mean.{name}"))
        for name, parameter in net.named_parameters():
            optimiser.state[parameter] = {
                key: held.get_tensor(f"adam.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")
            }
    return int(told["step"]), float(told["spent"])
