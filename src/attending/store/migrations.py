"""The database's history, readable: numbered steps, each with its reason. Steps are never edited, only added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UnknownVersion

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Migration:
    number: int
    why: str
    statements: tuple[str, ...]


def _append_only(table: str) -> tuple[str, ...]:
    return tuple(
        f"CREATE TRIGGER {table}_never_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    )


MIGRATIONS = (
    Migration(
        1,
        "Readings, their reviews and the audit log that proves them: a reading exists when its row and its entry do",
        (
            "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
            "CREATE TABLE audit (seq INTEGER PRIMARY KEY, entry TEXT NOT NULL, hash TEXT NOT NULL)",
            "CREATE TABLE heads (seq INTEGER PRIMARY KEY, hash TEXT NOT NULL, signature TEXT NOT NULL)",
            "CREATE TABLE readings (id TEXT NOT NULL, version INTEGER NOT NULL, status TEXT NOT NULL, "
            "modality TEXT NOT NULL, created TEXT NOT NULL, document TEXT NOT NULL, audit INTEGER NOT NULL, "
            "PRIMARY KEY (id, version))",
            "CREATE TABLE parts (reading TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL, "
            "name TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (reading, version, kind, name))",
            "CREATE TABLE reviews (id TEXT PRIMARY KEY, reading TEXT NOT NULL, version INTEGER NOT NULL, "
            "source TEXT NOT NULL, document TEXT NOT NULL, audit INTEGER NOT NULL)",
            "CREATE INDEX reviews_by_reading ON reviews (reading)",
        ),
    ),
    Migration(
        2,
        "The vault's index, and which bytes a SOP Instance UID (as a keyed hash) stands for, so that a second file "
        "under the same UID is refused by name",
        (
            "CREATE TABLE vault (case_id TEXT PRIMARY KEY, files INTEGER NOT NULL, audit INTEGER NOT NULL)",
            "CREATE TABLE instances (uid TEXT PRIMARY KEY, sha256 TEXT NOT NULL, case_id TEXT NOT NULL)",
        ),
    ),
    Migration(
        3,
        "Learning: image vectors beside the labels they will be paired with, and releases with their state",
        (
            "CREATE TABLE vectors (encoder TEXT NOT NULL, case_id TEXT NOT NULL, image TEXT NOT NULL, "
            "key TEXT NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (encoder, case_id, image))",
            "CREATE INDEX vectors_by_key ON vectors (key)",
            "CREATE TABLE releases (id TEXT PRIMARY KEY, task TEXT NOT NULL, status TEXT NOT NULL, "
            "document TEXT NOT NULL, audit INTEGER NOT NULL)",
        ),
    ),
    Migration(
        4,
        "The audit log refuses changes by mistake; changes on purpose are what the signed hash chain is for",
        (*_append_only("audit"), *_append_only("heads")),
    ),
)
NEWEST = MIGRATIONS[-1].number


def version(connection: Connection) -> int:
    """The number of the last step this database took, 0 for an empty one.

    Raises UnknownVersion for a database that a newer program has moved on.
    """
    have = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master WHERE name = 'migrations'").scalar_one()
    number = connection.exec_driver_sql("SELECT max(number) FROM migrations").scalar_one() if have else 0
    if (number or 0) > NEWEST:
        raise UnknownVersion(
            f"a hospital's folder at schema {number}",
            f"schemas 1 to {NEWEST}",
            "upgrade attending, or open the folder with the version that wrote it",
        )
    return int(number or 0)


def migrate(connection: Connection, when: str, upto: int = NEWEST) -> int:
    """Take every step that is missing, inside the caller's transaction; returns how many were taken."""
    start = version(connection)
    if start == 0:
        connection.exec_driver_sql(
            "CREATE TABLE IF NOT EXISTS migrations "
            "(number INTEGER PRIMARY KEY, why TEXT NOT NULL, applied TEXT NOT NULL)"
        )
    taken = [m for m in MIGRATIONS if start < m.number <= upto]
    for step in taken:
        for statement in step.statements:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("INSERT INTO migrations VALUES (?, ?, ?)", (step.number, step.why, when))
    return len(taken)
