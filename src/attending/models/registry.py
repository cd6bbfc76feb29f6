"""The one door to models: entry points of the group ``attending.models``, the licence gate, proved files, a plugin.

Built-in models come in by the same door as anyone's. A plugin that cannot be loaded is a named error; the others load.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import (
    AttendingError,
    ExtraMissing,
    LicenceRefused,
    ModelRefused,
    PluginFailed,
    UnknownModel,
)
from .card import Card
from .catalog import Entry, catalog, entry
from .looked import known_blind, refuse_unless_looking
from .looking import refusal
from .own import Own, card_or_refusal, own, own_ids
from .protocols import Setup, protocols_of
from .pull import files_of, hashes_of, refuse_unless_licensed

if TYPE_CHECKING:
    from ..site import Site

GROUP = "attending.models"
EXTRAS = {"torch": ("torch", "transformers")}
"""The libraries that an extra brings and a plugin of it needs."""


@dataclass(frozen=True)
class Status:
    """Whether a model can be used here. why and do are "" where it can."""

    card: Card
    usable: bool
    why: str = ""
    do: str = ""


def load(id: str, site: Site, cache: Path, *, unseeing: bool = False) -> Any:
    """The plugin with this id, ready to use: licensed, its files proved against their hashes, its contract kept, and,
    where it answers about images, known to look at them (docs/looking.md; asked once, at first use).

    unseeing   let in what has not passed that gate: only for asking it.

    Raises UnknownModel, LicenceRefused, ExtraMissing, NotPulled, HashMismatch, NotLooking, or PluginFailed, which names
    the plugin.
    """
    mine = own(id, site)
    if mine is not None:
        return _own(mine, site, cache, unseeing)
    known = _known(id)
    point = _points().get(id)
    if known is None and point is None:
        return entry(id)  # raises UnknownModel with the nearest ids
    if known is not None:
        refuse_unless_licensed(known, site.models.accept_unlicensed)
    made = _imported(id, point)
    card = _card(id, known, made, cache)
    if known is None and card.licence is None and id not in site.models.accept_unlicensed:
        raise LicenceRefused(
            f"the card of {id} states no licence",
            "models whose licence is stated, or whose id the site accepts",
            f'ask its author; or, having cleared it, add "{id}" to models.accept_unlicensed in site.toml',
        )
    _refuse_without_extra(card)
    files = files_of(known, cache, prove=True) if known else {}
    plugin = _built(made, Setup(id, card, files, site.models.threads, site.models.precision))
    if not unseeing:
        refuse_unless_looking(plugin, cache)
    return plugin


def card_of(id: str, cache: Path, site: Site | None = None) -> Card:
    """The card by id, with the hashes of the converted files where they are pulled. Licence or not: a card may be read.

    site   also look among the models that it adds.

    Raises UnknownModel, and PluginFailed where the card can only be had from a plugin that does not load.
    """
    mine = own(id, site) if site is not None else None
    if mine is not None:
        return mine.card
    known = _known(id)
    if known is not None:
        return _card(id, known, None, cache)
    point = _points().get(id)
    if point is None:
        entry(id)
    return _card(id, None, _imported(id, point), cache)


def installed(site: Site, cache: Path) -> tuple[Status, ...]:
    """Every model of the catalog and every other plugin, in order, with what to do about those that cannot be used.

    Never raises for a plugin's sake. Sizes of files are compared, hashes are not: ``load`` does that.
    """
    points = _points()
    models = [e for e in catalog() if e.kind == "model"]
    others = sorted(set(points) - {e.id for e in models})
    return (
        *(_status(e, points.get(e.id), site, cache) for e in models),
        *(_other(id, points[id], site, cache) for id in others),
        *(_own_status(id, site, cache) for id in own_ids(site)),
    )


def _status(known: Entry, point: EntryPoint | None, site: Site, cache: Path) -> Status:
    shown = _card(known.id, known, None, cache)
    try:
        refuse_unless_licensed(known, site.models.accept_unlicensed)
        made = _imported(known.id, point)
        _refuse_without_extra(shown)
        files_of(known, cache)
        _refuse_known_blind(shown, made, cache)
    except ModelRefused as refused:
        return Status(shown, False, refused.seen, refused.do)
    return Status(shown, True)


def _other(id: str, point: EntryPoint, site: Site, cache: Path) -> Status:
    try:
        made = _imported(id, point)
        shown = _card(id, None, made, Path())
        if shown.licence is None and id not in site.models.accept_unlicensed:
            do = f'clear it and add "{id}" to models.accept_unlicensed in site.toml'
            return Status(shown, False, f"the card of {id} states no licence", do)
        _refuse_without_extra(shown)
        _refuse_known_blind(shown, made, cache)
    except ModelRefused as refused:
        blank = Card(id, "", f"plugin {point.value}", (), "", None, "view")
        return Status(blank, False, refused.seen, refused.do)
    return Status(shown, True)


def _own(mine: Own, site: Site, cache: Path, unseeing: bool) -> Any:
    _refuse_own(mine.card, site)
    plugin = _built(mine.made, Setup(mine.card.id, mine.card, mine.files(), site.models.threads, site.models.precision))
    if not unseeing:
        refuse_unless_looking(plugin, cache)
    return plugin


def _own_status(id: str, site: Site, cache: Path) -> Status:
    shown, mine, why = card_or_refusal(id, site)
    if why is None and mine is not None:
        try:
            _refuse_own(shown, site)
            # Building one loads nothing and sends nothing; it looks at its address, folder or interpreter.
            _built(mine.made, Setup(id, shown, mine.files(), site.models.threads, site.models.precision))
            _refuse_known_blind(shown, mine.kind, cache)
        except ModelRefused as refused:
            why = refused
    return Status(shown, why is None, why.seen if why else "", why.do if why else "")


def _refuse_own(card: Card, site: Site) -> None:
    if any(e.id == card.id for e in catalog()) or card.id in _points():
        raise PluginFailed(
            f"site.toml gives a model the id {card.id}, which is another model's", "an id of its own", "rename it there"
        )
    if card.licence is None and card.id not in site.models.accept_unlicensed:
        raise LicenceRefused(
            f"{card.id} of this site states no licence",
            "models whose licence is stated, or whose id the site accepts",
            f'state it; or, having cleared it, add "{card.id}" to models.accept_unlicensed in site.toml',
        )


def _refuse_known_blind(card: Card, made: Any, cache: Path) -> None:
    seen = known_blind(card, made, cache)
    if seen is not None:
        raise refusal(seen)


def _known(id: str) -> Entry | None:
    found = next((e for e in catalog() if e.id == id), None)
    if found is not None and found.kind != "model":
        raise UnknownModel(
            f"{id!r} is a data set, not a model", "the models of the catalog", f"run: attending data pull {id}"
        )
    return found


def _points() -> Mapping[str, EntryPoint]:
    """Entry points by name. Where two packages claim one name the built-in keeps it, else nobody does."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        first = found.get(point.name)
        if first is None or _ours(point):
            found[point.name] = point
        elif first.value != point.value and not _ours(first):
            found[point.name] = EntryPoint(point.name, f"{first.value} and {point.value}", GROUP)
    return found


