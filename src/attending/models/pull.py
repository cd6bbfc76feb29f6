"""Pull: the only verb that touches the network. From the first source that can be reached to CACHE/ID/VERSION, whole.

A pull writes into a temporary folder beside its goal and renames it when every hash is proved and every file converted;
so an interrupted pull leaves nothing half, and two at once end with one copy.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import DiskFull, HashMismatch, LicenceRefused, NotPulled, PullFailed
from . import convert as converting
from .catalog import Entry, entry
from .fetch import Unreachable, fetch, sha256_of
from .protocols import Progress

MANIFEST = "manifest.json"
SCHEMA = 1
State = Literal["pulled", "absent", "damaged", "weightless"]


def pull(
    id: str,
    cache: Path,
    mirror: Path | None = None,
    progress: Progress | None = None,
    accept: Sequence[str] = (),
) -> Path:
    """Bring the files of a model or data set into the cache, once, and give their folder.

    accept   ids whose missing licence the site accepts (``models.accept_unlicensed``).

    Raises UnknownModel, LicenceRefused (a model without a licence), PullFailed (no source could be reached: names each
    and why), HashMismatch (only other bytes could be had) and DiskFull.
    """
    return pull_entry(entry(id), cache, mirror, progress, accept)


def pull_entry(
    wanted: Entry,
    cache: Path,
    mirror: Path | None = None,
    progress: Progress | None = None,
    accept: Sequence[str] = (),
) -> Path:
    """``pull`` for an entry of any catalog."""
    goal = folder(wanted, cache)
    if not wanted.sources:
        return goal
    refuse_unless_licensed(wanted, accept)
    tell: Progress = progress or (lambda fraction, words: None)
    if _intact(wanted, goal):
        tell(1.0, "already here")
        return goal
    with _disk(wanted.id), _alone(goal.parent):
        if not _intact(wanted, goal):
            _sweep(goal.parent)
            _pull(wanted, goal, mirror, tell)
    return goal


def files(id: str, cache: Path) -> dict[str, Path]:
    """File name -> path of what was pulled; {} for weightless entries. Raises UnknownModel, NotPulled."""
    return files_of(entry(id), cache)


def files_of(wanted: Entry, cache: Path, prove: bool = False) -> dict[str, Path]:
    """``files`` for an entry of any catalog. prove: also compare every sha256 with the manifest (HashMismatch)."""
    goal = folder(wanted, cache)
    if not wanted.sources:
        return {}
    manifest = _manifest(wanted, goal)
    if manifest is None:
        raise NotPulled(
            f"the files of {wanted.id} are not in the cache",
            "files that were pulled and proved",
            f"run: attending {'models' if wanted.kind == 'model' else 'data'} pull {wanted.id}"
            if any(source.kind != "folder" for source in wanted.sources)
            else f"run: attending models adopt {wanted.id} FOLDER",
        )
    found = {name: goal / name for name in manifest["files"]}
    for name, path in found.items():
        fact = manifest["files"][name]
        fits = path.is_file() and path.stat().st_size == fact["size"]
        if not fits or (prove and sha256_of(path) != fact["sha256"]):
            raise HashMismatch(
                f"{name} of {wanted.id} in the cache was changed or is missing",
                f"sha256 {fact['sha256']}, as proved when it was pulled",
                f"run: attending {'models' if wanted.kind == 'model' else 'data'} pull {wanted.id}",
            )
    return found


def hashes_of(wanted: Entry, cache: Path) -> dict[str, str]:
    """File name -> sha256 as converted; {} where nothing was pulled."""
    manifest = _manifest(wanted, folder(wanted, cache)) if wanted.sources else None
    return {name: fact["sha256"] for name, fact in manifest["files"].items()} if manifest else {}


def status(id: str, cache: Path) -> State:
    """Whether an entry's files are here; "damaged" by size only: ``load`` proves the hashes."""
    try:
        return "pulled" if files(id, cache) else "weightless"
    except NotPulled:
        return "absent"
    except HashMismatch:
        return "damaged"


def folder(wanted: Entry, cache: Path) -> Path:
    """CACHE/ID/VERSION, whether it exists or not."""
    return cache / wanted.id / wanted.version


def refuse_unless_licensed(wanted: Entry, accept: Sequence[str]) -> None:
    """The licence gate for models. A data set without a licence may be viewed locally; its card's use says so."""
    if wanted.kind == "model" and wanted.licence is None and wanted.id not in accept:
        raise LicenceRefused(
            f"the publisher of {wanted.id} states no licence",
            "models whose licence is stated, or whose id the site accepts",
            f'ask the publisher; or, having cleared it, add "{wanted.id}" to models.accept_unlicensed in site.toml',
        )
    if wanted.kind == "model" and wanted.restricted and wanted.id not in accept:
        raise LicenceRefused(
            f"{wanted.id} is under terms of its own ({wanted.licence}): {wanted.card.terms or 'see its publisher'}",
            "models under licences open to everybody, or whose terms the site has accepted",
            f'read the terms; then add "{wanted.id}" to models.accept_unlicensed in site.toml',
        )


