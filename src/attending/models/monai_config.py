"""What a MONAI bundle's configuration says, read as plain values and references; no expression is ever evaluated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import NotPulled, PluginFailed

IDLE = ("LoadImage", "EnsureChannelFirst", "EnsureType", "ToTensor", "CastToType", "Lambda_none")
AFTER = ("Invert", "SaveImage", "EnsureType", "ToTensor", "SplitDim")
"""Steps after the network that change nothing of the labels, or that are done here anyway."""
DEPTH = 32
ROW = re.compile(r"^\$torch\.nn\.Sequential\(\*@(\w+)\)$")
"""The one expression that is understood (not evaluated): layers in a row, as ``monai_write`` writes them."""


@dataclass(frozen=True)
class Bundle:
    """What a bundle says, as plain values.

    network    {"_target_": ..., ...}; steps: intensity steps in order, each (name, values).
    roi        the sliding window's size (x, y, z); empty for the whole volume at once.
    labels     class names by output channel; "" at 0 for the background.
    """

    folder: Path
    weights: Path
    network: Mapping[str, Any]
    orientation: str = "RAS"
    spacing_mm: tuple[float, float, float] | None = None
    size: tuple[int, int, int] | None = None
    steps: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    roi: tuple[int, ...] = ()
    overlap: float = 0.25
    activation: str = "softmax"
    largest: bool = False
    labels: tuple[str, ...] = ("",)
    notes: tuple[str, ...] = field(default=())


class Config:
    """A configuration as plain values and references."""

    def __init__(self, id: str, values: Mapping[str, Any]) -> None:
        self.id, self.values = id, values

    def strange(self, seen: str) -> PluginFailed:
        return PluginFailed(
            f"the bundle {self.id} holds {seen}",
            "a segmentation bundle of known transforms and networks; see docs/own-models.md",
            "export it to ONNX and describe that by a card.toml, or write a plugin",
        )

    def plain(self, value: Any, depth: int = 0) -> Any:
        """The value with its references followed. Raises PluginFailed for an expression."""
        if depth > DEPTH:
            raise self.strange("references that go round")
        if isinstance(value, str) and value.startswith("@"):
            found: Any = self.values
            for part in value[1:].replace("#", "::").split("::"):
                step = found.get(part) if isinstance(found, Mapping) else None
                if isinstance(found, list) and part.isdigit() and int(part) < len(found):
                    step = found[int(part)]
                if step is None:
                    raise self.strange(f"a reference to nothing ({value[:60]})")
                found = step
            return self.plain(found, depth + 1)
        if isinstance(value, str) and value.startswith(("$", "%")):
            raise self.strange(f"an expression where a value is needed ({value[:60]})")
        if isinstance(value, Mapping):
            return {key: self.plain(part, depth + 1) for key, part in value.items()}
        if isinstance(value, list):
            return [self.plain(part, depth + 1) for part in value]
        return value

    def steps(self, key: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The transforms of a Compose: (name without the d of dictionary transforms, its values, unresolved)."""
        given = self.values.get(key) or {}
        listed = given.get("transforms", []) if isinstance(given, Mapping) else given
        listed = self.values.get(listed[1:], []) if isinstance(listed, str) and listed.startswith("@") else listed
        if not isinstance(listed, list):
            raise self.strange(f"{key} that is no list of transforms")
        found = []
        for item in listed:
            if not isinstance(item, Mapping) or not isinstance(item.get("_target_"), str):
                raise self.strange(f"{key} with something that is no transform")
            if item.get("_disabled_") is True:
                continue
            name = item["_target_"].rsplit(".", 1)[-1]
            found.append((name[:-1] if name.endswith("d") and name[:-1][-1:].islower() else name, item))
        return found


