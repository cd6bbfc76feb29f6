"""MeshNets: the converted and the running network against an independent forward, and the head's way there and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attending.errors import GeometryRefused, NotAdmitted, PluginFailed
from attending.models import Card, Segmenter, Setup, meshnet, meshnet_codes, meshnet_onnx, meshnet_run
from attending.models.meshnet import MeshNet
from attending.records import Code, Image, ImageFacts

Array = np.ndarray[Any, Any]
NAMES = tuple(name for name, _ in meshnet_onnx.RECIPES.values())
# Absolute on the class probabilities, which is what a threshold or a person sees. Scores before the softmax reach 47,
# where one step of float32 is 4e-6 and 25 layers of sums add up: they are held to 1e-4 of the greatest score, or of 1.
AGREEMENT = 1e-4
CARD = Card(
    "brainchop", "1", "MeshNet", ("Segmenter",), "onnxruntime", "MIT", modalities=("MR",), dims=(3,), colour=False
)


def independent_forward(folder: Path, volume: Array) -> Array:
    """Keras' layers over (x, y, z) in float64 by NumPy alone: 'same' padding, dilation, biases, activations, and
    brainchop's per-channel normalisation where the layer's name ends in "_gn". -> (x, y, z, classes)."""
    from scipy.special import erf

    document = json.loads((folder / "model.json").read_text())
    weights, x = {}, volume[..., None].astype(np.float64)
    for group in document["weightsManifest"]:
        blob, offset = b"".join((folder / p).read_bytes() for p in group["paths"]), 0
        for entry in group["weights"]:
            count = int(np.prod(entry["shape"]))
            weights[entry["name"]] = np.frombuffer(blob, "<f4", count, offset).reshape(entry["shape"])
            offset += 4 * count
    for layer in document["modelTopology"]["model_config"]["config"]["layers"]:
        config = layer["config"]
        if layer["class_name"] == "Conv3D":
            kernel, d = weights[config["name"] + "/kernel"].astype(np.float64), config["dilation_rate"][0]
            reach = kernel.shape[0] // 2 * d
            padded, y = np.pad(x, [(reach, reach)] * 3 + [(0, 0)]), np.zeros((*x.shape[:3], kernel.shape[-1]))
            for i, j, k in np.ndindex(kernel.shape[:3]):
                part = padded[i * d : i * d + x.shape[0], j * d : j * d + x.shape[1], k * d : k * d + x.shape[2]]
                y += part @ kernel[i, j, k]
            x = y + weights[config["name"] + "/bias"] if config["use_bias"] else y
            if config["name"].endswith("_gn"):
                x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
        elif layer["class_name"] == "Activation":
            x = {
                "relu": lambda v: np.maximum(v, 0),
                "elu": lambda v: np.where(v > 0, v, np.expm1(np.minimum(v, 0))),
                "gelu": lambda v: 0.5 * v * (1 + erf(v / np.sqrt(2))),
            }[config["activation"]](x)
    return x


@pytest.fixture(scope="session")
def t1(mirror: Path) -> Image:
    """The mirror's T1 head: 256x256x256 at 1 mm, already oriented as conformed volumes are."""
    import nibabel as nib

    opened = nib.load(mirror / "data/brain_t1/t1_crop.nii.gz")  # type: ignore[attr-defined]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ opened.affine
    voxels = np.ascontiguousarray(np.asanyarray(opened.dataobj).T)
    facts = ImageFacts(
        "i1", voxels.shape, tuple(map(tuple, affine.tolist())), (1.0, 1.0, 1.0), "MR", body_part="HEAD", sequence="T1"
    )
    return Image(facts, voxels)


def converted(mirror: Path, name: str, out: Path) -> Path:
    meshnet_onnx.convert({p.name: p for p in (mirror / "models/brainchop" / name).iterdir()}, out)
    return out


def loaded(folder: Path) -> MeshNet:
    return MeshNet(Setup("brainchop", CARD, {p.name: p for p in folder.iterdir()}))


