"""Vectors and releases: what learning stands on, and what a person let in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ReleaseRefused, StoreError, UnknownRelease
from ..records import Release, array_key, dumps, loads
from .database import guard, run
from .ground import Ground, Transaction
from .rows import Vector

if TYPE_CHECKING:
    from sqlalchemy import Connection

EVENTS = {"candidate": "learning", "refused": "learning", "approved": "approval", "retired": "retirement"}


class Learning(Ground):
    """The shelf of vectors and releases."""

    def save_vector(self, case: str, image: str, encoder: str, array: NDArray[Any]) -> str:
        """Keep one image vector (d,); returns its array_key."""
        return self.save_vectors(encoder, [(case, image, array)])[0]

    def save_vectors(self, encoder: str, vectors: Iterable[tuple[str, str, NDArray[Any]]]) -> list[str]:
        """Keep (case id, image id, vector (d,)) of one encoder in one transaction; returns their array_keys."""
        keys = []
        with self._writing() as transaction:
            for case, image, array in vectors:
                flat = np.ascontiguousarray(array, dtype=np.float32).reshape(-1)
                keys.append(array_key(flat))
                run(
                    transaction.connection,
                    "INSERT OR REPLACE INTO vectors VALUES (:encoder, :case, :image, :key, :size, :data)",
                    encoder=encoder,
                    case=case,
                    image=image,
                    key=keys[-1],
                    size=flat.size,
                    data=flat.tobytes(),
                )
        return keys

    def vectors(self, encoder: str) -> tuple[Vector, ...]:
        """Every vector of one encoder's space, ordered by case and image."""
        with self._reading() as connection:
            rows = run(
                connection,
                "SELECT case_id, image, key, data FROM vectors WHERE encoder = :encoder ORDER BY case_id, image",
                encoder=encoder,
            ).all()
        return tuple(Vector(row.case_id, row.image, row.key, np.frombuffer(row.data, np.float32)) for row in rows)

    def _vector(self, key: str) -> NDArray[Any] | None:
        with self._reading() as connection:
            data = run(connection, "SELECT data FROM vectors WHERE key = :key LIMIT 1", key=key).scalar()
        return None if data is None else np.frombuffer(data, np.float32)

    def save_release(self, release: Release, weights: bytes | None = None, by: str | None = None) -> int:
        """Keep a new release ("candidate" or "refused") and its ONNX file; returns the number of the audit entry.

        Raises StoreError where one with its id is kept already.
        """
        self._writable()
        if weights is not None:
            with guard():
                if self._objects.put_bytes(weights) != release.candidate.weights:
                    raise ValueError("weights were handed over whose sha256 is not the candidate's")
        with self._writing() as transaction:
            return self._set(transaction, release, EVENTS[release.status], by, new=True)

    def set_release(self, *releases: Release, by: str | None = None, event: str | None = None) -> None:
        """Change the state of releases that are kept, all in one transaction, each with its audit entry.

        Approving one and retiring the one it replaces belong in one call. Raises UnknownRelease, and
        ReleaseRefused where two of one task would be in use.
        """
        with self._writing() as transaction:
            for release in releases:
                self._set(transaction, release, event or EVENTS[release.status], by, new=False)
            crowded = run(
                transaction.connection,
                "SELECT task FROM releases WHERE status = 'approved' GROUP BY task HAVING count(*) > 1",
            ).scalar()
            if crowded is not None:
                raise ReleaseRefused(
                    "another release of this task was approved meanwhile",
                    "one release in use per task",
                    "see `attending release list`, then approve again",
                )

    def release(self, id: str) -> Release:
        """A release by id. Raises UnknownRelease."""
        with self._reading() as connection:
            document = run(connection, "SELECT document FROM releases WHERE id = :id", id=id).scalar()
        if document is None:
            raise _unknown()
        return loads(Release, document)

    def releases(self, task: str | None = None) -> tuple[Release, ...]:
        """Releases in the order they were first kept, of one task where one is named."""
        return self._releases("(:task IS NULL OR task = :task)", task)

    def approved(self, task: str | None = None) -> tuple[Release, ...]:
        """The releases in use: at most one per task."""
        return self._releases("status = 'approved' AND (:task IS NULL OR task = :task)", task)

    def _releases(self, where: str, task: str | None) -> tuple[Release, ...]:
        with self._reading() as connection:
            rows = run(connection, f"SELECT document FROM releases WHERE {where} ORDER BY rowid", task=task)
            return tuple(loads(Release, document) for document in rows.scalars())

    def _set(self, transaction: Transaction, release: Release, event: str, by: str | None, new: bool) -> int:
        known = _exists(transaction.connection, release.id)
        if new and known:
            raise StoreError(
                "a release with this id is kept already", "each release once", "see `attending release list`"
            )
        if not new and not known:
            raise _unknown()
        document = dumps(release)
        seq = transaction.audit(
            event,
            {
                "keeps": {"release": release.id},
                "sha256": hashlib.sha256(document.encode()).hexdigest(),
                "status": release.status,
                "task": release.candidate.task,
                "weights": release.candidate.weights,
                "training": release.candidate.training,
                "why": release.why,
                "by": by or release.approved_by,
            },
        )
        run(
            transaction.connection,
            "INSERT INTO releases VALUES (:id, :task, :status, :document, :audit) ON CONFLICT (id) DO UPDATE SET "
            "status = excluded.status, document = excluded.document, audit = excluded.audit",
            id=release.id,
            task=release.candidate.task,
            status=release.status,
            document=document,
            audit=seq,
        )
        return seq


def _exists(connection: Connection, id: str) -> bool:
    return run(connection, "SELECT 1 FROM releases WHERE id = :id", id=id).one_or_none() is not None


def _unknown() -> UnknownRelease:
    return UnknownRelease(
        "no release with that id", "an id that `attending release list` shows", "run `attending release list`"
    )
