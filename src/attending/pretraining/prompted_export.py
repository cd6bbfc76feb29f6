"""Write the trained promptable net as ONNX, prove it against torch, and print the figures of its card."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HELP = "export the promptable net to ONNX and print its figures (needs the torch extra)"
OPSET, IR_VERSION = 17, 8
EPSILON = 1e-5  # torch's BatchNorm2d
ALIKE = 0.02
"""Greatest difference of a probability between the ONNX file, whose weights are halves, and torch."""
log = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]


def add_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, help="the folder that `prompted --out` wrote")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--no-figures", action="store_true", help="write and compare alone")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export the moving average of the weights; 1 where ONNX Runtime does not agree with torch."""
    import onnx
    from safetensors.numpy import load_file

    from .prompted import STATE, WEIGHTS, check

    arrays = load_file(str(args.checkpoint / WEIGHTS))
    mine = {k.removeprefix("average."): v for k, v in arrays.items() if k.startswith("average.")}
    model = build(mine)
    onnx.checker.check_model(model, full_check=True)
    blob = model.SerializeToString()
    args.out.write_bytes(blob)
    state = json.loads((args.checkpoint / STATE).read_text())
    log.info("%s: %d bytes, sha256 %s", args.out.name, len(blob), hashlib.sha256(blob).hexdigest())
    log.info("%d steps, %d images, %.0f minutes", state["steps"], state["images"], state["minutes"])
    from ..models.promptnet import onnx_net

    net = onnx_net(blob, threads=1)
    worst = difference(net, mine)
    log.info("greatest difference from torch in probability: %.4f", worst)
    if not args.no_figures:
        check(net, log.info)
    return 0 if worst <= ALIKE else 1


