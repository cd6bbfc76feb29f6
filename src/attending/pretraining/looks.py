"""How a label map looks to a scanner: random contrast, texture, blur, bias, noise, ultrasound, CT's range, film.

By the recipe of SynthSeg (contrast drawn at random for each label), so that the net learns shapes and borders rather
than any modality's grey values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .fields import Floats, smooth

Rng = np.random.Generator
AIR, FAT, SOFT, BONE = -1000.0, -100.0, 45.0, 700.0


def render(rng: Rng, labels: NDArray[Any]) -> Floats:
    """(size, size) float32 picture of a label map, in arbitrary units. What an ultrasound fan hides is set to 0."""
    from scipy.ndimage import gaussian_filter

    size, count = labels.shape[0], int(labels.max()) + 1
    ct = rng.random() < 0.25
    means, spread = _hounsfield(rng, count) if ct else _contrast(rng, count)
    image = means[labels]
    if rng.random() < 0.6:
        texture = smooth(rng, size, int(rng.integers(4, size // 3)))
        amount = rng.exponential(0.5, count).astype(np.float32) * np.float32(spread)
        image += texture * amount[labels]
    if rng.random() < 0.25:
        image += smooth(rng, size, int(rng.integers(2, 6))) * np.float32(spread * rng.uniform(0.2, 1.0))
    blur = rng.uniform(0.35, 1.5) if rng.random() < 0.85 else rng.uniform(1.5, 2.5)
    image = gaussian_filter(image, blur, truncate=2.5)
    if ct:
        image += _noise(rng, size, rng.uniform(5, 40))
        return image if rng.random() < 0.5 else _windowed(rng, image)
    image = _bias(rng, image)
    draw = rng.random()
    if draw < 0.14:
        image = ultrasound(rng, image)
        labels[image == 0] = 0
    elif draw < 0.35:
        sigma = rng.uniform(0.01, 0.12)
        image = np.hypot(image + _noise(rng, size, sigma), _noise(rng, size, sigma))
    else:
        image += _noise(rng, size, rng.exponential(0.04))
    return _gamma(rng, image)


def film(rng: Rng, size: int) -> tuple[Floats, list[NDArray[np.bool_]]]:
    """A projection: shapes lie over one another and their thicknesses add. The picture and the shapes' masks."""
    from scipy.ndimage import gaussian_filter

    from .fields import Sheet

    image = smooth(rng, size, int(rng.integers(1, 4))) * np.float32(0.15)
    shapes: list[NDArray[np.bool_]] = []

    def add(sheet: Sheet, amount: float, soft: float, keep: bool = True) -> None:
        nonlocal image
        mask = sheet.labels > 0
        thick = gaussian_filter(mask.astype(np.float32), soft)
        image = image + thick * np.float32(amount)
        if keep:
            shapes.append(mask)

    body = Sheet(size, rng)
    body.blob((rng.uniform(0.45, 0.6), 0.5), (rng.uniform(0.4, 0.6), rng.uniform(0.35, 0.48)), wobble=0.06)
    add(body, rng.uniform(0.2, 0.6), rng.uniform(1, 4), keep=False)
    lung = -rng.uniform(0.25, 0.7)
    ry, rx, tilt = rng.uniform(0.2, 0.32), rng.uniform(0.1, 0.16), rng.uniform(0, 0.25)
    for side in (-1, 1):
        one = Sheet(size, rng)
        at = (rng.uniform(0.4, 0.5), 0.5 + side * rng.uniform(0.17, 0.23))
        one.blob(at, (ry * rng.uniform(0.85, 1.1), rx * rng.uniform(0.85, 1.1)), angle=-side * tilt, wobble=0.15)
        add(one, lung, rng.uniform(0.8, 3))
    middle = Sheet(size, rng)
    middle.blob((rng.uniform(0.55, 0.65), 0.5 + rng.uniform(0.0, 0.08)), (0.13, 0.14), angle=0.6, wobble=0.15)
    add(middle, rng.uniform(0.15, 0.5), rng.uniform(1, 3))
    for _ in range(int(rng.integers(0, 12))):
        rib = Sheet(size, rng)
        side, y0 = rng.choice([-1, 1]), rng.uniform(0.15, 0.75)
        t = np.linspace(0, 1, size)
        places = np.stack([y0 + 0.12 * t**1.5 - 0.05 * np.sin(3 * t), 0.5 + side * (0.03 + 0.38 * t)], 1) * size
        rib.path(places[::2], np.full(len(places[::2]), rng.uniform(0.008, 0.02) * size), 1)
        add(rib, rng.uniform(0.03, 0.2), 0.8)
    for _ in range(int(rng.integers(0, 5))):
        spot = Sheet(size, rng)
        r = rng.uniform(0.015, 0.1)
        spot.blob((rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.85)), (r, r * rng.uniform(0.4, 1)), wobble=0.25)
        add(spot, rng.choice([-1, 1]) * rng.uniform(0.06, 0.4), rng.uniform(0.7, 2.5))
    image = image + smooth(rng, size, int(rng.integers(12, 50))) * np.float32(rng.uniform(0, 0.05))
    image = gaussian_filter(image, rng.uniform(0.3, 1.2)) + _noise(rng, size, rng.uniform(0.002, 0.04))
    if rng.random() < 0.3:
        image = -image
    return _gamma(rng, image.astype(np.float32)), shapes


