"""Where signatures teach: reviews and image vectors become a training set, and that a small, calibrated head.

``learn`` does the whole turn on plain data: the training set, the candidate, its ONNX bytes and what it says of the
held-out cases. ``training_set``, ``train`` and ``predict`` are its steps. ``ask`` names the cases whose review would
teach most, ``few_shot`` fits a head on a handful of examples, ``few`` thins out imported examples, and ``flipped``
poisons a training set, for proving that the gate refuses what came of it.
"""

from .ask import ask
from .examples import few, flipped, held_out_sha256, training_set
from .fewshot import few_shot
from .fusion import Fused, fuse
from .graph import predict
from .turn import Learned, learn, train

__all__ = [
    "Fused",
    "Learned",
    "ask",
    "few",
    "few_shot",
    "flipped",
    "fuse",
    "held_out_sha256",
    "learn",
    "predict",
    "train",
    "training_set",
]
