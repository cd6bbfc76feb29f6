"""Servers: a real llama.cpp server with a key on loopback, and one that misbehaves in every way a server can."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attending import models, site
from attending.errors import (
    LicenceRefused,
    ModelRefused,
    NotAdmitted,
    PluginFailed,
    QuestionRefused,
    SiteError,
    WorkerFailed,
)
from attending.models import Card, Setup
from attending.models.chat import Endpoint, complete, refuse_unless_allowed
from attending.models.openai_server import ServerModel, ServerReader, asked
from attending.records import Image, ImageFacts
from attending.testing import check_model

KEY = "a-key-that-only-this-test-knows"
SAY = [{"role": "user", "content": "Say: effusion, left."}]


def image(modality: str = "MR", shape: tuple[int, ...] = (1, 40, 50)) -> Image:
    voxels = np.random.default_rng(3).integers(0, 900, shape).astype(np.int16)
    return Image(ImageFacts("i1", shape, None, None, modality), voxels)


def setup_of(protocols: Any = ("Writer", "Reader"), **more: Any) -> Setup:
    card = Card("ward", "m", "t", protocols, "openai", "MIT", intended_use="x", limits="y", **more)
    return Setup("ward", card)


@pytest.fixture(scope="module")
def llama(pulled: Callable[[str], dict[str, Path]]) -> Iterator[str]:
    """llama.cpp's own HTTP server on a free loopback port, with a key, serving SmolLM2."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(pulled("smollm2-135m-instruct")["model.gguf"])
    params.n_ctx, params.n_parallel, params.verbosity, params.warmup = 1024, 1, -1, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.hostnames, params.port, params.api_keys, params.ui = ["127.0.0.1"], 0, [KEY], False
    server = xllamacpp.Server(params)
    yield server.listening_address.rstrip("/") + "/v1"
    del server


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARD_KEY", KEY)


def test_a_real_server_passes_the_conformance_test(llama: str, key: None) -> None:
    from attending.models.openai_server import ServerWriter

    plugin = ServerWriter(setup_of(("Writer",)), Endpoint("ward", llama, "smollm2", "WARD_KEY"))
    failed = [f"{r.name}: {r.detail}" for r in check_model(plugin) if not r.ok]
    assert failed == []


def test_a_real_server_writes_what_the_engine_in_process_writes(llama: str, key: None, cache: Path, home: Path) -> None:
    schema = {"type": "object", "properties": {"side": {"enum": ["left", "right"]}}, "required": ["side"]}
    endpoint = Endpoint("ward", llama, "smollm2", "WARD_KEY")
    written = complete(endpoint, [dict(m) for m in SAY], schema=schema, timeout_s=60)
    assert json.loads(written.text)["side"] in ("left", "right")
    assert written.stopped == "done" and written.prompt_tokens > 10 and written.tokens > 3
    short = complete(endpoint, [dict(m) for m in SAY], max_tokens=2, timeout_s=60)
    assert (short.stopped, short.tokens) == ("length", 2)


def test_a_real_server_says_what_is_wrong(llama: str, key: None) -> None:
    with pytest.raises(PluginFailed, match="refused the key"):
        complete(Endpoint("ward", llama, "m"), [dict(m) for m in SAY])
    with pytest.raises(ModelRefused, match="longer than the context of ward"):
        complete(Endpoint("ward", llama, "m", "WARD_KEY"), [{"role": "user", "content": "x " * 5000}])
    with pytest.raises(PluginFailed, match="takes no pictures"):
        ServerReader(setup_of(("Reader",)), Endpoint("ward", llama, "m", "WARD_KEY")).answer([image()], "What is seen?")
    with pytest.raises(PluginFailed, match="does not serve the model"):
        complete(Endpoint("ward", llama + "/nowhere", "m", "WARD_KEY"), [dict(m) for m in SAY])


def test_its_time_is_kept(llama: str, key: None) -> None:
    started = time.monotonic()
    written = complete(
        Endpoint("ward", llama, "m", "WARD_KEY"),
        [{"role": "user", "content": "Count."}],
        # so long that it cannot be done in time on any machine, whatever the model would say
        schema={"type": "array", "items": {"type": "integer"}, "minItems": 500},
        max_tokens=900,
        timeout_s=1.0,
    )
    assert written.stopped == "time" and written.text and time.monotonic() - started < 4


