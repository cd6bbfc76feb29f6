"""One of our models as a MONAI bundle: the folder that MONAI's own tools load, run and fine-tune.

Written are plain files: metadata.json, inference.json, safetensors and a README. MeshNets can be written: as a
``torch.nn.Sequential`` of MONAI's configuration language, with the kernels turned to MONAI's axes (x, y, z towards
right, anterior, superior). What a bundle cannot say is in its README: attending conforms a head as FreeSurfer does and
keeps the largest region, the bundle resamples to 1 mm and does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import PluginFailed
from .card import Card
from .meshnet_onnx import Layer, layers_of
from .monai_bundle import write_safetensors

TORCH_OF = {"relu": "torch.nn.ReLU", "elu": "torch.nn.ELU", "gelu": "torch.nn.GELU"}


def write(card: Card, files: Mapping[str, Path], folder: Path) -> Path:
    """The bundle of a pulled MeshNet in a new folder. files: ``net.onnx`` and ``recipe.json``.

    Raises PluginFailed for another kind of model, or where the folder holds something already.
    """
    if not {"net.onnx", "recipe.json"} <= set(files):
        raise PluginFailed(
            f"{card.id} is no model that can be written as a bundle",
            "the MeshNets (brainchop-...)",
            "choose one of them",
        )
    if folder.exists() and any(folder.iterdir()):
        raise PluginFailed("a folder that is not empty", "a new folder for the bundle", "name another one")
    layers = layers_of(files["net.onnx"].read_bytes())
    recipe: dict[str, Any] = json.loads(files["recipe.json"].read_text(encoding="utf-8"))
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    network, weights = sequential(layers)
    write_safetensors(folder / "models" / "model.safetensors", weights)
    labels = ["background", *(str(name) for name in recipe["labels"][1:])]
    _dump(folder / "configs" / "metadata.json", _metadata(card, labels))
    _dump(folder / "configs" / "inference.json", _inference(network, recipe))
    (folder / "docs" / "README.md").write_text(_readme(card), encoding="utf-8")
    (folder / "LICENSE").write_text(f"SPDX-License-Identifier: {card.licence or 'not stated'}\n", encoding="utf-8")
    return folder


def sequential(layers: tuple[Layer, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The layers as a torch.nn.Sequential in configuration words, and its state dict.

    Our kernels run along (z, y, x) = (anterior, inferior, left); MONAI's along (x, y, z) = (right, anterior, superior).
    """
    parts: list[dict[str, Any]] = []
    weights: dict[str, Any] = {}
    for layer in layers:
        side = int(layer.kernel.shape[-1])
        turned = layer.kernel.transpose(0, 1, 4, 2, 3)[:, :, ::-1, :, ::-1]
        weights[f"{len(parts)}.weight"] = np.ascontiguousarray(turned, np.float32)
        weights[f"{len(parts)}.bias"] = np.ascontiguousarray(layer.bias, np.float32)
        parts.append(
            {
                "_target_": "torch.nn.Conv3d",
                "in_channels": int(layer.kernel.shape[1]),
                "out_channels": int(layer.kernel.shape[0]),
                "kernel_size": side,
                "padding": (side - 1) // 2 * layer.dilation,
                "dilation": layer.dilation,
            }
        )
        if layer.norm:
            parts.append(
                {"_target_": "torch.nn.InstanceNorm3d", "num_features": int(layer.kernel.shape[0]), "eps": 1e-5}
            )
        if layer.activation:
            parts.append({"_target_": TORCH_OF[layer.activation]})
    return {"_target_": "torch.nn.Sequential", "_args_": parts}, weights


def _metadata(card: Card, labels: list[str]) -> dict[str, Any]:
    form = {"type": "image", "modality": "MR", "num_channels": 1, "spatial_shape": [256, 256, 256], "dtype": "float32"}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": card.version,
        "changelog": {card.version: "as attending packaged it"},
        "monai_version": "1.6.1",
        "pytorch_version": "2.13.0",
        "numpy_version": "2.4.6",
        "required_packages_version": {"nibabel": "5.4.2", "safetensors": "0.8.0"},
        "name": card.title,
        "task": "segmentation",
        "description": card.intended_use,
        "authors": card.source,
        "copyright": f"licence {card.licence or 'not stated'}",
        "data_source": card.training_data,
        "intended_use": f"{card.intended_use}; {card.limits}",
        "network_data_format": {
            "inputs": {
                "image": {
                    **form,
                    "format": "magnitude",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    **form,
                    "format": "segmentation",
                    "num_channels": len(labels),
                    "value_range": [0, len(labels) - 1],
                    "is_patch_data": False,
                    "channel_def": {str(n): name for n, name in enumerate(labels)},
                }
            },
        },
    }


def _inference(network: dict[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    scale: dict[str, Any] = {"_target_": "ScaleIntensityd", "keys": "image", "minv": 0.0, "maxv": 1.0}
    if recipe["normalise"] != "min-max":
        lower, upper = (100 * float(q) for q in recipe["quantiles"])
        scale = {
            "_target_": "ScaleIntensityRangePercentilesd", "keys": "image", "lower": lower, "upper": upper,
            "b_min": 0.0, "b_max": 1.0, "clip": False,
        }  # fmt: skip
    return {
        "imports": ["$import glob", "$from safetensors.torch import load_file", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "./data",
        "output_dir": "./eval",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        # The one expression that attending's own reader knows: MONAI's components take no positional arguments.
        "layers": network["_args_"],
        "network_def": "$torch.nn.Sequential(*@layers)",
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {"_target_": "Spacingd", "keys": "image", "pixdim": [1.0, 1.0, 1.0], "mode": "bilinear"},
                scale,
                {"_target_": "EnsureTyped", "keys": "image"},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in sorted(glob.glob(@dataset_dir + '/*.nii*'))]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
                 "nearest_interp": False, "to_tensor": True},
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "initialize": [
            "$@network.load_state_dict(load_file(@bundle_root + '/models/model.safetensors'))"
        ],
        "run": ["$@evaluator.run()"],
    }  # fmt: skip


def _readme(card: Card) -> str:
    return f"""# {card.title}

{card.intended_use}.

- Licence: {card.licence or "not stated"}. From: {card.source}.
- Limits: {card.limits}.
- Training data: {card.training_data}.

Packaged by attending from its model `{card.id}`. Put NIfTI volumes into `data/` and run
`python -m monai.bundle run --config_file configs/inference.json --bundle_root .`

The network is the same to rounding. What stands around it differs from attending's own: there a head is conformed to
256x256x256 voxels of 1 mm as FreeSurfer does, and only the largest region is kept.

For research and development; not a medical device.
"""


def _dump(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