def difference(net: Any, arrays: Arrays) -> float:
    """Greatest difference of a probability between the exported net and torch, over a batch of synthetic samples."""
    import torch

    from .prompted import torch_net
    from .promptnet_torch import PromptNet
    from .samples import Stream

    module = PromptNet().eval()
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in arrays.items()})
    inputs, _, _ = Stream(8, np.random.default_rng(11), None).batch()
    pairs = zip(net(inputs), torch_net(module)(inputs), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def build(arrays: Arrays) -> Any:
    """The graph, by the names of ``promptnet_torch``: "look" (n, CHANNELS, side, side) float32, side of 16s ->
    "probability" (n, side, side) and "guess" (n,). Batch norms are folded; weights are halves, cast at the start."""
    from onnx import TensorProto, helper

    graph = _Graph(arrays)
    inputs = graph.node("SpaceToDepth", ["look"], blocksize=2)
    half = graph.residual(graph.conv(inputs, "at_half.0.0", "at_half.0.1", unshuffled=True), "at_half.1")
    quarter = graph.residual(graph.conv(half, "at_quarter.0.0", "at_quarter.0.1", stride=2), "at_quarter.1")
    eighth = graph.residual(graph.conv(quarter, "at_eighth.0.0", "at_eighth.0.1", stride=2), "at_eighth.1")
    deep = graph.residual(graph.conv(eighth, "deep.0.0", "deep.0.1", stride=2), "deep.1")
    pooled = graph.node("Concat", [graph.mean(deep), graph.node("ReduceMax", [deep], axes=[2, 3], keepdims=0)], axis=1)
    context = graph.dense(graph.node("Relu", [graph.dense(pooled, "deep.2.first")]), "deep.2.second")
    context = graph.node("Unsqueeze", [context, graph.constant("axes", np.array([2, 3], np.int64))])
    deep = graph.residual(graph.node("Add", [deep, context]), "deep.3")
    up = graph.joined(deep, "to_eighth", eighth)
    up = graph.joined(graph.conv(up, "up_eighth.0", "up_eighth.1"), "to_quarter", quarter)
    up = graph.joined(
        graph.residual(graph.conv(up, "up_quarter.0.0", "up_quarter.0.1"), "up_quarter.1"), "to_half", half
    )
    up = graph.residual(graph.conv(up, "up_half.0.0", "up_half.0.1"), "up_half.1")
    fine = graph.node("DepthToSpace", [graph.conv(up, "widen", relu=False)], blocksize=2, mode="CRD")
    greys = graph.node("Gather", ["look", graph.constant("greys", np.array([0, 2], np.int64))], axis=1)
    logits = graph.conv(graph.conv(graph.node("Concat", [fine, greys], axis=1), "fine.0"), "out", relu=False)
    graph.node(
        "Squeeze", [graph.node("Sigmoid", [logits]), graph.constant("one", np.array([1], np.int64))], "probability"
    )
    both = graph.node("Concat", [graph.mean(deep), graph.mean(up)], axis=1)
    guess = graph.dense(graph.node("Relu", [graph.dense(both, "guess.0")]), "guess.2")
    graph.node("Squeeze", [graph.node("Sigmoid", [guess]), "one"], "guess")
    channels = arrays["at_half.0.0.weight"].shape[1] // 4
    made = helper.make_graph(
        graph.nodes,
        "attending-prompted",
        [helper.make_tensor_value_info("look", TensorProto.FLOAT, ["n", channels, "side", "side"])],
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", "side", "side"]),
            helper.make_tensor_value_info("guess", TensorProto.FLOAT, ["n"]),
        ],
        graph.held,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


class _Graph:
    """Nodes and weights as they are written down."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.nodes: list[Any] = []
        self.held: list[Any] = []

    def node(self, kind: str, inputs: list[str], out: str = "", **attributes: Any) -> str:
        from onnx import helper

        out = out or f"{kind.lower()}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def constant(self, name: str, array: NDArray[Any]) -> str:
        from onnx import TensorProto, helper, numpy_helper

        if array.dtype.kind != "f" or array.size < 16:
            self.held.append(numpy_helper.from_array(array, name))
            return name
        self.held.append(numpy_helper.from_array(array.astype(np.float16), f"{name}.half"))
        self.nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
        return name

    def conv(
        self, x: str, name: str, norm: str = "", *, stride: int = 1, relu: bool = True, unshuffled: bool = False
    ) -> str:
        """A convolution with what follows it; with the name of a batch norm, that one folded into it."""
        kernel = self.arrays[f"{name}.weight"].astype(np.float32)
        bias = self.arrays.get(f"{name}.bias", np.zeros(len(kernel), np.float32))
        if unshuffled:
            # torch's pixel_unshuffle orders channels (channel, y, x), SpaceToDepth (y, x, channel).
            out, inside, side, _ = kernel.shape
            kernel = kernel.reshape(out, inside // 4, 4, side, side).transpose(0, 2, 1, 3, 4).reshape(kernel.shape)
        if norm:
            mean, variance, weight, shift = (
                self.arrays[f"{norm}.{part}"].astype(np.float32)
                for part in ("running_mean", "running_var", "weight", "bias")
            )
            scale = weight / np.sqrt(variance + EPSILON)
            kernel, bias = kernel * scale[:, None, None, None], (bias - mean) * scale + shift
        pad = kernel.shape[-1] // 2
        inputs = [x, self.constant(f"{name}.weight", kernel), self.constant(f"{name}.bias", bias)]
        side = kernel.shape[-1]
        y = self.node("Conv", inputs, kernel_shape=[side, side], strides=[stride, stride], pads=[pad] * 4)
        return self.node("Relu", [y]) if relu else y

    def residual(self, x: str, name: str) -> str:
        y = self.conv(x, f"{name}.conv", f"{name}.norm", relu=False)
        return self.node("Relu", [self.node("Add", [x, y])])

    def joined(self, x: str, name: str, skip: str) -> str:
        """x through its 1 x 1 convolution, doubled in size, beside what came down."""
        x = self.conv(x, name, relu=False)
        if not any(held.name == "double" for held in self.held):
            self.constant("double", np.array([1, 1, 2, 2], np.float32))
        x = self.node(
            "Resize",
            [x, "", "double"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        return self.node("Concat", [x, skip], axis=1)

    def mean(self, x: str) -> str:
        return self.node("ReduceMean", [x], axes=[2, 3], keepdims=0)

    def dense(self, x: str, name: str) -> str:
        weights = self.constant(f"{name}.weight", self.arrays[f"{name}.weight"])
        return self.node("Gemm", [x, weights, self.constant(f"{name}.bias", self.arrays[f"{name}.bias"])], transB=1)
