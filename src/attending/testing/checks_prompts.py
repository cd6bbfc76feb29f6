"""Checks of what is pointed at or told a word: Prompted, Locator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import PromptRefused
from ..records import Image, Located, Masked, Point, Prompts, Stroke
from .checks_images import refuses
from .running import Run, equal, print_of

MODES = ("point", "box", "scribble", "lasso", "mask", "text", "none")
WORD = "brain"
PHRASES = ("the brightest structure", "a left-sided pneumothorax", "zzz")


def prompted(run: Run, image: Image) -> None:
    modes = getattr(run.plugin, "modes", ())
    with run.check("Prompted: modes"):
        run.expect(bool(modes) and set(modes) <= set(MODES), f"modes {modes!r}, allowed: {', '.join(MODES)}")
        run.detail = ", ".join(modes)
    with run.check("Prompted: session"):
        before = print_of(image)
        session = run.plugin.session(image)
        run.expect(print_of(image) == before, "it changed the image's voxels")
    if not run.results[-1].ok:
        return
    prompts = {mode: prompt for mode, prompt in _prompts(image).items() if mode in modes}
    for mode, prompt in prompts.items():
        with run.check(f"Prompted: {mode}"):
            got = session.predict(prompt)
            _mask(run, image, got)
            run.detail = f"{int(got.mask.sum())} voxels" + (f" ({'; '.join(got.notes)})" if got.notes else "")
    with run.check("Prompted: same prompts, same mask"):
        first, *others = prompts.values()
        once = session.predict(first).mask.copy()
        for other in others:
            session.predict(other)
        run.expect(equal(once, session.predict(first).mask), "after other prompts the same prompts give another mask")
        fresh = run.plugin.session(image)
        run.expect(equal(once, fresh.predict(first).mask), "a fresh session gives another mask")
        fresh.close()
    with run.check("Prompted: changed box"):
        last = session.predict(first).mask.copy()
        got = session.predict(others[0] if others else first)
        moved = np.argwhere(got.mask != last)
        run.expect(
            (got.changed is None) == (not len(moved)), f"{len(moved)} voxels changed, changed says {got.changed}"
        )
        if got.changed is not None:
            low, high = moved.min(axis=0)[::-1], moved.max(axis=0)[::-1]
            box = np.array(got.changed)
            run.expect(bool((box[:3] <= low).all() and (box[3:] >= high).all()), "changed leaves out voxels that did")
    for name, bad in _bad(image, modes).items():
        with run.check(f"Prompted: refuses {name}"):
            _refused(run, lambda bad=bad: session.predict(bad))  # type: ignore[misc]
    with run.check("Prompted: works on after a refusal"):
        run.expect(equal(once, session.predict(first).mask), "after a refusal the same prompts give another mask")
    with run.check("Prompted: close"):
        session.close()
        session.close()
    with run.check("Prompted: refuses what the card does not admit"):
        refuses(run, lambda other: run.plugin.session(other), image)


def locator(run: Run, image: Image) -> None:
    for phrase in PHRASES:
        with run.check(f"Locator: {phrase}"):
            before = print_of(image)
            got = run.plugin.locate(image, phrase)
            _places(run, image, phrase, got)
            run.expect(print_of(image) == before, "it changed the image's voxels")
            again = run.plugin.locate(image, phrase)
            same = [(p.score, p.box) for p in got] == [(p.score, p.box) for p in again]
            run.expect(same, "asked again it finds other places")
            run.detail = f"{len(got)} places"
    with run.check("Locator: refuses what the card does not admit"):
        refuses(run, lambda other: run.plugin.locate(other, PHRASES[0]), image)


def _prompts(image: Image) -> dict[str, Prompts]:
    """One of each kind, in and around the middle."""
    shape = image.voxels.shape[:3]
    z, y, x = (n // 2 for n in shape)
    r = max(2, min(shape[1:]) // 6)
    mask = np.zeros(shape, dtype=bool)
    mask[z, y - r : y + r, x - r : x + r] = True
    ring = ((x - r, y - r, z), (x + r, y - r, z), (x + r, y + r, z), (x - r, y + r, z))
    return {
        "point": Prompts(points=(Point((x, y, z)),)),
        "box": Prompts(box=(x - 2 * r, y - 2 * r, z, x + 2 * r, y + 2 * r, z)),
        "scribble": Prompts(strokes=(Stroke(tuple((x + i, y, z) for i in range(-r, r))),)),
        "lasso": Prompts(strokes=(Stroke(ring, closed=True),)),
        "mask": Prompts(mask=mask),
        "text": Prompts(text=WORD),
        "none": Prompts(),
    }


def _bad(image: Image, modes: tuple[str, ...]) -> dict[str, Prompts]:
    planes, rows, columns = image.voxels.shape[:3]
    voxel = (columns // 2, rows // 2, planes // 2)
    good = _prompts(image)
    return {
        **({} if "none" in modes else {"no prompt at all": Prompts()}),
        "a point outside the image": Prompts(points=(Point((columns, 0, 0)),)),
        "a box outside the image": Prompts(box=(0, 0, 0, columns, rows - 1, planes - 1)),
        "one voxel as positive and negative": Prompts(points=(Point(voxel), Point(voxel, positive=False))),
        **{f"a {mode} prompt": good[mode] for mode in MODES[:-1] if mode not in modes},
    }


def _refused(run: Run, ask: Callable[[], Masked]) -> None:
    try:
        ask()
    except PromptRefused as refused:
        run.detail = f"refused: {refused.seen}"
        return
    run.expect(False, "it answered")


def _mask(run: Run, image: Image, got: Any) -> None:
    run.expect(isinstance(got, Masked), f"predict gave a {type(got).__name__}, not a Masked")
    grid = tuple(image.voxels.shape[:3])
    run.expect(
        got.mask.shape == grid and got.mask.dtype == bool, f"mask {got.mask.dtype} {got.mask.shape}, image {grid}"
    )
    run.expect(got.score is None or bool(np.isfinite(got.score) and 0 <= got.score <= 1), f"score {got.score}")
    run.expect(bool(got.mask.any() or got.notes), "an empty mask without the reason in notes")


def _places(run: Run, image: Image, phrase: str, got: Any) -> None:
    run.expect(isinstance(got, tuple), f"locate gave a {type(got).__name__}, not a tuple")
    run.expect(all(isinstance(place, Located) for place in got), "a place that is no Located")
    scores = [place.score for place in got]
    run.expect(all(np.isfinite(s) and 0 <= s <= 1 for s in scores), f"scores {scores}")
    run.expect(scores == sorted(scores, reverse=True), "places are not sorted, best first")
    size = image.voxels.shape[2::-1]
    for place in got:
        run.expect(place.box is not None or place.heatmap is not None, "a place with neither box nor heat map")
        if place.box is not None:
            low, high = place.box[:3], place.box[3:]
            held = all(0 <= a <= b < n for a, b, n in zip(low, high, size, strict=True))
            run.expect(held, f"box {place.box} in an image of {size}")
        if place.heatmap is not None:
            heat = place.heatmap
            fits = heat.shape == tuple(image.voxels.shape[:3]) and heat.dtype == np.float32
            run.expect(fits, f"heat map {heat.dtype} {heat.shape}")
            run.expect(bool(np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1), "heat map outside 0..1")
