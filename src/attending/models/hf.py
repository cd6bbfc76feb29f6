"""Models of transformers in worker processes: what the adapters share. Nothing here imports torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PluginFailed
from ..imaging import auto_window, plane
from ..records import Image
from .planes import DEPTHS
from .protocols import Setup
from .worker import Worker, shared

VISION = Path(__file__).with_name("hf_program.py")
LANGUAGE = Path(__file__).with_name("hf_language_program.py")
STEP_S = 30.0
"""How long after its time a language model may take to come back: one step over a long prompt on a busy machine."""
BASE_MIB = 900
"""What torch and transformers take before any weights (measured: 640 to 820 MiB)."""


def folder_of(setup: Setup) -> Path:
    """The folder of the model's files."""
    if not setup.files:
        raise PluginFailed(
            f"{setup.id} has no files", "a folder of weights", f"attending models adopt {setup.id} FOLDER"
        )
    return next(iter(setup.files.values())).parent


def config_of(setup: Setup, name: str = "config.json") -> dict[str, Any]:
    """A JSON file of the model's folder; {} where there is none."""
    path = setup.files.get(name)
    if path is None:
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise PluginFailed(f"{name} of {setup.id} is no JSON object", "the file as published", "place the files again")
    return config


def refuse_unless_type(setup: Setup, allowed: tuple[str, ...]) -> str:
    """The folder's model type. Raises PluginFailed where it is another than the adapter runs."""
    found = str(config_of(setup).get("model_type", ""))
    if found not in allowed:
        raise PluginFailed(
            f"the folder of {setup.id} holds a model of type {found or 'unknown'!r}",
            f"type {', '.join(allowed)}",
            f"place the files of the right model: attending models adopt {setup.id} FOLDER",
        )
    return found


def worker_of(setup: Setup, program: Path, kind: str, **more: Any) -> Worker:
    """The shared worker of this model: one copy of its weights in this program."""
    told: dict[str, Any] = {
        "folder": str(folder_of(setup)),
        "kind": kind,
        "threads": setup.threads,
        "precision": setup.precision,
        **more,
    }
    return shared(
        program, told, threads=setup.threads, label=setup.id, memory_mib=memory_mib(setup.files, setup.precision)
    )


def memory_mib(files: Mapping[str, Path], precision: str) -> int:
    """MiB that loading takes at least: the parameters in the precision asked for, and the libraries."""
    size = 0
    for name, path in files.items():
        if name.endswith(".safetensors"):
            size += _parameters(path) * (2 if precision == "bf16" else 4)
        elif name.endswith(".gguf"):  # 4 to 5 bits each become 16 or 32
            size += path.stat().st_size * (4 if precision == "bf16" else 7)
    return BASE_MIB + (size >> 20)


def _parameters(path: Path) -> int:
    total = 0
    for name, tensor in safetensors_header(path).items():
        if name != "__metadata__":
            total += int(np.prod(tensor["shape"], dtype=np.int64))
    return total


def safetensors_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: tensor -> dtype, shape, data_offsets. Raises ValueError for other files and for
    one that ends early."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= 100 << 20:
            raise ValueError("no safetensors header")
        header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("no safetensors header")
    ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"]
    if path.stat().st_size != 8 + length + max(ends, default=0):
        raise ValueError("it is not as long as its header says")
    return header


def pictures(image: Image) -> list[tuple[int, NDArray[np.uint8]]]:
    """(z, (y, x, 3) uint8): the only plane, or the three of ``planes.DEPTHS``, windowed alike."""
    depth = image.voxels.shape[0]
    cuts = [0] if depth == 1 else sorted({min(depth - 1, int(depth * part)) for part in DEPTHS})
    of = None if image.facts.colour else auto_window(image)
    return [(z, coloured(plane(image, z, of))) for z in cuts]


def coloured(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(y, x) or (y, x, 3) -> (y, x, 3)."""
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture
