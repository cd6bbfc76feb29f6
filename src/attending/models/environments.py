"""Programs with libraries of their own, each in a Python environment that the site names, behind the worker's protocol.

nnU-Net models (TotalSegmentator's among them), nnInteractive and torchxrayvision clash with our pins or are heavy. The
site file names the environment's interpreter and the folder of weights; the program files beside this one run there
without attending. Telemetry and downloads are off: a worker makes no network connections. Checkpoints are read by
torch's restricted reader only (``weights_only``), whatever the library asks for.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NotPulled, PluginFailed, PromptRefused
from ..records import Code, Detection, Image, LabelMap, Masked, Prompts
from .admission import refuse_unless_admitted
from .card import Card
from .frames import Frame, frame
from .meshnet_codes import codes
from .protocols import Progress, Segmentation, Session, Setup
from .tumour import as_picture
from .worker import Worker, shared

if TYPE_CHECKING:
    from ..site import Environment

HERE = Path(__file__)
QUIET = {"TOTALSEG_DISABLE_STATISTICS": "1", "nnUNet_compile": "f", "nnUNet_def_n_proc": "1", "MPLBACKEND": "Agg"}
SECONDS = 1800.0
XRV = (
    "Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis", "Effusion",
    "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion", "Fracture",
    "Lung Opacity", "Enlarged Cardiomediastinum",
)  # fmt: skip
"""torchxrayvision's own order (torchxrayvision.datasets.default_pathologies)."""
AS_PUBLISHED = "as its authors published; nothing of it was measured here"


def card_of(environment: Environment) -> Card:
    """The card of one table. Raises PluginFailed where its folder of weights does not say what it needs."""
    about: dict[str, Any] = {
        "version": environment.task or "1",
        "engine": environment.program,
        "licence": environment.licence or None,
        "source": f"{environment.program} in an environment of this site",
        "limits": AS_PUBLISHED,
        "training_data": "as its authors say",
        "memory_mib": 3000,
    }
    if environment.program == "nninteractive":
        title, intended = "nnInteractive", "a structure that somebody points at in a volume"
        return Card(
            environment.id,
            title=title,
            protocols=("Prompted",),
            dims=(3,),
            colour=False,
            intended_use=intended,
            **about,
        )
    if environment.program == "torchxrayvision":
        labels = {name: Code("99XRV", name.replace(" ", "_"), name.replace("_", " ")) for name in XRV}
        return Card(
            environment.id, title=f"torchxrayvision DenseNet {environment.task}".strip(), protocols=("Detector",),
            dims=(2,), colour=False, min_matrix=64, modalities=("CR", "DX"), views=("PA", "AP"), body_parts=("CHEST",),
            labels=labels, intended_use="frontal chest radiographs of adults", **about,
        )  # fmt: skip
    names, channel = _dataset(environment)
    about["limits"] += "; nnU-Net resamples here itself, TotalSegmentator's own program does so before it"
    return Card(
        environment.id, title=f"nnU-Net {environment.task or environment.id}", protocols=("Segmenter",), dims=(3,),
        colour=False, modalities=("CT",) if channel.upper() == "CT" else ("MR",) if "MR" in channel.upper() else (),
        labels=codes(("", *names)), intended_use="what its data set says", **about,
    )  # fmt: skip


class _Apart:
    """What the three share: the worker. It starts at the first call."""

    program = ""

    def __init__(self, setup: Setup, environment: Environment, home: Path) -> None:
        python = Path(environment.python)
        if not python.is_file():
            raise NotPulled(
                f"no Python where the environment of {setup.id} should be", "the interpreter of an environment",
                f"make it as docs/own-models.md says, or mend python of {setup.id} under [[environments]]",
            )  # fmt: skip
        self.card, self.environment = setup.card, environment
        weights = str(home / environment.weights) if environment.weights else ""
        told = {"weights": weights, "task": environment.task, "threads": setup.threads}
        self._worker: Worker = shared(
            HERE.with_name(self.program), told, python=python, threads=setup.threads, label=setup.id,
            memory_mib=setup.card.memory_mib, environment=QUIET,
        )  # fmt: skip

    def close(self) -> None:
        """Ends the process, for everyone who shares it. The next call starts it again."""
        self._worker.close()


