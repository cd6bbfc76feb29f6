"""MeshNets of brainchop -> ONNX: Keras layers-model JSON and raw weights in, ``net.onnx`` and ``recipe.json`` out.

Source of the format: TensorFlow.js layers models (``weightsManifest``: little-endian float32, in the manifest's order,
kernels as (depth, height, width, in, out)). Source of each recipe: brainchop's own parameter list, by model.

Axis order. brainchop transposes the volume before the network sees it, so a kernel's depth, height and width run along
the volume's x, y and z. The kernels are turned here once, so that the ONNX network takes (1, 1, z, y, x) as the house
stores volumes, x towards left, y towards inferior, z towards anterior (FreeSurfer's conformed orientation).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PluginFailed

OPSET = 20  # the first with Gelu
IR_VERSION = 10  # what onnxruntime 1.17 and later read
# brainchop and PyTorch both add this to the variance; without it a constant channel divides by zero.
NORM_EPSILON = 1e-5
ACTIVATIONS = {"relu": "Relu", "elu": "Elu", "gelu": "Gelu"}


@dataclass(frozen=True)
class Layer:
    """One convolution and what follows it.

    kernel  (out, in, z, y, x) float32; bias (out,) float32; dilation in voxels; norm: per-channel normalisation over
    the whole volume, without scale and shift; activation: "relu", "elu", "gelu" or None.
    """

    name: str
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    dilation: int
    norm: bool
    activation: str | None

    @property
    def reach(self) -> int:
        """Voxels to each side that one output voxel sees."""
        return int((self.kernel.shape[-1] - 1) // 2 * self.dilation)


# Intensities are 0..255 on the conformed grid before normalising; quantiles are over the whole conformed volume.
MINMAX: dict[str, Any] = {"normalise": "min-max"}
QUANTILE: dict[str, Any] = {"normalise": "quantile", "quantiles": [0.05, 0.95]}
# (channels, classes) tell brainchop's eight models apart -> its name there, and how brainchop prepares its input.
RECIPES: dict[tuple[int, int], tuple[str, dict[str, Any]]] = {
    (15, 2): ("mindgrab", QUANTILE),
    (5, 3): ("model5_gw_ae", MINMAX),
    (11, 3): ("model11_gw_ae", MINMAX),
    (20, 3): ("model20chan3cls", QUANTILE),
    (21, 18): ("model18cls", MINMAX),
    (30, 18): ("model30chan18cls", MINMAX),
    (30, 50): ("model30chan50cls", QUANTILE),
    (21, 104): ("model21_104class", MINMAX),
}
# brainchop's own colour maps of the small tissue models either do not exist or name two classes of three.
TISSUE = ("background", "White Matter", "Grey Matter")


def read_layers(topology: Path, weights: Mapping[str, Path]) -> tuple[Layer, ...]:
    """The network as the Keras JSON and its weights describe it.

    weights  file name as in the manifest -> path. Raises PluginFailed for anything that would have to be guessed.
    """
    document = json.loads(topology.read_text(encoding="utf-8"))
    arrays = _weights(document["weightsManifest"], weights)
    layers: list[Layer] = []
    described = document["modelTopology"]["model_config"]["config"]["layers"]
    for index, entry in enumerate(described):
        kind, config = entry["class_name"], entry["config"]
        if kind == "InputLayer":
            continue
        if kind == "Activation":
            if not layers or layers[-1].activation is not None or config["activation"] not in ACTIVATIONS:
                raise _strange(f"activation {config['activation']!r} at layer {index}")
            layers[-1] = _with_activation(layers[-1], config["activation"])
        elif kind == "Conv3D":
            layers.append(_conv(config, arrays, index))
        else:
            raise _strange(f"a layer of class {kind!r}")
    return tuple(layers)


def _weights(manifest: list[dict[str, Any]], files: Mapping[str, Path]) -> dict[str, NDArray[np.float32]]:
    arrays: dict[str, NDArray[np.float32]] = {}
    for group in manifest:
        blob = b"".join(files[path].read_bytes() for path in group["paths"])
        offset, named = 0, 4 * sum(int(np.prod(entry["shape"], dtype=np.int64)) for entry in group["weights"])
        if named != len(blob):
            raise _strange(f"{len(blob)} bytes of weights where the manifest names {named}")
        for entry in group["weights"]:
            if entry["dtype"] != "float32" or "quantization" in entry:
                raise _strange(f"weights of type {entry['dtype']!r}")
            size = int(np.prod(entry["shape"], dtype=np.int64))
            arrays[entry["name"]] = np.frombuffer(blob, "<f4", size, offset).reshape(entry["shape"]).astype(np.float32)
            offset += 4 * size
    return arrays


def _conv(config: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]], index: int) -> Layer:
    name, dilation = config["name"], config["dilation_rate"]
    same = config["padding"] == "same" and config["data_format"] == "channels_last" and config["activation"] == "linear"
    if not same or set(config["strides"]) != {1} or len(set(dilation)) != 1 or config.get("groups", 1) != 1:
        raise _strange(
            f"a convolution at layer {index} that is strided, grouped, unevenly dilated or not padded 'same'"
        )
    kernel = arrays[f"{name}/kernel"]
    # (x, y, z, in, out) -> (out, in, z, y, x)
    turned = np.ascontiguousarray(kernel.transpose(4, 3, 2, 1, 0))
    bias = arrays[f"{name}/bias"] if config["use_bias"] else np.zeros(turned.shape[0], np.float32)
    # The exporter of mindgrab writes the normalisation into the layer's name and nowhere else.
    return Layer(name, turned, bias, int(dilation[0]), name.endswith("_gn"), None)


def _with_activation(layer: Layer, activation: str) -> Layer:
    return Layer(layer.name, layer.kernel, layer.bias, layer.dilation, layer.norm, activation)


def build(layers: tuple[Layer, ...], *, labels: bool = False) -> bytes:
    """An ONNX model, serialised: "volume" (n, c, z, y, x) float32 -> "scores" (n, k, z, y, x) float32, or, where
    ``labels``, the class of the greatest score, "labels" (n, z, y, x) uint8."""
    from onnx import TensorProto, helper

    nodes: list[Any] = []
    tensors: list[Any] = []
    value = "volume"
    for number, layer in enumerate(layers):
        reach = layer.reach
        value = _add_conv(
            nodes, tensors, layer.kernel, layer.bias, value, str(number), [layer.dilation] * 3, [reach] * 3
        )
        value = _add_rest(nodes, tensors, layer, value, str(number))
    if labels:
        nodes.append(helper.make_node("ArgMax", [value], ["indices"], axis=1, keepdims=0))
        nodes.append(helper.make_node("Cast", ["indices"], ["labels"], to=TensorProto.UINT8))
        return _model(nodes, tensors, layers[0], "labels", TensorProto.UINT8, ["n", "z", "y", "x"])
    nodes[-1].output[0] = "scores"
    return _model(nodes, tensors, layers[0], "scores", TensorProto.FLOAT, ["n", "classes", "z", "y", "x"])


def build_taps(layer: Layer) -> bytes:
    """A layer's convolution cut along z: "volume" (n, c, z, y, x) -> "taps" (n, taps * out, z, y, x), tap-major.

    Tap t of plane p belongs to the output plane p + (1 - t) * dilation (three taps). The bias is in the middle tap.
    """
    from onnx import TensorProto

    out, channels, taps, rows, columns = layer.kernel.shape
    kernel = np.ascontiguousarray(layer.kernel.transpose(2, 0, 1, 3, 4)).reshape(taps * out, channels, 1, rows, columns)
    bias = np.zeros((taps, out), np.float32)
    bias[taps // 2] = layer.bias
    nodes: list[Any] = []
    tensors: list[Any] = []
    reach = [0, layer.reach, layer.reach]
    dilations = [1, layer.dilation, layer.dilation]
    _add_conv(nodes, tensors, kernel, bias.ravel(), "volume", "", dilations, reach)
    nodes[-1].output[0] = "taps"
    return _model(nodes, tensors, layer, "taps", TensorProto.FLOAT, ["n", taps * out, "z", "y", "x"])


def build_norm(layer: Layer) -> bytes:
    """What follows a layer's convolution, for one channel: "volume" (1, 1, z, y, x) -> "scores" of the same shape."""
    from onnx import TensorProto

    one = Layer(layer.name, layer.kernel[:1, :1], layer.bias[:1], layer.dilation, layer.norm, layer.activation)
    nodes: list[Any] = []
    tensors: list[Any] = []
    _add_rest(nodes, tensors, one, "volume", "")
    nodes[-1].output[0] = "scores"
    return _model(nodes, tensors, one, "scores", TensorProto.FLOAT, ["n", 1, "z", "y", "x"])


