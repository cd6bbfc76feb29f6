"""Segmenter: brain extraction on T1 heads with deepbet's two networks (LinkNet3D), by ONNX Runtime, without torch.

Source: Fisch et al., deepbet, Computers in Biology and Medicine 2024; the package deepbet (MIT), of which only the two
TorchScript files are read: their weights, in a process of its own at pull, never their code. The network and the steps
around it are written here again and held against the package's own by tests: a coarse mask of the whole volume at
128x128x128 gives the box, the box at 256x256x256 the mask; nearest sampling ("nearest-exact") both ways.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GeometryRefused, PluginFailed
from ..imaging import canonical
from ..records import Image, LabelMap
from .admission import refuse_unless_admitted
from .frames import turned_back
from .meshnet_codes import codes
from .protocols import Progress, Segmentation, Setup

COARSE, FINE = 128, 256
LABEL = "brain mask"
QUANTILES = (0.005, 0.995)
MEAN, SPREAD = 0.449, 0.226
BOX_MARGIN = 0.1
"""Share of the coarse mask's size that is added on each side."""
BOX_SHARE = 0.02
"""A plane belongs to the coarse mask's box when so much of it is brain."""
THRESHOLD = 0.5
EPSILON = 1e-5
OPSET = 17
Box = tuple[slice, slice, slice]


