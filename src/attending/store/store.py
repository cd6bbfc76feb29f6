"""Opening a home: made on first use, moved on by migrations, readable where it cannot be written."""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from ..errors import VaultLocked
from ..site import load as load_site
from ..site.folders import read_only
from . import database, keys, migrations
from .ground import FOLDERS, Transaction
from .identified import Identified
from .learning import Learning
from .readings import Readings

# What mkdir says of a name too long, a loop of links, or a place where nothing can be made (/proc).
NO_SUCH_PLACE = {errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}


class Store(Readings, Identified, Learning):
    """A hospital's folder. Several processes may hold one open at once."""

    @classmethod
    def open(cls, home: Path | str, *, readonly: bool = False) -> Self:
        """Open a home, making it on first use (0700). One that cannot be written opens for reading.

        Raises HomeReadOnly (new and not writable), DiskFull, VaultLocked (a key is missing, wrong or open to others),
        UnknownVersion (a newer program's), SiteError.
        """
        home = Path(home).expanduser().absolute()
        path = home / database.FILE
        if path.exists() and (readonly or not (os.access(home, os.W_OK) and os.access(path, os.W_OK))):
            return cls._open_readonly(home)
        if readonly:
            raise read_only()
        with database.guard():
            try:
                home.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                if error.errno in NO_SUCH_PLACE:
                    raise read_only() from None
                raise
            for folder in FOLDERS:
                (home / folder).mkdir(mode=0o700, exist_ok=True)
            # The database's helpers (-wal, -shm) take its mode over.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            engine = database.engine(home, readonly=False)
            try:
                held = cls._settle(home, engine)
                store = cls(home, engine, held, readonly=False)
                store._recover()
            except BaseException:
                engine.dispose()
                raise
        return store

    @classmethod
    def _open_readonly(cls, home: Path) -> Self:
        with database.guard():
            engine = database.engine(home, readonly=True)
            with engine.connect() as connection, connection.begin():
                if migrations.version(connection) < migrations.NEWEST:
                    raise read_only()
                held = keys.load(home / "keys")
                _fits(connection, held)
        return cls(home, engine, held, readonly=True)

    @classmethod
    def _settle(cls, home: Path, engine: Any) -> keys.Keys:
        """Bring the database to the newest schema, and make the keys of a home that is new."""
        with engine.connect() as connection, connection.begin():
            start = migrations.version(connection)
        if start == migrations.NEWEST:
            held = keys.load(home / "keys")
            with engine.connect() as connection, connection.begin():
                _fits(connection, held)
            return held
        with engine.execution_options(immediate=True).connect() as connection, connection.begin():
            start = migrations.version(connection)
            if start == 0:
                keys.create(home / "keys", load_site(home).vault.key)
            held = keys.load(home / "keys")
            taken = migrations.migrate(connection, datetime.now(UTC).isoformat(timespec="seconds"))
            transaction = Transaction(connection, held)
            if start == 0:
                value = _fingerprint(held)
                database.run(connection, "INSERT INTO facts VALUES ('fingerprint', :value)", value=value)
                transaction.audit("home made", {"schema": migrations.NEWEST})
            elif taken:
                _fits(connection, held)
                transaction.audit("home moved on", {"from": start, "schema": migrations.NEWEST})
        if transaction.head is not None:
            held.advance(transaction.head)
        return held

    def _recover(self) -> None:
        """After a kill: sweep what never came to exist, and vouch for an entry whose anchor was not yet moved."""
        self._temporary.sweep()
        with suppress(FileNotFoundError):
            self._sweep()
        anchor = self._keys.anchor()
        with self._reading() as connection:
            last = database.run(
                connection,
                "SELECT h.seq, h.hash, h.signature FROM heads h JOIN audit a ON a.seq = h.seq AND a.hash = h.hash "
                "ORDER BY h.seq DESC LIMIT 1",
            ).one_or_none()
            known = anchor and (
                anchor.seq == 0
                or database.run(
                    connection,
                    "SELECT 1 FROM audit WHERE seq = :seq AND hash = :hash",
                    seq=anchor.seq,
                    hash=anchor.hash,
                ).one_or_none()
            )
        if anchor and last and known and last.seq > anchor.seq:
            head = keys.Head(last.seq, last.hash, last.signature)
            if self._keys.holds(head):
                self._keys.advance(head)

    def array(self, key: str) -> NDArray[Any]:
        if not self._objects.has_array(key):
            vector = self._vector(key)
            if vector is not None:
                return vector
        return super().array(key)

    def close(self) -> None:
        """Let go of the database and of temporary files. Safe to call twice."""
        self._temporary.close()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store(schema {migrations.NEWEST}{', read-only' if self.readonly else ''})"


def _fingerprint(held: keys.Keys) -> str:
    """Tells this home's key from another without giving anything of it away."""
    return hmac.new(held.derive("fingerprint"), b"home", hashlib.sha256).hexdigest()


def _fits(connection: Any, held: keys.Keys) -> None:
    kept = database.run(connection, "SELECT value FROM facts WHERE name = 'fingerprint'").scalar()
    if kept != _fingerprint(held):
        raise VaultLocked(
            "keys/home.key is not the key that this folder was made with",
            "the folder's own key",
            "restore keys/ from the backup that the folder came from",
        )