def ultrasound(rng: Rng, image: Floats) -> Floats:
    """Speckle, log compression, attenuation with depth, shadows, a fan on a black ground."""
    from scipy.ndimage import gaussian_filter

    size = image.shape[0]
    low, high = float(image.min()), float(image.max())
    image = (image - low) / max(high - low, 1e-6)
    grain = (rng.uniform(0.4, 1.0), rng.uniform(0.5, 2.2))
    speckle = np.hypot(_noise(rng, size, 1.0), _noise(rng, size, 1.0))
    speckle = gaussian_filter(speckle, grain)
    speckle /= float(speckle.mean())
    image = (image + 0.05) * speckle ** np.float32(rng.uniform(0.6, 2.0))
    image = np.log1p(image * np.float32(rng.uniform(2, 20)))
    depth = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    image = image * np.exp(-depth * np.float32(rng.uniform(0, 1.2)))
    if rng.random() < 0.4:
        columns = np.linspace(-1, 1, size, dtype=np.float32)[None, :]
        shadow = np.exp(-0.5 * ((columns - rng.uniform(-0.7, 0.7)) / rng.uniform(0.03, 0.15)) ** 2)
        image = image * (1 - shadow * (depth > rng.uniform(0.1, 0.6)) * np.float32(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.6:
        apex, half = -rng.uniform(0.02, 0.4), rng.uniform(0.4, 0.9)
        y, x = depth - apex, np.linspace(-0.5, 0.5, size, dtype=np.float32)[None, :]
        fan = (np.abs(np.arctan2(x, y)) < half) & (np.hypot(x, y) < 1 - apex) & (np.hypot(x, y) > -apex * 1.1)
        image = image * fan
    return image.astype(np.float32)


def _contrast(rng: Rng, count: int) -> tuple[Floats, float]:
    """Mean grey of each label in 0..1 and the usual spread within one. Half of the time labels share a few greys."""
    means = rng.uniform(0, 1, count)
    if rng.random() < 0.5:
        centres = rng.uniform(0, 1, int(rng.integers(2, 6)))
        means = centres[rng.integers(0, len(centres), count)] + rng.normal(0, rng.uniform(0.02, 0.1), count)
    if rng.random() < 0.6:
        means[0] = 0.0
    return means.astype(np.float32), float(rng.uniform(0.01, 0.07))


def _hounsfield(rng: Rng, count: int) -> tuple[Floats, float]:
    kinds = rng.choice(5, count, p=(0.1, 0.2, 0.45, 0.12, 0.13))
    centres = np.array([-850.0, FAT, SOFT, BONE, 200.0])
    spreads = np.array([90.0, 12.0, 25.0, 300.0, 90.0])
    means = rng.normal(centres[kinds], spreads[kinds])
    means[0] = AIR if rng.random() < 0.7 else means[0]
    return means.astype(np.float32), float(rng.uniform(3, 15))


def _windowed(rng: Rng, image: Floats) -> Floats:
    """Clipped as a viewer shows it: soft tissue, lung or bone."""
    centre, width = ((40.0, 400.0), (50.0, 250.0), (-600.0, 1500.0), (400.0, 1800.0))[int(rng.integers(4))]
    centre, width = centre + rng.normal(0, 20), width * rng.uniform(0.7, 1.4)
    return np.clip(image, centre - width / 2, centre + width / 2).astype(np.float32)


def _bias(rng: Rng, image: Floats) -> Floats:
    if rng.random() < 0.5:
        return image
    field = smooth(rng, image.shape[0], int(rng.integers(1, 4)))
    out: Floats = (image * np.exp(field * np.float32(rng.uniform(0.05, 0.3)))).astype(np.float32)
    return out


def _gamma(rng: Rng, image: Floats) -> Floats:
    if rng.random() < 0.5:
        return image
    low, high = float(image.min()), float(image.max())
    scaled = (image - low) / max(high - low, 1e-6)
    out: Floats = np.power(scaled, np.float32(np.exp(rng.normal(0, 0.4)))).astype(np.float32)
    return out


def _noise(rng: Rng, size: int, sigma: float) -> Floats:
    return rng.standard_normal((size, size), dtype=np.float32) * np.float32(sigma)