def _add_conv(
    nodes: list[Any],
    tensors: list[Any],
    kernel: NDArray[np.float32],
    bias: NDArray[np.float32],
    value: str,
    suffix: str,
    dilations: list[int],
    pads: list[int],
) -> str:
    from onnx import helper, numpy_helper

    tensors += [numpy_helper.from_array(kernel, f"kernel{suffix}"), numpy_helper.from_array(bias, f"bias{suffix}")]
    nodes.append(
        helper.make_node(
            "Conv",
            [value, f"kernel{suffix}", f"bias{suffix}"],
            [f"conv{suffix}"],
            kernel_shape=[int(n) for n in kernel.shape[2:]],
            dilations=dilations,
            pads=pads * 2,
        )
    )
    return f"conv{suffix}"


def _add_rest(nodes: list[Any], tensors: list[Any], layer: Layer, value: str, suffix: str) -> str:
    """Normalisation and activation, where the layer has them."""
    from onnx import helper, numpy_helper

    if layer.norm:
        channels = layer.kernel.shape[0]
        names = [f"scale{suffix}", f"shift{suffix}"]
        tensors += [
            numpy_helper.from_array(np.full(channels, fill, np.float32), name)
            for fill, name in zip((1, 0), names, strict=True)
        ]
        made = f"norm{suffix}"
        nodes.append(helper.make_node("InstanceNormalization", [value, *names], [made], epsilon=NORM_EPSILON))
        value = made
    if layer.activation:
        nodes.append(helper.make_node(ACTIVATIONS[layer.activation], [value], [f"act{suffix}"]))
        value = f"act{suffix}"
    return value


