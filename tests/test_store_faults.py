"""A full disk, a folder that cannot be written, a damaged database: one clear message each, nothing half-kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attending.errors import HomeReadOnly, StoreError
from attending.store import Store

TESTS = Path(__file__).parent

FULL = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import numpy as np
from store_records import reading, study
from attending.errors import DiskFull
from attending.store import Store

home = Path(sys.argv[1])
full = 0
with Store.open(home) as store:
    store.save_reading(reading(1, "fits"), {}, {}, {"page.html": b"page"})
    filler = np.random.default_rng(1).integers(0, 255, (4, 256, 256), np.uint8)
    for attempt in (
        lambda: [store.save_reading(reading(1, f"n{n}"), {}, {"i1": filler + np.uint8(n)}, {}) for n in range(200)],
        lambda: store.save_reading(reading(1, "page"), {}, {}, {"page.html": bytes(9 << 20)}),
        lambda: store.vault_put(study(bytes(9 << 20)), "big"),
        lambda: [store.audit("long", text="x" * 100_000) for _ in range(200)],
    ):
        try:
            attempt()
        except DiskFull as e:
            assert "no space is left" in str(e) and str(home) not in str(e), e
            full += 1
print(full)
"""


def run(code: str, *arguments: str, shell: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    if shell:
        command = ["unshare", "-rm", "sh", "-c", f'{shell} && exec "$@"', "sh", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def can_mount(tmp_path: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    mounts = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    return subprocess.run(mounts, capture_output=True).returncode == 0


def test_a_full_disk(home: Path, tmp_path: Path) -> None:
    """A real file system of 6 MiB, in a mount namespace of its own."""
    if not can_mount(tmp_path):
        pytest.skip("this system does not let the test mount a small file system")
    home.mkdir()
    done = run(
        FULL + "with Store.open(home) as store:\n    store.verify_audit()\n    print(store.readings()[-1].id)\n",
        str(home),
        str(TESTS),
        shell=f"mount -t tmpfs -o size=6m tmpfs {home}",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4", "fits"]


def test_a_size_limit_reads_as_a_full_disk(home: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))\n"
    code = limit + FULL.replace("4, 256, 256", "40, 256, 256")
    done = run(code, str(home), str(TESTS))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4"]
    with Store.open(home) as store:
        store.verify_audit()
        assert [row.id for row in store.readings()] == ["fits"]
        assert {p.parent.name for p in home.glob("readings/*/*")} == {"fits"}
        assert list(home.glob("vault/*")) == []
        assert [p for p in (home / "tmp").iterdir() if p != store._temporary._path] == []


READ_ONLY = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from store_records import reading, study
from attending.errors import HomeReadOnly
from attending.store import Store

home = Path(sys.argv[1])
with Store.open(home) as store:
    print(store.verify_audit(), [row.id for row in store.readings()], store.files("fits")["page.html"].read_text())
    refused = 0
    for attempt in (
        lambda: store.save_reading(reading(2, "fits"), {}, {}, {}),
        lambda: store.vault_put(study(b"x"), "new"),
        lambda: store.vault_get("fits", "demo", "test"),
        lambda: store.audit("x"),
        lambda: store.put_bytes(b"x"),
    ):
        try:
            attempt()
        except HomeReadOnly as e:
            assert "cannot be written" in str(e) and str(home) not in str(e)
            refused += 1
print(refused)
try:
    Store.open(home / "new")
except HomeReadOnly as e:
    print(e)
"""


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "with a log to replay"])
def test_a_read_only_folder_can_be_read_and_verified(home: Path, tmp_path: Path, closed: bool) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this system does not let the test mount a folder read-only")
    store = Store.open(home)
    from store_records import reading

    store.save_reading(reading(1, "fits"), {}, {}, {"page.html": b"page"})
    if closed:
        store.close()
    done = run(READ_ONLY, str(home), str(TESTS), shell=f"mount --bind {home} {home} && mount -o remount,bind,ro {home}")
    store.close()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["2 ['fits'] page", "5"]
    assert lines[2].startswith("the hospital's folder cannot be written; allowed: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_no_permission(home: Path) -> None:
    Store.open(home).close()
    home.chmod(0o500)
    try:
        with Store.open(home) as store, pytest.raises(HomeReadOnly, match="cannot be written"):
            store.audit("x")
    finally:
        home.chmod(0o700)


def test_opened_for_reading(home: Path) -> None:
    with pytest.raises(HomeReadOnly, match="cannot be written"):
        Store.open(home, readonly=True)
    Store.open(home).close()
    with Store.open(home, readonly=True) as store, pytest.raises(HomeReadOnly, match="cannot be written"):
        store.audit("x")


def test_a_file_in_place_of_the_home(home: Path) -> None:
    home.write_text("x")
    with pytest.raises(HomeReadOnly, match="a file stands where"):
        Store.open(home)


def test_a_damaged_database(home: Path) -> None:
    Store.open(home).close()
    (home / "attending.db").write_bytes(b"this is no database at all, whatever its name says" * 100)
    with pytest.raises(StoreError, match="damaged or not a database"):
        Store.open(home)