class Deepbet:
    """Segmenter. Files: ``coarse.onnx`` and ``fine.onnx``, written at pull by ``convert``."""

    def __init__(self, setup: Setup) -> None:
        self.card = replace(setup.card, labels=codes(("", LABEL)))
        self._files, self._threads = setup.files, setup.threads

    def segment(self, image: Image, progress: Progress | None = None) -> Segmentation:
        """T1 head -> brain mask on its own grid.

        Raises NotAdmitted where the card does not admit the image, GeometryRefused where it has no contrast or no brain
        is found.
        """
        refuse_unless_admitted(self.card, image.facts)
        if image.affine is None or image.facts.axis != "space":
            raise GeometryRefused(
                "a volume whose directions are not known", "a known affine", "give a series or a NIfTI with its affine"
            )
        turned, affine = canonical(image.voxels, image.affine)
        # The networks read (x, y, z) with x to the right, y to anterior, z to superior.
        volume = np.nan_to_num(np.ascontiguousarray(turned.transpose(2, 1, 0)[::-1, ::-1], dtype=np.float32))
        mask = self.extract(volume, progress)
        back = mask[::-1, ::-1].transpose(2, 1, 0)
        index = np.rint(np.linalg.inv(affine) @ image.affine).astype(int)
        labels = np.ascontiguousarray(turned_back(back, index, image.voxels.shape)).astype(np.uint8)
        if progress:
            progress(1.0, "done")
        return Segmentation(
            LabelMap(image.id, labels, {1: LABEL}),
            None,
            image.facts.spacing,
            ("brain extracted by deepbet: largest region, holes filled; made for T1 of healthy adults",),
        )

    def extract(self, volume: NDArray[np.float32], progress: Progress | None = None) -> NDArray[np.bool_]:
        """(x, y, z) to right, anterior, superior, any size -> bool mask, largest region with its holes filled."""
        tell: Progress = progress or (lambda fraction, words: None)
        small = nearest(volume, (COARSE, COARSE, COARSE))
        low, high = (float(q) for q in np.quantile(small, QUANTILES))
        if not high > low:
            raise GeometryRefused("a volume without contrast", "a head MR volume", "check the input")
        coarse = self._run("coarse.onnx", normalise(small, low, high))
        tell(0.3, "head found")
        box = box_of(largest(coarse > THRESHOLD), volume.shape)
        fine = self._run("fine.onnx", normalise(nearest(volume[box], (FINE, FINE, FINE)), low, high))
        tell(0.9, "brain extracted")
        part = nearest(fine, volume[box].shape) > THRESHOLD
        mask = np.zeros(volume.shape, bool)
        from scipy.ndimage import binary_fill_holes

        mask[box] = binary_fill_holes(largest(part))
        return mask

    def _run(self, name: str, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.log_severity_level = 3
        # A kept arena holds the peak of a 256^3 forward for as long as the process lives.
        options.enable_cpu_mem_arena = False
        session = onnxruntime.InferenceSession(str(self._files[name]), options, providers=["CPUExecutionProvider"])
        out = session.run(None, {"volume": volume[None, None]})[0]
        brain: NDArray[np.float32] = out[0, 0]
        return brain


def nearest(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Sampled at the centres of ``shape`` voxels over the same field: torch's mode "nearest-exact"."""
    picks = [
        np.minimum(((np.arange(n) + 0.5) * (size / n)).astype(np.intp), size - 1)
        for n, size in zip(shape, array.shape, strict=True)
    ]
    return np.ascontiguousarray(array[np.ix_(*picks)])


def normalise(volume: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Between two quantiles to 0..1, then to mean 0.449 and spread 0.226, as the networks were trained."""
    ready = np.clip((volume - np.float32(low)) / np.float32(high - low), 0, 1)
    spread = float(ready.std(ddof=1, dtype=np.float64))
    if spread == 0:
        raise GeometryRefused("a head without contrast", "a head MR volume", "check the input")
    ready = (ready - np.float32(ready.mean(dtype=np.float64))) / np.float32(spread)
    trained: NDArray[np.float32] = (np.float32(SPREAD) * ready + np.float32(MEAN)).astype(np.float32)
    return trained


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest 26-connected region. Raises GeometryRefused where there is none."""
    from scipy import ndimage

    regions, count = ndimage.label(mask, structure=np.ones((3, 3, 3), bool))
    if not count:
        raise GeometryRefused(
            "a volume in which no brain was found", "a T1-weighted MR volume of a head", "check the input"
        )
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    kept: NDArray[np.bool_] = regions == sizes.argmax()
    return kept


def box_of(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> Box:
    """Coarse mask -> the box on a volume of ``shape``, BOX_MARGIN wider on each side, within the volume."""
    slices = []
    for axis, size in enumerate(shape):
        others = tuple(a for a in range(3) if a != axis)
        planes = np.flatnonzero(mask.mean(axis=others) > BOX_SHARE)
        if not planes.size:
            raise GeometryRefused(
                "a volume in which hardly any brain was found", "a T1-weighted MR volume of a head", "check the input"
            )
        first, last, scale = int(planes[0]), int(planes[-1]) + 1, size / mask.shape[axis]
        centre = float(np.rint(np.float32(scale * (first + last) / 2)))
        width = float(np.rint(np.float32((1 + 2 * BOX_MARGIN) * scale * (last - first))))
        slices.append(slice(max(0, int(centre - width / 2)), min(size, int(centre + width / 2))))
    return (slices[0], slices[1], slices[2])


def convert(files: Mapping[str, Path], out: Path) -> None:
    """Convert step "deepbet-onnx": two TorchScript archives -> ``coarse.onnx`` and ``fine.onnx``."""
    import onnx

    for source, goal, side in (("bbox_model.pt", "coarse.onnx", COARSE), ("model.pt", "fine.onnx", FINE)):
        with tempfile.TemporaryDirectory(prefix="attending-convert-") as folder:
            from .unpickle import apart

            model = build(apart(files[source], Path(folder) / "weights.npz"), side)
        onnx.checker.check_model(model, full_check=True)
        (out / goal).write_bytes(model.SerializeToString())


def build(weights: Mapping[str, NDArray[Any]], side: int | None = None) -> Any:
    """LinkNet3D as an onnx.ModelProto: volume (1, 1, n, n, n) -> probability of brain (1, 1, n, n, n).

    side  n, a multiple of 32; None leaves it open. Raises PluginFailed for other weights.
    """
    from onnx import TensorProto, helper

    net = _Net(weights)
    last = net.block("volume", "init.0", stride=2, pad=3)
    last = net.node("MaxPool", [last], "pool", kernel_shape=[3] * 3, strides=[2] * 3, pads=[1] * 6)
    skips = [last]
    for stage in range(4):
        for half in (1, 2):
            name, start = f"down{stage}.block{half}", last
            stride = 2 if stage and half == 1 else 1
            inner = net.block(start, f"{name}.double_conv.0", stride=stride, pad=1)
            inner = net.block(inner, f"{name}.double_conv.3", pad=1, relu=False)
            if f"{name}.downsample.0.weight" in weights:
                start = net.block(start, f"{name}.downsample.0", stride=2, relu=False)
            total = net.node("Add", [inner, start], f"{name}.sum")
            last = net.node("Relu", [total], f"{name}.out")
        skips.append(last)
    for stage in range(4):
        name = f"up{stage}"
        last = net.block(last, f"{name}.conv1.0")
        last = net.block(last, f"{name}.tp_conv.0", pad=1, stride=1 if stage == 3 else 2, transposed=True)
        last = net.block(last, f"{name}.conv2.0")
        last = net.node("Add", [last, skips[3 - stage]], f"{name}.sum")
    last = net.block(last, "tp_conv1.0", stride=2, pad=1, transposed=True)
    last = net.block(last, "conv.0", pad=1)
    last = net.conv(last, "tp_conv2", stride=2, transposed=True, grow=0)
    last = net.node("Softmax", [last], "classes", axis=1)
    net.constant("one", np.array([1], np.int64))
    net.constant("two", np.array([2], np.int64))
    net.node("Slice", [last, "one", "two", "one"], "brain")
    if set(weights) - net.used:
        raise _strange(f"{len(set(weights) - net.used)} tensors that LinkNet3D does not have")
    grid = [1, 1, *([side] * 3 if side else ["x", "y", "z"])]
    graph = helper.make_graph(
        net.nodes,
        "deepbet",
        [helper.make_tensor_value_info("volume", TensorProto.FLOAT, grid)],
        [helper.make_tensor_value_info("brain", TensorProto.FLOAT, grid)],
        net.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


class _Net:
    """Nodes and weights in order."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self.weights, self.used = weights, set[str]()
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        if name not in {c.name for c in self.constants}:
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def conv(
        self, start: str, name: str, *, stride: int = 1, pad: int = 0, transposed: bool = False, grow: int | None = None
    ) -> str:
        kernel = self.weights.get(f"{name}.weight")
        if kernel is None or kernel.ndim != 5:
            raise _strange(f"no kernel {name}")
        inputs = [start, self.constant(f"{name}.weight", kernel)]
        self.used.add(f"{name}.weight")
        if f"{name}.bias" in self.weights:
            inputs.append(self.constant(f"{name}.bias", self.weights[f"{name}.bias"]))
            self.used.add(f"{name}.bias")
        more: dict[str, Any] = {}
        if transposed:
            more["output_padding"] = [stride - 1 if grow is None else grow] * 3
        kind = "ConvTranspose" if transposed else "Conv"
        shape = list(kernel.shape[2:])
        return self.node(kind, inputs, name, kernel_shape=shape, strides=[stride] * 3, pads=[pad] * 6, **more)

    def block(
        self, start: str, name: str, *, stride: int = 1, pad: int = 0, transposed: bool = False, relu: bool = True
    ) -> str:
        """Convolution, normalisation of each channel over the volume (no scale, no shift), and ReLU."""
        last = self.conv(start, name, stride=stride, pad=pad, transposed=transposed)
        channels = self.weights[f"{name}.weight"].shape[1 if transposed else 0]
        ones = self.constant(f"ones{channels}", np.ones(channels, np.float32))
        zeros = self.constant(f"zeros{channels}", np.zeros(channels, np.float32))
        last = self.node("InstanceNormalization", [last, ones, zeros], f"{name}.norm", epsilon=EPSILON)
        return self.node("Relu", [last], f"{name}.relu") if relu else last


def _strange(seen: str) -> PluginFailed:
    return PluginFailed(
        f"the archive holds {seen}", "the tensors of deepbet", "pull it again; if that does not help, report it"
    )
