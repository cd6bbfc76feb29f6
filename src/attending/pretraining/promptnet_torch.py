"""The promptable net itself, in torch: a U-Net on half the grid with a global context and a head that guesses the Dice.

Full resolution is reached by pixel shuffles, because convolutions of few channels on the whole grid are what costs most
on a CPU. Sizes live here, the recipe that makes its input in ``models.promptcrop``, its use in ``models.promptnet``.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ..models.promptcrop import CHANNELS, SIZE

WIDTHS = (24, 48, 96, 128)
"""Channels on a half, a quarter, an eighth and a sixteenth of the grid: 0.9 million weights, 1.8 MB in halves."""
FINE = 8
"""Channels of the one convolution on the full grid."""


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outside, momentum=0.02),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width, momentum=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.norm(self.conv(x)))


class _Context(nn.Module):  # type: ignore[misc]
    """Adds what the whole crop says to every place: a click's look must reach the far end of an organ."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2 * width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return x + self.second(functional.relu(self.first(pooled)))[:, :, None, None]


class PromptNet(nn.Module):  # type: ignore[misc]
    """(n, CHANNELS, side, side), side of 16s -> logits (n, 1, side, side), logit of the guessed Dice (n, 1)."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.at_half = nn.Sequential(_conv(4 * len(CHANNELS), a), _Residual(a))
        self.at_quarter = nn.Sequential(_conv(a, b, 2), _Residual(b))
        self.at_eighth = nn.Sequential(_conv(b, c, 2), _Residual(c))
        self.deep = nn.Sequential(_conv(c, d, 2), _Residual(d), _Context(d), _Residual(d))
        self.to_eighth, self.to_quarter, self.to_half = nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1), nn.Conv2d(b, a, 1)
        self.up_eighth = _conv(2 * c, c)
        self.up_quarter = nn.Sequential(_conv(2 * b, b), _Residual(b))
        self.up_half = nn.Sequential(_conv(2 * a, a), _Residual(a))
        self.widen = nn.Conv2d(a, 4 * FINE, 1)
        self.fine = nn.Sequential(nn.Conv2d(FINE + 2, FINE, 3, padding=1), nn.ReLU(inplace=True))
        self.out = nn.Conv2d(FINE, 1, 3, padding=1)
        self.guess = nn.Sequential(nn.Linear(d + a, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        half = self.at_half(functional.pixel_unshuffle(x, 2))
        quarter = self.at_quarter(half)
        eighth = self.at_eighth(quarter)
        deep = self.deep(eighth)
        up = self.up_eighth(torch.cat([_double(self.to_eighth(deep)), eighth], 1))
        up = self.up_quarter(torch.cat([_double(self.to_quarter(up)), quarter], 1))
        up = self.up_half(torch.cat([_double(self.to_half(up)), half], 1))
        fine = functional.pixel_shuffle(self.widen(up), 2)
        logits = self.out(self.fine(torch.cat([fine, x[:, 0:1], x[:, 2:3]], 1)))
        guess = self.guess(torch.cat([deep.mean((2, 3)), up.mean((2, 3))], 1))
        return logits, guess


def _double(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


__all__ = ["SIZE", "PromptNet"]
