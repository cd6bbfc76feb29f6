"""The trivial and the plain answers to a prompt that an engine must beat. No command of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attending.records import Image, Masked, Prompts


class _Baseline:
    modes: tuple[str, ...] = ()

    def session(self, image: Image, progress: Any = None) -> _Baseline:
        self.image = image
        return self

    def close(self) -> None:
        pass


class FillTheBox(_Baseline):
    """Everything in the box."""

    modes = ("box",)

    def predict(self, prompts: Prompts) -> Masked:
        assert prompts.box
        mask = np.zeros(self.image.voxels.shape[:3], dtype=bool)
        x0, y0, z0, x1, y1, z1 = prompts.box
        mask[z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1] = True
        return Masked(mask)


class Ellipse(_Baseline):
    """The ellipse or ellipsoid that touches the box on every side."""

    modes = ("box",)

    def predict(self, prompts: Prompts) -> Masked:
        assert prompts.box
        low, high = np.array(prompts.box[2::-1]), np.array(prompts.box[:2:-1])
        places = np.indices(self.image.voxels.shape[:3], dtype=np.float32)
        radius = sum(((p - (a + b) / 2) / ((b - a + 1) / 2)) ** 2 for p, a, b in zip(places, low, high, strict=True))
        return Masked(np.asarray(radius <= 1))


class RandomWalker(_Baseline):
    """scikit-image's random walker: seeds inside against the box's outside, or the window's rim for clicks."""

    modes = ("point", "box", "scribble")
    beta = 130.0
    window = 64
    """Voxels to each side of a click: the plain walker must be told a scale."""

    def predict(self, prompts: Prompts) -> Masked:
        from skimage.segmentation import random_walker

        shape = np.array(self.image.voxels.shape[:3])
        labels = np.zeros(shape, dtype=np.int8)
        if prompts.box:
            low, high = np.array(prompts.box[2::-1]), np.array(prompts.box[:2:-1])
            pad = np.where(shape > 1, 3, 0)
            labels[:] = 2
            labels[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = 0
            size = np.maximum(high - low + 1, 1)
            centre, half = (low + high) / 2, np.maximum(0.15 * size, 0.5)
            inner = tuple(
                slice(int(np.ceil(c - h)), int(np.floor(c + h)) + 1) for c, h in zip(centre, half, strict=True)
            )
            labels[inner] = 1
        else:
            plus = [p.voxel for p in prompts.points if p.positive]
            plus += [v for s in prompts.strokes if s.positive for v in s.voxels]
            places = np.array(plus)[:, ::-1]
            reach = np.where(shape > 1, np.minimum(self.window, shape), 0)
            if shape[0] > 1:
                reach = np.array([20, 20, 20])
            low, high, pad = places.min(0) - reach, places.max(0) + reach, np.zeros(3, dtype=int)
            low, high = np.maximum(low, 0), np.minimum(high, shape - 1)
            for axis in range(3):
                if shape[axis] > 1:
                    for side in (low[axis], high[axis]):
                        at: list[Any] = [slice(a, b + 1) for a, b in zip(low, high, strict=True)]
                        at[axis] = side
                        labels[tuple(at)] = 2
            for point in prompts.points:
                x, y, z = point.voxel
                labels[z, y, x] = 1 if point.positive else 2
            for z, y, x in places:
                labels[z, y, x] = 1
        a = np.maximum(low - pad, 0)
        b = np.minimum(high + pad + 1, shape)
        window = tuple(slice(s, e) for s, e in zip(a, b, strict=True))
        grey = self.image.voxels[window].astype(np.float64)
        grey = (grey - grey.mean()) / (grey.std() + 1e-9)
        mask = np.zeros(shape, dtype=bool)
        mask[window] = self._walk(random_walker, grey, labels[window])
        return Masked(mask)

    def _walk(self, random_walker: Any, grey: Any, labels: Any) -> NDArray[np.bool_]:
        if not (labels == 1).any() or not (labels == 2).any():
            return np.asarray(labels != 2)
        flat = grey.shape[0] == 1
        spacing = np.array((self.image.facts.spacing or (1, 1, 1))[::-1])
        spacing = spacing / spacing.min()
        got = random_walker(
            grey[0] if flat else grey,
            labels[0] if flat else labels,
            beta=self.beta,
            mode="cg_j",
            tol=1e-3,
            spacing=spacing[1:] if flat else spacing,
        )
        return np.asarray((got == 1)[None] if flat else got == 1)


BASELINES: dict[str, type[_Baseline]] = {
    "random walker": RandomWalker,
    "fill the box": FillTheBox,
    "ellipse": Ellipse,
}