def _model(nodes: list[Any], tensors: list[Any], first: Layer, name: str, kind: int, shape: list[Any]) -> bytes:
    from onnx import TensorProto, helper

    volume = helper.make_tensor_value_info(
        "volume", TensorProto.FLOAT, ["n", int(first.kernel.shape[1]), "z", "y", "x"]
    )
    graph = helper.make_graph(nodes, "meshnet", [volume], [helper.make_tensor_value_info(name, kind, shape)], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="attending")
    model.ir_version = IR_VERSION
    serialised: bytes = model.SerializeToString()
    return serialised


def layers_of(model: bytes) -> tuple[Layer, ...]:
    """The layers of a model that ``build`` wrote: what the runner cuts into pieces. The inverse of ``build``."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model).graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    names = {op: name for name, op in ACTIVATIONS.items()}
    layers: list[Layer] = []
    for node in graph.node:
        if node.op_type == "Conv":
            dilation = next(a.ints[0] for a in node.attribute if a.name == "dilations")
            layers.append(Layer(node.name, arrays[node.input[1]], arrays[node.input[2]], int(dilation), False, None))
        elif node.op_type == "InstanceNormalization":
            last = layers[-1]
            layers[-1] = Layer(last.name, last.kernel, last.bias, last.dilation, True, None)
        elif node.op_type in names:
            layers[-1] = _with_activation(layers[-1], names[node.op_type])
        else:
            raise _strange(f"an ONNX node {node.op_type!r}")
    return tuple(layers)


def recipe_of(layers: tuple[Layer, ...], names: list[str] | None) -> dict[str, Any]:
    """What must be known to run the weights and to read their output: written beside them as ``recipe.json``."""
    shape = (int(layers[0].kernel.shape[0]), int(layers[-1].kernel.shape[0]))
    if shape not in RECIPES:
        raise _strange(f"a MeshNet of {shape[0]} channels and {shape[1]} classes, for which no recipe is known")
    name, normalise = RECIPES[shape]
    if names is None or len(names) != shape[1]:
        if shape[1] != len(TISSUE):
            raise _strange(f"{shape[1]} classes and {len(names or [])} names for them")
        names = list(TISSUE)
    return {
        "schema": 1,
        "name": name,
        "grid": {"shape": [256, 256, 256], "spacing_mm": [1.0, 1.0, 1.0], "towards": ["left", "inferior", "anterior"]},
        "intensity": "0..255 on the conformed grid",
        **normalise,
        "axes": ["z", "y", "x"],
        "receptive_field": sum(layer.reach for layer in layers),
        "whole_volume_statistics": any(layer.norm for layer in layers),
        "keep": "largest 26-connected foreground component",
        "labels": [label.rstrip("*") for label in names],
    }


def convert(files: Mapping[str, Path], out: Path) -> None:
    """Writes ``out/net.onnx`` and ``out/recipe.json``; the same input gives the same bytes.

    files  name -> path: ``model.json`` with the topology, the weights under the names in its manifest, and
           ``colormap*.json`` whose "labels" name the classes, where brainchop has one.
    Raises PluginFailed for a topology, weights or labels that do not fit each other.
    """
    import onnx

    maps = [json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if name.startswith("colormap")]
    layers = read_layers(files["model.json"], files)
    names = [m["labels"] for m in maps if len(m["labels"]) == layers[-1].kernel.shape[0]]
    recipe = recipe_of(layers, names[0] if names else None)
    model = build(layers)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    (out / "net.onnx").write_bytes(model)
    (out / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")


def _strange(seen: str) -> PluginFailed:
    return PluginFailed(
        seen,
        "a sequential MeshNet: dilated 'same' Conv3D layers with relu, elu or gelu",
        "pull the model again; if its publisher changed the format, the converter must learn it first",
    )
