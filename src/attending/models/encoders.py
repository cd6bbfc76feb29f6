"""The image encoder that is always there: descriptors of scikit-image, without weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..records import Image
from .planes import grey_planes, resized, saturation
from .protocols import Setup

SIDE = 64
CELL = 8
ORIENTATIONS = 8
LBP_RINGS = ((8, 1), (16, 2))
"""(points, radius in pixels) of the local binary patterns."""
GREYS = 16
"""Grey levels of the co-occurrence matrices and the histogram."""


class SkimageDescriptors:
    """Encoder: image -> 734 numbers, in this order.

    512  histograms of oriented gradients, 8x8 cells of a 64x64 view, 8 orientations
    112  uniform local binary patterns of the four quarters: 4 x (10 + 18) bins
     64  8x8 thumbnail
     46  16-bin histogram; mean, standard deviation, skewness, kurtosis, entropy, 9 deciles; co-occurrence contrast,
         homogeneity, energy and correlation at 1, 2 and 4 pixels; left-right and up-down symmetry; saturation; and
         the share of the image's rows to its columns

    A volume is the mean over three axial planes in its middle. Intensity is stretched between robust percentiles, so a
    film and its inverted copy differ but a film and its brighter copy do not. Sources: Dalal and Triggs 2005 (HOG),
    Ojala 2002 (LBP), Haralick 1973 (co-occurrence).
    """

    space = "skimage-descriptors/1"
    size = 734

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, 734) float32, finite."""
        out = np.zeros((len(images), self.size), dtype=np.float32)
        for row, image in enumerate(images):
            planes = grey_planes(image)
            vectors = [_describe(resized(plane, SIDE, SIDE)) for plane in planes]
            aspect = np.log2(planes[0].shape[0] / planes[0].shape[1])
            out[row, :-2] = np.mean(vectors, axis=0)
            out[row, -2:] = saturation(image), np.clip(aspect, -2, 2)
        return out


def _describe(view: NDArray[np.float32]) -> NDArray[np.float64]:
    """view: (64, 64) in 0..1."""
    from skimage.feature import hog

    gradients = hog(
        view, orientations=ORIENTATIONS, pixels_per_cell=(CELL, CELL), cells_per_block=(1, 1), feature_vector=True
    )
    thumbnail = view.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL).mean(axis=(1, 3)).ravel()
    parts = [gradients, _patterns(view), thumbnail, _statistics(view)]
    return np.nan_to_num(np.concatenate(parts).astype(np.float64))


def _patterns(view: NDArray[np.float32]) -> NDArray[np.float64]:
    from skimage.feature import local_binary_pattern

    bytes_ = np.round(view * 255).astype(np.uint8)  # on floats, rounding noise would decide ties
    half = SIDE // 2
    out = []
    for points, radius in LBP_RINGS:
        codes = local_binary_pattern(bytes_, points, radius, method="uniform").astype(np.int64)
        for y in (0, half):
            for x in (0, half):
                counts = np.bincount(codes[y : y + half, x : x + half].ravel(), minlength=points + 2)
                out.append(counts / (half * half))
    return np.concatenate(out)


def _statistics(view: NDArray[np.float32]) -> NDArray[np.float64]:
    from skimage.feature import graycomatrix, graycoprops

    values = view.astype(np.float64)
    histogram = np.histogram(values, bins=GREYS, range=(0, 1))[0] / values.size
    mean, spread = values.mean(), values.std()
    z = (values - mean) / spread if spread > 0 else np.zeros_like(values)
    filled = histogram[histogram > 0]
    moments = [
        mean,
        spread,
        np.clip((z**3).mean(), -9, 9),
        np.clip((z**4).mean(), 0, 9),
        -(filled * np.log2(filled)).sum(),
    ]
    deciles = np.percentile(values, range(10, 100, 10))
    levels = np.minimum((values * GREYS).astype(np.uint8), GREYS - 1)
    pairs = graycomatrix(
        levels, [1, 2, 4], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], levels=GREYS, symmetric=True, normed=True
    )
    texture = [graycoprops(pairs, prop).mean(axis=1) for prop in ("contrast", "homogeneity", "energy", "correlation")]
    symmetry = [_likeness(values, values[:, ::-1]), _likeness(values, values[::-1])]
    return np.concatenate([histogram, moments, deciles, *texture, symmetry])


def _likeness(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson correlation, 0 where one is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0
