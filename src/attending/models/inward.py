"""Models that can be looked into: those with gradients and attention, for explanations that need more than answers."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..records import Image

Method = Literal["occlusion", "integrated_gradients", "grad_cam", "rollout"]
METHODS: tuple[Method, ...] = ("occlusion", "integrated_gradients", "grad_cam", "rollout")


@runtime_checkable
class Inward(Protocol):
    """An Encoder that says which parts of an image a direction of its vector space rests on."""

    @property
    def methods(self) -> tuple[Method, ...]:
        """Those of METHODS that it can do beside occlusion."""
        ...

    def attribute(self, image: Image, method: Method, direction: NDArray[np.float32]) -> NDArray[np.float32]:
        """(z, y, x) float32 on the image's grid for the dot product of the image's vector and direction (d,).

        Signed for "integrated_gradients"; never negative for "grad_cam" and "rollout". Planes that the encoder does not
        look at are 0. Raises WorkerFailed, OutOfMemory, ExtraMissing, or ModelRefused for another method.
        """
        ...
