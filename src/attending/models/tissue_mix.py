"""A mixture of Gaussians over the brightness of one brain, with a net's probabilities as its spatial prior.

The net knows shapes and is trained for no sequence; how bright each tissue is in this volume is learned from this
volume, with a smooth bias field: unified segmentation (Ashburner & Friston, NeuroImage 2005) with the net in the place
of a registered atlas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
ROUNDS = 12
# Width of the bias field's smoothing: wider than any lobe's grey and white differ.
BIAS_MM = 35.0
# Share of voxels that are none of the tissues: vessels, lesions, bone in the mask. They keep the prior's label.
STRAY = 0.03
# The prior is never surer than this: the net's blunders must not outweigh what is seen.
LEAST_PRIOR = 0.01
# Neighbouring voxels share one guess of the net: its probabilities count by their root, not to outvote the image.
POWER = 0.5


@dataclass(frozen=True)
class Mixture:
    """mean, spread (k,): of log brightness per class. bias: log field on the coarse grid, 0 on the average."""

    mean: F32
    spread: F32
    bias: F32

    def weigh(self, level: F32, prior: F32, bias: F32) -> F32:
        """level (n,), prior (k, n), bias (n,) -> probability of each class (k, n)."""
        away = (level - bias - self.mean[:, None]) / self.spread[:, None]
        seen = np.exp(-0.5 * away**2) / self.spread[:, None]
        stray = STRAY / max(float(np.ptp(self.mean)), 0.3)
        joint = np.maximum(prior, LEAST_PRIOR) ** np.float32(POWER) * (seen * np.float32(0.4) + np.float32(stray))
        out: F32 = joint / joint.sum(axis=0)
        return out


def log_level(volume: NDArray[np.generic]) -> F32:
    """Brightness 0..255 -> its logarithm, flat towards 0 so that noise in the dark does not spread."""
    out: F32 = np.log(volume.astype(np.float32) + np.float32(12.0))
    return out


def fit(level: F32, prior: F32, inside: NDArray[np.bool_], mm: float) -> Mixture:
    """Expectation maximisation on a coarse grid.

    level (z, y, x) by ``log_level``; prior (k, z, y, x) the net's probabilities; inside the brain's voxels; mm the
    grid's voxel size.
    """
    from scipy import ndimage

    at, share = level[inside], prior[:, inside]
    share = share / np.maximum(share.sum(axis=0), 1e-6)
    bias = np.zeros(level.shape, np.float32)
    weight = share
    mixture = None
    for round in range(ROUNDS):
        flat = at - bias[inside]
        total = weight.sum(axis=1) + 1e-3
        mean = (weight * flat).sum(axis=1) / total
        spread = np.sqrt((weight * (flat - mean[:, None]) ** 2).sum(axis=1) / total)
        mixture = Mixture(mean.astype(np.float32), np.clip(spread, 0.04, 0.6).astype(np.float32), bias)
        weight = mixture.weigh(at, share, bias[inside])
        if round >= 2:
            rest, sure = np.zeros(level.shape, np.float32), np.zeros(level.shape, np.float32)
            # What is left when each voxel has the brightness of its class, weighted by how narrow the class is.
            narrow = weight / mixture.spread[:, None] ** 2
            sure[inside] = narrow.sum(axis=0)
            rest[inside] = (narrow * (at - mixture.mean[:, None])).sum(axis=0)
            wide = BIAS_MM / mm
            bias = ndimage.gaussian_filter(rest, wide) / np.maximum(ndimage.gaussian_filter(sure, wide), 1e-3)
            bias -= bias[inside].mean()
    assert mixture is not None
    return mixture