def test_a_key_that_is_not_set_is_told_by_name(llama: str) -> None:
    with pytest.raises(PluginFailed, match="the variable NO_SUCH_KEY"):
        complete(Endpoint("ward", llama, "m", "NO_SUCH_KEY"), [dict(m) for m in SAY])


class Ward(ThreadingHTTPServer):
    """Answers every request by ``reply`` and keeps what it was sent."""

    daemon_threads = True

    def __init__(self, reply: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.seen: list[tuple[dict[str, str], Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.seen.append((dict(self.headers), json.loads(body)))
                reply(self)

            def log_message(self, format: str, *args: Any) -> None:
                return

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


@pytest.fixture
def ward() -> Iterator[Callable[[Callable[[Any], None]], Ward]]:
    made: list[Ward] = []

    def make(reply: Callable[[Any], None]) -> Ward:
        made.append(Ward(reply))
        return made[-1]

    yield make
    for server in made:
        server.shutdown()
        server.server_close()


def says(status: int, body: Any, kind: str = "application/json", **headers: str) -> Callable[[Any], None]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    def reply(to: Any) -> None:
        to.send_response(status)
        to.send_header("Content-Type", kind)
        to.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            to.send_header(name, value)
        to.end_headers()
        to.wfile.write(data)

    return reply


def whole(text: str, reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, "finish_reason": reason}], "usage": {"completion_tokens": 3}}


def test_a_reader_is_sent_pictures_and_the_question_and_nothing_else(ward: Any) -> None:
    server = ward(says(200, whole("A bright round area on the left.")))
    reader = ServerReader(setup_of(("Reader",)), Endpoint("ward", server.url, "m"))
    volume = image(shape=(8, 1200, 1600))
    answer = reader.answer([volume], " What is seen? ")
    assert answer.status == "answered" and answer.rests_on == ("i1",)
    headers, body = server.seen[0]
    assert "Authorization" not in headers and body["temperature"] == 0 and body["model"] == "m"
    system, user = body["messages"]
    pictures = [part["image_url"]["url"] for part in user["content"] if part["type"] == "image_url"]
    assert [part["text"] for part in user["content"] if part["type"] == "text"] == ["What is seen?"]
    assert len(pictures) == 3 and all(p.startswith("data:image/png;base64,") for p in pictures)
    from PIL import Image as Pillow

    opened = Pillow.open(io.BytesIO(base64.b64decode(pictures[0].split(",")[1])))
    assert opened.size == (1024, 768) and opened.info == {}
    assert "cannot tell" in system["content"]


@pytest.mark.parametrize("text", ["I cannot tell from this image.", "", "I don't know."])
def test_words_that_say_so_are_cannot_tell(ward: Any, text: str) -> None:
    server = ward(says(200, whole(text)))
    answer = ServerReader(setup_of(("Reader",)), Endpoint("ward", server.url, "m")).answer([image()], "Which side?")
    assert answer.status == "cannot_tell"


def test_thoughts_before_an_answer_are_left_out(ward: Any) -> None:
    server = ward(says(200, whole("<think>The left? No.</think>\nThe right.")))
    assert complete(Endpoint("ward", server.url, "m"), SAY).text == "The right."


def drip(to: Any) -> None:
    to.send_response(200)
    to.send_header("Content-Type", "text/event-stream")
    to.end_headers()
    for _ in range(100):
        to.wfile.write(b"d")
        to.wfile.flush()
        time.sleep(0.1)


def cut(to: Any) -> None:
    to.send_response(200)
    to.send_header("Content-Type", "text/event-stream")
    to.end_headers()
    to.wfile.write(b'data: {"choices": [{"delta": {"content": "half an ans"}}]}\n\n')


SECRET = "Jane Q. Sample"


@pytest.mark.parametrize(
    ("reply", "error", "match"),
    [
        (says(302, b"", Location="http://192.0.2.1/"), PluginFailed, "sends the call elsewhere"),
        (says(200, b"not json"), WorkerFailed, "no JSON object"),
        (says(200, b"data: [1]\n\n", "text/event-stream"), WorkerFailed, "no JSON object"),
        (says(200, b"", "text/event-stream"), WorkerFailed, "breaks off"),
        (cut, WorkerFailed, "breaks off"),
        (says(503, {"error": {"message": "Loading model"}}), WorkerFailed, "busy or still loading"),
        (says(500, {"error": {"message": SECRET, "type": "server_error"}}), WorkerFailed, "kind 'server_error'"),
        (says(404, {"error": {"message": f"{SECRET} model x not found"}}), PluginFailed, "does not serve the model"),
        (says(400, {"error": {"message": "maximum context length is 2048"}}), ModelRefused, "longer than the context"),
        (says(200, b'data: {"error": {"type": "x"}}\n\n', "text/event-stream"), WorkerFailed, "kind 'x'"),
        (says(401, b"no"), PluginFailed, "refused the key"),
    ],
)
def test_a_misbehaving_server_is_one_clear_message(ward: Any, reply: Any, error: Any, match: str) -> None:
    server = ward(reply)
    with pytest.raises(error, match=match) as told:
        complete(Endpoint("ward", server.url, "m"), [{"role": "user", "content": SECRET}], timeout_s=5)
    assert SECRET not in str(told.value)


def test_a_server_that_drips_ends_with_the_time(ward: Any) -> None:
    started = time.monotonic()
    assert complete(Endpoint("ward", ward(drip).url, "m"), SAY, timeout_s=0.5).stopped == "time"
    assert time.monotonic() - started < 3


def test_a_server_that_ignores_the_schema_is_told(ward: Any) -> None:
    server = ward(says(200, whole("Certainly! The side is left.")))
    with pytest.raises(WorkerFailed, match="does not keep to the JSON schema"):
        complete(Endpoint("ward", server.url, "m"), SAY, schema={"required": ["side"]})


def test_no_server_is_told() -> None:
    with pytest.raises(WorkerFailed, match="no server answers at the address of ward"):
        complete(Endpoint("ward", "http://127.0.0.1:9/v1", "m"), SAY)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/v1", "http://localhost:1/v1", "http://[::1]:1/v1", "http://127.9.9.9/v1"]
)
def test_addresses_of_this_machine(url: str) -> None:
    assert refuse_unless_allowed(Endpoint("ward", url, "m"))


