"""A reading's files: staged beside, renamed into place under the write lock, gone again where the commit fails."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import StoreError
from ..records import Reading
from .database import guard, run, sync_folder, write_file
from .ground import Ground, Transaction

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Placed:
    """A context: entering gives the open transaction and the folder, leaving commits."""

    def __init__(self, shelf: Ground, reading: Reading, files: Mapping[str, bytes], sweep: Callable[[], None]) -> None:
        if not NAME.fullmatch(reading.id) or reading.version < 1:
            raise ValueError("a reading's id must be a plain word and its version 1 or more")
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or not path.parts or not all(NAME.fullmatch(part) for part in path.parts):
                raise ValueError(f"a reading's files need plain relative names, not {name!r}")
        self.shelf, self.reading, self.files, self.sweep = shelf, reading, files, sweep
        self.folder = shelf.home / "readings" / reading.id / f"v{reading.version}"
        self.moved = False

    def __enter__(self) -> tuple[Transaction, Path]:
        shelf, reading = self.shelf, self.reading
        shelf._writable()
        with guard():
            staged = shelf._temporary.path / f"{reading.id}-v{reading.version}"
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir()
            for name, data in self.files.items():
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                write_file(staged / name, data)
            for below in {staged, *(p for p in staged.rglob("*") if p.is_dir())}:
                sync_folder(below)
        self.context = shelf._writing()
        transaction = self.context.__enter__()
        try:
            if run(
                transaction.connection,
                "SELECT 1 FROM readings WHERE id = :id AND version = :version",
                id=reading.id,
                version=reading.version,
            ).one_or_none():
                raise StoreError(
                    f"version {reading.version} of this reading was kept meanwhile",
                    "one writer per version",
                    "run the same command again",
                )
            with guard():
                self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.rmtree(self.folder, ignore_errors=True)
                staged.rename(self.folder)
                self.moved = True
                sync_folder(self.folder.parent)
                sync_folder(self.folder.parent.parent)
        except BaseException as e:
            self.__exit__(type(e), e, e.__traceback__)
            raise
        return transaction, self.folder

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        failed = True
        try:
            # Taken away while the write lock is still held, so that it cannot be another's.
            if error is not None and self.moved:
                shutil.rmtree(self.folder, ignore_errors=True)
            self.context.__exit__(kind, error, trace)
            failed = False
        finally:
            if failed and error is None:
                with suppress(StoreError):
                    self.sweep()