def adopt(id: str, given: Path, cache: Path, progress: Progress | None = None, accept: Sequence[str] = ()) -> Path:
    """Take up a folder of weights that was brought here by other means, as ``pull`` would have: the files are looked
    at, hard-linked or copied into the cache, converted where the entry says so, and their hashes recorded.

    Raises UnknownModel, LicenceRefused, PullFailed (the entry is not had by folder, or the folder has not what it
    takes) and DiskFull.
    """
    from .hub import taken

    wanted = entry(id)
    if not adoptable(wanted):
        raise PullFailed(
            f"{id} is proved by hashes that the catalog names", "models of the hub, and the own-* ones", f"pull {id}"
        )
    refuse_unless_licensed(wanted, accept)
    tell: Progress = progress or (lambda fraction, words: None)
    goal = folder(wanted, cache)
    with _disk(wanted.id), _alone(goal.parent):
        _sweep(goal.parent)
        with _temporary(goal.parent) as temporary:
            raw, ready = temporary / "raw", temporary / "ready"
            raw.mkdir()
            ready.mkdir()
            taken(wanted.id, given, raw)
            _make_ready(wanted, raw, ready, tell)
            _write_manifest(wanted, "a folder that was adopted", ready)
            _put(ready, goal)
    tell(1.0, "adopted")
    return goal


def adoptable(wanted: Entry) -> bool:
    """Whether its files may be given by hand: where the catalog knows no hashes of them."""
    return any(source.kind in ("hub", "folder") for source in wanted.sources)


def _make_ready(wanted: Entry, raw: Path, ready: Path, tell: Progress) -> None:
    if wanted.convert:
        tell(0.9, "converting")
        converting.step(wanted.convert)({p.name: p for p in sorted(raw.iterdir())}, ready)
    else:
        ready.rmdir()
        raw.rename(ready)


def _pull(wanted: Entry, goal: Path, mirror: Path | None, tell: Progress) -> None:
    failed: list[str] = []
    mismatch: HashMismatch | None = None
    for source in wanted.sources:
        with _temporary(goal.parent) as temporary:
            raw, ready = temporary / "raw", temporary / "ready"
            raw.mkdir()
            ready.mkdir()
            try:
                fetch(source, raw, mirror, lambda f, words: tell(0.9 * f, words))
                _make_ready(wanted, raw, ready, tell)
            except Unreachable as unreachable:
                failed.append(f"{source.words} ({unreachable})")
                tell(0.0, f"{source.words} cannot be reached, trying the next source")
                continue
            except HashMismatch as other:
                mismatch = mismatch or other
                failed.append(f"{source.words} (other bytes than the catalog names)")
                tell(0.0, f"{source.words} gave other bytes, trying the next source")
                continue
            _write_manifest(wanted, source.words, ready)
            _put(ready, goal)
            tell(1.0, f"pulled from {source.words}")
            return
    if mismatch is not None:
        raise mismatch
    by_hand = f"place the files yourself: attending models adopt {wanted.id} FOLDER; or " if adoptable(wanted) else ""
    raise PullFailed(
        f"no source of {wanted.id} could be reached: " + "; ".join(failed),
        "one of its sources, or the mirror",
        f"{by_hand}"
        "behind a proxy set HTTPS_PROXY, and PIP_INDEX_URL for a local package index; without a network set "
        "ATTENDING_MIRROR to a folder that holds the files (wheels under wheels/); then pull again",
    )


def _write_manifest(wanted: Entry, source: str, ready: Path) -> None:
    facts = {p.name: {"sha256": sha256_of(p), "size": p.stat().st_size} for p in sorted(ready.iterdir())}
    manifest = {
        "schema": SCHEMA,
        "id": wanted.id,
        "version": wanted.version,
        "licence": wanted.licence,
        "use": wanted.use,
        "source": source,
        "convert": converting.revision(wanted.convert),
        "files": facts,
    }
    with (ready / MANIFEST).open("w", encoding="utf-8") as out:
        json.dump(manifest, out, indent=1)
        out.flush()
        os.fsync(out.fileno())


def _put(ready: Path, goal: Path) -> None:
    """Rename into place; a damaged older copy is moved aside first, into the folder that is about to be deleted."""
    if goal.exists():
        goal.rename(ready.parent / "damaged")
    ready.rename(goal)


def _manifest(wanted: Entry, goal: Path) -> dict[str, Any] | None:
    """What was proved at the pull; None where nothing was pulled, or an older revision of a step converted it."""
    try:
        manifest = json.loads((goal / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    fits = isinstance(manifest, dict) and manifest.get("schema") == SCHEMA and isinstance(manifest.get("files"), dict)
    return manifest if fits and manifest.get("convert") == converting.revision(wanted.convert) else None


def _intact(wanted: Entry, goal: Path) -> bool:
    manifest = _manifest(wanted, goal)
    return manifest is not None and all(
        (goal / name).is_file() and sha256_of(goal / name) == fact["sha256"] for name, fact in manifest["files"].items()
    )


@contextlib.contextmanager
def _temporary(parent: Path) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix=".pull-", dir=parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what killed pulls left. Safe because the caller holds the lock: no other pull is at work here."""
    for left in parent.glob(".pull-*"):
        shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """One pull of an entry at a time, so that nothing is fetched twice; the second finds the first one's files."""
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / ".lock").open("a") as lock:
        try:
            import fcntl
        except ImportError:  # no such lock on this system: the rename still keeps pulls whole
            yield
            return
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _disk(id: str) -> Iterator[None]:
    try:
        yield
    except OSError as failed:
        if failed.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space left while pulling {id}",
                "room for the files and their conversion",
                "free space in the cache",
            ) from None
        if failed.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise PullFailed(
                f"the cache folder cannot be written while pulling {id}",
                "a cache folder that this user may write",
                "set ATTENDING_CACHE to such a folder, or mend its permissions",
            ) from None
        raise
