"""From what the user typed to files: folders are walked once, loops and special files never followed or opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputRefused, NotAnImage, NotFound, Refusal, TooLarge

IGNORED = {"Thumbs.db", "desktop.ini", "__MACOSX"}
READABLE = "a file or folder that this user may read"


@dataclass(frozen=True)
class Candidate:
    """One regular file. label: as the user typed it, or below the folder typed; folder: groups files without UIDs."""

    label: str
    path: Path
    folder: str
    in_folder: bool


def walk(paths: Sequence[str | os.PathLike[str]], max_bytes: int) -> tuple[list[Candidate], list[Refusal]]:
    """Every file of the paths in a stable order, each real file once; what cannot be opened becomes a Refusal."""
    found: list[Candidate] = []
    refused: list[Refusal] = []
    seen: set[tuple[int, int]] = set()
    for typed in paths:
        if not os.fspath(typed):  # an unset variable of a shell; Path would make the current folder of it
            refused.append(Refusal("", NotFound("an empty path", READABLE, "name a file or folder")))
            continue
        for candidate in _below(Path(typed), refused):
            try:
                status = candidate.path.stat()
                _check(status, max_bytes)
            except InputRefused as error:
                refused.append(Refusal(candidate.label, error))
                continue
            except OSError as error:
                refused.append(Refusal(candidate.label, _unreachable(error)))
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                found.append(candidate)
    return found, refused


def read(candidate: Candidate) -> bytes:
    """The bytes of one file. Raises NotFound or TooLarge."""
    try:
        return candidate.path.read_bytes()
    except MemoryError:
        raise TooLarge(
            "a file larger than the free memory", "a file that fits into memory", "free memory, or read fewer files"
        ) from None
    except OSError as error:
        raise _unreachable(error) from None


def _below(typed: Path, refused: list[Refusal]) -> Iterator[Candidate]:
    try:
        is_folder = typed.is_dir()
        exists = is_folder or typed.exists()
    except OSError as failure:
        refused.append(Refusal(str(typed), _unreachable(failure)))
        return
    if not exists:
        seen = "a link that leads nowhere" if typed.is_symlink() else "no file or folder of that name"
        refused.append(Refusal(str(typed), NotFound(seen, READABLE, "check the spelling of the path")))
        return
    if not is_folder:
        yield Candidate(str(typed), typed, str(typed.absolute().parent), in_folder=False)
        return
    empty = True
    for path in _files(typed, refused):
        empty = False
        yield Candidate(str(path), path, str(path.absolute().parent), in_folder=True)
    if empty and not any(r.input == str(typed) or r.input.startswith(f"{typed}{os.sep}") for r in refused):
        error = NotFound("a folder without files", "a folder that holds images", "name the folder of the study")
        refused.append(Refusal(str(typed), error))


def _files(top: Path, refused: list[Refusal]) -> Iterator[Path]:
    """Every file below a folder, depth first, in the order of names; each real folder once."""
    visited: set[tuple[int, int]] = set()
    waiting = [top]
    while waiting:
        path = waiting.pop()
        try:
            is_folder = path.is_dir()
        except OSError:
            is_folder = False
        if not is_folder:
            yield path
            continue
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            entries = sorted(path.iterdir(), key=lambda p: p.name, reverse=True)
        except OSError as error:
            refused.append(Refusal(str(path), _unreachable(error)))
            continue
        waiting += [p for p in entries if not p.name.startswith(".") and p.name not in IGNORED]


def _check(status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotAnImage("a device, pipe or socket", "a regular file", "copy its content into a file first")
    if status.st_size == 0:
        raise NotAnImage(
            "an empty file of 0 bytes", "a DICOM, NIfTI, PNG, JPEG, TIFF or BMP file", "fetch or export the file again"
        )
    if status.st_size > max_bytes:
        raise TooLarge(
            f"a file of {status.st_size / 2**20:.0f} MiB",
            f"files up to {max_bytes / 2**20:.0f} MiB",
            "raise limits.max_file_mib in site.toml, or split the file",
        )


def _unreachable(error: OSError) -> InputRefused:
    if isinstance(error, PermissionError):
        return NotFound("a file or folder that this user may not read", READABLE, "ask for read permission")
    if isinstance(error, FileNotFoundError):
        return NotFound("a link that leads nowhere, or a file that went away", READABLE, "check the path and try again")
    return NotFound(
        "a file or folder that the system could not open (a loop of links, a bad name or a failing disk)",
        READABLE,
        "check the path and the disk, then try again",
    )
