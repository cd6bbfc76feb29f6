"""Readings and reviews: pictures and pages first, then the one transaction that makes them exist."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..errors import AlreadySigned, StoreError, UnknownReading
from ..records import Image, Reading, Review, dumps, loads
from .audit import recorded
from .database import guard, run
from .ground import Ground, Transaction
from .placing import Placed
from .rows import ReadingRow

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Readings(Ground):
    """The shelf of readings and reviews."""

    def save_reading(
        self,
        reading: Reading,
        arrays: Mapping[str, NDArray[Any]],
        images: Mapping[str, NDArray[Any]],
        files: Mapping[str, bytes],
    ) -> Path:
        """Keep a reading, all or nothing; returns the folder of its files, ``readings/ID/vN``.

        arrays: array_key -> label map or heat map that regions refer to; images: image id -> voxels (z, y, x[, 3]);
        files: relative name -> content. Raises StoreError where that version exists already, AlreadySigned where one
        is final by now, HomeReadOnly, DiskFull.
        """
        self._writable()
        if reading.status != "draft":
            raise ValueError("a reading becomes final by a signed review only: save_review keeps both")
        with guard():
            parts = [("image", name, self._objects.put_array(voxels)) for name, voxels in images.items()]
            for key, array in arrays.items():
                if self._objects.put_array(array) != key:
                    raise ValueError("an array was handed over under a key that is not its array_key")
                parts.append(("array", key, key))
        with self._placed(reading, files) as (transaction, folder):
            if _last_final(transaction.connection, reading.id) is not None:
                raise _signed_already()
            self._insert(transaction, reading, parts, files, "draft", {})
        return folder

    def save_review(
        self, review: Review, final: Reading | None = None, files: Mapping[str, bytes] | None = None
    ) -> int:
        """Keep a review, and the final reading that a person's signature makes, in one transaction.

        The final reading takes over the images and arrays of the version that was reviewed. Returns the number of the
        audit entry. Raises UnknownReading, AlreadySigned, StoreError where that version exists already.
        """
        if final is None:
            with self._writing() as transaction:
                return self._insert_review(transaction, review)
        if (review.source, review.reading, final.status) != ("person", final.id, "final") or not review.signature:
            raise ValueError("a final reading needs the signed review of a person, of this very reading")
        with self._placed(final, files or {}) as (transaction, _):
            seq = self._insert_review(transaction, review)
            parts = _parts(transaction.connection, review.reading, review.version, ("image", "array"))
            self._insert(transaction, final, parts, files or {}, "final", {"by": review.by, "review": review.id})
        return seq

    def save_reviews(self, reviews: list[Review]) -> None:
        """Keep many imported labels in one transaction; those that are kept already, by another process, stay."""
        with self._writing() as transaction:
            for review in reviews:
                if not _has_review(transaction.connection, review.id):
                    self._insert_review(transaction, review)

    def reading(self, id: str, version: int | None = None) -> Reading:
        """A reading by id, its latest version unless one is named. Raises UnknownReading."""
        with self._reading() as connection:
            row = run(
                connection,
                "SELECT document FROM readings WHERE id = :id AND (:version IS NULL OR version = :version) "
                "ORDER BY version DESC LIMIT 1",
                id=id,
                version=version,
            ).one_or_none()
        if row is None:
            raise _unknown(version)
        return loads(Reading, row.document)

    def readings(self, versions: bool = False) -> list[ReadingRow]:
        """One row per reading, its latest version, newest first; every version where ``versions``."""
        latest = "" if versions else "WHERE version = (SELECT max(version) FROM readings l WHERE l.id = r.id)"
        with self._reading() as connection:
            rows = run(
                connection,
                f"SELECT id, version, status, modality, created FROM readings r {latest} "
                "ORDER BY created DESC, audit DESC",
            ).all()
        return [ReadingRow(row.id, row.version, row.status, row.modality, row.created) for row in rows]

    def next_version(self, id: str) -> int:
        """1 for a new reading, else one more than the latest."""
        with self._reading() as connection:
            last = run(connection, "SELECT max(version) FROM readings WHERE id = :id", id=id).scalar_one()
        return int(last or 0) + 1

    def final(self, id: str) -> Reading:
        """The latest signed version. Raises UnknownReading where there is none."""
        with self._reading() as connection:
            version = _last_final(connection, id)
        if version is None:
            raise _unknown(None)
        return self.reading(id, version)

    def has_final(self, id: str) -> bool:
        """Whether any version of the reading is signed."""
        with self._reading() as connection:
            return _last_final(connection, id) is not None

    def image_voxels(self, id: str, image_id: str, version: int | None = None) -> NDArray[Any]:
        """The voxels (z, y, x[, 3]) of one image of a reading, as analysed; read-only. Raises UnknownReading."""
        for _, name, key in self._parts_of(id, version, "image"):
            if name == image_id:
                return self.array(key)
        raise UnknownReading(
            f"the reading has no image {image_id!r}", "an image id of its report", "see `attending show ID`"
        )

    def images(self, reading: Reading) -> dict[str, Image]:
        """Image id -> Image of a reading, as analysed."""
        keys = {name: key for _, name, key in self._parts_of(reading.id, reading.version, "image")}
        return {facts.id: Image(facts, self.array(keys[facts.id])) for facts in reading.case.images if facts.id in keys}

    def arrays(self, reading: Reading) -> dict[str, NDArray[Any]]:
        """array_key -> label map or heat map of a reading."""
        return {key: self.array(key) for _, _, key in self._parts_of(reading.id, reading.version, "array")}

    def array(self, key: str) -> NDArray[Any]:
        """An array by its array_key, an image vector too; read-only. Raises StoreError: missing or damaged."""
        with guard():
            return self._objects.get_array(key)

    def put_array(self, array: NDArray[Any]) -> str:
        """Keep a Case-only array; returns its array_key."""
        self._writable()
        with guard():
            return self._objects.put_array(array)

    def get_array(self, key: str) -> NDArray[Any]:
        return self.array(key)

    def put_bytes(self, data: bytes) -> str:
        """Keep Case-only bytes; returns their sha256."""
        self._writable()
        with guard():
            return self._objects.put_bytes(data)

    def get_bytes(self, key: str) -> bytes:
        """Bytes by their sha256, proven. Raises StoreError where they are missing or damaged."""
        with guard():
            return self._objects.get_bytes(key)

    def files(self, id: str, version: int | None = None) -> dict[str, Path]:
        """Relative name -> path of a reading's files. Raises UnknownReading."""
        number = self.reading(id).version if version is None else version
        folder = self.home / "readings" / id / f"v{number}"
        return {name: folder / name for _, name, _ in self._parts_of(id, number, "file")}

    def reviews(self, reading: str | None = None, source: str | None = None) -> tuple[Review, ...]:
        """Reviews in the order they were kept, of one reading and one source where these are named."""
        with self._reading() as connection:
            documents = (
                run(
                    connection,
                    "SELECT document FROM reviews WHERE (:reading IS NULL OR reading = :reading) "
                    "AND (:source IS NULL OR source = :source) ORDER BY audit",
                    reading=reading,
                    source=source,
                )
                .scalars()
                .all()
            )
        return tuple(loads(Review, document) for document in documents)

    def _parts_of(self, id: str, version: int | None, kind: str) -> list[tuple[str, str, str]]:
        with self._reading() as connection:
            known = run(
                connection,
                "SELECT max(version) FROM readings WHERE id = :id AND (:version IS NULL OR version = :version)",
                id=id,
                version=version,
            ).scalar_one()
            if known is None:
                raise _unknown(version)
            return _parts(connection, id, int(known), (kind,))

    def _insert(
        self,
        transaction: Transaction,
        reading: Reading,
        parts: list[tuple[str, str, str]],
        files: Mapping[str, bytes],
        event: str,
        facts: dict[str, Any],
    ) -> None:
        document = dumps(reading)
        parts = [*parts, *(("file", name, hashlib.sha256(data).hexdigest()) for name, data in sorted(files.items()))]
        seq = transaction.audit(
            event,
            {
                **facts,
                "keeps": {"reading": f"{reading.id} v{reading.version}"},
                "sha256": hashlib.sha256(document.encode()).hexdigest(),
                "files": {name: key for kind, name, key in parts if kind == "file"},
                "images": {name: key for kind, name, key in parts if kind == "image"},
                "modality": reading.case.modality,
                "writer": reading.draft.writer.model,
            },
        )
        run(
            transaction.connection,
            "INSERT INTO readings VALUES (:id, :version, :status, :modality, :created, :document, :audit)",
            id=reading.id,
            version=reading.version,
            status=reading.status,
            modality=reading.case.modality,
            created=reading.created,
            document=document,
            audit=seq,
        )
        for kind, name, key in parts:
            run(
                transaction.connection,
                "INSERT INTO parts VALUES (:id, :version, :kind, :name, :key)",
                id=reading.id,
                version=reading.version,
                kind=kind,
                name=name,
                key=key,
            )

    def _insert_review(self, transaction: Transaction, review: Review) -> int:
        person = review.source == "person"
        if person:
            self._may_sign(transaction.connection, review)
        if _has_review(transaction.connection, review.id):
            raise StoreError("a review with this id is kept already", "each review once", "give it a new id")
        document = dumps(review)
        seq = transaction.audit(
            "signature" if person else "imported label",
            {
                "keeps": {"review": review.id},
                "sha256": hashlib.sha256(document.encode()).hexdigest(),
                "reading": review.reading,
                "version": review.version,
                "by": review.by,
                "source": review.source,
            },
        )
        run(
            transaction.connection,
            "INSERT INTO reviews VALUES (:id, :reading, :version, :source, :document, :audit)",
            id=review.id,
            reading=review.reading,
            version=review.version,
            source=review.source,
            document=document,
            audit=seq,
        )
        return seq

    def _may_sign(self, connection: Connection, review: Review) -> None:
        named = {"id": review.reading, "version": review.version}
        status = run(connection, "SELECT status FROM readings WHERE id = :id AND version = :version", **named).scalar()
        if status is None:
            raise _unknown(review.version)
        signed = run(
            connection,
            "SELECT 1 FROM reviews WHERE reading = :id AND version = :version AND source = 'person'",
            **named,
        ).one_or_none()
        if status == "final" or signed:
            raise _signed_already()

    def _placed(self, reading: Reading, files: Mapping[str, bytes]) -> Placed:
        return Placed(self, reading, files, self._sweep)

    def _sweep(self) -> None:
        """Remove version folders that neither a row nor an entry names: a process died between rename and commit.

        Folders are renamed into place under the write lock, so under that lock an unnamed one belongs to nobody. What
        an entry names is left alone: a row that is gone without leave is for the privacy officer to see.
        """
        root = self.home / "readings"
        with self._reading() as connection:
            unnamed = _unnamed(connection, root)
        if unnamed:
            with self._writing() as transaction:
                for folder in _unnamed(transaction.connection, root):
                    shutil.rmtree(folder, ignore_errors=True)
                    with suppress(OSError):
                        folder.parent.rmdir()