class NnUNet(_Apart):
    """Segmenter: a trained nnU-Net folder, as TotalSegmentator downloads them."""

    program = "nnunet_program.py"

    def __init__(self, setup: Setup, environment: Environment, home: Path) -> None:
        super().__init__(setup, environment, home)
        self._names, _ = _dataset(environment)

    def segment(self, image: Image, progress: Progress | None = None) -> Segmentation:
        """Raises NotAdmitted, GeometryRefused, and what a worker raises."""
        refuse_unless_admitted(self.card, image.facts)
        framed = frame(image, orientation="RAS", order="zyx")
        asked = {"volume": framed.array, "spacing": list(framed.spacing_mm[::-1])}
        labels = self._worker.call("segment", asked, SECONDS)["labels"]
        if labels.shape != framed.array.shape or int(labels.max()) > len(self._names):
            raise PluginFailed(f"{self.card.id} gave labels of shape {labels.shape}", "the image's", "see its log")
        if progress:
            progress(1.0, "segmented")
        names = dict(enumerate(self._names, 1))
        return Segmentation(LabelMap(image.id, framed.back(labels), names), None, image.facts.spacing)


class NnInteractive(_Apart):
    """Prompted: points, box, scribbles, lasso and an earlier mask, in 3-D."""

    program = "nninteractive_program.py"
    modes = ("point", "box", "scribble", "lasso", "mask")

    def session(self, image: Image, progress: Progress | None = None) -> Session:
        """Raises NotAdmitted, GeometryRefused, and what a worker raises."""
        refuse_unless_admitted(self.card, image.facts)
        made = _Interactive(self._worker, frame(image, orientation="RAS", order="xyz"), image)
        made.open()
        if progress:
            progress(1.0, "image taken up")
        return made


_keys = itertools.count(1)