@pytest.mark.mirror
@pytest.mark.parametrize("name", NAMES)
def test_onnx_and_plane_by_plane_agree_with_an_independent_forward(
    mirror: Path, t1: Image, tmp_path: Path, name: str
) -> None:
    import onnxruntime as ort
    from scipy.special import softmax

    crop = (t1.voxels[110:142, 90:126, 100:140].astype(np.float32)) / 255.0  # (z, y, x), sides that all differ
    truth = independent_forward(mirror / "models/brainchop" / name, crop.T).transpose(3, 2, 1, 0)
    net = (converted(mirror, name, tmp_path) / "net.onnx").read_bytes()
    whole = ort.InferenceSession(net, providers=["CPUExecutionProvider"]).run(None, {"volume": crop[None, None]})[0][0]
    layers = meshnet_onnx.layers_of(net)
    last = layers[-1]
    features = meshnet_run.features(layers[:-1], crop)
    ours = np.einsum("kc,zcyx->kzyx", last.kernel[:, :, 0, 0, 0], features) + last.bias[:, None, None, None]
    bound = AGREEMENT * max(1.0, float(np.abs(truth).max()))
    assert np.abs(whole - truth).max() < bound
    assert np.abs(ours - truth).max() < bound
    assert np.abs(softmax(whole, axis=0) - softmax(truth, axis=0)).max() < AGREEMENT
    assert np.abs(softmax(ours, axis=0) - softmax(truth, axis=0)).max() < AGREEMENT
    labels = meshnet_run.predict(layers, crop)
    ordered = np.sort(truth, axis=0)
    clear = ordered[-1] - ordered[-2] > 2 * bound
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(labels[clear], truth.argmax(axis=0)[clear])


@pytest.mark.mirror
@pytest.mark.parametrize("name", NAMES)
def test_conversion_gives_the_same_bytes_and_a_recipe(mirror: Path, tmp_path: Path, name: str) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    converted(mirror, name, first)
    converted(mirror, name, second)
    assert (first / "net.onnx").read_bytes() == (second / "net.onnx").read_bytes()
    recipe = json.loads((first / "recipe.json").read_text())
    layers = meshnet_onnx.layers_of((first / "net.onnx").read_bytes())
    assert recipe["name"] == name
    assert len(recipe["labels"]) == layers[-1].kernel.shape[0]
    assert recipe["receptive_field"] == sum(layer.reach for layer in layers)
    model = loaded(first)
    assert isinstance(model, Segmenter)
    assert list(model.card.labels) == recipe["labels"][1:]


@pytest.mark.mirror
def test_a_head_is_segmented_on_its_own_grid(mirror: Path, t1: Image, tmp_path: Path) -> None:
    """The small tissue model over a T1 that is cut, turned and of 16 bits: volumes hold, labels come back in place."""
    model = loaded(converted(mirror, "model5_gw_ae", tmp_path))
    whole = model.segment(t1)
    assert whole.conformed is not None
    litres = np.count_nonzero(whole.conformed.labels) / 1e6
    assert 1.0 < litres < 1.7
    assert whole.spacing_mm == (1.0, 1.0, 1.0)
    assert whole.labels.names == {1: "White Matter", 2: "Grey Matter"}
    # x reversed and y, z exchanged, stated in the affine: the same head, another order of voxels.
    turned = np.ascontiguousarray(t1.voxels[:, :, ::-1].transpose(1, 0, 2).astype(np.int16) * 4)
    affine = np.array(t1.facts.affine)
    step = np.array([[-1.0, 0, 0, 255], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    facts = ImageFacts(
        "i1", turned.shape, tuple(map(tuple, (affine @ step).tolist())), (1.0, 1.0, 1.0), "MR", body_part="HEAD"
    )
    heard: list[float] = []
    again = model.segment(Image(facts, turned), lambda fraction, _: heard.append(fraction))
    back = again.labels.labels.transpose(1, 0, 2)[:, :, ::-1]
    overlap = 2 * np.count_nonzero((back > 0) & (whole.labels.labels > 0))
    assert overlap / (np.count_nonzero(back) + np.count_nonzero(whole.labels.labels)) > 0.97
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert t1.voxels.flags.writeable is False


@pytest.mark.mirror
@pytest.mark.slow
def test_axes_are_the_ones_the_network_was_trained_in(mirror: Path, t1: Image, tmp_path: Path) -> None:
    """Left is left and the volumes are a brain's; the same head handed over upside down is not read as one."""
    model = loaded(converted(mirror, "model21_104class", tmp_path))
    labels = model.segment(t1).labels.labels
    middle = t1.voxels.shape[2] / 2
    for value, label in enumerate(model.labels):
        _, side = meshnet_codes.split(label)
        where = np.flatnonzero((labels == value).any(axis=(0, 1)))
        if side and np.count_nonzero(labels == value) > 3000:
            centre = float((labels == value).sum(axis=(0, 1)) @ np.arange(labels.shape[2]) / (labels == value).sum())
            assert (centre > middle) == (side == "left"), label
            assert where.size
    brain = np.count_nonzero(labels)
    upside_down, _ = meshnet.largest_component(model.predict(np.ascontiguousarray(t1.voxels[:, ::-1])))
    hippocampus = {value for value, label in enumerate(model.labels) if "Hippocampus" in label}
    right_way = np.isin(labels, list(hippocampus)).sum() / 1000
    assert 1.0e6 < brain < 1.7e6
    assert 5.0 < right_way < 13.0
    assert not 5.0 < np.isin(upside_down, list(hippocampus)).sum() / 1000 < 13.0


def random_layers(rng: np.random.Generator, dilations: tuple[int, ...], norm: bool) -> tuple[meshnet_onnx.Layer, ...]:
    layers, channels = [], 1
    for number, dilation in enumerate(dilations):
        kernel = rng.normal(0, 0.2, (3, channels, 3, 3, 3)).astype(np.float32)
        activation = "gelu" if norm else ("elu", "relu")[number % 2]
        layers.append(
            meshnet_onnx.Layer("c", kernel, rng.normal(size=3).astype(np.float32), dilation, norm, activation)
        )
        channels = 3
    last = rng.normal(size=(4, channels, 1, 1, 1)).astype(np.float32)
    return (*layers, meshnet_onnx.Layer("o", last, np.zeros(4, np.float32), 1, False, None))


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 13), st.integers(2, 9), st.integers(2, 9)),
    dilations=st.lists(st.sampled_from([1, 2, 3, 5, 16]), min_size=1, max_size=3),
    norm=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_any_shape_dilation_and_thread_count_give_the_plain_graphs_result(
    shape: tuple[int, int, int], dilations: list[int], norm: bool, threads: int, seed: int
) -> None:
    import onnxruntime as ort

    rng = np.random.default_rng(seed)
    layers = random_layers(rng, tuple(dilations), norm)
    volume = rng.normal(size=shape).astype(np.float32)
    before = volume.copy()
    plain = ort.InferenceSession(meshnet_onnx.build(layers[:-1]), providers=["CPUExecutionProvider"])
    expected = plain.run(None, {"volume": volume[None, None]})[0][0]
    ours = meshnet_run.features(layers[:-1], volume, threads).transpose(1, 0, 2, 3)
    np.testing.assert_allclose(ours, expected, atol=AGREEMENT * max(1.0, float(np.abs(expected).max())))
    np.testing.assert_array_equal(volume, before)
    assert meshnet_run.predict(layers, volume, threads).shape == shape


@given(planes=st.integers(1, 300), step=st.integers(1, 20), least=st.integers(1, 8))
def test_runs_hold_every_plane_once(planes: int, step: int, least: int) -> None:
    runs = meshnet_run.runs_of(planes, step, least)
    assert sorted(z for run in runs for z in run) == list(range(planes))
    assert all(run.step == step for run in runs)


def test_the_heads_box_passes_over_noise() -> None:
    volume = np.zeros((40, 50, 60), np.uint8)
    volume[10:30, 12:40, 15:50] = 100
    volume[2, 2, 2] = volume[38, 48, 58] = 255
    box = meshnet.head_box(volume)
    assert box == (slice(10, 30), slice(12, 40), slice(15, 50))
    assert meshnet.widen(box, 12, volume.shape) == (slice(0, 40), slice(0, 50), slice(3, 60))
    assert meshnet.head_box(np.zeros((4, 5, 6), np.uint8)) == (slice(0, 4), slice(0, 5), slice(0, 6))


def test_normalising_is_brainchops() -> None:
    volume = np.arange(100, dtype=np.uint8).reshape(4, 5, 5)
    by_range = meshnet.normalise(volume, {"normalise": "min-max"})
    assert (by_range.min(), by_range.max()) == (0.0, 1.0)
    by_quantile = meshnet.normalise(volume, {"normalise": "quantile", "quantiles": [0.05, 0.95]})
    assert by_quantile.ravel()[5] == 0.0  # element floor(100 * 0.05) of the sorted values
    assert by_quantile.ravel()[94] == 1.0  # element ceil(100 * 0.95) - 1
    with pytest.raises(GeometryRefused, match="a volume without contrast"):
        meshnet.normalise(np.full((4, 4, 4), 7, np.uint8), {"normalise": "min-max"})


def test_the_largest_region_is_kept_over_corners() -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[0, 0, 0], labels[1, 1, 1], labels[2, 2, 2] = 1, 2, 3
    labels[5, 5, 5] = 3
    kept, dropped = meshnet.largest_component(labels)
    assert dropped == 1
    assert kept[5, 5, 5] == 0
    assert (kept[0, 0, 0], kept[1, 1, 1], kept[2, 2, 2]) == (1, 2, 3)
    empty, none = meshnet.largest_component(np.zeros((3, 3, 3), np.uint8))
    assert (int(empty.sum()), none) == (0, 0)


