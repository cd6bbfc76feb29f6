"""Convert steps: run once at pull on verified files, so that no reading path ever converts or unpickles.

A step is ``convert(files: Mapping[str, Path], out: Path) -> None``: file name -> verified file, and the folder to write
the converted files into. It must not touch the network. It raises HashMismatch where it compares content itself.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import HashMismatch

Convert = Callable[[Mapping[str, Path], Path], None]

REVISIONS: Mapping[str, int] = {
    "meshnet-onnx": 1,
    "efficientnet-onnx": 1,
    "medmnist-val-test": 1,
    "sam-onnx": 1,
    "deepbet-onnx": 1,
    "keras-onnx": 1,
}
"""Counted up when a step writes other files than before: what an older revision left in a cache is pulled again."""

STEPS: Mapping[str, str] = {
    "meshnet-onnx": "attending.models.meshnet_onnx:convert",
    "efficientnet-onnx": "attending.models.efficientnet:convert",
    "deepbet-onnx": "attending.models.deepbet:convert",
    "keras-onnx": "attending.models.keras_onnx:convert",
    "sam-onnx": "attending.models.sam_onnx:convert",
    "medmnist-val-test": "attending.models.convert:medmnist_val_test",
}

MEDMNIST_ARRAYS = ("val_images", "val_labels", "test_images", "test_labels")
MEDMNIST_SHA256 = "78eff13972ab8ac1330c8bf4a3226051b04b34a28d6afe00e4ffcfa6f9d9e194"
"""Over name, dtype, shape and C-order bytes of the four arrays in that order: equal for every file that holds them."""


def step(name: str) -> Convert:
    """The convert step by name; ValueError for one that nobody registered."""
    if name not in STEPS:
        raise ValueError(f"no convert step {name!r}; known: {sorted(STEPS)}")
    module, function = STEPS[name].split(":")
    convert: Convert = getattr(import_module(module), function)
    return convert


def revision(name: str | None) -> str | None:
    """What the manifest remembers of a step: "name/revision"."""
    return None if name is None else f"{name}/{REVISIONS.get(name, 1)}"


def medmnist_val_test(files: Mapping[str, Path], out: Path) -> None:
    """The official validation and test images and labels of PneumoniaMNIST, whichever file they came in.

    Writes ``pneumoniamnist_val_test.npz``: val_images, test_images (n, 28, 28) uint8; val_labels, test_labels (n, 1)
    uint8, 1 is pneumonia. And beside it every image as a picture that can be read, ``val-0000.png`` ..., with
    ``labels.json``: name -> 1 present, 0 absent.
    """
    import numpy as np

    (path,) = files.values()
    digest = hashlib.sha256()
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, Any] = {name: np.ascontiguousarray(archive[name]) for name in MEDMNIST_ARRAYS}
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as unlike:
        raise HashMismatch(
            f"{path.name} does not hold the arrays of PneumoniaMNIST ({type(unlike).__name__})",
            ", ".join(MEDMNIST_ARRAYS),
            "report it, and try again from another network or mirror",
        ) from None
    for name, array in arrays.items():
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    if digest.hexdigest() != MEDMNIST_SHA256:
        raise HashMismatch(
            f"the images of {path.name} have sha256 {digest.hexdigest()}",
            f"sha256 {MEDMNIST_SHA256}, the official validation and test images",
            "report it, and try again from another network or mirror",
        )
    np.savez(out / "pneumoniamnist_val_test.npz", **arrays)
    _pictures(arrays, out)


def _pictures(arrays: Mapping[str, Any], out: Path) -> None:
    """Stored, not compressed: a case's id is a hash of the file's bytes, which must not depend on a zlib version."""
    from PIL import Image

    labels = {}
    for split in ("val", "test"):
        for n, (image, label) in enumerate(zip(arrays[f"{split}_images"], arrays[f"{split}_labels"], strict=True)):
            name = f"{split}-{n:04d}.png"
            Image.fromarray(image).save(out / name, compress_level=0)
            labels[name] = int(label[0])
    (out / "labels.json").write_text(json.dumps(labels, indent=0), encoding="utf-8")
