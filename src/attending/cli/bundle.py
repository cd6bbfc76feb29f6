"""bundle: MONAI bundles, looked at, prepared and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .common import Home, Json, emit, say

bundle_app = typer.Typer(no_args_is_help=True, help="MONAI bundles: read, prepare, write.")
FolderArgument = Annotated[Path, typer.Argument(help="The bundle's folder.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(bundle_app, name="bundle")


@bundle_app.command()
def read(folder: FolderArgument, as_json: Json = False) -> None:
    """Say what a bundle is and would do here, without running anything of it."""
    from ..models.monai_bundle import described

    card, bundle = described(folder, folder.resolve().name)
    facts = {
        "version": card.version,
        "title": card.title,
        "engine": card.engine,
        "weights": bundle.weights.name,
        "modalities": list(card.modalities),
        "labels": list(card.labels),
        "orientation": bundle.orientation,
        "spacing_mm": list(bundle.spacing_mm) if bundle.spacing_mm else None,
        "roi": list(bundle.roi),
        "steps": [name for name, _ in bundle.steps],
        "notes": list(bundle.notes),
    }
    if as_json:
        emit(id=card.id, **facts)
        return
    for name, value in facts.items():
        say(f"{name.replace('_', ' ')}: {json.dumps(value) if isinstance(value, list) else value}")


@bundle_app.command()
def prepare(folder: FolderArgument, as_json: Json = False) -> None:
    """Make models/model.safetensors of model.pt or model.ts, once, without running what is in it."""
    from ..models.monai_bundle import prepare as made

    path = made(folder, folder.resolve().name)
    if as_json:
        emit(path=str(path))
    else:
        say(str(path))


@bundle_app.command()
def write(
    id: Annotated[str, typer.Argument(help="A pulled MeshNet: brainchop-...")],
    folder: Annotated[Path, typer.Argument(help="A new folder for the bundle.")],
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Write one of our models as a MONAI bundle, which MONAI's own tools load and run."""
    from .. import models
    from ..api import Hospital
    from ..models.monai_write import write as written

    with Hospital(home) as hospital:
        path = written(hospital.card(id), models.files(id, hospital.cache), folder)
    if as_json:
        emit(id=id, path=str(path))
    else:
        say(str(path))
