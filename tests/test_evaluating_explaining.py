"""What judges explanations: rank likeness, the pointing game, areas, and weights drawn anew."""

from __future__ import annotations

import numpy as np
import pytest

from attending.evaluating.explaining import against_chance, pointing, random_map, randomised, sanity
from attending.metrics import area, mean_of, points_at, rank_likeness, share_inside


def test_likeness_is_of_ranks() -> None:
    a = np.arange(12.0).reshape(1, 3, 4)
    assert rank_likeness(a, np.exp(a)) == pytest.approx(1)
    assert rank_likeness(a, -a) == pytest.approx(-1)
    assert rank_likeness(a, np.zeros_like(a)) is None
    with pytest.raises(ValueError, match="allowed: one shape"):
        rank_likeness(a, a[0])


def test_pointing() -> None:
    heat, mask = np.zeros((1, 9, 9)), np.zeros((1, 9, 9), bool)
    mask[0, 2:4, 2:4] = True
    assert points_at(heat, mask) is None
    heat[0, 3, 3] = 1
    assert points_at(heat, mask) is True
    heat[0, 6, 6] = 2
    assert points_at(heat, mask) is False and points_at(heat, mask, tolerance=5) is True
    heat[:] = 0
    heat[0, 1:5, 1:5] = 3  # equally hot: their middle counts
    assert points_at(heat, mask) is True
    assert share_inside(heat, mask) == pytest.approx(4 / 16)
    found = pointing([heat, np.zeros_like(heat)], [mask, mask])
    assert found is not None and found.value == 0.5 and found.low < 0.5 < found.high


def test_areas_and_means() -> None:
    assert area([1, 1, 1]) == 1 and area([1, 0]) == 0.5 and area([1, 0, 0]) == 0.25
    whole = mean_of([0.2, 0.4, 0.6, 0.8])
    assert whole.value == pytest.approx(0.5) and 0.2 <= whole.low < 0.5 < whole.high <= 0.8
    assert against_chance([0.1, 0.2, 0.1], [0.5, 0.5, 0.6]).high < 0


def test_a_map_that_does_not_change_with_the_weights_fails() -> None:
    maps = [random_map((1, 40, 40), n) for n in range(12)]
    assert not sanity(maps, maps).passed
    assert not sanity(maps, [-m for m in maps]).passed
    assert sanity(maps, [random_map((1, 40, 40), 100 + n) for n in range(12)]).passed
    flat = sanity(maps, [np.zeros_like(m) for m in maps])
    assert flat.passed and flat.flat == 12


def test_randomised_weights_keep_their_values_and_lose_their_places() -> None:
    import onnx
    import test_models_head as heads
    from onnx import numpy_helper

    network = heads.network()
    other = randomised(network, seed=1)
    before, after = (numpy_helper.to_array(onnx.load_from_string(n).graph.initializer[0]) for n in (network, other))
    np.testing.assert_array_equal(np.sort(before.ravel()), np.sort(after.ravel()))
    assert (before != after).mean() > 0.9
    assert randomised(network, seed=1) == other != randomised(network, seed=2)
    assert randomised(network, last=0) == network


def test_the_last_layer_is_a_matrix_and_not_its_bias() -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    arrays = {"w1": (8, 6), "b1": (6,), "w2": (6, 4), "b2": (4,)}
    given = {n: rng.normal(size=s).astype(np.float32) for n, s in arrays.items()}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Add", ["a", "b1"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"]),
        helper.make_node("Add", ["c", "b2"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, s]) for n, s in (("x", 8), ("y", 4))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(v, n) for n, v in given.items()])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    made = {
        a.name: numpy_helper.to_array(a) for a in onnx.load_from_string(randomised(network, last=1)).graph.initializer
    }
    assert {n for n in given if (made[n] != given[n]).any()} == {"w2", "b2"}
