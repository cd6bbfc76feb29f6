"""MONAI bundles: read what they say without running it, and segment with them.

A bundle is a folder: ``configs/metadata.json``, ``configs/inference.json``, and weights under ``models/``. MONAI
itself evaluates the configuration ("$..." is Python) and unpickles the weights. Here neither happens: the configuration
is read as plain values and references ("@key"), of networks only the classes of ``monai.networks`` and ``torch.nn`` are
built, of transforms only some are known and done here; anything else is refused by name. Weights are ONNX (run by ONNX
Runtime, no torch needed) or safetensors (run by MONAI in a worker process, with the torch extra or an environment of
its own). ``prepare`` makes safetensors of a ``.pt`` or ``.ts`` once, in a process of its own that runs nothing of it.
"""

from __future__ import annotations

import importlib.util
import json
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExtraMissing
from ..records import Image, LabelMap
from .admission import refuse_unless_admitted
from .card import Card
from .fetch import sha256_of
from .frames import frame, resampled, slide
from .meshnet_codes import codes
from .monai_config import Bundle, Config, bundle_of, json_of
from .protocols import Progress, Segmentation, Setup

PROGRAM = Path(__file__).with_name("monai_program.py")
MODALITIES = {"CT": ("CT",), "MR": ("MR",), "MRI": ("MR",), "XRAY": ("CR", "DX"), "X-RAY": ("CR", "DX"), "PET": ("PT",)}
SECONDS = 600.0


def described(folder: Path, id: str, licence: str = "") -> tuple[Card, Bundle]:
    """The card and the bundle of a folder. Raises PluginFailed for what cannot be read, NotPulled for weights that have
    to be prepared first."""
    metadata = json_of(id, folder / "configs" / "metadata.json")
    config = json_of(id, folder / "configs" / "inference.json")
    about = Config(id, metadata)
    form = metadata.get("network_data_format") or {}
    inputs, outputs = form.get("inputs", {}).get("image", {}), form.get("outputs", {}).get("pred", {})
    if inputs.get("num_channels", 1) != 1:
        raise about.strange(f"a network that needs {inputs.get('num_channels')} channels")
    if outputs.get("format", "segmentation") not in ("segmentation", "one-hot", "probabilities", "logits"):
        raise about.strange(f"a network that gives {outputs.get('format')!r}, not a segmentation")
    channels = outputs.get("channel_def") or {}
    if not isinstance(channels, dict) or not all(str(k).isdigit() for k in channels) or len(channels) > 250:
        raise about.strange("no channel_def that names its classes")
    count = max((int(k) for k in channels), default=-1) + 1
    names = tuple(
        "" if str(channels.get(str(n), "")).lower() in ("background", "bg") else str(channels.get(str(n), ""))
        for n in range(count)
    )
    bundle = bundle_of(id, folder, config, names)
    dims = 2 if len(bundle.roi) == 2 or bundle.network.get("spatial_dims") == 2 else 3
    if dims == 2:
        raise about.strange("a network of two dimensions")
    labelled = codes(("", *(name for name in names if name)))
    card = Card(
        id,
        version=str(metadata.get("version", "")) or "unknown",
        title=str(metadata.get("name") or metadata.get("task") or id)[:120],
        protocols=("Segmenter",),
        engine="onnxruntime" if bundle.weights.suffix == ".onnx" else "monai",
        licence=licence or None,
        source="a MONAI bundle of this site",
        files={name: sha256_of(path) for name, path in files_of(bundle).items()},
        modalities=MODALITIES.get(str(inputs.get("modality", "")).upper(), ()),
        dims=(3,),
        colour=False,
        intended_use=str(metadata.get("intended_use") or metadata.get("description") or "see the bundle's docs")[:300],
        limits="; ".join(bundle.notes) or "as the bundle's docs say; nothing of it was measured here",
        training_data=str(metadata.get("data_source") or "as the bundle's docs say")[:300],
        labels=labelled,
        memory_mib=1500,
    )
    return card, bundle


def files_of(bundle: Bundle) -> dict[str, Path]:
    """Name -> path of the files that it runs on."""
    configs = [bundle.folder / "configs" / name for name in ("metadata.json", "inference.json")]
    return {path.relative_to(bundle.folder).as_posix(): path for path in (*configs, bundle.weights)}


