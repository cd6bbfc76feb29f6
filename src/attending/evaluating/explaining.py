"""Whether an explanation explains: the randomisation test, the pointing game, and deletion against chance.

A map that stays the same when the network's weights are drawn anew shows the picture, not the network (Adebayo 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics import mean_of, points_at, rank_likeness, wilson
from ..records import Interval

RANDOM_MOST = 0.3
"""Mean rank correlation above which a map does not depend enough on the weights. Two smooth maps of nothing in common
already correlate by +-0.2 to 0.3 on one picture; their mean over pictures is near 0."""


@dataclass(frozen=True)
class Sanity:
    """likeness: mean rank correlation of the maps with those of the randomised network, near 0 wanted. flat: maps of
    the randomised network that were flat, which is as it should be and counts as 0."""

    likeness: Interval
    flat: int
    of: int

    @property
    def passed(self) -> bool:
        """The whole interval lies within RANDOM_MOST of 0: the same map upside down hangs on the weights no more."""
        return self.likeness.low > -RANDOM_MOST and self.likeness.high < RANDOM_MOST


def randomised(network: bytes, seed: int = 0, last: int | None = None) -> bytes:
    """An ONNX network whose weights are shuffled, each array within itself, so that their sizes and spreads stay.

    last    only the last so many matrices or kernels, and what comes after them (cascading from the answer back);
            None: all.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(network)
    arrays = {a.name: a for a in model.graph.initializer}
    chosen: set[str] = set()
    layers = 0
    for node in reversed(model.graph.node):
        values = {n: numpy_helper.to_array(arrays[n]) for n in node.input if n in arrays}
        mine = {n: v for n, v in values.items() if v.dtype.kind == "f" and v.size > 1}
        if last is not None and layers >= last:
            break
        chosen |= set(mine)
        # A bias alone is no layer: shuffling it moves every score alike, and no map.
        layers += any(v.ndim > 1 or node.op_type in ("MatMul", "Gemm") for v in mine.values())
    rng = np.random.default_rng(seed)
    for name in sorted(chosen):
        values = numpy_helper.to_array(arrays[name])
        shuffled = rng.permutation(values.reshape(-1)).reshape(values.shape)
        arrays[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(shuffled), name))
    made: bytes = model.SerializeToString()
    return made


def sanity(maps: Sequence[NDArray[Any]], others: Sequence[NDArray[Any]]) -> Sanity:
    """maps of a network, others of the same pictures by the network with other weights (or of other pictures). Compared
    where either is not 0: the air around a head is 0 in any, and says nothing of the weights."""
    found = []
    for a, b in zip(maps, others, strict=True):
        inside = (a != 0) | (b != 0)
        found.append(rank_likeness(a[inside], b[inside]) if inside.any() else None)
    flat = sum(f is None for f in found)
    return Sanity(mean_of([0.0 if f is None else f for f in found]), flat, len(found))


def pointing(heats: Sequence[NDArray[Any]], masks: Sequence[NDArray[Any]], tolerance: float = 0.0) -> Interval | None:
    """The part of pictures whose hottest point lies on the finding, with Wilson's interval. A map that is nowhere hot
    counts as a miss."""
    hits = sum(bool(points_at(h, m, tolerance)) for h, m in zip(heats, masks, strict=True))
    return wilson(hits, len(heats))


def against_chance(areas: Sequence[float], chance: Sequence[float]) -> Interval:
    """Mean paired difference: a map's deletion area minus that of hiding the same parts in a random order. Below 0
    wanted."""
    return mean_of(np.asarray(areas, np.float64) - np.asarray(chance, np.float64))


def random_map(shape: Sequence[int], seed: int, cells: int = 12) -> NDArray[np.float32]:
    """A smooth map (z, y, x) of nothing, as coarse as an occlusion map: the chance that maps are held against."""
    from ..models.planes import resized

    rng = np.random.default_rng(seed)
    planes = [resized(rng.random((cells, cells), dtype=np.float32), shape[1], shape[2]) for _ in range(shape[0])]
    return np.stack(planes)


__all__ = ["RANDOM_MOST", "Sanity", "against_chance", "pointing", "random_map", "randomised", "sanity"]
