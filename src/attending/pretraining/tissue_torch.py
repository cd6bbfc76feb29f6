"""The tissue net: a small 3-D U-Net. 1 channel in, 4 classes out (other, CSF, grey, white) on the same grid."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

WIDTHS = (8, 24, 48, 64, 80)
CLASSES = 4
# Levels with two convolutions after each halving: the one whose field of view is a lobe.
TWICE = 3


def tissue_net() -> Any:
    """A fresh network, 0.82 M parameters. Its parameters' names are those of ``tissue_export`` and of the weights."""
    import torch
    from torch import nn

    def normed(channels: int) -> list[nn.Module]:
        return [nn.InstanceNorm3d(channels, affine=True), nn.LeakyReLU(0.01, inplace=True)]

    def block(inside: int, out: int) -> list[nn.Module]:
        return [nn.Conv3d(inside, out, 3, padding=1, bias=False), *normed(out)]

    class TissueNet(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(*block(1, WIDTHS[0]))
            self.down, self.enc, self.up, self.dec = (nn.ModuleList() for _ in range(4))
            for level, (wide, narrow) in enumerate(pairwise(WIDTHS), 1):
                self.down.append(nn.Sequential(nn.Conv3d(wide, narrow, 2, stride=2, bias=False), *normed(narrow)))
                twice = block(narrow, narrow) if level == TWICE else []
                self.enc.append(nn.Sequential(*block(narrow, narrow), *twice))
                self.up.append(nn.ConvTranspose3d(narrow, wide, 2, stride=2))
                self.dec.append(nn.Sequential(*block(wide, wide)))
            self.head = nn.Conv3d(WIDTHS[0], CLASSES, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            skips = []
            for down, enc in zip(self.down, self.enc, strict=True):
                skips.append(x)
                x = enc(down(x))
            for level in reversed(range(len(self.up))):
                x = self.dec[level](self.up[level](x) + skips[level])
            return self.head(x)

    return TissueNet()
