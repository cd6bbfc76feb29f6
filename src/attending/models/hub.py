"""Weights from the Hugging Face hub, by https, or from a folder that was filled from it elsewhere.

Only what can be opened without running anything is taken: safetensors, GGUF, JSON, texts and tokenizer files. Pickles
(``.bin``, ``.pt``) and code that lies beside the weights stay where they are.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import shutil
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import HashMismatch, PullFailed
from .catalog import Source, Wanted
from .fetch import Unreachable, address, copy
from .protocols import Progress

HUB = "https://huggingface.co"
"""``HF_ENDPOINT`` names another, as it does for the hub's own library: a hospital's mirror of it."""
TAKEN = ("*.safetensors", "*.gguf", "*.json", "*.txt", "*.model", "*.jinja", "LICENSE*", "README.md")
WEIGHTS = ("*.safetensors", "*.gguf")
LISTING_LIMIT = 8 << 20
SMALL_LIMIT = 256 << 20
"""Bytes that a file may have whose size the hub does not say."""


@dataclass(frozen=True)
class Listed:
    """A file that the hub lists. sha256 is "" for small ones: the hub keeps no such hash of them."""

    name: str
    size: int
    sha256: str


def fetch_hub(source: Source, to: Path, mirror: Path | None, progress: Progress) -> None:
    """Bring a repository's files into the folder ``to``: from ``MIRROR/hub/owner/name``, else by https.

    Raises Unreachable, or HashMismatch where other bytes came than the hub lists.
    """
    if source.kind == "folder":
        raise Unreachable("its files are given by hand: run attending models adopt")
    repository, revision = source.package.split("@", 1)
    if mirror is not None and (mirror / "hub" / repository).is_dir():
        try:
            taken(repository, mirror / "hub" / repository, to)
        except PullFailed as refused:
            raise Unreachable(refused.seen) from None
        progress(1.0, "fetched")
        return
    base = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    listed = chosen(_listing(f"{base}/api/models/{repository}/tree/{urllib.parse.quote(revision, safe='')}"))
    if not any(_fits(one.name, WEIGHTS) for one in listed):
        raise Unreachable(f"{repository} has no safetensors or GGUF file: pickles are never opened")
    total = sum(one.size for one in listed) or 1
    done = 0
    for one in listed:
        part = f"{base}/{repository}/resolve/{urllib.parse.quote(revision, safe='')}/{urllib.parse.quote(one.name)}"
        start = done / total
        digest = hashlib.sha256()
        with address(part) as stream, (to / one.name).open("wb") as out:
            wanted = Wanted(one.name, (part,), one.sha256, one.size or SMALL_LIMIT)
            share = _share(progress, start, one.size / total, one.name)
            size = copy(stream, out, digest, 0, wanted, share)
        if (one.sha256 and digest.hexdigest() != one.sha256) or (one.size and size != one.size):
            raise HashMismatch(
                f"{one.name} of {repository} came with other bytes than the hub lists",
                f"sha256 {one.sha256 or 'not listed'}, {one.size} bytes",
                "try again; a proxy that changes downloads is a usual cause",
            )
        done += one.size
    problem = unsound(sorted(to.iterdir()))
    if problem:
        raise Unreachable(problem)
    progress(1.0, "fetched")


def _share(progress: Progress, start: float, part: float, name: str) -> Any:
    return lambda fraction: progress(min(1.0, start + part * fraction), name)


def _listing(url: str) -> list[dict[str, Any]]:
    with address(url) as stream:
        data = stream.read(LISTING_LIMIT)
    try:
        listed = json.loads(data)
    except ValueError:
        listed = None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise Unreachable("the hub's list of files could not be read")
    return listed


def chosen(listed: Sequence[dict[str, Any]]) -> list[Listed]:
    """The files of a hub's listing that are taken: of the top folder, of the kinds above."""
    found = []
    for one in listed:
        name = str(one.get("path", ""))
        if one.get("type") == "file" and "/" not in name and _fits(name, TAKEN):
            large = one.get("lfs")
            sha256 = str(large.get("oid", "")) if isinstance(large, dict) else ""
            found.append(Listed(name, int(one.get("size", 0)), sha256))
    return found


def taken(id: str, given: Path, to: Path) -> None:
    """Hard-link, else copy, the files of a folder that are taken. Raises PullFailed where it has not what it takes."""
    if not given.is_dir():
        raise PullFailed(f"the folder given for {id} does not exist", "a folder of weights", "check the path")
    found = [p for p in sorted(given.iterdir()) if p.is_file() and _fits(p.name, TAKEN)]
    if not any(_fits(p.name, WEIGHTS) for p in found):
        pickles = any(_fits(p.name, ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")) for p in given.iterdir())
        raise PullFailed(
            f"the folder given for {id} holds no safetensors or GGUF file" + (", only pickles" if pickles else ""),
            "weights that can be read without running anything",
            "download the repository's safetensors files, or have them converted where they come from",
        )
    problem = unsound(found)
    if problem:
        raise PullFailed(f"the folder given for {id}: {problem}", "whole files as published", "download them again")
    for path in found:
        with contextlib.suppress(OSError):
            os.link(path.resolve(), to / path.name)
            continue
        shutil.copyfile(path, to / path.name)


def unsound(paths: Sequence[Path]) -> str | None:
    """Why a set of files cannot be a model: a cut safetensors file, a missing part, no configuration; else None."""
    from .hf import safetensors_header

    names = {p.name for p in paths}
    for path in paths:
        if _fits(path.name, ("*.safetensors",)):
            try:
                safetensors_header(path)
            except (OSError, ValueError, KeyError, TypeError) as broken:
                return f"{path.name} is not whole ({broken})"
        elif _fits(path.name, ("*.gguf",)):
            with path.open("rb") as stream:
                if stream.read(4) != b"GGUF":
                    return f"{path.name} is no GGUF file"
        elif path.name.endswith(".safetensors.index.json"):
            try:
                parts = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
            except (OSError, ValueError, KeyError, AttributeError):
                return f"{path.name} is no index"
            if parts - names:
                return f"{len(parts - names)} of {len(parts)} weight files are missing"
    if "config.json" not in names and not any(_fits(n, ("*.gguf",)) for n in names):
        return "config.json is missing"
    return None


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
