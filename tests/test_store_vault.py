"""The vault: encrypted at rest, whole or refused, every opening on the log, no identifier outside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_records import study

from attending.errors import SameUidOtherBytes, UnknownReading, VaultLocked
from attending.store import Store
from attending.store.vault import CHUNK

SECRET = b"Zaphod^Beeblebrox"


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_study_comes_back_as_it_was(home: Path, size: int) -> None:
    given = study(b"x" * size, b"", SECRET)
    with Store.open(home) as store:
        store.vault_put(given, "c0ffee")
        back = store.vault_get("c0ffee", "demo", "test")
    assert [(f.name, f.data, f.sha256) for f in back.files] == [(f.name, f.data, f.sha256) for f in given.files]
    assert len(back.files) == 3
    assert (back.kind, back.digest, back.given, back.licence, back.declared, back.stacks) == (
        given.kind,
        given.digest,
        given.given,
        given.licence,
        given.declared,
        (),
    )


def test_nothing_of_a_study_is_on_the_disk_in_the_clear(home: Path) -> None:
    with Store.open(home) as store:
        store.vault_put(
            study(SECRET * 10, name="Zaphod^Beeblebrox.dcm"), "c0ffee", {store.instance_key("1.2.3.4"): "0"}
        )
        store.vault_get("c0ffee", "demo", "test")
        files = [p for p in home.rglob("*") if p.is_file()]
        assert any(p.suffix == ".sealed" for p in files)
        for path in files:
            assert SECRET not in path.read_bytes(), path
            assert b"1.2.3.4" not in path.read_bytes(), path
            assert "Zaphod" not in path.name


def test_every_opening_is_on_the_log_first(home: Path) -> None:
    with Store.open(home) as store:
        store.vault_put(study(b"x"), "c0ffee")
        store.vault_put(study(b"x"), "c0ffee")
        store.vault_get("c0ffee", "A. Reader", "export")
        with pytest.raises(UnknownReading, match="holds no study"):
            store.vault_get("0ddba11", "A. Reader", "export")
        entries = list(store.audit_entries())
    assert [e["event"] for e in entries] == ["home made", "read", "read", "rejoin"]
    assert {"case": "c0ffee", "by": "A. Reader", "why": "export"}.items() <= entries[-1].items()


def chunks(data: bytes) -> list[bytes]:
    """Magic and salt, then each length-prefixed chunk."""
    at, parts = 34, [data[:34]]
    while at < len(data):
        size = 4 + int.from_bytes(data[at : at + 4], "big")
        parts.append(data[at : at + size])
        at += size
    return parts


@pytest.mark.parametrize("change", ["flip", "cut", "drop last", "swap", "empty", "other case", "other salt"])
def test_a_changed_file_is_refused(home: Path, change: str) -> None:
    with Store.open(home) as store:
        store.vault_put(study(bytes(range(256)) * (12 * CHUNK // 1024)), "c0ffee")
        store.vault_put(study(b"other"), "0ddba11")
        path = home / "vault" / "c0ffee.sealed"
        parts = chunks(path.read_bytes())
        assert len(parts) == 5
        changed = {
            "flip": b"".join(parts)[:-1] + bytes([parts[-1][-1] ^ 1]),
            "cut": b"".join(parts)[:-100],
            "drop last": b"".join(parts[:-1]),
            "swap": b"".join([parts[0], parts[2], parts[1], *parts[3:]]),
            "empty": b"",
            "other case": (home / "vault" / "0ddba11.sealed").read_bytes(),
            "other salt": parts[0][:-1] + bytes([parts[0][-1] ^ 1]) + b"".join(parts[1:]),
        }[change]
        path.write_bytes(changed)
        with pytest.raises(VaultLocked, match="its key is another, or it was changed"):
            store.vault_get("c0ffee", "demo", "test")


def test_a_known_uid_with_other_bytes_is_refused(home: Path) -> None:
    with Store.open(home) as store:
        key = store.instance_key("1.2.3")
        assert not store.known_instance(key, "a" * 64)
        store.register_instances({key: "a" * 64}, "c0ffee")
        assert store.known_instance(key, "a" * 64)
        store.register_instances({key: "a" * 64}, "c0ffee")
        for attempt in (
            lambda: store.known_instance(key, "b" * 64),
            lambda: store.register_instances({store.instance_key("9"): "c" * 64, key: "b" * 64}, "0ddba11"),
            lambda: store.vault_put(study(b"x"), "0ddba11", {key: "b" * 64}),
        ):
            with pytest.raises(SameUidOtherBytes, match="known here with other content"):
                attempt()
        # All or none: the new instance beside the clash was not kept, and neither was the study.
        assert not store.known_instance(store.instance_key("9"), "d" * 64)
        assert not store.in_vault("0ddba11")
        assert not (home / "vault" / "0ddba11.sealed").exists()


def test_repr_shows_no_key(home: Path) -> None:
    with Store.open(home) as store:
        key = (home / "keys" / "home.key").read_text().strip()
        text = repr(store) + repr(store._keys) + str(vars(store))
        assert key not in text
        assert repr(bytes.fromhex(key))[2:-1] not in text