class _Interactive:
    """One image in the worker, by a number. A worker that was started again gets it again."""

    def __init__(self, worker: Worker, framed: Frame, image: Image) -> None:
        self._worker, self._frame, self._key = worker, framed, next(_keys)
        self._shape = image.voxels.shape[:3]
        z, y, x = (int(n) for n in self._shape)
        places = frame(_numbered(image), orientation="RAS", order="xyz").array
        order = np.argsort(places.ravel().astype(np.int64), kind="stable")
        # Where each of the image's own voxels lies in the network's array.
        self._place = np.stack(np.unravel_index(order, places.shape), axis=-1).reshape(z, y, x, 3)
        self._generation = -1
        self._before = np.zeros(self._shape, bool)

    def open(self) -> None:
        self._worker.start()
        if self._generation != self._worker.generation:
            self._worker.call("open", {"key": self._key, "volume": self._frame.array}, SECONDS)
            self._generation = self._worker.generation

    def predict(self, prompts: Prompts) -> Masked:
        """Raises PromptRefused for prompts that are empty, outside the image, or words."""
        if prompts.text:
            raise PromptRefused(
                "a word as a prompt", "points, boxes, strokes and masks", "choose a model that takes words"
            )
        if prompts.empty:
            raise PromptRefused("no prompt", "points, boxes, strokes or a mask", "point at something")
        self.open()
        asked: dict[str, Any] = {"key": self._key}
        asked["points"] = [[*self._at(p.voxel), int(p.positive)] for p in prompts.points]
        if prompts.box:
            corners = [self._at(prompts.box[:3]), self._at(prompts.box[3:])]
            asked["box"] = [[min(a, b), max(a, b) + 1] for a, b in zip(*corners, strict=True)]
        if prompts.mask is not None:
            if prompts.mask.shape != self._shape:
                raise PromptRefused(
                    f"a mask of shape {prompts.mask.shape}", f"{self._shape}", "give one of the image's"
                )
            asked["mask"] = self._there(prompts.mask.astype(bool))
        for number, stroke in enumerate(prompts.strokes):
            drawn = np.zeros(self._shape, bool)
            for voxel in stroke.voxels:
                self._at(voxel)
                drawn[voxel[2], voxel[1], voxel[0]] = True
            asked[f"stroke{number}"] = self._there(drawn)
        asked["strokes"] = [[int(s.positive), int(s.closed)] for s in prompts.strokes]
        mask = self._frame.back(self._worker.call("predict", asked, SECONDS)["mask"]).astype(bool)
        changed = _box(mask ^ self._before)
        self._before = mask.copy()
        return Masked(mask, None, changed, () if mask.any() else ("the model found nothing there",))

    def _at(self, voxel: tuple[int, ...]) -> tuple[int, ...]:
        x, y, z = voxel
        if not (0 <= x < self._shape[2] and 0 <= y < self._shape[1] and 0 <= z < self._shape[0]):
            raise PromptRefused(
                f"voxel {x},{y},{z}",
                "0,0,0 to " + ",".join(str(n - 1) for n in self._shape[::-1]),
                "stay inside the image",
            )
        return tuple(int(n) for n in self._place[z, y, x])

    def _there(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        out = np.zeros(self._frame.array.shape, bool)
        out[tuple(self._place[mask].T)] = True
        return out

    def close(self) -> None:
        """Lets go of the image in the worker. Twice is fine."""
        if self._generation == self._worker.generation and self._worker.pid is not None:
            self._worker.call("close", {"key": self._key}, 30.0)
        self._generation = -1


class TorchXRayVision(_Apart):
    """Detector: 18 findings on a frontal chest film."""

    program = "xrv_program.py"

    def detect(self, image: Image, progress: Progress | None = None) -> tuple[Detection, ...]:
        """Raises NotAdmitted, and what a worker raises."""
        refuse_unless_admitted(self.card, image.facts)
        film = np.asarray(as_picture(image).convert("L"), dtype=np.float32)
        scores = self._worker.call("score", {"film": film}, 120.0)["scores"]
        if progress:
            progress(1.0, "scored")
        notes = ("the score is the network's own, not calibrated: no probability of disease",)
        return tuple(
            Detection(code, float(np.clip(score, 0, 1)), calibrated=False, notes=notes)
            for code, score in zip(self.card.labels.values(), scores, strict=True)
        )


KINDS: Mapping[str, Any] = {
    "totalsegmentator": NnUNet,
    "nninteractive": NnInteractive,
    "torchxrayvision": TorchXRayVision,
}


def _numbered(image: Image) -> Image:
    """The same geometry with each voxel's own number: exact in float32 up to 2^24, beyond that refused below."""
    if image.voxels.size > 1 << 24:
        raise PluginFailed(
            f"a volume of {image.voxels.size} voxels",
            f"at most {1 << 24} for a program in its own environment",
            "crop it",
        )
    return Image(image.facts, np.arange(image.voxels.size, dtype=np.float32).reshape(image.voxels.shape))


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int, int, int] | None:
    if not mask.any():
        return None
    z, y, x = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    return (int(x[0]), int(y[0]), int(z[0]), int(x[-1]), int(y[-1]), int(z[-1]))


def _dataset(environment: Environment) -> tuple[tuple[str, ...], str]:
    """Class names by value from 1, and the channel's name, from nnU-Net's dataset.json in the weights' folder."""
    path = Path(environment.weights) / "dataset.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        labels = {int(value): str(name) for name, value in described["labels"].items()}
        channels = described.get("channel_names") or described.get("modality") or {}
        names = tuple(labels.get(n, f"class {n}") for n in range(1, max(labels) + 1))
        return names, str(next(iter(channels.values()), ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise PluginFailed(
            f"no readable dataset.json in the weights of {environment.id}",
            "a trained nnU-Net folder: dataset.json, plans.json, fold_0 (an absolute path)",
            f"mend weights of {environment.id} under [[environments]] in site.toml",
        ) from None
