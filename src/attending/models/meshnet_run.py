"""The forward of a MeshNet by ONNX Runtime on the CPU, plane by plane, in little more than one copy of a layer.

ONNX Runtime's 3-D convolution copies every input voxel 27 times into columns before it multiplies, and its output and
the ELU after it each go through new memory. Here a 3x3x3 kernel becomes three 3x3 kernels, one for each tap along z,
stacked as output channels of one 2-D convolution: nine copies instead of 27, and a matrix tall enough for the
multiplication to run near its best. The three results of neighbouring planes are added and activated while they are in
the cache. What dilation d couples are planes d apart, so that the planes z, z + d, z + 2d ... form a run of their own:
runs go to the threads, each thread keeps three planes of results, and a plane is overwritten by its successor as soon
as nothing needs it. Figures: docs/engines.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .meshnet_onnx import Layer, build, build_norm, build_taps
from .protocols import Progress

Planes = NDArray[np.float32]
"""(z, c, y, x): a plane with all its channels is one block of memory, ready for the runtime without a copy."""

# Values of a plane that are added and activated together: with their temporaries they fit a core's second-level cache.
CACHED_VALUES = 1 << 17
# Runs per thread at least, so that threads end together; more would compute more border planes twice.
RUNS_PER_THREAD = 2
# Planes per call of the classifier: its scores are planes x classes x y x x float32.
CLASSIFIED = 4


def predict(
    layers: tuple[Layer, ...], volume: NDArray[np.float32], threads: int = 2, progress: Progress | None = None
) -> NDArray[np.uint8]:
    """Normalised volume (z, y, x) -> labels (z, y, x) uint8: the class of the greatest score."""
    flow = features(layers[:-1], volume, threads, progress)
    session = _session(build(layers[-1:], labels=True), threads)
    labels = np.empty(volume.shape, np.uint8)
    for start in range(0, volume.shape[0], CLASSIFIED):
        planes = flow[start : start + CLASSIFIED]
        labels[start : start + CLASSIFIED] = session.run(None, {"volume": planes[:, :, None]})[0][:, 0]
    return labels


def features(
    layers: tuple[Layer, ...], volume: NDArray[np.float32], threads: int = 2, progress: Progress | None = None
) -> Planes:
    """Normalised volume (z, y, x) -> the last layer's output (z, c, y, x)."""
    flow: Planes = np.ascontiguousarray(volume, np.float32)[:, None]
    with ThreadPoolExecutor(threads) as pool:
        for number, layer in enumerate(layers):
            flow = _layer(flow, layer, pool, threads)
            if progress:
                progress(0.05 + 0.88 * (number + 1) / len(layers), f"layer {number + 1} of {len(layers)}")
    return flow


