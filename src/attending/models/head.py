"""Head: a Detector made from an approved release, an image encoder and a code. Trained by ``learning``, used here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import HashMismatch, PluginFailed
from ..records import Code, Detection, Image, Presence, Release
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


def head_conformal(release: Release, coverage: float) -> tuple[float, float, float] | None:
    """The thresholds of the least coverage in the release's card that is at least the asked one; None for 0, and for
    releases that were learned before there were any."""
    kept = json.loads(dict(release.candidate.card).get("conformal", "{}"))
    enough = sorted((float(c), *map(float, t)) for c, t in kept.items() if float(c) >= coverage)
    return (enough[0][0], enough[0][1], enough[0][2]) if coverage > 0 and enough else None


class Head:
    """Detector with one Detection: the head's calibrated probability.

    network   ONNX: one input, float32 (n, d) vectors of the encoder; an output of float32 probabilities of presence,
              (n,), (n, 1), or (n, 2) with presence last.
    encoder   the Encoder whose vectors it was trained on.
    conformal (coverage, threshold of absent, threshold of present), or None: see ``head_conformal``.
    """

    def __init__(
        self,
        card: Card,
        network: bytes,
        encoder: Encoder,
        code: Code,
        threads: int = 1,
        conformal: tuple[float, float, float] | None = None,
    ) -> None:
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
        self.card, self.code, self.encoder, self.conformal = card, code, encoder, conformal
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
        score = float(self.of_vectors(self.encoder.encode([image]))[0])
        possible, notes = self._possible(score)
        notes = (f"release {self.card.version}", *notes)
        return (Detection(self.code, score, calibrated=True, notes=notes, possible=possible),)

    def _possible(self, score: float) -> tuple[tuple[Presence, ...] | None, tuple[str, ...]]:
        """The conformal set, and what to say of it where it is not one answer."""
        if self.conformal is None:
            return None, ()
        coverage, absent, present = self.conformal
        left: list[Presence] = []
        if 1 - score <= present:
            left.append("present")
        if score <= absent:
            left.append("absent")
        if len(left) == 1:
            return tuple(left), ()
        why = "both answers remain possible" if left else "it is like neither the present nor the absent cases"
        return tuple(left), (f"abstains: at {coverage:.0%} coverage {why}",)

    def scores_of(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, 1) probabilities of images that are already admitted."""
        return self.of_vectors(self.encoder.encode(images)).astype(np.float32)[:, None]

    def of_vectors(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, d) vectors of the encoder -> (n,) probabilities."""
        try:
            answer = np.asarray(self._session.run([self._output], {self._input: vectors})[0], dtype=np.float64)
        except Exception as failed:  # a network for another vector length, with onnxruntime's own class
            raise self._broken(f"does not take vectors of {self.encoder.space}") from failed
        scores = np.asarray(answer.reshape(len(vectors), -1)[:, -1])
        wrong = scores[~((scores >= 0.0) & (scores <= 1.0))]
        if wrong.size:
            raise self._broken(f"gave {float(wrong[0])}, which is no probability")
        return scores

    def _broken(self, what: Any) -> PluginFailed:
        return PluginFailed(
            f"the head {self.card.id} {what}",
            "an ONNX network from the encoder's vectors to one probability",
            "roll back to the release before it, and learn again",
        )
