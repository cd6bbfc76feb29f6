"""Heads: an approved release's network on an encoder's vectors, as a Detector."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from attending.errors import HashMismatch, NotAdmitted, PluginFailed
from attending.models import Card, Setup, admit, entry
from attending.models.encoders import SkimageDescriptors
from attending.models.head import Head, head_card
from attending.records import Candidate, Code, Release
from attending.testing import check_model, image_for

CODE = Code("SCT", "233604007", "Pneumonia")
ENCODER = SkimageDescriptors(Setup("skimage-descriptors", entry("skimage-descriptors").card))


def network(size: int = 734, outputs: int = 1, gain: float = 0.3, sigmoid: bool = True) -> bytes:
    """A logistic head with random weights."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(1).normal(0, gain, (size, outputs)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["vectors", "w"], ["z"])]
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", ["z"], ["probability"]))
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [None, size])],
        [helper.make_tensor_value_info("probability" if sigmoid else "z", TensorProto.FLOAT, [None, outputs])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def release(weights: bytes, *sources: str) -> Release:
    imported = [s.removeprefix("imported:") for s in sources if s.startswith("imported:")]
    said = {
        "code_scheme": CODE.scheme, "code_value": CODE.value, "code_meaning": CODE.meaning, "dims": "2",
        "modalities": "CR, DX", "views": "AP, PA", "body_parts": "CHEST",
        "admits": ", ".join(imported) if len(imported) == len(sources) else "",
        "use": "teach" if len(imported) == len(sources) else "care",
    }  # fmt: skip
    made = Candidate(
        "c1",
        "pneumonia",
        ENCODER.space,
        hashlib.sha256(weights).hexdigest(),
        "t" * 64,
        sources,
        "2026-01-01T00:00:00Z",
        tuple(said.items()),
    )
    return Release("r1", made, None, "approved")


def card_for(weights: bytes, *sources: str) -> Card:
    return head_card(release(weights, *sources))


def test_a_head_gives_one_calibrated_probability_and_passes_the_contract() -> None:
    weights = network()
    head = Head(card_for(weights, "person"), weights, ENCODER, CODE)
    (found,) = head.detect(image_for(head.card, dims=2))
    assert found.code == CODE and found.calibrated and 0 < found.score < 1
    card = replace(head.card, dims=(2,))
    assert [r for r in check_model(Head(card, weights, ENCODER, CODE)) if not r.ok] == []


def test_its_number_is_the_networks_number() -> None:
    import onnxruntime

    weights = network(outputs=2)
    head = Head(card_for(weights, "person"), weights, ENCODER, CODE)
    image = image_for(head.card, "noise", dims=2)
    expected = onnxruntime.InferenceSession(weights).run(None, {"vectors": ENCODER.encode([image])})[0][0, 1]
    assert head.detect(image)[0].score == pytest.approx(float(expected), abs=1e-6)


def test_a_head_taught_by_imported_labels_admits_that_set_only() -> None:
    card = card_for(network(), "imported:pneumoniamnist")
    facts = image_for(card, dims=2).facts
    assert card.sources == ("pneumoniamnist",) and card.use == "teach"
    assert admit(card, facts, source="pneumoniamnist") is None
    assert "no imported set" in (admit(card, facts) or "")
    both = card_for(network(), "imported:pneumoniamnist", "person")
    assert both.sources == () and both.use == "care" and admit(both, facts) is None


def test_a_card_that_says_nothing_admits_nothing() -> None:
    weights = network()
    silent = replace(release(weights, "person"), candidate=replace(release(weights, "person").candidate, card=()))
    with pytest.raises(PluginFailed, match="does not say which modalities taught it"):
        head_card(silent)


def test_what_learning_exports_is_a_head() -> None:
    from attending.learning.graph import to_onnx
    from attending.learning.head import fit

    card = card_for(network(), "person")
    images = [image_for(card, what, dims=2) for what in ("phantom", "mirrored", "noise", "blank")] * 10
    labels = np.array([1, 1, 0, 0] * 10)
    weights = to_onnx(fit(ENCODER.encode(images), labels, [str(n) for n in range(40)]), {"task": "t"})
    head = Head(card_for(weights, "person"), weights, ENCODER, CODE)
    assert head.detect(images[0])[0].score > 0.5 > head.detect(images[2])[0].score


def test_a_head_refuses_other_images() -> None:
    weights = network()
    head = Head(card_for(weights, "person"), weights, ENCODER, CODE)
    image = image_for(head.card, dims=2)
    with pytest.raises(NotAdmitted, match="its modality is CT, the card admits CR or DX"):
        head.detect(type(image)(replace(image.facts, modality="CT"), image.voxels))


def test_other_weights_than_the_approved_are_refused() -> None:
    with pytest.raises(HashMismatch, match="head-pneumonia"):
        Head(card_for(network(), "person"), network(gain=0.4), ENCODER, CODE)


def test_a_network_that_is_none_or_fits_another_encoder_is_named() -> None:
    with pytest.raises(PluginFailed, match="cannot be opened"):
        Head(card_for(b"no network", "person"), b"no network", ENCODER, CODE)
    weights = network(size=16)
    head = Head(card_for(weights, "person"), weights, ENCODER, CODE)
    with pytest.raises(PluginFailed, match="does not take vectors of skimage-descriptors/1"):
        head.detect(image_for(head.card, dims=2))
    weights = network(sigmoid=False, gain=9)
    head = Head(card_for(weights, "person"), weights, ENCODER, CODE)
    with pytest.raises(PluginFailed, match="which is no probability"):
        head.detect(image_for(head.card, dims=2))