def _ours(point: EntryPoint) -> bool:
    return point.value.startswith("attending.")


def _imported(id: str, point: EntryPoint | None) -> Any:
    if point is None:
        raise PluginFailed(
            f"no plugin here runs {id}",
            "models with an entry point in the group attending.models",
            f"install a package that provides {id}, or choose another model",
        )
    if " and " in point.value:
        raise PluginFailed(
            f"two packages provide a model {id}: {point.value}", "one package for an id", "uninstall one of them"
        )
    try:
        return point.load()
    except (Exception, SystemExit) as failed:
        raise _failed(id, point.value, "importing it", failed) from failed


def _card(id: str, known: Entry | None, made: Any, cache: Path) -> Card:
    if known is not None:
        hashes = hashes_of(known, cache)
        return replace(known.card, files=hashes) if hashes else known.card
    shown = getattr(made, "card", None)
    if not isinstance(shown, Card) or shown.id != id:
        raise PluginFailed(
            f"the plugin {id} has no card of that id",
            "a class attribute card: Card whose id is the entry point's name",
            "ask its author; docs/add-a-model.md shows one",
        )
    return shown


def _refuse_without_extra(card: Card) -> None:
    needed = EXTRAS.get(card.extra, (card.extra,)) if card.extra else ()
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ExtraMissing(
            f"{card.id} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            "models whose libraries are installed",
            f"in the folder of attending's source: pip install -c constraints.txt '.[{card.extra}]'",
        )


def _built(made: Any, setup: Setup) -> Any:
    try:
        plugin = made(setup)
        shown, found = getattr(plugin, "card", None), protocols_of(plugin)
    except AttendingError:
        raise
    except (Exception, SystemExit) as failed:
        raise _failed(setup.id, getattr(made, "__module__", "?"), "building it", failed) from failed
    missing = [name for name in setup.card.protocols if name not in found]
    if not isinstance(shown, Card) or shown.id != setup.id or missing or not found:
        raise PluginFailed(
            f"the plugin {setup.id} does not keep its contract: "
            + (f"no methods of {', '.join(missing)}" if missing else "no card of that id, or no protocol"),
            "card, and the methods of the protocols that the card names",
            "ask its author; `attending models check` names what is missing",
        )
    return plugin


def _failed(id: str, where: str, doing: str, error: BaseException) -> PluginFailed:
    return PluginFailed(
        f"the plugin {id} ({where}) failed while {doing}: {type(error).__name__}: {error}",
        "plugins that load",
        f"mend or uninstall the package that provides {id}; other models are not affected",
    )


__all__ = ["GROUP", "Status", "card_of", "installed", "load"]