def _session(model: bytes, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena keeps what it once took; the classifier's scores must be free again for the next planes.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _layer(flow: Planes, layer: Layer, pool: Executor, threads: int) -> Planes:
    """One layer; over its own input where it has as many channels, the first layer aside."""
    planes, channels = flow.shape[:2]
    wide = int(layer.kernel.shape[0])
    # The first layer's input is the caller's volume, which stays as it is.
    out = flow if wide == channels and channels > 1 else np.empty((planes, wide, *flow.shape[2:]), np.float32)
    session = _session(build_taps(layer), 1)
    runs = runs_of(planes, layer.dilation, RUNS_PER_THREAD * threads)
    edges = {z for run in runs for z in (run.start - run.step, run[-1] + run.step) if 0 <= z < planes}
    # Another thread may have overwritten a run's neighbour when it is needed.
    kept = {z: flow[z].copy() if out is flow else flow[z] for z in edges}
    list(pool.map(lambda run: _run(session, flow, out, layer, run, kept), runs))
    if layer.norm:
        after = _session(build_norm(layer), 1)
        list(pool.map(lambda channel: _normalise(after, out, channel), range(wide)))
    return out


def runs_of(planes: int, step: int, least: int) -> list[range]:
    """Every plane once, in runs of planes ``step`` apart; at least ``least`` runs where there are planes enough."""
    runs: list[range] = []
    pieces = -(-least // step)
    for first in range(min(step, planes)):
        whole = range(first, planes, step)
        bounds = [len(whole) * part // pieces for part in range(pieces + 1)]
        runs += [whole[a:b] for a, b in pairwise(bounds) if b > a]
    return runs


def _run(
    session: Any, flow: Planes, out: Planes, layer: Layer, run: range, kept: Mapping[int, NDArray[np.float32]]
) -> None:
    """out[z] for z of the run, from flow[z - step], flow[z] and flow[z + step]; planes outside the volume are 0."""
    taps, wide = int(layer.kernel.shape[2]), int(layer.kernel.shape[0])
    rows, columns = flow.shape[2:]
    ring = [np.empty((taps, wide, rows, columns), np.float32) for _ in range(taps)]
    group = max(1, min(wide, CACHED_VALUES // (rows * columns)))
    total = np.empty((group, rows, columns), np.float32)
    spare = np.empty_like(total)
    normed = layer.norm

    def taps_of(z: int, index: int) -> NDArray[np.float32] | None:
        """What plane z gives to its three neighbours, into a slot of the ring; None outside the volume."""
        if not 0 <= z < flow.shape[0]:
            return None
        given = flow[z] if run.start <= z <= run[-1] else kept[z]
        slot = ring[index % taps]
        binding = session.io_binding()
        shape = (1, given.shape[0], 1, rows, columns)
        binding.bind_input("volume", "cpu", 0, np.float32, shape, given.ctypes.data)
        binding.bind_output("taps", "cpu", 0, np.float32, (1, taps * wide, 1, rows, columns), slot.ctypes.data)
        session.run_with_iobinding(binding)
        return slot

    if taps == 1:
        parts: list[NDArray[np.float32] | None] = [None]
    else:
        parts = [taps_of(run.start - run.step, 0), taps_of(run.start, 1), None]
    for number, z in enumerate(run):
        parts[-1] = taps_of(z + run.step, number + 2) if taps > 1 else taps_of(z, 0)
        for first in range(0, wide, group):
            pick = slice(first, min(first + group, wide))
            value, scratch = total[: pick.stop - first], spare[: pick.stop - first]
            _sum(parts, pick, value)
            if not normed:
                _activate(value, scratch, layer.activation)
            out[z, pick] = value
        parts = parts[1:] + parts[:1]


def _sum(parts: list[NDArray[np.float32] | None], pick: slice, value: NDArray[np.float32]) -> None:
    """value = the sum over the taps of what each neighbour gives. The middle one is always there and has the bias."""
    middle = parts[len(parts) // 2]
    assert middle is not None
    first = True
    for tap, part in enumerate(parts):
        if part is None or part is middle:
            continue
        np.add(value if not first else middle[len(parts) // 2, pick], part[tap, pick], out=value)
        first = False
    if first:
        value[...] = middle[len(parts) // 2, pick]


def _activate(value: NDArray[np.float32], scratch: NDArray[np.float32], kind: str | None) -> None:
    """relu or elu in place. gelu comes only after a normalisation, in its own step."""
    if kind == "elu":
        np.minimum(value, 0, out=scratch)
        np.exp(scratch, out=scratch)
        np.subtract(scratch, 1, out=scratch)
        np.maximum(value, 0, out=value)
        np.add(value, scratch, out=value)
    elif kind == "relu":
        np.maximum(value, 0, out=value)


def _normalise(session: Any, out: Planes, channel: int) -> None:
    """One channel of the whole volume: zero mean, unit variance, activation."""
    volume = np.ascontiguousarray(out[:, channel])[None, None]
    out[:, channel] = session.run(None, {"volume": volume})[0][0, 0]
