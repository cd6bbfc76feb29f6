"""Admission by looking: what the gate saw is kept by the model's hashes, and who has not passed may not answer.

Records of built-in models come with the package (``looked.json``); others are made at first use, within a minute, and
kept in the cache. A record holds no picture and nothing of a patient. Its own sha256 is against accident: whoever can
write into the cache can change the models there too.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache as once
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from ..records import Image
from .card import Card
from .eyes import eyes_of
from .looking import REVISION, Condition, Looked, look, refusal
from .protocols import Progress

SCHEMA = 1
GATED = ("Reader", "Detector", "Locator", "Writer")
"""What answers about an image in words, scores or places; a Writer only where it takes images. What draws masks or
gives vectors is asked by ``attending models check`` and says nothing by itself."""
BUDGET_S = 60.0
"""The longest that a first use may be held up; slower models are asked once, by ``attending models check``."""
FOLDER = "looked"
_here: dict[str, Looked] = {}
"""Where the cache cannot be written each process asks once, and remembers here."""


def refuse_unless_looking(
    plugin: Any,
    cache: Path,
    images: Sequence[Image] = (),
    *,
    pictures: str = "",
    progress: Progress | None = None,
) -> Looked | None:
    """What the gate saw of a plugin, now or before; None where nothing of it is gated.

    Raises NotLooking, with the figures, for one that did not pass, and for one that takes longer than BUDGET_S to ask.
    """
    gated = [eye.protocol for eye in eyes_of(plugin) if eye.protocol in GATED]
    if not gated:
        return None
    card, code = plugin.card, code_of(type(plugin))
    seen = recall(card, code, cache)
    if seen is None or not set(gated) <= {c.protocol for c in seen.conditions}:
        seen = look(plugin, images, pictures=pictures, protocols=gated, budget_s=BUDGET_S, progress=progress, code=code)
        keep(seen, cache)
    if not admits(seen):
        raise refusal(seen)
    return seen


def admits(seen: Looked) -> bool:
    """Whether a model with this record may answer: what draws masks or gives vectors does not decide it."""
    return all(c.passed for c in seen.conditions if c.protocol in GATED)


def recall(card: Card, code: str, cache: Path) -> Looked | None:
    """What was seen of these very files and this code: here, in the cache, else as it came with the package."""
    key = _key(card.id, card.version, card.files, code)
    path = _path(card.id, key, cache)
    return _here.get(str(path)) or _read(path) or _shipped().get(key)


def keep(looked: Looked, cache: Path) -> None:
    """Keep a record in the cache, whole or not at all; where that cannot be written, for this process."""
    key = _key(looked.model, looked.version, looked.files, looked.code)
    path = _path(looked.model, key, cache)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".looked-", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(to_json(looked), out, indent=1)
        Path(name).chmod(0o644)  # nothing secret is in it, and a cache may have several users
        Path(name).replace(path)
    except OSError:
        _here[str(path)] = looked


def code_of(made: Any) -> str:
    """What a plugin class's code is, for models without hashed files: the distribution's version and the sha256 of the
    class's module. "" for our own: their records are proved by a test."""
    module = str(getattr(made, "__module__", ""))
    if module.split(".")[0] == "attending":
        return ""
    digest = hashlib.sha256(_distribution(module.split(".")[0]).encode())
    with contextlib.suppress(OSError, TypeError):
        digest.update(Path(inspect.getfile(made)).read_bytes())
    return digest.hexdigest()


def known_blind(card: Card, made: Any, cache: Path) -> Looked | None:
    """The record of a model that was asked here and did not pass, without asking; for listings."""
    seen = recall(card, code_of(made), cache)
    return seen if seen is not None and not admits(seen) else None


def to_json(looked: Looked) -> dict[str, Any]:
    """The record as docs/looking.md has it, sealed with its own sha256."""
    body = {
        "schema": SCHEMA,
        "revision": looked.revision,
        "model": looked.model,
        "version": looked.version,
        "files": dict(sorted(looked.files.items())),
        "code": looked.code,
        "pictures": looked.pictures,
        "passed": looked.passed,
        "why": looked.why,
        "seconds": looked.seconds,
        "conditions": [asdict(c) for c in looked.conditions],
    }
    return {**body, "sha256": _sealed(body)}


def from_json(document: Any) -> Looked | None:
    """The record; None for one of another schema or revision, or that is not as it was written."""
    try:
        body = {k: v for k, v in document.items() if k != "sha256"}
        if body["schema"] != SCHEMA or body["revision"] != REVISION or document["sha256"] != _sealed(body):
            return None
        conditions = tuple(Condition(**c) for c in body["conditions"])
        return Looked(
            body["model"], body["version"], body["files"], body["code"], body["pictures"], conditions, body["why"],
            body["revision"], body["seconds"],
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError):
        return None


def _sealed(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _key(id: str, version: str, files: Any, code: str) -> str:
    return _sealed({"id": id, "version": version, "files": dict(files), "code": code})


def _path(id: str, key: str, cache: Path) -> Path:
    safe = "".join(c if c.isalnum() or c in "-._" else "-" for c in id)
    return cache / FOLDER / f"{safe}-{key[:16]}.json"


def _read(path: Path) -> Looked | None:
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


@once
def _shipped() -> dict[str, Looked]:
    """Key -> record of the built-in models that take too long to ask at first use."""
    path = Path(__file__).with_name("looked.json")
    documents = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    records = [record for record in map(from_json, documents) if record is not None]
    return {_key(r.model, r.version, r.files, r.code): r for r in records}


@once
def _distribution(module: str) -> str:
    for name in packages_distributions().get(module, ()):
        with contextlib.suppress(PackageNotFoundError):
            return f"{name}=={version(name)}"
    return module


__all__ = [
    "GATED",
    "admits",
    "code_of",
    "from_json",
    "keep",
    "known_blind",
    "recall",
    "refuse_unless_looking",
    "to_json",
]
