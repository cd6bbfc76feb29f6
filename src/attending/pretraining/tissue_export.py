"""The trained tissue net -> ONNX: weights kept in half precision, probabilities spread to 1 mm inside the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.tissue import MM, SHAPE
from .tissue_torch import CLASSES

OPSET = 17
IR_VERSION = 8
EPSILON = 1e-5  # torch's InstanceNorm3d
SLOPE = 0.01


def export(weights: Path, out: Path) -> None:
    """tissue.safetensors -> an ONNX model: "volume" (1, 1, *SHAPE) float32 -> "chance" (1, 4, *SHAPE) float32 and
    "fine" (1, 4, *MM SHAPE) uint8, the same probabilities spread to 1 mm, in 255ths."""
    import onnx
    from safetensors.numpy import load_file

    model = build(load_file(str(weights)))
    onnx.checker.check_model(model, full_check=True)
    out.write_bytes(model.SerializeToString())


def build(arrays: dict[str, NDArray[Any]]) -> Any:
    """The graph, by the names of ``tissue_torch``. Kernels are stored as float16 and cast when the session starts."""
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    held: list[Any] = []

    def constant(name: str, array: NDArray[Any], half: bool = True) -> str:
        if not half:
            held.append(numpy_helper.from_array(array, name))
            return name
        held.append(numpy_helper.from_array(array.astype(np.float16), f"{name}.half"))
        nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
        return name

    def node(kind: str, inputs: list[str], out: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def conv(x: str, name: str, stride: int, kind: str = "Conv") -> str:
        kernel = arrays[f"{name}.weight"]
        side = kernel.shape[-1]
        inputs = [x, constant(f"{name}.weight", kernel)]
        if f"{name}.bias" in arrays:
            inputs.append(constant(f"{name}.bias", arrays[f"{name}.bias"]))
        pads = [1 if side == 3 else 0] * 6
        return node(kind, inputs, f"{name}.out", kernel_shape=[side] * 3, strides=[stride] * 3, pads=pads)

    def block(x: str, name: str, first: int, stride: int = 1) -> str:
        x = conv(x, f"{name}.{first}", stride)
        norm = f"{name}.{first + 1}"
        scale, shift = (constant(f"{norm}.{part}", arrays[f"{norm}.{part}"]) for part in ("weight", "bias"))
        x = node("InstanceNormalization", [x, scale, shift], f"{norm}.out", epsilon=EPSILON)
        return node("LeakyRelu", [x], f"{norm}.act", alpha=SLOPE)

    levels = len({key.split(".")[1] for key in arrays if key.startswith("down.")})
    x = block("volume", "stem", 0)
    skips = []
    for level in range(levels):
        skips.append(x)
        x = block(block(x, f"down.{level}", 0, stride=2), f"enc.{level}", 0)
        if f"enc.{level}.3.weight" in arrays:
            x = block(x, f"enc.{level}", 3)
    for level in reversed(range(levels)):
        x = conv(x, f"up.{level}", 2, "ConvTranspose")
        x = block(node("Add", [x, skips[level]], f"sum.{level}"), f"dec.{level}", 0)
    x = node("Softmax", [conv(x, "head", 1)], "chance", axis=1)
    constant("scales", np.array([1, 1, MM, MM, MM], np.float32), half=False)
    x = node("Resize", [x, "", "scales"], "spread", mode="linear", coordinate_transformation_mode="half_pixel")
    constant("most", np.array(255, np.float32), half=False)
    node("Cast", [node("Mul", [x, "most"], "scaled")], "fine", to=TensorProto.UINT8)
    fine = [MM * n for n in SHAPE]
    graph = helper.make_graph(
        nodes,
        "attending-tissue",
        [helper.make_tensor_value_info("volume", TensorProto.FLOAT, [1, 1, *SHAPE])],
        [
            helper.make_tensor_value_info("chance", TensorProto.FLOAT, [1, CLASSES, *SHAPE]),
            helper.make_tensor_value_info("fine", TensorProto.UINT8, [1, CLASSES, *fine]),
        ],
        held,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