class MonaiBundle:
    """Segmenter."""

    def __init__(self, setup: Setup, bundle: Bundle, python: str | None = None) -> None:
        self.card, self.bundle, self._python = setup.card, bundle, python
        self._threads = setup.threads
        self._session: Any = None
        if bundle.weights.suffix != ".onnx" and not python and importlib.util.find_spec("monai") is None:
            raise ExtraMissing(
                f"the bundle {setup.id} needs torch and monai, which are not installed",
                "bundles whose libraries are installed, or with weights in ONNX",
                "in the folder of attending's source: pip install -c constraints.txt '.[torch]'; or set python "
                "of its [[folders]] to an environment that has them",
            )

    def segment(self, image: Image, progress: Progress | None = None) -> Segmentation:
        """Raises NotAdmitted, GeometryRefused, and what a worker raises."""
        refuse_unless_admitted(self.card, image.facts)
        bundle = self.bundle
        orientation: Any = bundle.orientation
        framed = frame(image, orientation=orientation, order="xyz", spacing_mm=bundle.spacing_mm)
        ready = prepared(framed.array, bundle)
        classes = self._classes(ready, progress)
        numbers = np.zeros(len(bundle.labels) + 1, np.uint8)
        for number, channel in enumerate((c for c, name in enumerate(bundle.labels) if name), 1):
            numbers[channel] = number
        labels = numbers[classes]
        if bundle.size:
            labels = resampled(labels, framed.array.shape, 0)
        if bundle.largest:
            from .meshnet import largest_component

            labels, _ = largest_component(labels)
        names = dict(enumerate((name for name in bundle.labels if name), 1))
        own = framed.back(labels).astype(np.uint8)
        return Segmentation(LabelMap(image.id, own, names), None, image.facts.spacing, bundle.notes)

    def _classes(self, ready: NDArray[np.float32], progress: Progress | None) -> NDArray[np.uint8]:
        """(x, y, z) -> output channel per voxel; for sigmoid ``len(labels)`` where no channel reaches a half."""
        bundle = self.bundle
        if bundle.weights.suffix == ".onnx":
            chances = self._onnx(ready, progress)
            classes = chances.argmax(axis=0)
            if bundle.activation == "sigmoid":
                classes = np.where(chances.max(axis=0) > 0, classes, len(bundle.labels))
            return np.asarray(classes, dtype=np.uint8)
        from .worker import shared

        told = {"network": dict(bundle.network), "weights": str(bundle.weights), "threads": self._threads}
        worker = shared(
            PROGRAM,
            told,
            python=self._python,
            threads=self._threads,
            label=self.card.id,
            memory_mib=self.card.memory_mib,
        )
        asked = {"volume": ready, "roi": list(bundle.roi), "overlap": bundle.overlap, "activation": bundle.activation}
        out = worker.call("segment", asked, SECONDS)["classes"]
        if out.shape != ready.shape:
            raise Config(self.card.id, {}).strange(f"an output of shape {list(out.shape)} for {list(ready.shape)}")
        if progress:
            progress(1.0, "segmented")
        return np.asarray(out, dtype=np.uint8)

    def _onnx(self, ready: NDArray[np.float32], progress: Progress | None) -> NDArray[np.float32]:
        from .onnx_generic import _session

        if self._session is None:
            self._session = _session(self.card.id, self.bundle.weights, self._threads)
        name = self._session.get_inputs()[0].name

        def run(part: NDArray[np.float32]) -> NDArray[np.float32]:
            out: NDArray[np.float32] = self._session.run(None, {name: part[None, None]})[0][0]
            return out

        return slide(ready, self.bundle.roi or ready.shape, run, self.bundle.overlap, float(ready.min()), progress)


def prepared(array: NDArray[np.float32], bundle: Bundle) -> NDArray[np.float32]:
    """The bundle's intensity and size steps, in its order, on (x, y, z)."""
    for name, values in bundle.steps:
        if name == "Resize":
            array = resampled(array, bundle.size or array.shape, 1).astype(np.float32)
        elif name == "NormalizeIntensity":
            chosen = array[array != 0] if values["nonzero"] and (array != 0).any() else array
            mean = chosen.mean() if values["subtrahend"] is None else values["subtrahend"]
            spread = chosen.std() if values["divisor"] is None else values["divisor"]
            scaled = (array - mean) / (spread or 1.0)
            array = np.where(array != 0, scaled, array) if values["nonzero"] else scaled
        else:
            low, high = values["a_min"], values["a_max"]
            if name == "ScaleIntensity":
                low, high = float(array.min()), float(array.max())
            elif name == "ScaleIntensityRangePercentiles":
                low, high = (float(v) for v in np.percentile(array, (values["lower"], values["upper"])))
            part = (array - low) / (high - low) if high > low else np.zeros_like(array)
            array = part * (values["b_max"] - values["b_min"]) + values["b_min"]
            if values["clip"]:
                array = np.clip(array, values["b_min"], values["b_max"])
        array = np.asarray(array, dtype=np.float32)
    return np.ascontiguousarray(array)


def prepare(folder: Path, id: str = "the bundle") -> Path:
    """``models/model.pt`` or ``model.ts`` -> ``models/model.safetensors``, read in a process of its own without running
    anything of it. Raises PluginFailed for other files."""
    from .unpickle import apart

    for name in ("model.pt", "model.ts"):
        source = folder / "models" / name
        if source.is_file():
            break
    else:
        raise Config(id, {}).strange("no models/model.pt or models/model.ts")
    with tempfile.TemporaryDirectory(prefix="attending-convert-") as scratch:
        arrays = apart(source, Path(scratch) / "weights.npz")
    goal = folder / "models" / "model.safetensors"
    write_safetensors(goal, _bare(arrays))
    return goal


def write_safetensors(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """The format's whole rule: a JSON header with types, shapes and places, then the numbers."""
    kinds = {"f4": "F32", "f2": "F16", "f8": "F64", "i8": "I64", "i4": "I32", "b1": "BOOL", "u1": "U8"}
    head: dict[str, Any] = {}
    start = 0
    for name, array in arrays.items():
        head[name] = {
            "dtype": kinds[array.dtype.str[1:]],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            out.write(np.ascontiguousarray(array).tobytes())


def _bare(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Without the names that training loops wrap a state dict in."""
    for wrapper in ("state_dict.", "module."):
        if arrays and all(name.startswith(wrapper) for name in arrays):
            arrays = {name.removeprefix(wrapper): array for name, array in arrays.items()}
    return dict(arrays)
