"""The vault: studies as received, encrypted; every opening of it is an audit entry first."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SameUidOtherBytes, UnknownReading
from ..records import Study
from .database import guard, run, sync_folder
from .ground import Ground
from .vault import seal, unseal

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Identified(Ground):
    """The shelf of studies and of the instances they are made of."""

    def vault_put(self, study: Study, case_id: str, instances: Mapping[str, str] | None = None) -> None:
        """Keep a study, encrypted; the same study again is only noted as read again.

        instances (instance_key -> sha256 of the file) are registered in the same transaction. Raises
        SameUidOtherBytes, HomeReadOnly, DiskFull.
        """
        self._writable()
        path = self._sealed(case_id)
        staged = self._temporary.path / path.name
        try:
            with guard():
                staged.unlink(missing_ok=True)
                if not path.exists():
                    seal(study, case_id, self._keys.derive("vault"), staged)
            with self._writing() as transaction:
                _register(transaction.connection, instances or {}, case_id)
                seq = transaction.audit("read", {"case": case_id, "kind": study.kind, "files": len(study.files)})
                run(
                    transaction.connection,
                    "INSERT INTO vault VALUES (:id, :files, :audit) ON CONFLICT DO NOTHING",
                    id=case_id,
                    files=len(study.files),
                    audit=seq,
                )
                # Before the commit: a row without its file would be a lie, a sealed file without a row is none.
                if staged.exists():
                    staged.rename(path)
                    sync_folder(path.parent)
        finally:
            staged.unlink(missing_ok=True)

    def vault_get(self, case_id: str, by: str, why: str) -> Study:
        """The study of a case, without its stacks (``intake.decode`` makes them). Audited as a rejoining, first.

        The door checks the role. Raises UnknownReading, VaultLocked, and HomeReadOnly where it cannot be audited.
        """
        with self._writing() as transaction:
            known = run(transaction.connection, "SELECT 1 FROM vault WHERE case_id = :id", id=case_id).one_or_none()
            if known is None or not self._sealed(case_id).exists():
                raise UnknownReading(
                    "the vault holds no study for that id", "an id that `attending list` shows", "run `attending list`"
                )
            transaction.audit("rejoin", {"case": case_id, "by": by, "why": why})
        with guard():
            return unseal(self._sealed(case_id), case_id, self._keys.derive("vault"))

    def in_vault(self, case_id: str) -> bool:
        """Whether the vault holds that case's study."""
        with self._reading() as connection:
            return run(connection, "SELECT 1 FROM vault WHERE case_id = :id", id=case_id).one_or_none() is not None

    def instance_key(self, uid: str) -> str:
        """The keyed hash under which a SOP Instance UID is known outside the vault."""
        return hmac.new(self.secret("instances"), uid.encode(), hashlib.sha256).hexdigest()

    def known_instance(self, key: str, sha256: str) -> bool:
        """Whether that instance is known with these bytes; False where it is new.

        Raises SameUidOtherBytes where it is known with others.
        """
        with self._reading() as connection:
            return _known(connection, key, sha256)

    def register_instances(self, instances: Mapping[str, str], case_id: str) -> None:
        """Remember instance_key -> sha256 of the file's bytes, all or none. Raises SameUidOtherBytes."""
        if instances:
            with self._writing() as transaction:
                _register(transaction.connection, instances, case_id)

    def _sealed(self, case_id: str) -> Path:
        if not case_id.replace("-", "").isalnum():
            raise UnknownReading("that is no id", "an id that `attending list` shows", "run `attending list`")
        return self.home / "vault" / f"{case_id}.sealed"


def _known(connection: Connection, key: str, sha256: str) -> bool:
    known = run(connection, "SELECT sha256 FROM instances WHERE uid = :key", key=key).scalar()
    if known is not None and known != sha256:
        raise SameUidOtherBytes(
            "an image whose SOP Instance UID is known here with other content",
            "one content per SOP Instance UID",
            "ask the sender which of the two is right; what is kept was not touched",
        )
    return known is not None


def _register(connection: Connection, instances: Mapping[str, str], case_id: str) -> None:
    for key, sha256 in instances.items():
        if not _known(connection, key, sha256):
            run(
                connection,
                "INSERT INTO instances VALUES (:key, :sha256, :case)",
                key=key,
                sha256=sha256,
                case=case_id,
            )
