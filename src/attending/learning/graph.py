"""A head as ONNX, and ONNX as a head."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PluginFailed
from .head import FAR, Head

TOLERANCE = 1e-6  # float32 resolves probabilities to 6e-8; more than ten times that would be another computation
OPSET, IR = 17, 8  # old enough for every ONNX Runtime since 1.13, new enough for everything used here


def to_onnx(head: Head, facts: dict[str, str]) -> bytes:
    """ONNX bytes of a head: input "vector" (n, d) float32, output "probability" (n,) float32.

    The same head and facts (written as metadata) give the same bytes. Inside, float64: a sum of hundreds of
    standardised terms in float32 would differ from what was tested by more than TOLERANCE.
    """
    from onnx import TensorProto, helper, numpy_helper

    width = head.weights.size
    constants = {
        "mean": head.mean,
        "scale": head.scale,
        "weights": (head.weights * head.slope)[:, None],
        "offset": np.array([head.intercept * head.slope + head.offset]),
        "flat": np.array([-1], np.int64),
        "least": np.array(-FAR),
        "most": np.array(FAR),
    }
    nodes = [
        helper.make_node("Cast", ["vector"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Sub", ["wide", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["spreads"]),
        helper.make_node("Clip", ["spreads", "least", "most"], ["standard"]),
        helper.make_node("MatMul", ["standard", "weights"], ["product"]),
        helper.make_node("Add", ["product", "offset"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["sure"]),
        helper.make_node("Reshape", ["sure", "flat"], ["row"]),
        helper.make_node("Cast", ["row"], ["probability"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "few-shot-head",
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="attending")
    model.ir_version = IR
    helper.set_model_props(model, dict(sorted(facts.items())))
    from onnx.checker import check_model

    check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def predict(weights: bytes, vectors: NDArray[Any]) -> NDArray[np.float64]:
    """What the ONNX head says of vectors (n, d): (n,) probabilities in 0..1.

    Raises PluginFailed where the bytes are no such head, the width differs, or an answer is not a probability.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    given = np.asarray(vectors, np.float32)
    try:
        session = ort.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        # n = 0: Reshape to (-1,) of nothing is undefined, and there is nothing to ask.
        answer = session.run(["probability"], {"vector": given})[0] if len(given) else np.zeros(0)
    except Exception as error:
        # ONNX Runtime has a class of its own for each failure, none with a public base but RuntimeError and Exception.
        raise PluginFailed(
            f"the head did not run on vectors of shape {given.shape} ({type(error).__name__})",
            "the ONNX file that was trained here, on vectors of its own encoder",
            "train the head again with the encoder that the site names",
        ) from None
    found = np.asarray(answer, np.float64)
    if found.shape != (len(given),) or not (np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()):
        raise PluginFailed("the head's answers are no probabilities", "one number in 0..1 a case", "train it again")
    return found
