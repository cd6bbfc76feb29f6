"""Any ONNX detector, segmenter or encoder, described by a card.toml beside it: a hospital adds its own without code.

docs/add-a-model.md says what the file holds. A key that is not known, a hash that does not fit, an input or output of
another shape than the card says: each is refused by name. Nothing of the folder is ever run but the ONNX graph.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from dataclasses import field as default
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import HashMismatch, ModelRefused, OutOfMemory, PluginFailed
from ..records import Code, Detection, Image, LabelMap
from .admission import refuse_unless_admitted
from .card import Card
from .fetch import sha256_of
from .frames import frame, resampled, slide
from .planes import DEPTHS, resized
from .protocols import Progress, Segmentation, Setup

FILE = "card.toml"
SCHEMA = 1
PROTOCOLS = ("Detector", "Segmenter", "Encoder")
CARD_KEYS = {f.name for f in fields(Card)} - {
    "id",
    "protocols",
    "engine",
    "files",
    "labels",
    "source",
    "sources",
    "extra",
}
LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)


@dataclass(frozen=True)
class Recipe:
    """How an image becomes the network's input and its output an answer: the tables [model], [input] and [output]."""

    file: str
    sha256: str
    layout: str = "NCHW"
    size: tuple[int, ...] = ()
    channels: int = 1
    orientation: str = "LPS"
    order: str = "zyx"
    spacing_mm: tuple[float, ...] = ()
    overlap: float = 0.25
    range: str = "percentiles"
    low: float = 0.5
    high: float = 99.5
    to: tuple[float, ...] = (0.0, 1.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    activation: str = "none"
    threshold: float = 0.5
    index: tuple[int, ...] = default(default=())

    @property
    def dims(self) -> int:
        return 3 if self.layout in ("NCZYX", "NZYXC") else 2


TABLE_OF = {
    "model": ("file", "sha256"),
    "input": (
        "layout", "size", "channels", "orientation", "order", "spacing_mm", "overlap",
        "range", "low", "high", "to", "mean", "std",
    ),
    "output": ("activation", "threshold"),
}  # fmt: skip
ALLOWED = {
    "layout": ("NCHW", "NHWC", "NCZYX", "NZYXC"),
    "orientation": ("LPS", "RAS", "LAS", "RPS"),
    "order": ("zyx", "xyz"),
    "range": ("percentiles", "values", "least-greatest", "none"),
    "activation": ("none", "softmax", "sigmoid"),
}


def described(folder: Path, id: str) -> tuple[Card, Recipe]:
    """The card and recipe of a folder. Raises PluginFailed for a card that is missing or wrong."""
    path = folder / FILE
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as failed:
        why = f"line {failed}" if isinstance(failed, tomllib.TOMLDecodeError) else type(failed).__name__
        raise _wrong(id, f"no readable {FILE} ({why})") from None
    if raw.pop("schema", None) != SCHEMA:
        raise _wrong(id, f"a {FILE} without schema = {SCHEMA}")
    if raw.get("id") != id:
        raise _wrong(id, f"a {FILE} of the id {raw.get('id')!r}")
    recipe = _recipe(id, raw)
    labels = {}
    for label in raw.pop("label", []):
        code = label.get("code") if isinstance(label, dict) else None
        if not isinstance(code, list) or len(code) != 3 or not all(isinstance(c, str) for c in code):
            raise _wrong(id, "a [[label]] without name and code = [scheme, value, meaning]")
        labels[str(label["name"])] = Code(*code)
    protocol = raw.pop("protocol", None)
    if protocol not in PROTOCOLS:
        raise _wrong(id, f"protocol = {protocol!r}, which is none of {', '.join(PROTOCOLS)}")
    raw.pop("id")
    unknown = set(raw) - CARD_KEYS
    if unknown:
        raise _wrong(id, f"an unknown key {sorted(unknown)[0]!r}")
    for needed in ("version", "title", "intended_use", "limits"):
        if not isinstance(raw.get(needed), str) or not raw[needed].strip():
            raise _wrong(id, f"a {FILE} without {needed}")
    if protocol != "Encoder" and not labels:
        raise _wrong(id, "no [[label]]")
    facts: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in raw.items()}
    facts["licence"] = facts.pop("licence", "") or None
    facts.setdefault("dims", (3,) if recipe.dims == 3 else ((2,) if protocol == "Detector" else (2, 3)))
    try:
        card = Card(
            id, protocols=(protocol,), engine="onnxruntime", labels=labels, source="a folder of this site",
            files={recipe.file: recipe.sha256}, **facts,
        )  # fmt: skip
    except TypeError:
        raise _wrong(id, "a key of the wrong kind") from None
    return card, recipe


