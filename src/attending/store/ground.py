"""What every shelf of the store stands on: the folder, its keys, one transaction at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..site.folders import read_only
from . import audit, migrations
from .database import guard
from .keys import Head, Keys
from .objects import Objects

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

FOLDERS = ("keys", "objects", "readings", "vault", "tmp")


class Transaction:
    """One write: statements and audit entries that exist together from the commit, or never."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self.connection, self.keys = connection, keys
        self.head: Head | None = None

    def audit(self, event: str, facts: dict[str, Any]) -> int:
        self.head = audit.append(self.connection, self.keys, event, facts)
        return self.head.seq


class Temporary:
    """A folder of this process under ``tmp/``; the lock on it dies with the process, so that others can sweep it."""

    def __init__(self, root: Path) -> None:
        self.root, self.descriptor = root, -1
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        while self._path is None:
            path = self.root / secrets.token_hex(8)
            path.mkdir(mode=0o700)
            # Another process may sweep the folder in the moment before it is opened, or before it is locked.
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists():
                self._path, self.descriptor = path, descriptor
            else:
                os.close(descriptor)
        return self._path

    def close(self) -> None:
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            os.close(self.descriptor)
            self._path = None

    def sweep(self) -> None:
        """Remove the folders of processes that are gone."""
        for path in self.root.iterdir():
            if path == self._path:
                continue
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(descriptor)


class Ground:
    """Reading and writing transactions on one home. Use through ``Store``."""

    def __init__(self, home: Path, engine: Engine, keys: Keys, readonly: bool) -> None:
        self.home, self.readonly = home, readonly
        self._engine, self._keys = engine, keys
        self._temporary = Temporary(home / "tmp")
        self._shelf: Objects | None = None

    @property
    def _objects(self) -> Objects:
        if self._shelf is None:
            self._shelf = Objects(self.home / "objects", Path() if self.readonly else self._temporary.path)
        return self._shelf

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One consistent view of the database."""
        with guard(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        """The write lock, then one commit: the moment that everything done inside begins to exist."""
        self._writable()
        with guard():
            with self._engine.execution_options(immediate=True).connect() as connection, connection.begin():
                transaction = Transaction(connection, self._keys)
                yield transaction
            if transaction.head is not None:
                self._keys.advance(transaction.head)

    def _writable(self) -> None:
        if self.readonly:
            raise read_only()

    def secret(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HKDF-SHA256 of the home key): surrogates, date shifts, keyed hashes."""
        return self._keys.derive(f"secret {purpose}")

    def signing_key(self, name: str) -> Any:
        """The Ed25519PrivateKey with which this home signs what the person called ``name`` decides."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self._keys.derive(f"signature {name}"))

    def audit(self, event: str, **facts: Any) -> int:
        """Add an entry to the audit log; returns its number. facts are JSON-able and Case-only.

        Raises HomeReadOnly, DiskFull.
        """
        with self._writing() as transaction:
            return transaction.audit(event, facts)

    def verify_audit(self) -> int:
        """The number of entries of a whole log. Works in a folder that cannot be written.

        Raises AuditBroken naming "entry N", the first that was changed, moved, put in, or taken out (also at the end).
        """
        anchor = self._keys.anchor()
        with self._reading() as connection:
            return audit.verify(connection, self._keys, anchor, self.home / "readings")

    def audit_entries(self) -> Iterator[dict[str, Any]]:
        """The entries in order, as they are; verify_audit says whether to believe them."""
        import json

        from .database import run

        with self._reading() as connection:
            rows = run(connection, "SELECT entry FROM audit ORDER BY seq").scalars().all()
        yield from (json.loads(row) for row in rows)

    @property
    def schema(self) -> int:
        """The number of the database's last migration."""
        with self._reading() as connection:
            return migrations.version(connection)
