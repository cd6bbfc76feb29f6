"""Head: a Detector made from an approved release, an image encoder and a code. Trained by ``learning``, used here."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..errors import HashMismatch, PluginFailed
from ..records import Code, Detection, Image, Release
from .admission import refuse_unless_admitted
from .card import Card
from .protocols import Encoder, Progress


def head_card(release: Release) -> Card:
    """The card of a release's head, from what its candidate says of itself (the keys that ``learning`` writes).

    Taught by imported sets only, it admits cases of those sets and no patient's; nothing smaller or larger than what it
    was taught on, and no other modality, view or body part. Raises PluginFailed where the candidate's card does not say
    which modality taught it: an empty list would admit anything.
    """
    made = release.candidate
    said = dict(made.card)
    if not said.get("modalities"):
        raise PluginFailed(
            f"the card of release {release.id} does not say which modalities taught it",
            "a candidate's card as learning writes it",
            "learn again with this version, or roll back",
        )

    def words(key: str) -> tuple[str, ...]:
        return tuple(word for word in said.get(key, "").split(", ") if word)

    def bound(key: str) -> int | None:
        return int(said[key]) if said.get(key) else None

    return Card(
        id=f"head-{made.task}",
        version=release.id,
        title=said.get("title", f"Few-shot head: {made.task}"),
        protocols=("Detector",),
        engine="onnxruntime",
        licence="LicenseRef-this-site",
        use="teach" if said.get("use") == "teach" else "care",
        source=f"release {release.id} of this site, on vectors of {made.encoder}",
        files={"head.onnx": made.weights},
        modalities=words("modalities"),
        views=words("views"),
        body_parts=words("body_parts"),
        sequences=words("sequences"),
        sources=words("admits"),
        dims=tuple(int(d) for d in words("dims")) or (2, 3),
        min_matrix=bound("min_matrix"),
        max_matrix=bound("max_matrix"),
        colour=said.get("colour", "yes") == "yes",
        intended_use=said.get("intended_use", "images like those it learned from"),
        limits=said.get("limits", "learned from few images; a person approved it on the figures of its release"),
        training_data=said.get("training_data", f"training set {made.training}"),
        labels={made.task: head_code(release)},
    )


def head_code(release: Release) -> Code:
    """The finding that a head was taught."""
    said = dict(release.candidate.card)
    task = release.candidate.task
    return Code(said.get("code_scheme", "99ATTENDING"), said.get("code_value", task), said.get("code_meaning", task))


class Head:
    """Detector with one Detection: the head's calibrated probability.

    network   ONNX: one input, float32 (n, d) vectors of the encoder; an output of float32 probabilities of presence,
              (n,), (n, 1), or (n, 2) with presence last.
    encoder   the Encoder whose vectors it was trained on.
    """

    def __init__(self, card: Card, network: bytes, encoder: Encoder, code: Code, threads: int = 1) -> None:
        import onnxruntime

        named = card.files.get("head.onnx")
        seen = hashlib.sha256(network).hexdigest()
        if named is not None and seen != named:
            raise HashMismatch(
                f"the weights of {card.id} have sha256 {seen}",
                f"sha256 {named}, which was approved",
                "roll back to a release whose weights are whole",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.card, self.code, self.encoder = card, code, encoder
        try:
            self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        except Exception as failed:  # onnxruntime raises its own unrelated classes
            raise self._broken(f"cannot be opened ({type(failed).__name__})") from failed
        (given, *more), outputs = self._session.get_inputs(), self._session.get_outputs()
        floats = [o.name for o in outputs if o.type == "tensor(float)"]
        named_so = [name for name in floats if "prob" in name.lower()]
        if more or not floats:
            raise self._broken(f"has {1 + len(more)} inputs and {len(floats)} float outputs")
        self._input, self._output = given.name, (named_so or floats)[-1]

    def detect(self, image: Image, progress: Progress | None = None) -> tuple[Detection, ...]:
        """One Detection. Raises NotAdmitted; the case's source is compared by ``admit`` before, where it is known."""
        refuse_unless_admitted(self.card, image.facts, self.card.sources[0] if self.card.sources else None)
        vector = self.encoder.encode([image])
        try:
            answer = np.asarray(self._session.run([self._output], {self._input: vector})[0], dtype=np.float64)
        except Exception as failed:  # a network for another vector length, with onnxruntime's own class
            raise self._broken(f"does not take vectors of {self.encoder.space}") from failed
        score = float(answer.reshape(1, -1)[0, -1])
        if not 0.0 <= score <= 1.0:
            raise self._broken(f"gave {score}, which is no probability")
        return (Detection(self.code, score, calibrated=True, notes=(f"release {self.card.version}",)),)

    def _broken(self, what: Any) -> PluginFailed:
        return PluginFailed(
            f"the head {self.card.id} {what}",
            "an ONNX network from the encoder's vectors to one probability",
            "roll back to the release before it, and learn again",
        )
