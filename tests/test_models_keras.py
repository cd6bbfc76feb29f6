"""Keras archives: a small one made here, and the Xception behind the licence gate, against forwards written apart."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import models
from attending.errors import LicenceRefused, PluginFailed, PullFailed
from attending.models import keras_onnx
from attending.models.fetch import fetch
from attending.models.xception import PneumoniaXception, view
from attending.records import Image, ImageFacts
from attending.site import Models, Site, mirror_dir

h5py = pytest.importorskip("h5py", reason="Keras archives are HDF5: pip install -c constraints.txt '.[keras]'")
ID = "pneumonia-xception"


def layer(kind: str, name: str, source: str | list[str] | None, **config: Any) -> dict[str, Any]:
    def tensor(of: str) -> dict[str, Any]:
        return {"class_name": "__keras_tensor__", "config": {"keras_history": [of, 0, 0]}}

    sources = [source] if isinstance(source, str) else source or []
    tensors = [tensor(s) for s in sources]
    inbound = [{"args": tensors if len(tensors) == 1 else [tensors], "kwargs": {}}] if sources else []
    return {"class_name": kind, "config": {"name": name, **config}, "inbound_nodes": inbound}


def archive(path: Path, layers: list[dict[str, Any]], output: str, arrays: dict[str, Any]) -> Path:
    config = {"class_name": "Functional", "config": {"layers": layers, "output_layers": [[output, 0, 0]]}}
    store = io.BytesIO()
    with h5py.File(store, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", json.dumps(config))
        made.writestr("model.weights.h5", store.getvalue())
    return path


CONV: dict[str, Any] = {"strides": [2, 2], "padding": "same", "groups": 1, "use_bias": True, "activation": "relu"}


def small(rng: np.random.Generator) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    layers = [
        layer("InputLayer", "in", None, batch_shape=[None, 7, 6, 1]),
        layer("Conv2D", "seen", "in", **CONV),
        layer("GlobalAveragePooling2D", "mean", "seen"),
        layer("Dropout", "drop", "mean", rate=0.5),
        layer("Dense", "out", "drop", units=2, use_bias=True, activation="softmax"),
    ]
    arrays = {
        "layers/conv2d/vars/0": rng.normal(size=(3, 3, 1, 4)).astype(np.float32),
        "layers/conv2d/vars/1": rng.normal(size=4).astype(np.float32),
        "layers/dense/vars/0": rng.normal(size=(4, 2)).astype(np.float32),
        "layers/dense/vars/1": rng.normal(size=2).astype(np.float32),
        "optimizer/vars/0": np.zeros(3, np.float32),
    }
    return layers, arrays


def run(folder: Path, image: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def test_a_small_archive_agrees_with_the_arithmetic(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    layers, arrays = small(rng)
    keras_onnx.convert({"model.keras": archive(tmp_path / "m.keras", layers, "out", arrays)}, tmp_path)
    image = rng.normal(size=(3, 7, 6, 1)).astype(np.float32)
    # 7 rows by 2: one row before and one after; 6 columns by 2: none before, one after.
    wide = np.pad(image, [(0, 0), (1, 1), (0, 1), (0, 0)])
    kernel = arrays["layers/conv2d/vars/0"]
    seen = np.zeros((3, 4, 3, 4))
    for y in range(4):
        for x in range(3):
            part = wide[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            seen[:, y, x] = np.einsum("nijc,ijco->no", part, kernel) + arrays["layers/conv2d/vars/1"]
    mean = np.maximum(seen, 0).mean(axis=(1, 2))
    logits = mean @ arrays["layers/dense/vars/0"] + arrays["layers/dense/vars/1"]
    want = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(run(tmp_path, image) - want).max() < 1e-5


def test_what_is_not_read_is_refused_by_name(tmp_path: Path) -> None:
    layers, arrays = small(np.random.default_rng(1))

    def convert(layers: list[dict[str, Any]], arrays: dict[str, Any]) -> None:
        keras_onnx.convert({"model.keras": archive(tmp_path / "m.keras", layers, "out", arrays)}, tmp_path)

    with pytest.raises(PluginFailed, match="a layer of class Lambda"):
        convert([*layers[:2], layer("Lambda", "seen2", "seen", function="os.system"), *layers[2:]], arrays)
    with pytest.raises(PluginFailed, match="the activation 'mish'"):
        convert([layers[0], layer("Conv2D", "seen", "in", **{**CONV, "activation": "mish"}), *layers[2:]], arrays)
    with pytest.raises(PluginFailed, match="1 arrays that its layers do not use"):
        convert(layers, {**arrays, "layers/dense_1/vars/0": np.zeros(2, np.float32)})
    with pytest.raises(PluginFailed, match="no array layers/dense/vars/1"):
        convert(layers, {name: a for name, a in arrays.items() if name != "layers/dense/vars/1"})
    (tmp_path / "text.keras").write_text("no zip")
    with pytest.raises(PluginFailed, match="no Keras 3 model"):
        keras_onnx.convert({"model.keras": tmp_path / "text.keras"}, tmp_path)


def accepting(home: Path) -> Site:
    return Site(home=home, models=replace(Models(), accept_unlicensed=(ID,), threads=1))


def test_the_licence_gate_refuses_it_until_the_site_accepts_it(tmp_path: Path) -> None:
    with pytest.raises(LicenceRefused, match="pneumonia-xception states no licence"):
        models.pull(ID, tmp_path)
    with pytest.raises(LicenceRefused, match="pneumonia-xception states no licence"):
        models.load(ID, Site(home=tmp_path), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> tuple[PneumoniaXception, Path, Path]:
    """The plugin, the archive it came from, and the folder of its package's films, for this run only."""
    cache = tmp_path_factory.mktemp("accepted")
    try:
        models.pull(ID, cache, mirror_dir(), accept=(ID,))
        films = models.pull("chest-films-kermany", cache, mirror_dir())
    except PullFailed as refused:
        pytest.skip(f"it could not be pulled: {refused}")
    (cache / "raw").mkdir()
    fetch(models.entry(ID).sources[0], cache / "raw", mirror_dir(), lambda fraction, words: None)
    return models.load(ID, accepting(cache), cache), cache / "raw" / "model.keras", films


