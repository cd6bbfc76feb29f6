"""A Keras 3 archive (.keras) -> ONNX, without Keras: its JSON says the graph, its HDF5 file holds the numbers.

Only the layers that a feed-forward image classifier needs are read, in inference mode; whatever else the file asks
for (custom layers, Lambdas) is refused by name, and nothing of the file is ever run. Reading HDF5 takes h5py, once, at
pull: the extra ``keras``.

Where a guess would be wrong: the weights' groups are named after the layers' classes in snake case with a running
number within each model ("batch_normalization_12"), not after the layers; "same" padding is TensorFlow's (the odd
pixel goes right and below); images are channels last, turned once at the input.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExtraMissing, PluginFailed
from .efficientnet import same_padding

OPSET = 17
LIMIT_BYTES = 1 << 30
ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softmax": "Softmax", "elu": "Elu"}
PASSED = ("Dropout", "SpatialDropout2D", "GaussianNoise")
"""Layers that do nothing after training."""


def convert(files: Mapping[str, Path], out: Path) -> None:
    """Convert step "keras-onnx": ``model.keras`` -> ``model.onnx``, image (n, y, x, c) -> the model's output.

    Raises ExtraMissing without h5py and PluginFailed for what it cannot read.
    """
    import onnx

    config, weights = opened(files["model.keras"])
    model = build(config, weights)
    onnx.checker.check_model(model, full_check=True)
    (out / "model.onnx").write_bytes(model.SerializeToString())


def opened(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The archive's configuration, and its arrays by their path in the HDF5 file. The optimizer's are left out."""
    try:
        import h5py
    except ImportError:
        raise ExtraMissing(
            "converting a Keras archive needs h5py, which is not installed",
            "h5py, once, when the model is pulled",
            "in the folder of attending's source: pip install -c constraints.txt '.[keras]'",
        ) from None
    try:
        with zipfile.ZipFile(path) as archive:
            if any(info.file_size > LIMIT_BYTES for info in archive.infolist()):
                raise _strange("a member larger than any model of the catalog")
            config = json.loads(archive.read("config.json"))
            data = archive.read("model.weights.h5")
        found: dict[str, NDArray[Any]] = {}

        def take(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
                found[name] = np.asarray(item)

        with h5py.File(io.BytesIO(data), "r") as file:
            file.visititems(take)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as unlike:
        raise _strange(f"no Keras 3 model ({type(unlike).__name__})") from None
    return config, found


def build(config: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> Any:
    """The network as an onnx.ModelProto. Raises PluginFailed for a layer or option that is not read here."""
    from onnx import TensorProto, helper

    net = _Net(weights)
    inner = config["config"]
    shape = next(layer for layer in inner["layers"] if layer["class_name"] == "InputLayer")["config"]["batch_shape"]
    if len(shape) != 4 or None in shape[1:]:
        raise _strange(f"an input of shape {shape}")
    net.node("Transpose", ["image"], "turned", perm=[0, 3, 1, 2])
    net.shapes["turned"] = (shape[3], shape[1], shape[2])
    (last,) = net.model(config, "", ["turned"])
    unused = set(weights) - net.used
    if unused:
        raise _strange(f"{len(unused)} arrays that its layers do not use")
    net.node("Identity", [last], "scores")
    graph = helper.make_graph(
        net.nodes,
        "keras",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *shape[1:]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", *net.shapes[last]])],
        net.constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def snake(name: str) -> str:
    """Keras' own rule for the weights' groups: SeparableConv2D -> separable_conv2d."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class _Net:
    """Nodes and weights in order. shapes: tensor -> (channels, rows, columns), or (features,)."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self.weights, self.used = weights, set[str]()
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, name: str, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def take(self, group: str, number: int) -> NDArray[Any]:
        name = f"{group}/vars/{number}"
        if name not in self.weights:
            raise _strange(f"no array {name}")
        self.used.add(name)
        return self.weights[name]

    def model(self, described: Mapping[str, Any], group: str, inputs: list[str]) -> list[str]:
        """A Functional or Sequential model inside group ``group``; its inputs and outputs are tensors' names."""
        if described["class_name"] not in ("Functional", "Sequential"):
            raise _strange(f"a model of class {described['class_name']}")
        inner, counts = described["config"], dict[str, int]()
        made: dict[str, str] = {}
        given, previous = iter(inputs), inputs[0]
        for layer in inner["layers"]:
            kind, name = layer["class_name"], layer["config"]["name"]
            if kind == "InputLayer":
                made[name] = previous = next(given)
                counts["input_layer"] = counts.get("input_layer", 0) + 1
                continue
            key = snake(kind)
            seen = counts.get(key, 0)
            counts[key] = seen + 1
            own = f"{group}layers/{key}" + (f"_{seen}" if seen else "")
            sources = [made[n] for n in _sources(layer)] if described["class_name"] == "Functional" else [previous]
            if kind in ("Functional", "Sequential"):
                (made[name],) = self.model(layer, f"{own}/", sources)
            else:
                made[name] = self.layer(kind, layer["config"], own, sources)
            previous = made[name]
        return [made[o[0]] for o in _outputs(inner["output_layers"])] if "output_layers" in inner else [previous]

    def layer(self, kind: str, config: Mapping[str, Any], group: str, sources: list[str]) -> str:
        start = sources[0]
        shape, name = self.shapes[start], group
        if config.get("data_format", "channels_last") != "channels_last" or any(
            d != 1 for d in config.get("dilation_rate", [1])
        ):
            raise _strange(f"{kind} {config['name']} with channels first or dilation")
        if kind in PASSED:
            return start
        if kind == "Conv2D":
            kernel = self.take(group, 0).transpose(3, 2, 0, 1)
            name = self._conv(start, name, kernel, config, config["groups"], 1)
        elif kind in ("SeparableConv2D", "DepthwiseConv2D"):
            kernel = self.take(group, 0).transpose(2, 3, 0, 1)
            kernel = kernel.reshape(-1, 1, *kernel.shape[2:])
            if kind == "SeparableConv2D":
                deep = self._conv(start, f"{name}.deep", kernel, {**config, "use_bias": False}, shape[0], 0)
                point = self.take(group, 1).transpose(3, 2, 0, 1)
                name = self._conv(deep, name, point, {**config, "strides": [1, 1]}, 1, 2)
            else:
                name = self._conv(start, name, kernel, config, shape[0], 1)
        elif kind == "BatchNormalization":
            if config["axis"] not in (-1, 3) or not (config["scale"] and config["center"]):
                raise _strange(f"{kind} {config['name']} without scale or along another axis")
            arrays = [self.constant(f"{name}.{n}", self.take(group, n)) for n in range(4)]
            self.node("BatchNormalization", [start, *arrays], name, epsilon=float(config["epsilon"]))
            self.shapes[name] = shape
        elif kind == "Dense":
            arrays = [self.constant(f"{name}.{n}", self.take(group, n)) for n in range(2 if config["use_bias"] else 1)]
            self.node("Gemm", [start, *arrays], name)
            self.shapes[name] = (int(config["units"]),)
        elif kind in ("MaxPooling2D", "AveragePooling2D"):
            window, strides = config["pool_size"], config["strides"]
            pads, grid = _pads(shape, window, strides, config["padding"])
            more = {} if kind == "MaxPooling2D" else {"count_include_pad": 0}
            op = "MaxPool" if kind == "MaxPooling2D" else "AveragePool"
            self.node(op, [start], name, kernel_shape=list(window), strides=list(strides), pads=pads, **more)
            self.shapes[name] = (shape[0], *grid)
        elif kind == "GlobalAveragePooling2D":
            self.node("GlobalAveragePool", [start], f"{name}.mean")
            self.node("Flatten", [f"{name}.mean"], name)
            self.shapes[name] = (shape[0],)
        elif kind == "Add":
            last = start
            for number, other in enumerate(sources[1:], 1):
                last = self.node("Add", [last, other], name if number == len(sources) - 1 else f"{name}.{number}")
            self.shapes[name] = shape
        elif kind in ("Activation", "ReLU", "Softmax"):
            if kind == "ReLU" and (config.get("max_value") or config.get("negative_slope") or config.get("threshold")):
                raise _strange(f"ReLU {config['name']} with bounds")
            asked = config["activation"] if kind == "Activation" else kind.lower()
            return self._activated(start, f"{name}.activation", asked)
        else:
            raise _strange(f"a layer of class {kind}")
        return self._activated(name, f"{name}.activation", config.get("activation", "linear"))

    def _conv(
        self, start: str, name: str, kernel: NDArray[Any], config: Mapping[str, Any], groups: int, bias: int
    ) -> str:
        """kernel: (out, in / groups, y, x). bias: the array's number in the group, where the layer has one."""
        pads, grid = _pads(self.shapes[start], kernel.shape[2:], config["strides"], config["padding"])
        inputs = [start, self.constant(f"{name}.kernel", kernel)]
        if config["use_bias"]:
            inputs.append(self.constant(f"{name}.bias", self.take(name, bias)))
        self.node(
            "Conv",
            inputs,
            name,
            kernel_shape=list(kernel.shape[2:]),
            strides=list(config["strides"]),
            pads=pads,
            group=int(groups),
        )
        self.shapes[name] = (kernel.shape[0], *grid)
        return name

    def _activated(self, start: str, name: str, asked: Any) -> str:
        if asked in ("linear", None):
            return start
        if asked not in ACTIVATIONS:
            raise _strange(f"the activation {asked!r}")
        axis = {"axis": 1} if asked == "softmax" else {}
        self.node(ACTIVATIONS[asked], [start], name, **axis)
        self.shapes[name] = self.shapes[start]
        return name


def _pads(shape: tuple[int, ...], window: Any, strides: Any, padding: str) -> tuple[list[int], tuple[int, int]]:
    """(pads as ONNX wants them, (rows, columns) of the output) of a window over (channels, rows, columns)."""
    if padding == "same":
        (top, below), (left, right) = (
            same_padding(n, w, s) for n, w, s in zip(shape[1:], window, strides, strict=True)
        )
        grid = [-(-n // s) for n, s in zip(shape[1:], strides, strict=True)]
        return [top, left, below, right], (grid[0], grid[1])
    if padding != "valid":
        raise _strange(f"padding {padding!r}")
    grid = [(n - w) // s + 1 for n, w, s in zip(shape[1:], window, strides, strict=True)]
    return [0, 0, 0, 0], (grid[0], grid[1])


def _sources(layer: Mapping[str, Any]) -> list[str]:
    """Names of the layers that a layer reads; it must be called once."""
    if len(layer["inbound_nodes"]) != 1:
        raise _strange(f"a layer that is used {len(layer['inbound_nodes'])} times")
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            found.append(value["config"]["keras_history"][0])
        elif isinstance(value, (list, dict)):
            for part in value.values() if isinstance(value, dict) else value:
                walk(part)

    walk(layer["inbound_nodes"][0]["args"])
    return found


def _outputs(listed: Any) -> list[Any]:
    return [listed] if listed and isinstance(listed[0], str) else list(listed)


def _strange(seen: str) -> PluginFailed:
    return PluginFailed(
        f"the Keras archive holds {seen}",
        "a Keras 3 feed-forward image model of common layers",
        "convert it to ONNX elsewhere and add it as docs/add-a-model.md says",
    )
