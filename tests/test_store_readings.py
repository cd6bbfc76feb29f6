"""Readings, reviews, objects, vectors, releases: kept all or not at all, read back equal."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_records import ARRAY, VOXELS, reading, release, review

from attending.errors import (
    AlreadySigned,
    ReleaseRefused,
    StoreError,
    UnknownReading,
    UnknownRelease,
    UnknownVersion,
    VaultLocked,
)
from attending.records import array_key
from attending.store import Store, migrations


def keep(store: Store, version: int = 1, id: str = "c0ffee") -> Path:
    return store.save_reading(
        reading(version, id), {array_key(ARRAY): ARRAY}, {"i1": VOXELS}, {"page.html": b"page", "img/a.png": b"png"}
    )


def test_a_reading_comes_back_equal(home: Path) -> None:
    with Store.open(home) as store:
        folder = keep(store)
        assert folder == home / "readings" / "c0ffee" / "v1"
        assert {name: path.read_bytes() for name, path in store.files("c0ffee").items()} == {
            "page.html": b"page",
            "img/a.png": b"png",
        }
        assert store.reading("c0ffee") == reading(1)
        assert np.array_equal(store.image_voxels("c0ffee", "i1"), VOXELS)
        assert np.array_equal(store.arrays(reading(1))[array_key(ARRAY)], ARRAY)
        image = store.images(reading(1))["i1"]
        assert image.facts == reading(1).case.images[0]
        assert not image.voxels.flags.writeable
        assert [(r.id, r.version, r.status, r.modality) for r in store.readings()] == [("c0ffee", 1, "draft", "CT")]
        assert store.next_version("c0ffee") == 2
        assert store.next_version("other") == 1


def test_the_home_is_private(home: Path) -> None:
    Store.open(home).close()
    assert home.stat().st_mode & 0o777 == 0o700
    for name in ("attending.db", "keys/home.key", "keys/audit.key", "keys/head.json"):
        assert (home / name).stat().st_mode & 0o077 == 0, name


def test_a_signature_makes_the_final_version_and_the_draft_stays(home: Path) -> None:
    with Store.open(home) as store:
        keep(store)
        store.save_review(review("r1"), reading(2, status="final"), {"page.html": b"signed"})
        assert store.has_final("c0ffee")
        assert store.final("c0ffee").version == 2
        assert store.reading("c0ffee", 1).status == "draft"
        assert np.array_equal(store.image_voxels("c0ffee", "i1"), VOXELS)
        assert store.files("c0ffee")["page.html"].read_bytes() == b"signed"
        assert [r.id for r in store.reviews("c0ffee", "person")] == ["r1"]


def test_signing_twice_is_refused_and_changes_nothing(home: Path) -> None:
    with Store.open(home) as store:
        keep(store)
        store.save_review(review("r1"), reading(2, status="final"), {"page.html": b"signed"})
        before = store.verify_audit()
        for version in (1, 2):
            again = dataclasses.replace(review("r2"), version=version)
            with pytest.raises(AlreadySigned, match="one signature per reading"):
                store.save_review(again, reading(3, status="final"), {})
        assert store.verify_audit() == before
        assert not (home / "readings" / "c0ffee" / "v3").exists()


def test_a_review_of_no_reading_is_refused(home: Path) -> None:
    with Store.open(home) as store, pytest.raises(UnknownReading, match="no version 1"):
        store.save_review(review("r1"))


def test_imported_labels_need_no_reading_and_go_in_at_once(home: Path) -> None:
    with Store.open(home) as store:
        many = [dataclasses.replace(review(f"r{n}"), source="imported:set", reading=f"case{n}") for n in range(50)]
        store.save_reviews(many)
        assert len(store.reviews(source="imported:set")) == 50
        assert store.reviews(source="person") == ()
        assert store.verify_audit() == 51


def test_a_version_is_never_replaced(home: Path) -> None:
    with Store.open(home) as store:
        keep(store)
        with pytest.raises(StoreError, match="version 1 of this reading was kept meanwhile"):
            store.save_reading(reading(1), {}, {}, {"page.html": b"other"})
        assert store.files("c0ffee")["page.html"].read_bytes() == b"page"


def test_unknown_ids(home: Path) -> None:
    with Store.open(home) as store:
        for id in ("nothing", "../keys", ""):
            with pytest.raises(UnknownReading, match="no reading with that id"):
                store.reading(id)
            with pytest.raises(UnknownReading, match="no"):
                store.files(id)
            with pytest.raises(UnknownReading, match="no"):
                store.vault_get(id, "demo", "test")
        with pytest.raises(UnknownRelease, match="no release with that id"):
            store.release("nothing")


@pytest.mark.parametrize("name", ["../page.html", "/etc/page", ".hidden", "a//../b", ""])
def test_file_names_stay_below_the_reading(home: Path, name: str) -> None:
    with Store.open(home) as store, pytest.raises(ValueError, match="plain relative names"):
        store.save_reading(reading(1), {}, {}, {name: b"x"})


def test_objects_are_proven_when_read(home: Path) -> None:
    with Store.open(home) as store:
        key, text = store.put_array(ARRAY), store.put_bytes(b"weights")
        assert store.put_array(ARRAY) == key == array_key(ARRAY)
        assert store.get_bytes(text) == b"weights"
        next(home.glob(f"objects/*/{text}.bin")).write_bytes(b"Weights")
        with pytest.raises(StoreError, match="not what its name says"):
            store.get_bytes(text)
        with pytest.raises(StoreError, match=r"not in objects/"):
            store.get_array("0" * 64)
        with pytest.raises(StoreError, match=r"not in objects/"):
            store.get_array("../../keys/home.key")
        with pytest.raises(ValueError, match="Object arrays"):
            store.put_array(np.array([{}]))


@pytest.mark.parametrize("array", [np.float32(3).reshape(()), np.zeros((0, 3)), np.arange(24).reshape(2, 3, 4).T])
def test_arrays_of_any_layout(home: Path, array: np.ndarray) -> None:
    with Store.open(home) as store:
        back = store.get_array(store.put_array(array))
        assert back.shape == array.shape
        assert np.array_equal(back, array)


def test_vectors(home: Path) -> None:
    with Store.open(home) as store:
        keys = store.save_vectors("space", [("b", "i1", np.ones(4)), ("a", "i1", np.zeros(4, np.float32))])
        assert [(v.case, v.image, v.array.tolist()) for v in store.vectors("space")] == [
            ("a", "i1", [0.0] * 4),
            ("b", "i1", [1.0] * 4),
        ]
        assert np.array_equal(store.array(keys[0]), np.ones(4))
        assert store.vectors("other") == ()


def test_releases_change_state_together(home: Path) -> None:
    weights = b"onnx"
    with Store.open(home) as store:
        first, second = release("one", weights), release("two", weights)
        store.save_release(first, weights)
        store.save_release(second, weights)
        store.set_release(dataclasses.replace(first, status="approved"), by="demo")
        assert [r.id for r in store.approved("task")] == ["one"]
        with pytest.raises(ReleaseRefused, match="approved meanwhile"):
            store.set_release(dataclasses.replace(second, status="approved"), by="demo")
        assert [r.id for r in store.approved()] == ["one"]
        store.set_release(
            dataclasses.replace(first, status="retired"), dataclasses.replace(second, status="approved"), by="demo"
        )
        assert [(r.id, r.status) for r in store.releases("task")] == [("one", "retired"), ("two", "approved")]
        assert store.get_bytes(second.candidate.weights) == weights
        with pytest.raises(UnknownRelease, match="no release"):
            store.set_release(release("three", weights))
        with pytest.raises(ValueError, match="sha256 is not the candidate's"):
            store.save_release(release("four", weights), b"other")
        store.verify_audit()


def test_an_old_home_opens_and_keeps_its_readings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "NEWEST", 1)
    monkeypatch.setattr(migrations.migrate, "__defaults__", (1,))
    with Store.open(home) as store:
        keep(store)
    monkeypatch.undo()
    with Store.open(home) as store:
        assert store.schema == migrations.NEWEST > 1
        assert store.reading("c0ffee") == reading(1)
        assert store.verify_audit() == 3
    with sqlite3.connect(home / "attending.db") as database:
        rows = database.execute("SELECT number, length(why) > 20 FROM migrations ORDER BY number").fetchall()
    assert rows == [(m.number, 1) for m in migrations.MIGRATIONS]


def test_a_newer_home_is_refused(home: Path) -> None:
    Store.open(home).close()
    with sqlite3.connect(home / "attending.db") as database:
        database.execute("INSERT INTO migrations VALUES (99, 'from the future', '')")
    with pytest.raises(UnknownVersion, match="schema 99"):
        Store.open(home)


def test_two_processes_worth_of_stores_share_a_home(home: Path) -> None:
    with Store.open(home) as one, Store.open(home) as two:
        keep(one)
        assert two.next_version("c0ffee") == 2
        keep(two, 2)
        assert one.reading("c0ffee").version == 2
        assert one.verify_audit() == two.verify_audit() == 3


def test_secrets_differ_by_home_and_purpose(home: Path, tmp_path: Path) -> None:
    with Store.open(home) as one, Store.open(tmp_path / "two") as two:
        seen = {one.secret("a"), one.secret("b"), two.secret("a"), one.signing_key("a").private_bytes_raw()}
        assert len(seen) == 4
        assert {len(s) for s in seen} == {32}
        again = one.secret("a")
    with Store.open(home) as one:
        assert one.secret("a") == again


def test_keys_must_be_there_and_private(home: Path, tmp_path: Path) -> None:
    Store.open(home).close()
    key = home / "keys" / "home.key"
    key.chmod(0o644)
    with pytest.raises(VaultLocked, match=r"can be read by other users.*chmod 600"):
        Store.open(home)
    key.chmod(0o600)
    Store.open(tmp_path / "two").close()
    right = key.read_bytes()
    key.write_bytes((tmp_path / "two" / "keys" / "home.key").read_bytes())
    with pytest.raises(VaultLocked, match="not the key that this folder was made with"):
        Store.open(home)
    key.write_text("short")
    with pytest.raises(VaultLocked, match="not 32 bytes"):
        Store.open(home)
    key.unlink()
    with pytest.raises(VaultLocked, match=r"keys/home\.key is missing"):
        Store.open(home)
    key.write_bytes(right)
    key.chmod(0o600)
    Store.open(home).close()


def test_nothing_is_left_in_tmp(home: Path) -> None:
    with Store.open(home) as store:
        keep(store)
    assert list((home / "tmp").iterdir()) == []


def test_what_a_dead_process_left_is_swept_and_what_a_live_one_holds_is_not(home: Path) -> None:
    with Store.open(home) as live:
        keep(live)
        held = live._temporary.path
        dead = home / "tmp" / "dead"
        (dead / "x").mkdir(parents=True)
        orphan = home / "readings" / "0ddba11" / "v1"
        orphan.mkdir(parents=True)
        with Store.open(home) as other:
            assert not dead.exists()
            assert not orphan.parent.exists()
            assert held.exists()
            assert other.files("c0ffee")["page.html"].exists()


def test_files_that_an_entry_vouches_for_are_not_swept_with_their_row(home: Path) -> None:
    with Store.open(home) as store:
        keep(store)
    with sqlite3.connect(home / "attending.db") as database:
        database.execute("DELETE FROM readings")
    with Store.open(home):
        assert (home / "readings" / "c0ffee" / "v1" / "page.html").exists()


def test_a_draft_that_comes_after_the_signature_is_not_kept(home: Path) -> None:
    with Store.open(home) as store:
        keep(store)
        store.save_review(review("r1"), reading(2, status="final"), {"page.html": b"final"})
        with pytest.raises(AlreadySigned, match="final and signed"):
            keep(store, version=3)
        assert store.reading("c0ffee").status == "final"
        assert not (home / "readings" / "c0ffee" / "v3").exists()


def test_nothing_is_final_without_a_persons_signature(home: Path) -> None:
    with Store.open(home) as store:
        with pytest.raises(ValueError, match="final by a signed review only"):
            store.save_reading(reading(1, status="final"), {}, {}, {})
        keep(store)
        final = reading(2, status="final")
        imported = dataclasses.replace(review("r1"), source="imported:set", signature="")
        for wrong in (imported, dataclasses.replace(review("r1"), signature=""), review("r1", reading="abba")):
            with pytest.raises(ValueError, match="signed review of a person"):
                store.save_review(wrong, final)
        with pytest.raises(ValueError, match="signed review of a person"):
            store.save_review(review("r1"), reading(2))
        assert not store.has_final("c0ffee") and not store.reviews()


def test_a_temporary_folder_that_is_swept_as_it_is_made_is_made_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(home) as store:
        names = iter(["ab" * 8, "cd" * 8])
        monkeypatch.setattr("attending.store.ground.secrets.token_hex", lambda _: next(names))
        real, swept = os.open, []

        def sweeping(path: Any, *rest: Any) -> int:
            if str(path).endswith("ab" * 8) and not swept:
                swept.append(path)
                Path(path).rmdir()
            return real(path, *rest)

        monkeypatch.setattr("attending.store.ground.os.open", sweeping)
        assert store._temporary.path.name == "cd" * 8
        assert swept


def test_labels_that_another_process_imported_meanwhile_stay(home: Path) -> None:
    labels = [dataclasses.replace(review(f"r{n}"), source="imported:set", signature="") for n in range(3)]
    with Store.open(home) as store:
        store.save_reviews(labels[:2])
        store.save_reviews(labels)
        assert [r.id for r in store.reviews()] == ["r0", "r1", "r2"]
        assert store.verify_audit() == 4
        with pytest.raises(StoreError, match="kept already"):
            store.save_review(labels[0])


def test_a_release_is_kept_once(home: Path) -> None:
    with Store.open(home) as store:
        store.save_release(release("a", b"one"), b"one")
        with pytest.raises(StoreError, match="a release with this id is kept already"):
            store.save_release(release("a", b"one"), b"one")
