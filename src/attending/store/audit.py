"""The audit log: what was done, chained by hash, each head signed, the last one kept outside the database too."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AuditBroken
from .database import run
from .keys import GENESIS, Head, Keys

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Which table keeps the record that an entry vouches for, and how the entry names it.
KEPT = {
    "reading": "SELECT id || ' v' || version AS name, document, audit FROM readings",
    "review": "SELECT id AS name, document, audit FROM reviews",
    "release": "SELECT id AS name, document, audit FROM releases",
}


def chained(previous: str, entry: str) -> str:
    return hashlib.sha256(f"{previous}\n{entry}".encode()).hexdigest()


def append(connection: Connection, keys: Keys, event: str, facts: dict[str, Any]) -> Head:
    """Add one entry inside the caller's write transaction, and its signed head.

    facts are JSON-able and Case-only. A log that was cut short is continued beyond the anchor, so that the gap stays.
    """
    last = run(connection, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").one_or_none()
    anchor = keys.anchor()
    seq = max(last.seq if last else 0, anchor.seq if anchor else 0) + 1
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry = json.dumps({**facts, "seq": seq, "time": now, "event": event}, sort_keys=True, separators=(",", ":"))
    head = keys.sign(seq, chained(last.hash if last else GENESIS, entry))
    run(connection, "INSERT INTO audit VALUES (:seq, :entry, :hash)", seq=seq, entry=entry, hash=head.hash)
    run(
        connection,
        "INSERT INTO heads VALUES (:seq, :hash, :signature)",
        seq=seq,
        hash=head.hash,
        signature=head.signature,
    )
    return head


def verify(connection: Connection, keys: Keys, anchor: Head | None, readings: Path) -> int:
    """The number of entries, all in place, unchanged, signed, and vouching for what is kept.

    readings is the folder of the readings' files. anchor must have been read before the connection's transaction began.
    Raises AuditBroken naming "entry N", the first bad one.
    """
    heads = {row.seq: row for row in run(connection, "SELECT seq, hash, signature FROM heads")}
    previous, expected = GENESIS, 1
    vouched: dict[tuple[str, str], tuple[int, str]] = {}
    made: dict[str, dict[str, Any]] = {}
    anchored = anchor is not None and anchor.seq == 0
    for row in run(connection, "SELECT seq, entry, hash FROM audit ORDER BY seq"):
        if row.seq != expected:
            if row.seq > expected:
                raise _broken(expected, "is missing")
            raise _broken(row.seq, "was put in")
        if not isinstance(row.entry, str) or chained(previous, row.entry) != row.hash:
            raise _broken(row.seq, "does not follow from the entry before it")
        head = heads.pop(row.seq, None)
        if head is None:
            raise _broken(row.seq, "was never signed")
        if head.hash != row.hash or not keys.holds(Head(row.seq, head.hash, head.signature)):
            raise _broken(row.seq, "is not the one that was signed")
        entry = json.loads(row.entry)
        if entry.get("seq") != row.seq:
            raise _broken(row.seq, "was moved")
        if anchor is not None and anchor.seq == row.seq:
            anchored = anchor.hash == row.hash
            if not anchored:
                raise _broken(row.seq, "is not the one that keys/head.json vouches for")
        for kind in KEPT:
            if "sha256" in entry and kind in entry.get("keeps", {}):
                vouched[kind, entry["keeps"][kind]] = (row.seq, entry["sha256"])
        if "reading" in entry.get("keeps", {}):
            made[entry["keeps"]["reading"]] = entry
        previous, expected = row.hash, expected + 1
    if heads:
        raise _broken(expected, "is missing")
    if not anchored:
        raise _broken(expected, "is missing, or keys/head.json was taken away")
    _kept(connection, vouched)
    _beside(connection, made, readings)
    return expected - 1


def _kept(connection: Connection, vouched: dict[tuple[str, str], tuple[int, str]]) -> None:
    bad: list[tuple[int, str]] = []
    for kind, statement in KEPT.items():
        for row in run(connection, statement):
            seq, sha256 = vouched.pop((kind, row.name), (None, ""))
            if seq is None:
                bad.append((int(row.audit), f"does not record a {kind} that is kept"))
            elif hashlib.sha256(str(row.document).encode()).hexdigest() != sha256:
                bad.append((seq, f"records a {kind} that was changed afterwards"))
    bad += [(seq, f"records a {kind} that is gone") for (kind, _), (seq, _) in vouched.items()]
    if bad:
        raise _broken(*min(bad))


def _beside(connection: Connection, made: dict[str, dict[str, Any]], readings: Path) -> None:
    """The pages and images of a reading are those that its entry names."""
    images: dict[str, dict[str, str]] = {name: {} for name in made}
    for row in run(connection, "SELECT reading || ' v' || version AS of, name, key FROM parts WHERE kind = 'image'"):
        images.setdefault(row.of, {})[row.name] = row.key
    for name, entry in made.items():
        if images[name] != entry.get("images", images[name]):
            raise _broken(entry["seq"], "records images of a reading that were changed afterwards")
        for file, sha256 in entry.get("files", {}).items():
            path = readings.joinpath(*name.split(" "), file)
            if not path.is_file():
                raise _broken(entry["seq"], "records a file of a reading that is gone")
            with path.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                    raise _broken(entry["seq"], "records a file of a reading that was changed afterwards")


def recorded(connection: Connection, kind: str, name: str) -> bool:
    """Whether any entry says that this record is kept."""
    keeps = json.dumps({kind: name}, separators=(",", ":"))
    return run(connection, "SELECT 1 FROM audit WHERE instr(entry, :keeps) LIMIT 1", keeps=keeps).scalar() is not None


def _broken(seq: int, why: str) -> AuditBroken:
    return AuditBroken(
        f"entry {seq} {why}",
        "a log in which every entry follows from the one before and was signed by this home",
        "keep the folder as it is for the privacy officer, and compare it with a backup",
    )