@pytest.mark.parametrize(
    "url",
    ["http://192.0.2.1:8000/v1", "http://0.0.0.0:8000/v1", "https://models.invalid/v1", "http://127.0.0.1.invalid/v1",
     "http://[::ffff:192.0.2.1]/v1", "http://2130706433.invalid/v1"],
)  # fmt: skip
def test_another_machine_is_refused_unless_the_site_allows_it(url: str) -> None:
    with pytest.raises(ModelRefused, match="ward is not on this machine; allowed: loopback addresses"):
        refuse_unless_allowed(Endpoint("ward", url, "m"))
    with pytest.raises(ModelRefused, match="ward is not on this machine"):
        ServerModel(setup_of(), Endpoint("ward", url, "m"))


def test_another_machine_needs_tls_and_pictures_without_burned_in_text() -> None:
    with pytest.raises(ModelRefused, match="speaks plain http"):
        refuse_unless_allowed(Endpoint("ward", "http://192.0.2.1/v1", "m", allow_remote=True))
    endpoint = Endpoint("ward", "https://192.0.2.1/v1", "m", allow_remote=True)
    assert refuse_unless_allowed(endpoint) is False
    with pytest.raises(NotAdmitted, match="a US image, whose pixels may hold a name"):
        ServerReader(setup_of(("Reader",)), endpoint).answer([image("US")], "What is seen?")


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("ftp://127.0.0.1/v1", "an address that is none"),
        ("http:///v1", "an address that is none"),
        ("http://127.0.0.1:99999/v1", "an address that is none"),
        ("http://user:word@127.0.0.1/v1", "holds a name or password"),
    ],
)
def test_an_address_that_is_none(url: str, match: str) -> None:
    with pytest.raises(PluginFailed, match=match):
        refuse_unless_allowed(Endpoint("ward", url, "m"))