def bundle_of(id: str, folder: Path, raw: Mapping[str, Any], names: tuple[str, ...]) -> Bundle:
    config = Config(id, raw)
    made = Bundle(folder, _weights(id, folder), {}, labels=names)
    if made.weights.suffix != ".onnx":
        network = raw.get("network_def") or {}
        row = ROW.match(network) if isinstance(network, str) else None
        if row:
            network = {"_target_": "torch.nn.Sequential", "_args_": f"@{row[1]}"}
        network = config.plain(network)
        if not isinstance(network, dict) or not isinstance(network.get("_target_"), str):
            raise config.strange("no network_def")
        made = replace(made, network=network)
    notes = []
    turned = False
    for name, item in config.steps("preprocessing"):
        if name in IDLE:
            continue
        values = {k: config.plain(v) for k, v in item.items() if k not in ("_target_", "keys", "_requires_", "_desc_")}
        if name == "Orientation":
            made, turned = replace(made, orientation=str(values.get("axcodes", "RAS"))), True
        elif name == "Spacing":
            mm = values.get("pixdim")
            if not isinstance(mm, list) or len(mm) != 3 or not all(type(v) in (int, float) and v > 0 for v in mm):
                raise config.strange(f"Spacing with pixdim {mm!r}")
            made = replace(made, spacing_mm=(float(mm[0]), float(mm[1]), float(mm[2])))
        else:
            made = replace(made, **_step(config, name, values, made))
    if made.orientation not in ("RAS", "LPS", "LAS", "RPS"):
        raise config.strange(f"Orientation {made.orientation!r}")
    if not turned:
        notes.append("its configuration names no orientation: taken as RAS")
    inferer = config.plain(raw.get("inferer") or {"_target_": "SimpleInferer"})
    kind = str(inferer.get("_target_", "")).rsplit(".", 1)[-1]
    if kind == "SlidingWindowInferer":
        roi = inferer.get("roi_size")
        if not isinstance(roi, list) or not all(type(v) is int and v > 0 for v in roi):
            raise config.strange(f"a sliding window of {roi!r}")
        made = replace(made, roi=tuple(roi), overlap=float(inferer.get("overlap", 0.25)))
    elif kind != "SimpleInferer":
        raise config.strange(f"an inferer {kind}")
    for name, item in config.steps("postprocessing"):
        if name == "Activations":
            made = replace(made, activation="sigmoid" if item.get("sigmoid") is True else "softmax")
        elif name == "KeepLargestConnectedComponent":
            made = replace(made, largest=True)
        elif name != "AsDiscrete" and name not in AFTER:
            raise config.strange(f"a step {name} after the network")
    if made.activation == "softmax" and not names[:1] == ("",):
        raise config.strange("classes without a background")
    return replace(made, notes=tuple(notes))


def _step(config: Config, name: str, values: Mapping[str, Any], made: Bundle) -> dict[str, Any]:
    def number(key: str, default: float | None) -> float | None:
        value = values.get(key, default)
        if value is not None and type(value) not in (int, float):
            raise config.strange(f"{name} with {key} = {value!r}")
        return None if value is None else float(value)

    if name == "Resize":
        size = values.get("spatial_size")
        if not isinstance(size, list) or len(size) != 3 or not all(type(v) is int and v > 0 for v in size):
            raise config.strange(f"Resize to {size!r}")
        return {"size": (size[0], size[1], size[2]), "steps": (*made.steps, (name, {}))}
    if name == "NormalizeIntensity":
        taken: dict[str, Any] = {"nonzero": values.get("nonzero") is True}
        taken |= {key: number(key, None) for key in ("subtrahend", "divisor")}
    elif name == "ScaleIntensity":
        taken = {"a_min": 0.0, "a_max": 1.0, "b_min": number("minv", 0.0), "b_max": number("maxv", 1.0), "clip": False}
        if values.get("factor") is not None:
            raise config.strange("ScaleIntensity with a factor")
    elif name == "ScaleIntensityRange":
        taken = {key: number(key, None) for key in ("a_min", "a_max", "b_min", "b_max")}
        taken["clip"] = values.get("clip") is True
    elif name == "ScaleIntensityRangePercentiles":
        taken = {key: number(key, None) for key in ("lower", "upper", "b_min", "b_max")}
        taken |= {"a_min": 0.0, "a_max": 1.0, "clip": values.get("clip") is True}
    else:
        raise config.strange(f"a step {name} before the network")
    if name != "NormalizeIntensity" and None in taken.values():
        raise config.strange(f"{name} without all its bounds")
    return {"steps": (*made.steps, (name, taken))}


def _weights(id: str, folder: Path) -> Path:
    models = folder / "models"
    for name in ("model.onnx", "model.safetensors"):
        if (models / name).is_file():
            return models / name
    if (models / "model.pt").is_file() or (models / "model.ts").is_file():
        raise NotPulled(
            f"the weights of the bundle {id} are a pickle or TorchScript, which is never loaded while reading",
            "models/model.onnx or models/model.safetensors",
            "run once: attending bundle prepare FOLDER",
        )
    raise Config(id, {}).strange("no models/model.onnx or models/model.safetensors")


def json_of(id: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise Config(id, {}).strange(f"no readable configs/{path.name}")
    return value