def film(path: Path) -> Image:
    from PIL import Image as Pillow

    grey = np.asarray(Pillow.open(path).convert("L"))[None].astype(np.int16)
    return Image(ImageFacts("i1", grey.shape, None, None, "CR", view="AP", body_part="CHEST"), grey)


@pytest.mark.slow
def test_the_xception_agrees_with_a_forward_written_apart(accepted: tuple[Any, Path, Path]) -> None:
    plugin, keras, films = accepted
    _, weights = keras_onnx.opened(keras)
    batch = np.concatenate([view(film(path)) for path in sorted(films.glob("*.jpeg"))[::5]])
    want = xception({name: array.astype(np.float64) for name, array in weights.items()}, batch.astype(np.float64))
    assert want.std() > 0.5
    assert np.abs(plugin.logits(batch) - want).max() < 1e-3


def xception(weights: dict[str, Any], x: Any) -> Any:
    """Chollet 2017, from the paper's figure 5 with Keras' padding, channels last; shares nothing with the converter."""
    counts: dict[str, int] = {}

    def own(kind: str) -> str:
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        return f"layers/functional/layers/{kind}" + (f"_{number}" if number else "")

    def windows(x: Any, k: int, stride: int, same: bool, fill: float = 0.0) -> Any:
        if same:
            grow = [max((-(-n // stride) - 1) * stride + k - n, 0) for n in x.shape[1:3]]
            x = np.pad(x, [(0, 0), *((g // 2, g - g // 2) for g in grow), (0, 0)], constant_values=fill)
        return np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))[:, ::stride, ::stride]

    def conv(x: Any, stride: int, same: bool) -> Any:
        kernel = weights[own("conv2d") + "/vars/0"]
        seen = windows(x, kernel.shape[0], stride, same)
        return np.einsum("nyxcij,ijco->nyxo", seen, kernel, optimize=True)

    def norm(x: Any, name: str) -> Any:
        gamma, beta, mean, variance = (weights[f"{name}/vars/{n}"] for n in range(4))
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def separable(x: Any) -> Any:
        name = own("separable_conv2d")
        deep = np.einsum("nyxcij,ijc->nyxc", windows(x, 3, 1, True), weights[f"{name}/vars/0"][..., 0], optimize=True)
        return norm(deep @ weights[f"{name}/vars/1"][0, 0], own("batch_normalization"))

    def relu(x: Any) -> Any:
        return np.maximum(x, 0)

    x = relu(norm(conv(x, 2, False), own("batch_normalization")))
    x = relu(norm(conv(x, 1, False), own("batch_normalization")))
    for stage in range(3):
        start = x
        x = separable(relu(x) if stage else x)
        x = separable(relu(x))
        side = conv(start, 2, True)
        x = windows(x, 3, 2, True, -np.inf).max(axis=(4, 5)) + norm(side, own("batch_normalization"))
    for _ in range(8):
        start = x
        for _ in range(3):
            x = separable(relu(x))
        x = x + start
    start = x
    x = separable(relu(x))
    x = separable(relu(x))
    side = conv(start, 2, True)
    x = windows(x, 3, 2, True, -np.inf).max(axis=(4, 5)) + norm(side, own("batch_normalization"))
    x = relu(separable(relu(separable(x))))
    x = relu(x.mean(axis=(1, 2)) @ weights["layers/dense/vars/0"] + weights["layers/dense/vars/1"])
    return x @ weights["layers/dense_1/vars/0"] + weights["layers/dense_1/vars/1"]


@pytest.mark.slow
def test_the_card_says_how_many_of_its_own_films_it_gets_right(accepted: tuple[Any, Path, Path]) -> None:
    plugin, _, films = accepted
    paths = sorted(films.glob("*.jpeg"))
    right = [(plugin.detect(film(path))[0].score > 0.5) == ("bacteria" in path.name) for path in paths]
    assert (sum(right), len(right)) == (13, 16)
    assert "13 of 16" in plugin.card.limits