def _unnamed(connection: Connection, root: Path) -> list[Path]:
    named = {(row.id, f"v{row.version}") for row in run(connection, "SELECT id, version FROM readings")}
    return [
        v
        for id in root.iterdir()
        if id.is_dir()
        for v in id.iterdir()
        if (id.name, v.name) not in named and not recorded(connection, "reading", f"{id.name} {v.name}")
    ]


def _parts(connection: Connection, id: str, version: int, kinds: tuple[str, ...]) -> list[tuple[str, str, str]]:
    rows = run(
        connection,
        "SELECT kind, name, key FROM parts WHERE reading = :id AND version = :version ORDER BY rowid",
        id=id,
        version=version,
    ).all()
    return [(row.kind, row.name, row.key) for row in rows if row.kind in kinds]


def _last_final(connection: Connection, id: str) -> int | None:
    version: int | None = run(
        connection, "SELECT max(version) FROM readings WHERE id = :id AND status = 'final'", id=id
    ).scalar_one()
    return version


def _has_review(connection: Connection, id: str) -> bool:
    return run(connection, "SELECT 1 FROM reviews WHERE id = :id", id=id).one_or_none() is not None


def _signed_already() -> AlreadySigned:
    return AlreadySigned(
        "this reading is final and signed",
        "one signature per reading; a signed version is never replaced",
        "show it with `attending show ID`",
    )


def _unknown(version: int | None) -> UnknownReading:
    return UnknownReading(
        "no reading with that id" if version is None else f"no version {version} of a reading with that id",
        "an id that `attending list` shows",
        "run `attending list`",
    )