def test_a_reader_keeps_to_its_card_and_to_questions() -> None:
    reader = ServerReader(setup_of(("Reader",), modalities=("CR",)), Endpoint("ward", "http://127.0.0.1:9/v1", "m"))
    with pytest.raises(NotAdmitted, match="its modality is MR, the card admits CR"):
        reader.answer([image()], "What is seen?")
    with pytest.raises(QuestionRefused, match="a question of 0 characters"):
        asked([image()], "  ")


SITE = """
[[servers]]
id = "ward"
url = "{url}"
model = "m"
protocols = ["Writer"]
licence = "MIT"
"""


def home_with(home: Path, text: str) -> site.Site:
    home.mkdir(exist_ok=True)
    (home / "site.toml").write_text(text)
    return site.load(home)


def test_the_site_file_adds_a_server(home: Path, tmp_path: Path, ward: Any) -> None:
    server = ward(says(200, whole("There is an effusion.")))
    settings = home_with(home, SITE.format(url=server.url))
    plugin = models.load("ward", settings, tmp_path)
    assert plugin.write(SAY).text == "There is an effusion."
    listed = {s.card.id: s for s in models.installed(settings, tmp_path)}
    assert listed["ward"].usable and listed["ward"].card.engine == "openai"
    assert models.card_of("ward", tmp_path, settings).version == "m"
    assert models.protocols_of(plugin) == ("Writer",)


def test_a_list_says_which_of_them_cannot_be_used(home: Path, tmp_path: Path) -> None:
    settings = home_with(
        home,
        SITE.format(url="http://192.0.2.1:8000/v1")
        + '[[folders]]\nid = "gone"\npath = "gone"\n'
        + '[[environments]]\nid = "apart"\nprogram = "nninteractive"\npython = "/nowhere"\nlicence = "MIT"\n',
    )
    listed = {s.card.id: s for s in models.installed(settings, tmp_path)}
    assert not listed["ward"].usable and "not on this machine" in listed["ward"].why
    assert not listed["gone"].usable and "no folder where gone should lie" in listed["gone"].why
    assert not listed["apart"].usable and "no Python where" in listed["apart"].why
    assert listed["echo"].usable


def test_a_server_without_a_licence_needs_the_sites_word(home: Path, tmp_path: Path) -> None:
    text = SITE.format(url="http://127.0.0.1:9/v1").replace('licence = "MIT"\n', "")
    with pytest.raises(LicenceRefused, match="ward of this site states no licence"):
        models.load("ward", home_with(home, text), tmp_path)
    models.load("ward", home_with(home, '[models]\naccept_unlicensed = ["ward"]\n' + text), tmp_path)


def test_an_id_of_the_catalog_stays_the_catalogs(home: Path, tmp_path: Path) -> None:
    text = SITE.format(url="http://127.0.0.1:9/v1").replace('"ward"', '"echo"')
    with pytest.raises(PluginFailed, match="the id echo, which is another model's"):
        models.load("echo", home_with(home, text), tmp_path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("servers = 3", r"tables \[\[servers\]\]"),
        ("[[servers]]\nid = 'a'", r"\[\[servers\]\] without url"),
        ("[[servers]]\nid = 'a'\nurl = 'u'\nmodel = 'm'\ncolour = 1", r"unknown key 'servers\.colour'"),
        ("[[servers]]\nid = 'a'\nurl = 'u'\nmodel = 'm'\nallow_remote = 'yes'", r"allow_remote = 'yes'; allowed: true"),
        ("[[servers]]\nid = 'a'\nurl = 'u'\nmodel = 'm'\nprotocols = ['Poet']", r"protocols = 'Poet'"),
        ("[[folders]]\nid = 'a'\npath = 'p'\n[[servers]]\nid = 'a'\nurl = 'u'\nmodel = 'm'", "names the model a twice"),
        ("[[folders]]\nid = ''\npath = 'p'", r"folders\.id = ''"),
    ],
)
def test_what_the_site_file_has_wrong(home: Path, text: str, match: str) -> None:
    with pytest.raises(SiteError, match=match):
        home_with(home, text)
