"""Train the small promptable net on synthetic images. Stops after --minutes; the same command goes on from there."""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..models.promptlook import Net

HELP = "train the small promptable segmentation net (needs the torch extra)"
STATE, WEIGHTS, SCHEMA = "state.json", "weights.safetensors", 1
BATCH = 16
GRIDS = ((0.0, 64), (0.45, 96))
"""The side of the net's grid from which part of the run on: small grids show more images in the same time."""
PEAK, LEAST_RATE = 2e-3, 2e-5
WARM = 200
DECAY = 0.9985
"""Of the moving average of the weights, which is what is shipped: about the last 700 steps."""
SAVE_EVERY, CHECK_EVERY = 120.0, 600.0
log = logging.getLogger(__name__)


@dataclass
class State:
    """What a run needs to go on, beside the tensors. Minutes count training alone, over all runs."""

    schema: int = SCHEMA
    steps: int = 0
    images: int = 0
    minutes: float = 0.0
    planned: float = 0.0
    started: float = 0.0
    seed: int = 0


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=90.0, help="train for so long (default 90)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint; goes on from one there")
    parser.add_argument("--templates", type=Path, help="nilearn/datasets/data of the nilearn wheel: MNI152 tissue maps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", type=int, default=300, help="held-out synthetic tasks at the end; 0: no validation")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, save every two minutes, and validate every ten."""
    import torch

    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    training = _Training(args.out, args.minutes, args.seed, args.check)
    tissues = tissue_slices(args.templates) if args.templates else None
    if tissues is None:
        log.info("no templates given: heads are drawn by rule alone")
    training.go(tissues)
    return 0


def tissue_slices(folder: Path) -> NDArray[np.uint8]:
    """(z, y, x) labels 1 grey, 2 white of the MNI152 templates, so that a slice along any axis is a plane."""
    import nibabel as nib

    grey, white = (
        np.asarray(nib.load(str(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")).dataobj)
        for name in ("gm", "wm")
    )
    labels = np.zeros(grey.shape, np.uint8)
    labels[grey > 0.45 * grey.max()] = 1
    labels[(white > 0.5 * white.max()) & (white > grey)] = 2
    return np.ascontiguousarray(labels.transpose(2, 1, 0)[:, ::-1])


class _Training:
    """The loop, written out: a batch, its loss, a step, the moving average, and the net's word back to the stream."""

    def __init__(self, out: Path, minutes: float, seed: int, count: int) -> None:
        import torch

        from .promptnet_torch import PromptNet

        self.out, self.count = out, count
        torch.manual_seed(seed)
        self.net = PromptNet().to(memory_format=torch.channels_last)
        self.average = PromptNet().eval()
        self.average.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=PEAK, weight_decay=0.01)
        self.state = State(seed=seed)
        if (out / STATE).is_file():
            self._load()
        if self.state.minutes >= self.state.planned - 1e-6:
            self.state.started = self.state.minutes
            self.state.planned = self.state.minutes + minutes
        self.first = self.state.started == 0.0

    def go(self, tissues: NDArray[np.uint8] | None) -> None:
        import torch

        from . import prompted_check  # noqa: F401  (loaded before the long run: what it needs must be there)
        from .samples import Stream

        state = self.state
        rng = np.random.default_rng((state.seed, state.steps))
        stream = Stream(BATCH, rng, tissues)
        began, before = time.monotonic(), state.minutes
        saved = checked = shown = began
        losses: list[float] = []
        while state.minutes < state.planned:
            rate = self._rate()
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            inputs, answers, whole = stream.batch(self._grid())
            x = torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)
            self.net.train()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits, guess = self.net(x)
            logits, guess = logits.float()[:, 0], guess.float()[:, 0]
            loss, probability = _loss(logits, guess, torch.from_numpy(answers), torch.from_numpy(whole), x[:, 8])
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimiser.step()
            state.steps += 1
            state.images += len(inputs)
            self._average()
            losses.append(float(loss.detach()))
            stream.told(probability.numpy())
            now = time.monotonic()
            state.minutes = before + (now - began) / 60
            if now - shown > 60:
                log.info(
                    "%.1f of %.0f min, %d steps, %d images, grid %d, loss %.4f",
                    state.minutes, state.planned, state.steps, state.images, self._grid(), float(np.mean(losses)),
                )  # fmt: skip
                losses, shown = [], now
            if now - saved > SAVE_EVERY:
                self.save()
                saved = now
            if self.count and now - checked > CHECK_EVERY:
                self.save()
                check(torch_net(self.average), log.info, self.count, quick=True)
                checked = now
                began += time.monotonic() - now  # validation is not training
        self.save()
        if self.count:
            check(torch_net(self.average), log.info, self.count)

    def save(self) -> None:
        """Tensors and state, each written beside and moved over, tensors first."""
        from safetensors.torch import save_file

        tensors: dict[str, Any] = {f"net.{k}": v.contiguous() for k, v in self.net.state_dict().items()}
        tensors |= {f"average.{k}": v.contiguous() for k, v in self.average.state_dict().items()}
        for k, p in enumerate(self.net.parameters()):
            for name, value in self.optimiser.state.get(p, {}).items():
                tensors[f"adam.{k}.{name}"] = value.contiguous()
        save_file(tensors, str(self.out / f"{WEIGHTS}.part"))
        (self.out / f"{WEIGHTS}.part").replace(self.out / WEIGHTS)
        part = self.out / f"{STATE}.part"
        part.write_text(json.dumps(asdict(self.state), indent=1))
        part.replace(self.out / STATE)

    def _load(self) -> None:
        from safetensors.torch import load_file

        self.state = State(**json.loads((self.out / STATE).read_text()))
        tensors = load_file(str(self.out / WEIGHTS))
        self.net.load_state_dict(_under(tensors, "net."))
        self.average.load_state_dict(_under(tensors, "average."))
        for k, p in enumerate(self.net.parameters()):
            kept = _under(tensors, f"adam.{k}.")
            if kept:
                self.optimiser.state[p] = {name: value.clone() for name, value in kept.items()}
        log.info("going on from %d steps, %.1f min", self.state.steps, self.state.minutes)

    def _done(self) -> float:
        state = self.state
        return (state.minutes - state.started) / max(state.planned - state.started, 1e-6)

    def _grid(self) -> int:
        """A later run is on the last grid."""
        return max(side for start, side in GRIDS if start <= max(self._done(), 0.0 if self.first else GRIDS[-1][0]))

    def _rate(self) -> float:
        """Warm-up, then a cosine over the planned minutes; a later run goes up to half the peak again."""
        peak = PEAK if self.first else PEAK / 2
        rate = LEAST_RATE + (peak - LEAST_RATE) * 0.5 * (1 + np.cos(np.pi * min(1.0, self._done())))
        return float(rate * min(1.0, (self.state.steps + 1) / WARM))

    def _average(self) -> None:
        import torch

        keep = min(DECAY, (1 + self.state.steps) / (10 + self.state.steps))
        with torch.no_grad():
            for mine, theirs in zip(self.average.state_dict().values(), self.net.state_dict().values(), strict=True):
                if mine.dtype.is_floating_point:
                    mine.lerp_(theirs, 1 - keep)


