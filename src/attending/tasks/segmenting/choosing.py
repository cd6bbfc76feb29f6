"""Which engine answers: the one asked for, or for each prompt mode the one that was measured best and is here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import models
from ...errors import AttendingError, NotAdmitted, PromptRefused
from ...models.prompt_rules import modes_of
from ...records import ImageFacts, Prompts

if TYPE_CHECKING:
    from ...site import Site

FALLBACK = "classical"
"""Weightless, any modality, planes and volumes: where nothing better is here."""
MEASURED_AS = {"point": "point", "box": "box", "scribble": "scribble", "lasso": "box", "mask": "points"}
"""The mode of engines.json that stands for a mode that was not measured by itself."""


@dataclass(frozen=True)
class Chosen:
    """An engine and why it was taken."""

    id: str
    plugin: Any = field(repr=False)
    why: str = ""


@dataclass
class Tools:
    """What a session may use: the models of a site, loaded when they are needed and kept."""

    site: Site
    cache: Path
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)

    def load(self, id: str) -> Any:
        """The plugin; raises the ModelRefused that ``models.load`` says."""
        if id not in self._loaded:
            self._loaded[id] = models.load(id, self.site, self.cache)
        return self._loaded[id]

    def statuses(self, protocol: str) -> Iterator[models.Status]:
        """Every known model of a protocol but the one for tests, usable or not."""
        for status in models.installed(self.site, self.cache):
            if protocol in status.card.protocols and status.card.use == "care":
                yield status


@once
def measured() -> dict[str, dict[str, dict[str, Any]]]:
    """engines.json: "2" or "3" -> mode -> {"engine": id, "dice": {id: mean}}; written by benchmarks/prompts.py."""
    document = json.loads(Path(__file__).with_name("engines.json").read_text(encoding="utf-8"))
    table: dict[str, dict[str, dict[str, Any]]] = document["dims"]
    return table


def choose(tools: Tools, facts: ImageFacts, prompts: Prompts, model: str | None = None) -> Chosen:
    """The engine for these prompts on this image.

    Raises what loading ``model`` raises, NotAdmitted where its card does not admit the image, and PromptRefused where
    it does not take these prompts.
    """
    modes = [mode for mode in modes_of(prompts) if mode not in ("text", "none")]
    if model is not None:
        return _asked_for(tools, facts, modes, model)
    for id in _ranked(facts, modes):
        try:
            plugin = tools.load(id)
        except AttendingError:
            continue  # not here: the next best answers
        if models.admit(plugin.card, facts) is None and all(mode in plugin.modes for mode in modes):
            return Chosen(id, plugin, f"{id}: the default for {', '.join(modes) or 'any prompt'}")
    return Chosen(FALLBACK, tools.load(FALLBACK), f"{FALLBACK}: the default where nothing else is installed")


def _asked_for(tools: Tools, facts: ImageFacts, modes: list[str], model: str) -> Chosen:
    plugin = tools.load(model)
    if "Prompted" not in models.protocols_of(plugin):
        raise PromptRefused(
            f"{model} is no model that is pointed at ({', '.join(models.protocols_of(plugin))})",
            "models of the protocol Prompted",
            "see `attending models list`, or leave --model out",
        )
    reason = models.admit(plugin.card, facts)
    if reason:
        raise NotAdmitted(reason, plugin.card.intended_use, "choose another model, or leave --model out")
    lacking = [mode for mode in modes if mode not in plugin.modes]
    if lacking:
        raise PromptRefused(
            f"a {lacking[0]} prompt, which {model} does not take",
            f"what it takes: {', '.join(plugin.modes)}",
            "use one of these, or leave --model out",
        )
    return Chosen(model, plugin, f"{model}: asked for")


def _ranked(facts: ImageFacts, modes: list[str]) -> list[str]:
    """Best measured first, by the first mode given (a box says more than the clicks that go with it)."""
    dims = "3" if facts.shape[0] > 1 and facts.axis == "space" else "2"
    order = sorted(modes, key=lambda m: ("box", "mask", "lasso", "scribble", "point").index(m))
    row = measured().get(dims, {}).get(MEASURED_AS[order[0]] if order else "point", {})
    scores: dict[str, float] = row.get("dice", {})
    return sorted(scores, key=lambda id: (id != row.get("engine"), -scores[id]))
