"""Prompted: SAM, MedSAM and SAM 2 by transformers, in a worker process. Without torch: ``sam_onnx.py``."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelRefused
from ..records import Image
from .admission import refuse_unless_admitted
from .hf import VISION, config_of, refuse_unless_type, worker_of
from .protocols import Progress, Setup
from .sam_session import MODES, Asked, Frame, SamSession, strange
from .worker import Worker

EMBED_S = 300.0
DECODE_S = 60.0
FORGET_S = 1.0
FAMILY = {"sam": "sam", "sam2": "sam2", "sam2_video": "sam2"}


class HfSam:
    """Prompted. Folder: config.json and safetensors of SamModel or Sam2Model, preprocessor_config.json where there is
    one."""

    modes = MODES

    def __init__(self, setup: Setup) -> None:
        self.card, self._setup = setup.card, setup
        self._kind = FAMILY[refuse_unless_type(setup, tuple(FAMILY))]
        self._engine = WorkerEngine(worker_of(setup, VISION, self._kind), frame_of(setup, self._kind), setup.id)

    def session(self, image: Image, progress: Progress | None = None) -> SamSession:
        """See ``Prompted.session``."""
        refuse_unless_admitted(self.card, image.facts)
        return SamSession(image, self._engine, progress)

    def close(self) -> None:
        """Ends the worker; the next call starts it again."""
        self._engine.worker.close()


def frame_of(setup: Setup, kind: str) -> Frame:
    """How its planes are prepared, from its own configuration."""
    config, look = config_of(setup), config_of(setup, "preprocessor_config.json")
    look = look or config_of(setup, "processor_config.json").get("image_processor") or {}
    vision = config.get("vision_config") or {}
    side = vision.get("image_size") or (vision.get("backbone_config") or {}).get("image_size") or 1024
    side = int(side[0] if isinstance(side, list) else side)
    usual = Frame()
    mean, std = (
        tuple(look.get(key) or default) for key, default in (("image_mean", usual.mean), ("image_std", usual.std))
    )
    return Frame(side, kind == "sam2", mean, std)


class WorkerEngine:
    """``sam_session.Engine`` whose network and embeddings live in a worker. A handle is the worker's key with the
    pixels beside it, so that a plane that the worker lost is encoded again."""

    def __init__(self, worker: Worker, frame: Frame, id: str) -> None:
        self.worker, self.frame, self.id = worker, frame, id
        self._keys = itertools.count(1)

    def embed(self, pixels: NDArray[np.float32]) -> tuple[str, NDArray[np.float32]]:
        key = f"{id(self)}-{next(self._keys)}"
        self.worker.call("embed", {"pixels": pixels, "key": key}, EMBED_S)
        return key, pixels

    def decode(self, handle: Any, asked: Asked) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        key, pixels = handle
        given: dict[str, Any] = {"key": key, "points": asked.points, "labels": asked.labels, "several": asked.several}
        if asked.earlier is not None:
            given["earlier"] = asked.earlier
        answer = self.worker.call("decode", given, DECODE_S)
        if answer.get("missing"):  # the worker died, or has kept newer ones
            self.worker.call("embed", {"pixels": pixels, "key": key}, EMBED_S)
            answer = self.worker.call("decode", given, DECODE_S)
        logits, scores = answer.get("logits"), answer.get("scores")
        if logits is None or scores is None or logits.ndim != 3 or not np.isfinite(scores).all():
            raise strange(self.id, "no masks")
        return logits, scores

    def forget(self, handle: Any) -> None:
        if self.worker.pid is not None:
            with contextlib.suppress(ModelRefused):  # it died or is busy: the oldest are let go anyway
                self.worker.call("forget", {"key": handle[0]}, FORGET_S)