def test_structures_have_codes_and_sides() -> None:
    assert meshnet_codes.split("ctx-lh-cuneus") == ("cuneus", "left")
    assert meshnet_codes.split("Right-Hippocampus") == ("Hippocampus", "right")
    assert meshnet_codes.split("Brain-Stem") == ("Brain-Stem", None)
    assert meshnet_codes.code_of("Left-Hippocampus") == Code("SCT", "5366008", "Hippocampus")
    assert meshnet_codes.code_of("VentralDC") == Code("DCM", "110700", "Ventral Diencephalon")
    assert meshnet_codes.code_of("ctx-superiorfrontal").meaning == "Superior frontal cortex"


def test_codes_are_dicoms_own() -> None:
    from pydicom.sr._concepts_dict import concepts

    for scheme, value, meaning in meshnet_codes._KNOWN.values():
        meanings = {m for codes in concepts[scheme].values() for v, (m, _) in codes.items() if v == value}
        assert meaning in meanings


def test_the_card_is_the_last_gate(tmp_path: Path) -> None:
    layers = random_layers(np.random.default_rng(0), (1,), False)
    (tmp_path / "net.onnx").write_bytes(meshnet_onnx.build(layers))
    recipe = {"labels": ["background", "a", "b", "c"], "normalise": "min-max"}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    affine = tuple(map(tuple, np.eye(4).tolist()))
    head = Image(ImageFacts("i1", (8, 8, 8), affine, (1.0, 1.0, 1.0), "CT"), np.zeros((8, 8, 8), np.int16))
    with pytest.raises(NotAdmitted, match="its modality is CT, the card admits MR"):
        loaded(tmp_path).segment(head)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class_name": "Dense"}, "a layer of class 'Dense'"),
        ({"strides": [2, 2, 2]}, "a convolution at layer 1 that is strided"),
        ({"padding": "valid"}, "not padded 'same'"),
        ({"filters": 9}, "a MeshNet of 9 channels and 2 classes"),
    ],
)
def test_what_is_not_a_known_meshnet_is_refused_in_words(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    filters = change.get("filters", 5)
    config = {
        "name": "c0",
        "strides": [1, 1, 1],
        "padding": "same",
        "data_format": "channels_last",
        "activation": "linear",
        "dilation_rate": [1, 1, 1],
        "use_bias": False,
    } | {k: v for k, v in change.items() if k != "class_name"}
    layers = [
        {"class_name": "InputLayer", "config": {}},
        {"class_name": change.get("class_name", "Conv3D"), "config": config},
        {"class_name": "Conv3D", "config": config | {"name": "out", "strides": [1, 1, 1], "padding": "same"}},
    ]
    shapes = {"c0/kernel": [3, 3, 3, 1, filters], "out/kernel": [1, 1, 1, filters, 2]}
    document = {
        "modelTopology": {"model_config": {"config": {"layers": layers}}},
        "weightsManifest": [
            {
                "paths": ["w.bin"],
                "weights": [{"name": n, "shape": s, "dtype": "float32"} for n, s in shapes.items()],
            }
        ],
    }
    (tmp_path / "model.json").write_text(json.dumps(document))
    (tmp_path / "w.bin").write_bytes(b"\0" * 4 * sum(int(np.prod(s)) for s in shapes.values()))
    with pytest.raises(PluginFailed, match=words):
        meshnet_onnx.convert({p.name: p for p in tmp_path.iterdir()}, tmp_path)


@pytest.mark.parametrize("size", [4, 12])
def test_weights_that_end_early_or_late_are_refused(tmp_path: Path, size: int) -> None:
    manifest = [{"paths": ["w.bin"], "weights": [{"name": "k", "shape": [2], "dtype": "float32"}]}]
    document = {"modelTopology": {"model_config": {"config": {"layers": []}}}, "weightsManifest": manifest}
    (tmp_path / "model.json").write_text(json.dumps(document))
    (tmp_path / "w.bin").write_bytes(b"\0" * size)
    with pytest.raises(PluginFailed, match=f"{size} bytes of weights where the manifest names 8"):
        meshnet_onnx.read_layers(tmp_path / "model.json", {"w.bin": tmp_path / "w.bin"})


def test_pulled_models_are_the_converted_ones(pulled: Callable[[str], dict[str, Path]]) -> None:
    files = pulled("brainchop-model18cls")
    model = MeshNet(Setup("brainchop-model18cls", CARD, files))
    assert len(model.labels) == 18
    assert model.labels[14] == "Hippocampus"
    assert [layer.dilation for layer in model.layers] == [1, 2, 4, 8, 16, 8, 4, 2, 1, 1]
