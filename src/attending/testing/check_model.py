"""The conformance test that every model must pass, built-in or anyone's. In prose first, then run.

1.  A model has a card of its id, with version, title, intended use and limits, and the methods of each protocol that
    the card names. A card without a licence is told, because the licence gate will refuse it.
2.  It never changes the image it is given, and the same image gives the same answer.
3.  It refuses, by NotAdmitted, what its card does not admit.
4.  It looks: a phantom, the phantom mirrored, noise and a blank image do not all give one answer. (A refusal is an
    answer.) A network that answers alike for noise and for a patient is worse than none.
5.  Segmenter: labels on the image's own grid (z, y, x), unsigned, each value named; where it worked on another grid,
    that too, with its spacing.
6.  Detector: one Detection per label of the card, with that label's code; scores finite in 0..1; heat maps, where
    there are any, float32 (z, y, x) in 0..1 on the image's grid.
7.  Encoder: float32 (n, d), finite, of one length for every image; a row does not depend on its neighbours; an empty
    list gives (0, d); a space with a name.
8.  Writer: text within max_tokens; JSON that fits a schema unless it stopped early, and says so; ends soon after its
    time; the same messages give the same text and other messages another; closes, twice.
9.  Prompted: modes in known words; a mask, bool (z, y, x) on the image's grid, for a prompt of each; an empty mask says
    why; prompts replace those of the call before, so that the same prompts give the same mask in any session and after
    any refusal; ``changed`` holds all that changed; prompts that are empty, outside the image, contradictory or of a
    kind it does not take are PromptRefused; a session closes, twice.
10. TextEncoder: like Encoder, for any text, empty and long ones too; where it encodes images as well, vectors of one
    length.
11. Locator: places sorted by score, best first; boxes inside the image, heat maps as a Detector's; asked again, the
    same.
12. Reader: an Answer that rests on images it was given and on nothing else; within max_tokens; soon after its time;
    asked again, the same; without an image it rests on none; no question and no length of one makes it crash; closes,
    twice.
13. It passes the image-dependence gate, for every protocol that answers about images: docs/looking.md.
14. Whatever happens, it raises errors of attending.errors and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..models import Card, Looked, look, protocols_of
from ..models.eyes import eyes_of
from ..models.looking import WORDS
from ..records import Code, Image
from . import checks_images, checks_language, checks_prompts
from .running import Broken, CheckResult, Run, shown_to


def check_model(
    plugin: Any, images: Sequence[Image] = (), *, looked: Looked | None = None, ask: bool = True
) -> list[CheckResult]:
    """Run the contract on a plugin as ``models.load`` gives it, and close it if it is a Writer or a Reader.

    images   real images that the card admits, looked at beside the phantoms: a trained network that takes every phantom
             for the same nothing can show with them that it looks. Eight or more are what the gate shows it.
    looked   what the gate has seen already (``models.look``); None to ask it here: many images for a slow model.
    ask      False leaves out point 13 where nothing was seen already.

    Raises nothing: what goes wrong is a result that is not ok.
    """
    run = Run(plugin)
    with run.check("card"):
        _card(run)
    if not isinstance(getattr(plugin, "card", None), Card):
        return run.results
    kinds = protocols_of(plugin)
    with run.check("protocols"):
        run.expect(bool(kinds), "it has the methods of no protocol")
        missing = [name for name in plugin.card.protocols if name not in kinds]
        run.expect(not missing, f"no methods of {', '.join(missing)}, which the card names")
        run.detail = ", ".join(kinds)
    shown = shown_to(plugin.card, images)
    first = shown[0][1]
    if "Segmenter" in kinds:
        checks_images.looks(run, "Segmenter", lambda image: plugin.segment(image), checks_images.segmentation, shown)
    if "Prompted" in kinds:
        checks_prompts.prompted(run, first)
    if "Detector" in kinds:
        checks_images.looks(run, "Detector", lambda image: plugin.detect(image), checks_images.detections, shown)
    if "Locator" in kinds:
        checks_prompts.locator(run, first)
    if "Encoder" in kinds:
        checks_images.looks(run, "Encoder", lambda image: plugin.encode([image]), checks_images.vectors, shown)
        checks_images.encoder(run, shown)
    if "TextEncoder" in kinds:
        checks_language.text_encoder(run, first if "Encoder" in kinds else None)
    if "Reader" in kinds:
        checks_language.reader(run, first)
    if eyes_of(plugin) and (looked or ask):
        _gate(run, images, looked)
    if "Writer" in kinds:
        checks_language.writer(run)
    if {"Writer", "Reader"} & set(kinds):
        with run.check("close"):
            plugin.close()
            plugin.close()
    return run.results


def _gate(run: Run, images: Sequence[Image], looked: Looked | None) -> None:
    """One result for each protocol and condition of the gate; one alone where it could not be asked."""
    seen = [looked] if looked else []
    if not seen:
        with run.check("looking"):
            seen.append(look(run.plugin, images if len(images) >= 8 else ()))
            run.detail = f"{seen[0].pictures} pictures, {seen[0].seconds:.0f} s"
    for condition in seen[0].conditions if seen else ():
        with run.check(f"{condition.protocol}: looking: {WORDS[condition.name]}"):
            run.expect(condition.passed, condition.figures)
            run.detail = condition.figures


def _card(run: Run) -> None:
    card = getattr(run.plugin, "card", None)
    if not isinstance(card, Card):
        raise Broken("plugin.card is no Card")
    empty = [name for name in ("id", "version", "title", "engine", "intended_use", "limits") if not getattr(card, name)]
    run.expect(not empty, f"empty: {', '.join(empty)}")
    run.expect(bool(card.protocols), "the card names no protocol")
    run.expect(set(card.dims) <= {2, 3} and bool(card.dims), f"dims {card.dims}, allowed 2 and 3")
    run.expect(card.use in ("care", "teach", "view"), f"use {card.use!r}")
    run.expect(all(isinstance(code, Code) for code in card.labels.values()), "a label without a Code")
    json.dumps(card.as_dict())
    run.detail = (
        f"licence {card.licence}" if card.licence else "no licence: the licence gate refuses it unless accepted"
    )
