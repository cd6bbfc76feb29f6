"""SQLite through SQLAlchemy: WAL, every commit on the disk before it is told, and one clear error for each trouble."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..errors import DiskFull, HomeReadOnly, StoreError
from ..site.folders import disk_full, read_only, writing

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Engine

FILE = "attending.db"
# Two processes may write at once; each transaction takes milliseconds, so a minute is far more than any queue.
BUSY_MS = 60_000


def engine(home: Path, readonly: bool) -> Engine:
    """An engine whose transactions are explicit: BEGIN IMMEDIATE for ``execution_options(immediate=True)``."""
    from sqlalchemy import create_engine, event

    path = home / FILE

    def connect() -> sqlite3.Connection:
        if readonly:
            return _connect_readonly(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", f"busy_timeout = {BUSY_MS}"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    # hide_parameters: an exception's text must not carry documents into a log.
    made = create_engine("sqlite://", creator=connect, hide_parameters=True, poolclass=_pool())

    @event.listens_for(made, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return made


def _pool() -> Any:
    from sqlalchemy.pool import QueuePool

    return QueuePool


def _connect_readonly(path: Path) -> sqlite3.Connection:
    wal = path.with_name(path.name + "-wal")
    uri = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        # A read-only folder has no place for WAL's shared memory; without a log to replay the file alone is whole.
        if wal.exists() and wal.stat().st_size:
            raise
        connection = sqlite3.connect(uri + "&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
    return connection


@contextmanager
def guard() -> Iterator[None]:
    """Turns the system's and the database's refusals into StoreErrors, with the cause cut off: it may hold a path."""
    from sqlalchemy.exc import DBAPIError

    try:
        with writing():
            yield
    except (DBAPIError, sqlite3.Error) as e:
        cause = e.orig if isinstance(e, DBAPIError) else e
        name = getattr(cause, "sqlite_errorname", "") or ""
        raise _meaning(name) from None


def _meaning(name: str) -> DiskFull | HomeReadOnly | StoreError:
    # A write that is cut short (a quota, a size limit) is an I/O error to SQLite, not SQLITE_FULL.
    if name in ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"):
        return disk_full()
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return read_only()
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(
            "another process has held the hospital's folder for a minute",
            "writes one after the other",
            "wait for the other command to end, then run this one again",
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreError(
            "attending.db is damaged or not a database",
            "the database that this program wrote",
            "restore the whole folder from a backup",
        )
    return StoreError(
        f"the database refused ({name or 'no reason given'})",
        "a database that this program wrote, on a disk that works",
        "run `attending audit verify`; if it fails too, restore the folder from a backup",
    )


def run(connection: Connection, statement: str, **values: Any) -> CursorResult[Any]:
    """One statement with named values (``:name``)."""
    from sqlalchemy import text

    return connection.execute(text(statement), values)


def sync_folder(folder: Path) -> None:
    """Make a rename or creation inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """A new file, on the disk when this returns."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
