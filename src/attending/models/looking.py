"""The image-dependence gate: does a model look at the picture, or would it have said the same without it?

A model is shown patients, and beside each: the same picture again, its twin (changed, but not to any eye), another
patient's picture, its own voxels shuffled, its frame around another's middle, one grey, and, for a reader, nothing at
all. A model that looks answers differently to what differs and alike to what is alike. docs/looking.md argues the rule.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import AttendingError, NotLooking, PluginFailed
from ..metrics import wilson
from ..records import Image, Interval
from .card import Card
from .eyes import Eye, eyes_of
from .gallery import alike, blank, completed, middle_of, patients, shuffled, twin
from .protocols import Progress

REVISION = 1
"""Counted up when the gate asks more or another rule decides: what an older one recorded is asked again."""
FLOOR = 0.10
"""Of the answers, the part that must change more than by themselves, as the lower end of the 95 % interval."""
CHANCE = 0.5
SURE_LEVEL = 0.99
"""Of the answers that move either way, more than half must move more for another picture than for the twin: an answer
made of a hash or of dice moves as much for both. At this level one such model in 200 gets past one condition."""
UNSTEADY = 0.10
"""Of the same pictures shown again, the part that may be answered otherwise. Protocols promise none."""
PATIENTS = {2: 24, 3: 8}
"""Planes and volumes to look at: fewer than 8 can prove nothing at SURE_LEVEL. (The key is the card's dims.)"""
READ, EACH = 16, 3
"""Patients shown to a model that is asked questions, and how many of the questions each is asked."""
AGAIN = {2: 8, 3: 3}
"""How many planes and volumes are shown a second time."""
WORDS: Mapping[str, str] = {
    "again": "the same picture again",
    "twin": "the same picture to any eye",
    "swapped": "another patient's picture",
    "shuffled": "its own voxels shuffled",
    "middle": "another patient's middle in its frame",
    "blank": "one grey",
    "alone": "no picture at all",
}
DECIDES = ("swapped", "shuffled", "middle", "blank", "alone")
"""All must be passed. "again" must be steady, "twin" is what the others are held against."""


@dataclass(frozen=True)
class Condition:
    """What one condition did to the answers of one protocol.

    asked    answers compared with those to the real pictures.
    changed  of them, those that changed at all (by the protocol's least difference).
    more     those that changed more than the twin's; less: those that changed less.
    mean     mean difference, and ``most``: the greatest, in ``unit``.
    """

    protocol: str
    name: str
    asked: int
    changed: int
    more: int
    less: int
    mean: float
    most: float
    unit: str

    @property
    def share(self) -> Interval:
        """The part that changed more than the twin's, Wilson 95 %."""
        return wilson(self.more, self.asked) or Interval(0.0, 0.0, 1.0)

    @property
    def passed(self) -> bool:
        if self.name == "again":
            return self.changed <= UNSTEADY * self.asked
        if self.name not in DECIDES:
            return True
        beyond = wilson(self.more, self.more + self.less, SURE_LEVEL)
        return self.share.low > FLOOR and beyond is not None and beyond.low > CHANCE

    @property
    def figures(self) -> str:
        if self.name not in DECIDES:
            return f"{self.changed} of {self.asked} answers changed, mean {self.mean:.3g} {self.unit}"
        part = self.share
        return (
            f"{self.more} of {self.asked} answers changed more than by themselves ({part.value:.0%}, 95 % interval "
            f"{part.low:.0%} to {part.high:.0%}; {self.less} less; mean {self.mean:.3g} {self.unit})"
        )


@dataclass(frozen=True)
class Looked:
    """What the gate saw. pictures: "drawn", or what the caller calls the real ones. why is "" where it passed."""

    model: str
    version: str
    files: Mapping[str, str]
    code: str
    pictures: str
    conditions: tuple[Condition, ...]
    why: str = ""
    revision: int = REVISION
    seconds: float = field(default=0.0, compare=False)

    @property
    def passed(self) -> bool:
        return not self.why

    @property
    def failed(self) -> tuple[Condition, ...]:
        return tuple(c for c in self.conditions if not c.passed)


def look(
    plugin: Any,
    images: Sequence[Image] = (),
    *,
    pictures: str = "",
    protocols: Sequence[str] | None = None,
    budget_s: float | None = None,
    progress: Progress | None = None,
    code: str = "",
) -> Looked:
    """Show the plugin its patients and judge its answers. Never changes what the plugin is given; records nothing.

    images     real pictures that the card admits, of different patients, else drawn ones are shown; fewer than 8 are
               completed by turned and stretched copies of them.
    pictures   what to call them.     protocols  only these; None for all that answer about images.
    budget_s   give up where it would take longer than this.

    Raises NotLooking where it gave up, PluginFailed where the plugin raised an error of its own, and what it raised of
    attending.errors (out of memory, a worker that died): those say nothing of its looking.
    """
    card: Card = plugin.card
    started = time.monotonic()
    shown = _shown(card, images)
    eyes = [eye for eye in eyes_of(plugin) if protocols is None or eye.protocol in protocols]
    conditions: list[Condition] = []
    for eye in eyes:
        plan = _Plan(eye, shown)
        conditions += plan.ask(plugin, _Watch(card.id, plan.calls * len(eyes), budget_s, progress))
    why = "; ".join(_why(c) for c in conditions if not c.passed)
    seen = pictures or ("real" if images else "drawn")
    if 0 < len(images) < PATIENTS[3]:
        seen += f" ({len(images)}, and turned and stretched copies)"
    took = round(time.monotonic() - started, 2)
    return Looked(card.id, card.version, dict(card.files), code, seen, tuple(conditions), why, REVISION, took)


def refusal(looked: Looked) -> NotLooking:
    """The error of a model that did not pass, with the figures."""
    return NotLooking(
        f"{looked.model} does not look at the image it is asked about ({looked.pictures} pictures): {looked.why}",
        f"models of whose answers more than {FLOOR:.0%} change with the picture, in every condition of docs/looking.md",
        f"see all figures, or show it real pictures: attending models check {looked.model} [--data SET]; "
        "else choose another model",
    )


def _why(condition: Condition) -> str:
    """The failed condition in few words: ``attending models check`` prints the whole."""
    if condition.name == "again":
        return f"shown the same picture again, {condition.changed} of {condition.asked} answers change"
    low, high = condition.share.low, condition.share.high
    return f"{WORDS[condition.name]} changes {condition.more} of {condition.asked} answers ({low:.0%} to {high:.0%})"


def _shown(card: Card, images: Sequence[Image]) -> tuple[Image, ...]:
    count = PATIENTS[2 if 2 in card.dims else 3]
    if not images:
        return patients(card, count)
    if len(images) < PATIENTS[3]:
        return completed(alike(images), PATIENTS[3])
    order = np.random.default_rng(REVISION).permutation(len(images))[:count]  # sets come sorted by class
    return alike([images[i] for i in order])


class _Watch:
    """Counts calls, tells the progress, and gives up where the budget would not do."""

    def __init__(self, id: str, calls: int, budget_s: float | None, progress: Progress | None) -> None:
        self.id, self.calls, self.budget, self.progress = id, calls, budget_s, progress
        self.done, self.started, self.quickest = 0, time.monotonic(), float("inf")

    def timed(self, call: Callable[[], Any]) -> Any:
        before = time.monotonic()
        answer = call()
        now = time.monotonic()
        self.done += 1
        self.quickest = min(self.quickest, now - before)
        if self.progress:
            self.progress(self.done / self.calls, "looking")
        if self.budget is not None and self.done >= 3:
            whole = self.quickest * self.calls
            if whole > self.budget or now - self.started > 2 * self.budget:
                raise NotLooking(
                    f"{self.id} has not yet shown that it looks at images: that takes {self.calls} answers, about "
                    f"{max(1, round(whole / 60))} min here",
                    f"models that have, or can within {self.budget:.0f} s",
                    f"run once: attending models check {self.id}",
                )
        return answer


Key = tuple[str, int, str]


class _Plan:
    """Every call of one protocol: which picture, changed how, with which question."""

    def __init__(self, eye: Eye, shown: Sequence[Image]) -> None:
        self.eye, self.rng = eye, np.random.default_rng(REVISION)
        asked = len(eye.questions) > 1
        self.images = tuple(shown[:READ]) if asked else tuple(shown)
        n = len(self.images)
        each = range(min(EACH, len(eye.questions)))
        self.pairs = [(i, eye.questions[(i + 2 * k) % len(eye.questions)]) for i in range(n) for k in each]
        self.pictures: dict[Key, tuple[Image, ...]] = {}
        for number, (i, question) in enumerate(self.pairs):
            image, other = self.images[i], self.images[self._partner(i, question)]
            self.pictures["real", i, question] = (image,)
            self.pictures["twin", i, question] = (twin(image, self.rng),)
            self.pictures["shuffled", i, question] = (shuffled(image, self.rng),)
            self.pictures["middle", i, question] = (middle_of(image, other),)
            if number < AGAIN[2 if self.images[0].voxels.shape[0] == 1 else 3]:
                self.pictures["again", i, question] = (image,)
        for question in dict.fromkeys(question for _, question in self.pairs):
            self.pictures["blank", 0, question] = (blank(self.images),)
            if eye.blind:
                self.pictures["alone", 0, question] = ()

    @property
    def calls(self) -> int:
        return len(self.pictures)

    def _partner(self, i: int, question: str) -> int:
        """The next patient who is asked the same."""
        asked = [j for j, other in self.pairs if other == question]
        return asked[(asked.index(i) + 1) % len(asked)]

    def ask(self, plugin: Any, watch: _Watch) -> list[Condition]:
        """All calls in a shuffled order, so that no memory of the call before can look like looking."""
        keys = list(self.pictures)
        answers: dict[Key, Any] = {}
        for n in self.rng.permutation(len(keys)):
            key = keys[n]

            def call(key: Key = key) -> Any:
                return self.eye.look(plugin, self.pictures[key], key[2])

            try:
                answers[key] = watch.timed(call)
            except AttendingError:
                raise
            except (Exception, SystemExit) as failed:
                raise PluginFailed(
                    f"{watch.id} failed while it was shown {WORDS.get(key[0], 'a picture')}: "
                    f"{type(failed).__name__}: {failed}",
                    "plugins that answer, or refuse by an error of attending.errors",
                    "ask its author",
                ) from failed
        names = ["again", "twin", *(c for c in DECIDES if c != "alone" or self.eye.blind)]
        return [self._condition(name, answers) for name in names]

    def _condition(self, name: str, answers: Mapping[Key, Any]) -> Condition:
        apart, than = [], []
        for i, question in self.pairs:
            key = self._compared(name, i, question)
            if key not in answers:
                continue
            real = answers["real", i, question]
            apart.append(self.eye.distance(real, answers[key]))
            than.append(self.eye.distance(real, answers["twin", i, question]))
        d, by_itself, least = np.array(apart), np.array(than), self.eye.least
        return Condition(
            self.eye.protocol,
            name,
            asked=len(d),
            changed=int((d > least).sum()),
            more=int((d > by_itself + least).sum()),
            less=int((by_itself > d + least).sum()),
            mean=round(float(d.mean()), 6),
            most=round(float(d.max()), 6),
            unit=self.eye.unit,
        )

    def _compared(self, name: str, i: int, question: str) -> Key:
        if name == "swapped":
            return "real", self._partner(i, question), question
        return name, 0 if name in ("blank", "alone") else i, question


__all__ = ["Condition", "Looked", "look", "refusal"]