def files_of(folder: Path, id: str, recipe: Recipe) -> dict[str, Path]:
    """The ONNX file, its hash proved. Raises PluginFailed and HashMismatch."""
    if Path(recipe.file).name != recipe.file:
        raise _wrong(id, "a file that lies elsewhere than beside its card")
    path = folder / recipe.file
    if not path.is_file():
        raise _wrong(id, f"no file {recipe.file}")
    if sha256_of(path) != recipe.sha256.lower():
        raise HashMismatch(
            f"{recipe.file} of {id} is not the file that its card names", "the sha256 in card.toml",
            f"if the new file is meant, write its sha256 ({sha256_of(path)}) and a new version into card.toml",
        )  # fmt: skip
    return {recipe.file: path}


class _Onnx:
    """What the three share: the session and the way from an image to its input."""

    def __init__(self, setup: Setup, recipe: Recipe) -> None:
        self.card, self.recipe = setup.card, recipe
        self._path, self._threads = setup.files[recipe.file], setup.threads
        self._session: Any = None

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, ...) without the batch axis -> the first output without it, float32."""
        if self._session is None:
            self._session = _session(self.card.id, self._path, self._threads)
        channels_last = self.recipe.layout.endswith("C")
        fed = np.moveaxis(batch, 0, -1)[None] if channels_last else batch[None]
        given = self._session.get_inputs()[0]
        kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(given.type)
        try:
            if kind is None:
                raise _wrong(self.card.id, f"an input of type {given.type}")
            out = np.asarray(
                self._session.run(None, {given.name: np.ascontiguousarray(fed, dtype=kind)})[0], np.float32
            )
        except ModelRefused:
            raise
        except Exception as failed:  # the runtime raises its own kinds for shapes and memory
            if "llocat" in str(failed):
                raise OutOfMemory(
                    f"{self.card.id} needs more memory than there is", "smaller images", "crop it"
                ) from None
            raise _wrong(self.card.id, f"an input of shape {list(given.shape)}, given {list(fed.shape)}") from None
        if out.shape[0] != 1 or not np.isfinite(out).all():
            raise _wrong(self.card.id, f"an output of shape {list(out.shape)}, or numbers that are not finite")
        return np.moveaxis(out[0], -1, 0) if channels_last and out.ndim > 2 else out[0]

    def scaled(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """Intensities as the recipe says, any shape."""
        recipe = self.recipe
        if recipe.range == "none":
            return grey
        low, high = recipe.low, recipe.high
        if recipe.range == "percentiles":
            low, high = (float(v) for v in np.percentile(grey, (recipe.low, recipe.high)))
        elif recipe.range == "least-greatest":
            low, high = float(grey.min()), float(grey.max())
        part = np.clip((grey - low) / (high - low), 0, 1) if high > low else np.zeros_like(grey)
        first, last = recipe.to
        return np.asarray(first + part * (last - first), dtype=np.float32)

    def channelled(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """One grey array as (channels, ...), each minus its mean and by its spread."""
        out = np.repeat(grey[None], self.recipe.channels, axis=0)
        for channel in range(self.recipe.channels):
            if self.recipe.mean:
                out[channel] -= self.recipe.mean[channel % len(self.recipe.mean)]
            if self.recipe.std:
                out[channel] /= self.recipe.std[channel % len(self.recipe.std)]
        return out

    def planes(self, image: Image) -> list[NDArray[np.float32]]:
        """(y, x) of every z, colour dropped, not finite as 0."""
        voxels = np.nan_to_num(image.voxels.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        return [plane @ LUMA if plane.ndim == 3 else plane for plane in voxels]

    def fed(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """One plane as the network's input (channels, y, x)."""
        size = self.recipe.size or plane.shape
        return self.channelled(resized(self.scaled(plane), size[0], size[1]))

    def activated(self, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Over the first axis."""
        if self.recipe.activation == "softmax":
            raised = np.exp(out - out.max(axis=0, keepdims=True))
            return np.asarray(raised / raised.sum(axis=0, keepdims=True), dtype=np.float32)
        return np.asarray(1 / (1 + np.exp(-out)), dtype=np.float32) if self.recipe.activation == "sigmoid" else out


class OnnxDetector(_Onnx):
    """Detector: output (1, n), a score for each label by its index. Of a volume's planes the greatest score is kept."""

    def detect(self, image: Image, progress: Progress | None = None) -> tuple[Detection, ...]:
        """Raises NotAdmitted where the card does not admit the image, PluginFailed where the card is wrong."""
        refuse_unless_admitted(self.card, image.facts)
        if self.recipe.dims == 3:
            scores = self._scores(self.channelled(self.scaled(self._volume(image))))
        else:
            scores = np.max([self._scores(self.fed(plane)) for plane in self.planes(image)], axis=0)
        if progress:
            progress(1.0, "scored")
        notes = ("the score is the network's own, not calibrated: no probability of disease",)
        return tuple(
            Detection(code, float(scores[index]), calibrated=False, notes=notes)
            for code, index in zip(self.card.labels.values(), self.recipe.index, strict=True)
        )

    def _volume(self, image: Image) -> NDArray[np.float32]:
        array = _framed(image, self.recipe).array
        return np.asarray(resampled(array, self.recipe.size, 1) if self.recipe.size else array, dtype=np.float32)

    def _scores(self, fed: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = self.activated(self.run(fed).reshape(-1))
        if max(self.recipe.index) >= scores.size or scores.min() < -1e-6 or scores.max() > 1 + 1e-6:
            raise _wrong(self.card.id, f"{scores.size} scores from {scores.min():g} to {scores.max():g}")
        return np.clip(scores, 0, 1)


class OnnxSegmenter(_Onnx):
    """Segmenter: output (1, classes, ...) on the input's grid. 2-D networks take a volume plane by plane."""

    def segment(self, image: Image, progress: Progress | None = None) -> Segmentation:
        """Raises NotAdmitted where the card does not admit the image, PluginFailed where the card is wrong."""
        refuse_unless_admitted(self.card, image.facts)
        labels = self._solid(image, progress) if self.recipe.dims == 3 else self._flat(image, progress)
        names = dict(enumerate(self.card.labels, 1))
        return Segmentation(LabelMap(image.id, labels, names), None, image.facts.spacing)

    def _flat(self, image: Image, progress: Progress | None) -> NDArray[np.uint8]:
        out = np.zeros(image.voxels.shape[:3], np.uint8)
        for z, plane in enumerate(self.planes(image)):
            chances = self.activated(self._classes(self.run(self.fed(plane)), 3))
            out[z] = self._labels(np.stack([resized(c, *plane.shape) for c in chances]))
            if progress:
                progress((z + 1) / len(out), f"plane {z + 1} of {len(out)}")
        return out

    def _solid(self, image: Image, progress: Progress | None) -> NDArray[np.uint8]:
        framed = _framed(image, self.recipe)
        ready = self.scaled(framed.array)
        size = tuple(self.recipe.size) or ready.shape

        def window(part: NDArray[np.float32]) -> NDArray[np.float32]:
            return self.activated(self._classes(self.run(self.channelled(part)), 4))

        chances = slide(ready, size, window, self.recipe.overlap, float(ready.min()), progress)
        return np.asarray(framed.back(self._labels(chances)), dtype=np.uint8)

    def _classes(self, out: NDArray[np.float32], ndim: int) -> NDArray[np.float32]:
        if out.ndim != ndim or max(self.recipe.index) >= out.shape[0]:
            raise _wrong(self.card.id, f"an output of shape {[1, *out.shape]}")
        return out

    def _labels(self, chances: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(classes, ...) -> label numbers in the card's order, 0 for everything else."""
        best = chances.argmax(axis=0)
        if self.recipe.activation == "sigmoid" or chances.shape[0] == 1:
            own = chances[list(self.recipe.index)]
            over = own.max(axis=0) >= self.recipe.threshold
            return np.where(over, own.argmax(axis=0) + 1, 0).astype(np.uint8)
        out = np.zeros(best.shape, np.uint8)
        for number, index in enumerate(self.recipe.index, 1):
            out[best == index] = number
        return out


class OnnxEncoder(_Onnx):
    """Encoder: output (1, d), or (1, d, ...) averaged. A volume is the mean over three planes in its middle."""

    @property
    def space(self) -> str:
        return f"{self.card.id}/{self.card.version}"

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, d) float32, finite."""
        rows = [self._row(image) for image in images]
        if rows:
            return np.stack(rows).astype(np.float32)
        return np.zeros((0, self._vector(np.zeros(self.recipe.size or (64, 64), np.float32)).size), np.float32)

    def _row(self, image: Image) -> NDArray[np.float32]:
        refuse_unless_admitted(self.card, image.facts)
        planes = self.planes(image)
        cuts = [0] if len(planes) == 1 else [min(len(planes) - 1, int(len(planes) * d)) for d in DEPTHS]
        return np.asarray(np.mean([self._vector(planes[z]) for z in cuts], axis=0), dtype=np.float32)

    def _vector(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        out = self.run(self.fed(plane))
        return out.reshape(out.shape[0], -1).mean(axis=1) if out.ndim > 1 else out


KINDS: Mapping[str, Any] = {"Detector": OnnxDetector, "Segmenter": OnnxSegmenter, "Encoder": OnnxEncoder}


def _framed(image: Image, recipe: Recipe) -> Any:
    spacing = (recipe.spacing_mm[0], recipe.spacing_mm[1], recipe.spacing_mm[2]) if recipe.spacing_mm else None
    orientation: Any = recipe.orientation
    order: Any = recipe.order
    return frame(image, orientation=orientation, order=order, spacing_mm=spacing)


def _session(id: str, path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as failed:  # a broken or newer file raises one of the runtime's many kinds
        raise _wrong(id, f"no ONNX file that ONNX Runtime loads ({type(failed).__name__})") from None


def _recipe(id: str, raw: dict[str, Any]) -> Recipe:
    """Takes its tables and the labels' indices out of ``raw``."""
    values: dict[str, Any] = {}
    kinds = {f.name: f for f in fields(Recipe)}
    for table, keys in TABLE_OF.items():
        given = raw.pop(table, {})
        if not isinstance(given, dict) or set(given) - set(keys):
            raise _wrong(id, f"[{table}] with an unknown key {sorted(set(given) - set(keys))[:1]}")
        for key, value in given.items():
            wanted = kinds[key].type
            fits = {
                "str": isinstance(value, str),
                "int": type(value) is int,
                "float": type(value) in (int, float),
            }.get(str(wanted), isinstance(value, list) and all(type(v) in (int, float) for v in value))
            if not fits or (key in ALLOWED and value not in ALLOWED[key]):
                raise _wrong(
                    id,
                    f"{table}.{key} = {value!r}"
                    + (f", which is none of {', '.join(ALLOWED[key])}" if key in ALLOWED else ""),
                )
            values[key] = tuple(value) if isinstance(value, list) else value
    labels = [label for label in raw.get("label", []) if isinstance(label, dict)]
    values["index"] = tuple(label.pop("index", n) for n, label in enumerate(labels))
    missing = [key for key, f in kinds.items() if f.default is MISSING and key not in values]
    if missing:
        raise _wrong(id, f"a {FILE} without model.{missing[0]}")
    recipe = Recipe(**values)
    if recipe.size and (len(recipe.size) != recipe.dims or min(recipe.size) < 1):
        raise _wrong(id, f"input.size of {len(recipe.size)} numbers for {recipe.layout}")
    if recipe.spacing_mm and (len(recipe.spacing_mm) != 3 or min(recipe.spacing_mm) <= 0):
        raise _wrong(id, "input.spacing_mm that is not three numbers above 0")
    if len(recipe.to) != 2 or recipe.channels < 1 or any(type(i) is not int or i < 0 for i in recipe.index):
        raise _wrong(id, "input.to, input.channels or a label's index out of range")
    return recipe


def _wrong(id: str, seen: str) -> PluginFailed:
    return PluginFailed(
        f"the folder of {id} holds {seen}", "what docs/add-a-model.md says of card.toml", "mend the card, or the model"
    )
