"""Prompted: SAM and MedSAM through ONNX Runtime, without torch. Torch is needed once, where the graphs are made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExtraMissing, PluginFailed
from ..records import Image
from .admission import refuse_unless_admitted
from .hf import memory_mib
from .hf_sam import frame_of
from .protocols import Progress, Setup
from .sam_session import MODES, Asked, Frame, SamSession, strange
from .worker import Worker

PROGRAM = Path(__file__).with_name("sam_onnx_program.py")
GRAPHS = ("encoder.onnx", "plane.onnx", "click.onnx", "refine.onnx", "again.onnx")
KEPT = ("config.json", "preprocessor_config.json", "processor_config.json")
EXPORT_S = 1800.0


class OnnxSam:
    """Prompted. Files: the graphs of GRAPHS, config.json, preprocessor_config.json where there is one."""

    modes = MODES

    def __init__(self, setup: Setup) -> None:
        self.card = setup.card
        missing = [name for name in GRAPHS if name not in setup.files]
        if missing:
            raise PluginFailed(f"no {', '.join(missing)}", "SAM's graphs as converted", "place its files again")
        self._engine = OnnxEngine(setup.files, frame_of(setup, "sam"), setup.threads, setup.id)

    def session(self, image: Image, progress: Progress | None = None) -> SamSession:
        """See ``Prompted.session``."""
        refuse_unless_admitted(self.card, image.facts)
        return SamSession(image, self._engine, progress)


@dataclass(frozen=True, eq=False)
class Embedded:
    """A plane's embedding (1, c, h, w), and by name what the decoder makes of it before it looks at prompts."""

    embedding: NDArray[np.float32]
    ready: Mapping[str, NDArray[np.float32]]


class OnnxEngine:
    """``sam_session.Engine`` in this process."""

    def __init__(self, files: Mapping[str, Path], frame: Frame, threads: int, id: str) -> None:
        self._files, self.frame, self._threads, self._id = files, frame, threads, id
        self._sessions: dict[str, Any] = {}

    def embed(self, pixels: NDArray[np.float32]) -> Embedded:
        (embedding,) = self._run("encoder.onnx", {"pixels": pixels}).values()
        return Embedded(embedding, self._run("plane.onnx", {"embedding": embedding}))

    def decode(self, handle: Embedded, asked: Asked) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        prompts = {"points": asked.points, "labels": asked.labels}
        if asked.earlier is not None:
            given = {"embedding": handle.embedding, **prompts, "earlier": asked.earlier[None, None]}
            out = self._run("again.onnx", given)
        else:
            out = self._run("click.onnx" if asked.several else "refine.onnx", {**prompts, **handle.ready})
        masks, scores = out["masks"], out["scores"]
        if masks.ndim != 3 or not np.isfinite(scores).all():
            raise strange(self._id, "no masks")
        return masks, scores

    def forget(self, handle: Embedded) -> None:
        """The session lets go of it."""

    def _run(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        if name not in self._sessions:
            import onnxruntime as ort

            options = ort.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.log_severity_level = 3
            # Encodings are rare and large, and an arena would keep the largest for good.
            options.enable_cpu_mem_arena = name != "encoder.onnx"
            self._sessions[name] = ort.InferenceSession(
                str(self._files[name]), options, providers=["CPUExecutionProvider"]
            )
        session = self._sessions[name]
        taken = {one.name: given[one.name] for one in session.get_inputs()}
        return dict(zip([one.name for one in session.get_outputs()], session.run(None, taken), strict=True))


def convert(files: Mapping[str, Path], out: Path) -> None:
    """Convert step "sam-onnx": SamModel's safetensors -> GRAPHS. Needs the torch extra here, not where it runs.

    Raises ExtraMissing, PluginFailed for another model, and what a worker raises.
    """
    import importlib.util

    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        raise ExtraMissing(
            "making SAM's ONNX graphs needs torch and transformers, which are not installed",
            "a machine with the torch extra, once; the graphs then run without it",
            "in the folder of attending's source: pip install -c constraints.txt '.[torch]'; or carry the cache over "
            "from a machine that has it",
        )
    try:
        config = json.loads(files["config.json"].read_text(encoding="utf-8"))
    except (OSError, KeyError, ValueError):
        config = {}
    if config.get("model_type") != "sam":
        raise PluginFailed(
            f"a folder of model type {config.get('model_type')!r}", "SAM as transformers saves it", "place that one"
        )
    folder = next(iter(files.values())).parent
    worker = Worker(
        PROGRAM,
        {"folder": str(folder), "to": str(out)},
        label="the conversion of SAM",
        memory_mib=2 * memory_mib(files, "fp32"),
    )
    try:
        worker.call("export", timeout_s=EXPORT_S)
    finally:
        worker.close()
    for name in KEPT:
        if name in files:
            shutil.copyfile(files[name], out / name)
