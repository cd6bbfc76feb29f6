"""deepbet: its weights without torch, its network against a forward written apart, its mask on any storage order."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import models
from attending.errors import PluginFailed
from attending.models import deepbet
from attending.models.catalog import entry
from attending.models.deepbet import box_of, build, nearest
from attending.models.fetch import fetch
from attending.models.unpickle import apart
from attending.records import Image
from attending.site import Site, mirror_dir
from attending.testing.phantoms import image_for

Pulled = Callable[[str], dict[str, Path]]
AGREE = 1e-3
"""Of a probability: float32 sums in another order, through 31 normalisations, differ by up to 3e-4 on noise."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deepbet")
    fetch(entry("deepbet").sources[0], folder, mirror_dir(), lambda fraction, words: None)
    return folder / "bbox_model.pt"


@pytest.fixture(scope="module")
def weights(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return apart(archive, tmp_path_factory.mktemp("weights") / "weights.npz")


def test_the_archive_is_read_without_its_code(weights: dict[str, Any]) -> None:
    assert weights["init.0.weight"].shape == (16, 1, 7, 7, 7)
    assert len(weights) == 38 and all(w.dtype == np.float32 for w in weights.values())


def forward(weights: dict[str, Any], volume: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """LinkNet3D in float64, from the archive's own description, sharing nothing with ``build``. volume: (n, n, n)."""

    def conv(x: Any, name: str, stride: int = 1) -> Any:
        w = weights[f"{name}.weight"].astype(np.float64)
        k = w.shape[2]
        x = np.pad(x, [(0, 0)] + [(k // 2,) * 2] * 3)
        windows = np.lib.stride_tricks.sliding_window_view(x, (k, k, k), axis=(1, 2, 3))[
            :, ::stride, ::stride, ::stride
        ]
        out = np.einsum("cxyzijk,ocijk->oxyz", windows, w, optimize=True)
        return out + weights[f"{name}.bias"][:, None, None, None] if f"{name}.bias" in weights else out

    def up(x: Any, name: str, pad: int, grow: int, stride: int = 2) -> Any:
        w = weights[f"{name}.weight"].astype(np.float64)
        k, n = w.shape[2], x.shape[1]
        whole = np.zeros((w.shape[1], *[(n - 1) * stride + k + grow] * 3))
        for i, j, m in np.ndindex(k, k, k):
            part = np.einsum("cxyz,co->oxyz", x, w[:, :, i, j, m])
            whole[:, i : i + n * stride : stride, j : j + n * stride : stride, m : m + n * stride : stride] += part
        end = whole.shape[1] - pad
        out = whole[:, pad:end, pad:end, pad:end]
        return out + weights[f"{name}.bias"][:, None, None, None] if f"{name}.bias" in weights else out

    def norm(x: Any) -> Any:
        axes = (1, 2, 3)
        return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)

    def relu(x: Any) -> Any:
        return np.maximum(x, 0)

    x = relu(norm(conv(volume[None].astype(np.float64), "init.0", 2)))
    x = np.pad(x, [(0, 0)] + [(1, 1)] * 3, constant_values=-np.inf)
    x = np.lib.stride_tricks.sliding_window_view(x, (3, 3, 3), axis=(1, 2, 3))[:, ::2, ::2, ::2].max(axis=(4, 5, 6))
    kept = [x]
    for stage in range(4):
        for half in (1, 2):
            name, first = f"down{stage}.block{half}.", stage > 0 and half == 1
            y = relu(norm(conv(x, f"{name}double_conv.0", 2 if first else 1)))
            y = norm(conv(y, f"{name}double_conv.3"))
            x = relu(y + (norm(conv(x, f"{name}downsample.0", 2)) if first else x))
        kept.append(x)
    for stage in range(4):
        name = f"up{stage}."
        x = relu(norm(conv(x, f"{name}conv1.0")))
        x = relu(norm(up(x, f"{name}tp_conv.0", 1, 0 if stage == 3 else 1, 1 if stage == 3 else 2)))
        x = relu(norm(conv(x, f"{name}conv2.0"))) + kept[3 - stage]
    x = relu(norm(up(x, "tp_conv1.0", 1, 1)))
    x = up(relu(norm(conv(x, "conv.0"))), "tp_conv2", 0, 0)
    return np.asarray(1 / (1 + np.exp(x[0] - x[1])))


def test_the_network_agrees_with_a_forward_written_apart(weights: dict[str, Any]) -> None:
    import onnxruntime

    volume = np.random.default_rng(2).normal(0.4, 0.3, (64, 64, 64)).astype(np.float32)
    session = onnxruntime.InferenceSession(build(weights, 64).SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(None, {"volume": volume[None, None]})[0][0, 0]
    want = forward(weights, volume)
    assert want.std() > 0.05
    assert np.abs(got - want).max() < AGREE


@pytest.mark.slow
def test_the_network_agrees_with_torch(archive: Path, weights: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="torch runs the archive's own code to compare with")
    import onnxruntime

    volume = np.random.default_rng(2).normal(0.4, 0.3, (1, 1, 128, 128, 128)).astype(np.float32)
    with torch.no_grad():
        want = torch.jit.load(str(archive)).eval()(torch.from_numpy(volume))[0, 1].numpy()
    session = onnxruntime.InferenceSession(build(weights, 128).SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.abs(session.run(None, {"volume": volume})[0][0, 0] - want).max() < AGREE


def test_other_weights_are_refused(weights: dict[str, Any]) -> None:
    with pytest.raises(PluginFailed, match="1 tensors that LinkNet3D does not have"):
        build({**weights, "surprise": weights["conv.0.bias"]})
    with pytest.raises(PluginFailed, match=r"no kernel init\.0"):
        build({name: w for name, w in weights.items() if name != "init.0.weight"})


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("what", ["code", "lies", "empty", "no pickle"])
def test_a_hostile_archive_does_nothing(tmp_path: Path, what: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as made:
        if what == "code":
            made.writestr("a/data.pkl", pickle.dumps({"w": Hostile(tmp_path / "mark")}, protocol=2))
        elif what == "lies":
            made.writestr("a/data.pkl", _tensor_pickle())
            made.writestr("a/data/0", b"\0" * 7)
        elif what == "empty":
            made.writestr("a/data.pkl", pickle.dumps({}, protocol=2))
        else:
            made.writestr("a/other", b"")
    with pytest.raises(PluginFailed, match=r"bad\.pt cannot be read as a state dict"):
        apart(tmp_path / "bad.pt", tmp_path / "out.npz")
    assert not (tmp_path / "mark").exists()


def _tensor_pickle() -> bytes:
    """What torch.save writes for {"w": one float}, by hand: protocol 2."""
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQK\x00(K\x01t(K\x01t\x89ccollections\nOrderedDict\n)RtRs."
    )


def test_nearest_samples_at_centres() -> None:
    assert nearest(np.arange(8), (4,)).tolist() == [1, 3, 5, 7]
    assert nearest(np.arange(3), (6,)).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest(np.arange(5), (5,)).tolist() == [0, 1, 2, 3, 4]


def test_the_box_is_a_fifth_wider_and_stays_inside() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[5:15, 0:10, 5:15] = True
    assert box_of(mask, (40, 40, 40)) == (slice(8, 32), slice(0, 22), slice(8, 32))


def test_a_head_is_extracted_alike_however_it_is_stored(pulled: Pulled, cache: Path, home: Path) -> None:
    pulled("deepbet")
    plugin = models.load("deepbet", Site(home=home), cache)
    assert isinstance(plugin, deepbet.Deepbet)
    image = image_for(plugin.card)
    one = plugin.segment(image).labels
    assert 0.05 < one.labels.mean() < 0.5 and dict(one.names) == {1: "brain mask"}
    matrix = np.array(image.facts.affine)
    turn = np.array([[0, 0, 1, 0], [-1, 0, 0, 95], [0, 1, 0, 0], [0, 0, 0, 1.0]])  # stored index -> image index
    other = _restored(image, turn, matrix)
    two = plugin.segment(other).labels.labels
    x, y, z = np.meshgrid(*[np.arange(96)] * 3, indexing="ij")
    back = (turn @ np.stack([x.ravel(), y.ravel(), z.ravel(), np.ones(x.size)])).astype(int)
    assert np.array_equal(two[z.ravel(), y.ravel(), x.ravel()], one.labels[back[2], back[1], back[0]])


def _restored(image: Image, turn: Any, matrix: Any) -> Image:
    x, y, z = np.meshgrid(*[np.arange(96)] * 3, indexing="ij")
    back = (turn @ np.stack([x.ravel(), y.ravel(), z.ravel(), np.ones(x.size)])).astype(int)
    voxels = np.empty_like(image.voxels)
    voxels[z.ravel(), y.ravel(), x.ravel()] = image.voxels[back[2], back[1], back[0]]
    affine = tuple(tuple(float(v) for v in row) for row in matrix @ turn)
    return Image(replace(image.facts, affine=affine), voxels)
