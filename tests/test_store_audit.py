"""The audit log: whole when left alone; any tampering is seen and the first bad entry named."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from store_records import VOXELS, reading, release, review

from attending.errors import AuditBroken
from attending.store import Store

ENTRIES = 9


@pytest.fixture
def log(home: Path) -> Path:
    with Store.open(home) as store:
        for n in range(4):
            store.audit("test", n=n)
        store.save_reading(reading(1), {}, {}, {})
        store.save_review(review("r1"), reading(2, status="final"), {})
        store.save_release(release("one", b"x"), b"x")
        assert store.verify_audit() == ENTRIES
    return home


def tamper(home: Path, *statements: str) -> None:
    with sqlite3.connect(home / "attending.db") as database:
        for table in ("audit", "heads"):
            for verb in ("update", "delete"):
                database.execute(f"DROP TRIGGER IF EXISTS {table}_never_{verb}")
        for statement in statements:
            database.execute(statement)


def rechain(home: Path, heads: bool = False) -> None:
    """What somebody without the key can do: make every hash follow again."""
    with sqlite3.connect(home / "attending.db") as database:
        previous = "0" * 64
        for seq, entry in database.execute("SELECT seq, entry FROM audit ORDER BY seq").fetchall():
            previous = hashlib.sha256(f"{previous}\n{entry}".encode()).hexdigest()
            database.execute("UPDATE audit SET hash = ? WHERE seq = ?", (previous, seq))
            if heads:
                database.execute("UPDATE heads SET hash = ? WHERE seq = ?", (previous, seq))


def broken(home: Path, entry: int) -> None:
    match = rf"^entry {entry} "
    for readonly in (False, True):
        with Store.open(home, readonly=readonly) as store, pytest.raises(AuditBroken, match=match):
            store.verify_audit()
    # Going on working must not heal it.
    with Store.open(home) as store:
        store.audit("later")
        with pytest.raises(AuditBroken, match=match):
            store.verify_audit()


def test_the_table_is_as_documented(log: Path) -> None:
    with sqlite3.connect(log / "attending.db") as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(audit)")]
        rows = database.execute("SELECT seq, entry, hash FROM audit ORDER BY seq").fetchall()
    assert columns == ["seq", "entry", "hash"]
    assert [seq for seq, _, _ in rows] == list(range(1, ENTRIES + 1))
    entries = [json.loads(entry) for _, entry, _ in rows]
    assert [e["event"] for e in entries] == ["home made", *["test"] * 4, "draft", "signature", "final", "learning"]
    assert all(e["seq"] == seq and e["time"] for e, (seq, _, _) in zip(entries, rows, strict=True))


def test_append_only(log: Path) -> None:
    with sqlite3.connect(log / "attending.db") as database:
        for statement in ("UPDATE audit SET entry = '{}' WHERE seq = 1", "DELETE FROM audit", "DELETE FROM heads"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)


EDIT = "UPDATE audit SET entry = replace(entry, 'test', 'nothing') WHERE seq = 3"
TAMPERINGS: dict[str, tuple[Callable[[Path], None], int]] = {
    "an entry edited": (lambda h: tamper(h, EDIT), 3),
    "an entry edited, the chain made to follow": (lambda h: (tamper(h, EDIT), rechain(h))[0], 3),
    "an entry edited, chain and heads made to follow": (lambda h: (tamper(h, EDIT), rechain(h, heads=True))[0], 3),
    "an entry emptied": (lambda h: tamper(h, "UPDATE audit SET entry = '' WHERE seq = 5"), 5),
    "an entry made bytes": (lambda h: tamper(h, "UPDATE audit SET entry = CAST(entry AS BLOB) WHERE seq = 5"), 5),
    "a hash edited": (lambda h: tamper(h, "UPDATE audit SET hash = 'x' WHERE seq = 4"), 4),
    "an entry taken out": (lambda h: tamper(h, "DELETE FROM audit WHERE seq = 4"), 4),
    "an entry taken out, the rest renumbered": (
        lambda h: (
            tamper(
                h,
                "DELETE FROM audit WHERE seq = 4",
                "UPDATE audit SET seq = -seq WHERE seq > 4",
                "UPDATE audit SET seq = -seq - 1 WHERE seq < 0",
            ),
            rechain(h),
        )[0],
        4,
    ),
    "the first entry taken out": (lambda h: tamper(h, "DELETE FROM audit WHERE seq = 1"), 1),
    "the tail cut": (lambda h: tamper(h, "DELETE FROM audit WHERE seq > 7"), 8),
    "the last entry and its head cut": (
        lambda h: tamper(h, "DELETE FROM audit WHERE seq = 9", "DELETE FROM heads WHERE seq = 9"),
        9,
    ),
    "all cut": (lambda h: tamper(h, "DELETE FROM audit", "DELETE FROM heads"), 1),
    "an entry put in at the end": (lambda h: (tamper(h, "INSERT INTO audit VALUES (10, '{}', '')"), rechain(h))[0], 10),
    "an entry put in before the first": (lambda h: tamper(h, "INSERT INTO audit VALUES (0, '{}', 'x')"), 0),
    "two entries swapped": (
        lambda h: (
            tamper(
                h,
                "UPDATE audit SET seq = 100 WHERE seq = 2",
                "UPDATE audit SET seq = 2 WHERE seq = 3",
                "UPDATE audit SET seq = 3 WHERE seq = 100",
            ),
            rechain(h),
        )[0],
        2,
    ),
    "the heads dropped": (lambda h: tamper(h, "DELETE FROM heads"), 1),
    "a reading changed": (
        lambda h: tamper(h, "UPDATE readings SET document = replace(document, 'CT', 'MR') WHERE version = 1"),
        6,
    ),
    "a signature taken away": (lambda h: tamper(h, "DELETE FROM reviews"), 7),
    "a final reading taken away": (lambda h: tamper(h, "DELETE FROM readings WHERE version = 2"), 8),
    "a release approved by hand": (
        lambda h: tamper(h, "UPDATE releases SET document = replace(document, '\"candidate\"', '\"approved\"')"),
        9,
    ),
    "a reading put in": (
        lambda h: tamper(
            h,
            "INSERT INTO readings SELECT 'forged', version, status, modality, created, document, 6 FROM readings "
            "WHERE version = 1",
        ),
        6,
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_names_the_first_bad_entry(log: Path, name: str) -> None:
    act, entry = TAMPERINGS[name]
    act(log)
    broken(log, entry)


def test_the_whole_log_rewritten_with_another_key(log: Path, tmp_path: Path) -> None:
    """A forger with a home of their own signs a log that follows perfectly, and puts it in place of ours."""
    with Store.open(tmp_path / "forger") as forger:
        for n in range(ENTRIES - 1):
            forger.audit("test", n=n)
    with sqlite3.connect(tmp_path / "forger" / "attending.db") as database:
        rows = database.execute("SELECT a.seq, entry, a.hash, signature FROM audit a JOIN heads USING (seq)").fetchall()
    tamper(log, "DELETE FROM audit", "DELETE FROM heads", "DELETE FROM readings", "DELETE FROM reviews")
    with sqlite3.connect(log / "attending.db") as database:
        database.executemany("INSERT INTO audit VALUES (?, ?, ?)", [row[:3] for row in rows])
        database.executemany("INSERT INTO heads VALUES (?, ?, ?)", [(r[0], r[2], r[3]) for r in rows])
    broken(log, 1)
    shutil.copy(tmp_path / "forger" / "keys" / "head.json", log / "keys" / "head.json")
    broken(log, 1)


def test_the_anchor_taken_away_or_forged(log: Path) -> None:
    anchor = log / "keys" / "head.json"
    kept = anchor.read_text()
    for forged in (None, "", "{}", kept.replace('"seq": 9', '"seq": 3')):
        anchor.unlink(missing_ok=True)
        if forged is not None:
            anchor.write_text(forged)
        with Store.open(log) as store, pytest.raises(AuditBroken, match=r"^entry 10 is missing, or keys/head\.json"):
            store.verify_audit()
    anchor.write_text(kept)
    with Store.open(log) as store:
        assert store.verify_audit() == ENTRIES


def test_an_older_copy_of_the_database_is_seen(log: Path) -> None:
    """A restored backup lacks what came after it: true, and to be known."""
    old = (log / "attending.db").read_bytes()
    with Store.open(log) as store:
        store.audit("after the backup")
    (log / "attending.db").write_bytes(old)
    broken(log, 10)


def test_a_kill_between_commit_and_anchor_is_made_good(log: Path) -> None:
    old = (log / "keys" / "head.json").read_bytes()
    with Store.open(log) as store:
        store.audit("one more")
    (log / "keys" / "head.json").write_bytes(old)
    with Store.open(log) as store:
        assert store.verify_audit() == ENTRIES + 1
    assert (log / "keys" / "head.json").read_bytes() != old


def test_a_page_or_an_image_that_was_changed_beside_the_database_is_seen(home: Path) -> None:
    with Store.open(home) as store:
        folder = store.save_reading(reading(1), {}, {"i1": VOXELS}, {"page.html": b"page"})
        other = store.put_array(VOXELS + 1)
        assert store.verify_audit() == 2
    (folder / "page.html").write_bytes(b"forged")
    broken(home, 2)
    (folder / "page.html").unlink()
    broken(home, 2)
    (folder / "page.html").write_bytes(b"page")
    with Store.open(home) as store:
        assert store.verify_audit() == 4
    tamper(home, f"UPDATE parts SET key = '{other}' WHERE kind = 'image'")
    broken(home, 2)
