"""The llama.cpp writer: shut away from other users, in time, in form, and the same twice."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from attending.errors import ModelRefused, PluginFailed
from attending.models import Card, Setup, Writer, llama
from attending.models.llama import LlamaWriter

CARD = Card("smollm2", "1", "SmolLM2", ("Writer",), "llama.cpp", "Apache-2.0")
SCHEMA = {
    "type": "object",
    "properties": {"sentence": {"type": "string"}},
    "required": ["sentence"],
    "additionalProperties": False,
}
SYSTEM = {"role": "system", "content": "You word facts for a radiology report, one sentence, adding nothing. " * 8}


def ask(text: str) -> list[dict[str, str]]:
    return [SYSTEM, {"role": "user", "content": text}]


@pytest.fixture(scope="module")
def writer(pulled: Callable[[str], dict[str, Path]]) -> Iterator[LlamaWriter]:
    made = LlamaWriter(Setup("smollm2", CARD, pulled("smollm2-135m-instruct"), threads=2))
    yield made
    made.close()


def test_nobody_else_can_reach_the_engine(writer: LlamaWriter) -> None:
    writer.write(ask("The heart is of normal size."), max_tokens=1)
    me = psutil.Process()
    assert [c for c in me.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []
    sockets = [Path(c.laddr) for c in me.net_connections("unix") if str(c.laddr).endswith("x.sock")]
    assert len(sockets) == 1
    folder = sockets[0].parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [p.name for p in folder.iterdir()] == ["x.sock"]


def test_the_listener_wants_its_key(writer: LlamaWriter) -> None:
    import socket

    writer.write(ask("The heart is of normal size."), max_tokens=1)
    (engine,) = llama._engines.values()
    request = b'{"messages":[{"role":"user","content":"hello"}],"max_tokens":1}'
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(engine.folder / "x.sock"))
        line.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: " + str(len(request)).encode() + b"\r\n\r\n" + request
        )
        status = line.recv(4096).split(b"\r\n")[0]
    assert b" 401 " in status


def test_the_answer_fits_the_schema_and_repeats(writer: LlamaWriter) -> None:
    first = writer.write(ask("Fact: the heart is of normal size."), schema=SCHEMA)
    again = writer.write(ask("Fact: the heart is of normal size."), schema=SCHEMA)
    assert first.stopped == "done"
    assert set(json.loads(first.text)) == {"sentence"}
    assert again.text == first.text


def test_the_prefix_is_cached_over_prompts(writer: LlamaWriter) -> None:
    writer.write(ask("Fact: no pleural effusion."), max_tokens=1)
    second = writer.write(ask("Fact: the trachea is midline."), max_tokens=1)
    assert second.cached_tokens >= 0.8 * second.prompt_tokens


def test_length_is_said(writer: LlamaWriter) -> None:
    written = writer.write(ask("Write a long story."), max_tokens=5)
    assert (written.stopped, written.tokens) == ("length", 5)


@pytest.mark.parametrize("text", ["Write a very long story.", "pear grape " * 600], ids=["answering", "reading"])
def test_a_call_ends_in_time(writer: LlamaWriter, text: str) -> None:
    writer.write(ask("Fact: no pleural effusion."), max_tokens=1)
    start = time.monotonic()
    written = writer.write(ask(text), max_tokens=1500, timeout_s=0.4)
    assert written.stopped == "time"
    assert time.monotonic() - start < 5.0  # one step of 64 prompt tokens on a machine that does other work


def test_too_long_a_prompt_is_refused_in_words(writer: LlamaWriter) -> None:
    with pytest.raises(ModelRefused, match=r"a prompt of \d+ tokens; allowed: at most 2048 tokens") as refused:
        writer.write(ask("pear grape " * 1500))
    assert "pear" not in str(refused.value)


def test_writers_of_one_file_share_an_engine_and_close_it(writer: LlamaWriter) -> None:
    other = LlamaWriter(Setup("again", CARD, {"model.gguf": writer._path}))
    writer.write(ask("a"), max_tokens=1)
    other.write(ask("a"), max_tokens=1)
    assert len(llama._engines) == 1
    (folder,) = [engine.folder for engine in llama._engines.values()]
    other.close()
    other.close()
    assert not folder.exists()
    assert writer.write(ask("a"), max_tokens=1).tokens == 1


def test_nothing_is_loaded_before_the_first_call(tmp_path: Path) -> None:
    lazy = LlamaWriter(Setup("none", CARD, {"model.gguf": tmp_path / "absent.gguf"}))
    assert isinstance(lazy, Writer)
    lazy.close()
    assert tmp_path / "absent.gguf" not in llama._engines


def test_a_broken_file_is_a_named_error_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    broken = tmp_path / "model.gguf"
    broken.write_bytes(b"GGUF" + b"x" * 1000)
    with pytest.raises(PluginFailed, match=r"llama.cpp could not load model.gguf .*pull the model again"):
        LlamaWriter(Setup("broken", CARD, {"model.gguf": broken})).write(ask("a"))
    assert [p.name for p in tmp_path.iterdir()] == ["model.gguf"]
    assert capfd.readouterr().err == ""


def test_a_long_temporary_path_still_gives_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    folder = llama._private_folder()
    try:
        assert len(str(folder / "x.sock")) <= llama.LONGEST_SOCKET_PATH
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(deep.iterdir()) == []
    finally:
        folder.rmdir()
