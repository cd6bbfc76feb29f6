"""Models that the site file adds ([[servers]], [[folders]], [[environments]]): card and plugin, by the same gates.

A wrong table is that model's error and nobody else's. An id of the catalog stays the catalog's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelRefused, PluginFailed
from .card import Card
from .chat import Endpoint
from .protocols import Setup

if TYPE_CHECKING:
    from ..site import Environment, Folder, Server, Site


@dataclass(frozen=True)
class Own:
    """card, the plugin's class, and how one is made. files: proved just before it is made."""

    card: Card
    kind: Any
    made: Callable[[Setup], Any]
    files: Callable[[], Mapping[str, Path]] = field(default=dict)


def own(id: str, site: Site) -> Own | None:
    """The model that site.toml adds under this id, or None. Raises PluginFailed for a table that cannot be used."""
    for server in site.servers:
        if server.id == id:
            return _server(server)
    for folder in site.folders:
        if folder.id == id:
            return _folder(folder, site)
    for environment in site.environments:
        if environment.id == id:
            return _environment(environment, site)
    return None


def own_ids(site: Site) -> tuple[str, ...]:
    """In the file's order: servers, folders, environments."""
    return tuple(row.id for rows in (site.servers, site.folders, site.environments) for row in rows)


def card_or_refusal(id: str, site: Site) -> tuple[Card, Own | None, ModelRefused | None]:
    """For listings: the card, or a blank one and why there is none."""
    try:
        found = own(id, site)
    except ModelRefused as refused:
        return Card(id, "", "a model of this site", (), "", None, "view"), None, refused
    if found is None:
        raise ValueError(f"no model {id} in site.toml")
    return found.card, found, None


def _server(server: Server) -> Own:
    from .openai_server import ServerModel, ServerReader, ServerWriter

    protocols = tuple(p for p in ("Writer", "Reader") if p in server.protocols)
    if not protocols:
        raise PluginFailed(f"the server {server.id} without protocols", "Writer, Reader or both", "mend site.toml")
    endpoint = Endpoint(server.id, server.url, server.model, server.key_env, server.allow_remote)
    use: Any = server.use
    wanted: Any = protocols
    card = Card(
        server.id,
        version=server.model,
        title=f"{server.model} behind a server of this site",
        protocols=wanted,
        engine="openai",
        licence=server.licence or None,
        use=use,
        source="a server that site.toml names",
        # Not a file: so that what was seen of one address and model is never taken for another's.
        files={"address-and-model": hashlib.sha256(f"{server.url} {server.model}".encode()).hexdigest()},
        modalities=server.modalities,
        views=server.views,
        body_parts=server.body_parts,
        intended_use="what its publisher says; see the licence and card of the served model",
        limits="another program answers: whether it still serves the same weights cannot be seen from here",
        training_data="as its publisher says",
    )
    kind: Any = ServerModel
    if len(protocols) == 1:
        kind = ServerWriter if protocols[0] == "Writer" else ServerReader
    return Own(card, kind, lambda setup: kind(setup, endpoint))


def _folder(folder: Folder, site: Site) -> Own:
    path = site.home / folder.path  # an absolute path stays itself
    if not path.is_dir():
        raise PluginFailed(
            f"no folder where {folder.id} should lie", "a folder", f"mend path of {folder.id} in site.toml"
        )
    if folder.kind == "monai":
        from .monai_bundle import MonaiBundle, described, files_of

        card, bundle = described(path, folder.id, folder.licence)
        return Own(
            card,
            MonaiBundle,
            lambda setup: MonaiBundle(setup, bundle, folder.python or None),
            lambda: files_of(bundle),
        )
    if folder.kind == "gguf":
        from . import llama_reader

        card, files = llama_reader.described(path, folder.id, folder.licence)
        return Own(card, llama_reader.LlamaReader, llama_reader.LlamaReader, lambda: files)
    from . import onnx_generic

    card, recipe = onnx_generic.described(path, folder.id)
    kind: Any = onnx_generic.KINDS[card.protocols[0]]
    return Own(card, kind, lambda setup: kind(setup, recipe), lambda: onnx_generic.files_of(path, folder.id, recipe))


def _environment(environment: Environment, site: Site) -> Own:
    from .environments import KINDS, card_of

    card = card_of(environment)
    kind: Any = KINDS[environment.program]
    return Own(card, kind, lambda setup: kind(setup, environment, site.home))