def _under(tensors: dict[str, Any], start: str) -> dict[str, Any]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _loss(logits: Any, guess: Any, answers: Any, whole: Any, inside: Any) -> tuple[Any, Any]:
    """Cross-entropy and soft Dice on what the window shows; the guess learns the Dice against the whole target, so that
    a window that cuts the target is known for it. Also the probabilities, detached."""
    from torch.nn import functional

    entropy = functional.binary_cross_entropy_with_logits(logits, answers, reduction="none")
    entropy = (entropy * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)
    probability = logits.sigmoid() * inside
    both = (probability * answers).sum((1, 2))
    overlap = (2 * both + 8) / (probability.sum((1, 2)) + answers.sum((1, 2)) + 8)
    said = (probability.detach() > 0.5).float()
    real = 2 * (said * answers).sum((1, 2)) / (said.sum((1, 2)) + whole).clamp(min=1)
    guessed = functional.binary_cross_entropy_with_logits(guess, real.clamp(0, 1))
    return entropy.mean() + (1 - overlap).mean() + 0.2 * guessed, probability.detach()


def torch_net(module: Any) -> Net:
    """The torch module as the plain function that the engine's code calls."""
    import torch

    def net(inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.no_grad():
            x = torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)
            logits, guess = module(x)
            return logits[:, 0].sigmoid().contiguous().numpy(), guess[:, 0].sigmoid().numpy()

    return net


def check(net: Net, say: Any, count: int = 300, quick: bool = False) -> None:
    """Validation: held-out synthetic tasks, and half as many of each real set that is there; quick: a fifth of both."""
    from . import prompted_check as checks

    count = count // 5 if quick else count
    sets = {"synthetic": checks.synthetic(count)} | checks.real(checks.mirror_folder(), count // 2)
    modes = ("1 click", "box", "scribble", "mask") if quick else checks.MODES
    checks.report(net, sets, say, modes)
