"""One call to an OpenAI-compatible chat endpoint (vLLM, SGLang, Ollama, llama-server), by the standard library.

Why not the ``openai`` client: it and what it brings take addresses, keys and proxies from the environment and follow
redirects; here a request goes to the one address that the site file names, or nowhere. An address is local when every
address that its host stands for is a loopback one, and then that very address is connected to. Any other address must
be allowed by the site file (``allow_remote``) and speak TLS. Nothing is followed, no proxy is used, the answer's length
and time are bounded, and no error quotes a prompt, a key or what the server wrote.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..errors import ModelRefused, PluginFailed, WorkerFailed
from .protocols import Written

SEED = 1
LONGEST_ANSWER = 8 << 20
"""Bytes of an answer, far above any report."""
LONGEST_ERROR = 1 << 16
CONNECT_S = 10.0


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served. url ends before ``/chat/completions`` ("http://127.0.0.1:8000/v1").

    key_env       the environment variable that holds the key; "" for none.
    allow_remote  the site file allows an address that is not this machine's.
    """

    id: str
    url: str
    model: str
    key_env: str = ""
    allow_remote: bool = False


def refuse_unless_allowed(endpoint: Endpoint) -> bool:
    """True for an address on this machine, False for another that the site allows. Sends nothing but a name look-up.

    Raises PluginFailed for no address, and ModelRefused for another machine's that the site does not allow.
    """
    parts = urlsplit(endpoint.url)
    try:
        port_fits = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        port_fits = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits or parts.query or parts.fragment:
        raise PluginFailed(
            f"the server {endpoint.id} has an address that is none",
            "http://127.0.0.1:PORT/v1, or https:// and a host that the site allows",
            f"mend url of {endpoint.id} under [[servers]] in site.toml",
        )
    if parts.username or parts.password:
        raise PluginFailed(
            f"the address of the server {endpoint.id} holds a name or password",
            "an address without them, and key_env",
            f"mend url of {endpoint.id} under [[servers]] in site.toml",
        )
    if _local_address(parts.hostname):
        return True
    if not endpoint.allow_remote:
        raise ModelRefused(
            f"the server {endpoint.id} is not on this machine",
            "loopback addresses, and others where the site file says allow_remote = true",
            f"serve it here; or, having cleared that cases may go there, set allow_remote = true for {endpoint.id}",
        )
    if parts.scheme != "https":
        raise ModelRefused(
            f"the server {endpoint.id} is on another machine and speaks plain http",
            "https for every address that is not this machine's",
            "put TLS in front of it and write https:// in site.toml",
        )
    return False


def complete(
    endpoint: Endpoint,
    messages: list[dict[str, Any]],
    *,
    schema: dict[str, Any] | None = None,
    max_tokens: int = 60,
    timeout_s: float = 20.0,
) -> Written:
    """Messages -> text, streamed, temperature 0. Where the time ends first: what was written so far, stopped "time".

    Raises ModelRefused for an address that is not allowed or a prompt that is too long, PluginFailed for what the site
    file has wrong (key, model, pictures to a model that takes none), WorkerFailed for a server that is not there, hangs
    up, is busy, or answers nonsense.
    """
    start = time.monotonic()
    request: dict[str, Any] = {
        "model": endpoint.model,
        "messages": messages,
        "max_tokens": max_tokens,
        "temperature": 0,
        "seed": SEED,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if schema is not None:
        request["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
    heard = _Heard()
    with _Call(endpoint, start + timeout_s) as call:
        try:
            response = call.send("POST", "/chat/completions", request)
            if response.status != 200:
                raise _refused(endpoint, response.status, call.error(response))
            if (response.getheader("Content-Type") or "").startswith("application/json"):
                heard.whole(_json(endpoint, response.read(LONGEST_ANSWER + 1)))
            else:
                for chunk in _events(endpoint, response):
                    heard.chunk(chunk)
            if heard.stopped == "time" and heard.error is None and not call.over:
                raise _nonsense(endpoint, "an answer that breaks off")
        except (OSError, http.client.HTTPException) as failed:
            if not call.over:
                raise WorkerFailed(
                    f"the server {endpoint.id} ended the call ({type(failed).__name__})",
                    "a server that answers",
                    "see its own log, and try again",
                ) from None
    if heard.error is not None:
        raise _refused(endpoint, 500, heard.error)
    text = _answered(heard.text)
    if schema is not None and heard.stopped == "done":
        _fits(endpoint, text, schema)
    return Written(text, heard.prompt, heard.cached, heard.tokens, time.monotonic() - start, heard.stopped)


class _Call:
    """One connection that ends at its deadline, whatever the server does."""

    def __init__(self, endpoint: Endpoint, deadline: float) -> None:
        self.endpoint, self.deadline, self.over = endpoint, deadline, False
        self._socket: Any = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> _Call:
        local = refuse_unless_allowed(self.endpoint)
        key = _key(self.endpoint)
        self._headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        parts = urlsplit(self.endpoint.url)
        host = str(parts.hostname)
        wait = min(CONNECT_S, max(0.1, self.deadline - time.monotonic()))
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=wait, context=ssl.create_default_context()
            )
        else:
            # The address that was found to be local, not the name: it cannot turn into another one in between.
            self._connection = http.client.HTTPConnection(_local_address(host) or host, parts.port, timeout=wait)
        self._path = parts.path.rstrip("/")
        try:
            self._connection.connect()
        except (OSError, ssl.SSLError) as failed:
            raise WorkerFailed(
                f"no server answers at the address of {self.endpoint.id} ({type(failed).__name__})",
                "a server that runs" if local else "a server that runs and whose certificate is valid",
                f"start it, or mend url of {self.endpoint.id} under [[servers]] in site.toml",
            ) from None
        self._socket = self._connection.sock
        left = max(0.05, self.deadline - time.monotonic())
        self._socket.settimeout(left + 1.0)
        self._timer = threading.Timer(left, self._end)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connection.close()

    def _end(self) -> None:
        self.over = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> http.client.HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, self._path + path, data, self._headers)
        return self._connection.getresponse()

    @staticmethod
    def error(response: http.client.HTTPResponse) -> dict[str, Any]:
        """The error object of an answer, {} where there is none."""
        try:
            found = json.loads(response.read(LONGEST_ERROR))
        except ValueError:
            return {}
        inner = found.get("error", found) if isinstance(found, dict) else {}
        return inner if isinstance(inner, dict) else {"message": str(inner)}


class _Heard:
    """What came so far. stopped is "time" until the server says that it ended."""

    def __init__(self) -> None:
        self.text = ""
        self.prompt = self.cached = self.tokens = 0
        self.stopped: Any = "time"
        self.error: dict[str, Any] | None = None

    def chunk(self, value: Mapping[str, Any]) -> None:
        if value.get("error"):
            error = value["error"]
            self.error = error if isinstance(error, dict) else {"message": str(error)}
        for choice in value.get("choices") or ():
            piece = (choice.get("delta") or {}).get("content")
            if piece:
                self.text += piece
                self.tokens += 1
            self._ended(choice.get("finish_reason"))
        self._usage(value.get("usage"))

    def whole(self, value: Mapping[str, Any]) -> None:
        for choice in value.get("choices") or ():
            self.text += (choice.get("message") or {}).get("content") or ""
            self._ended(choice.get("finish_reason") or "stop")
        self._usage(value.get("usage"))

    def _ended(self, reason: Any) -> None:
        if reason:
            self.stopped = "length" if reason == "length" else "done"

    def _usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self.prompt = int(usage.get("prompt_tokens") or 0)
            self.tokens = int(usage.get("completion_tokens") or self.tokens)
            self.cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)


def _events(endpoint: Endpoint, response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The JSON of each server-sent event until [DONE] or the end."""
    seen = 0
    while line := response.readline(LONGEST_ANSWER):
        seen += len(line)
        if seen > LONGEST_ANSWER:
            raise _nonsense(endpoint, f"an answer of more than {LONGEST_ANSWER >> 20} MiB")
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        yield _json(endpoint, data)


def _json(endpoint: Endpoint, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _nonsense(endpoint, "something that is no JSON object")
    return value


def _answered(text: str) -> str:
    """Without the thoughts that reasoning models write before their answer."""
    if text.lstrip().startswith("<think>"):
        _, _, text = text.partition("</think>")
    return text.strip()


def _fits(endpoint: Endpoint, text: str, schema: Mapping[str, Any]) -> None:
    """A server that ignores response_format writes prose: told at once, not when the prose is used."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not set(schema.get("required", ())) <= set(value):
        raise _nonsense(endpoint, "text that does not keep to the JSON schema it was given")


def _refused(endpoint: Endpoint, status: int, error: Mapping[str, Any]) -> ModelRefused:
    """The server's refusal in our words. Its own message may quote the prompt: it is only looked into."""
    kind = str(error.get("type") or error.get("code") or "")[:60]
    said = f"{kind} {error.get('code', '')} {error.get('message', '')}".lower()
    where = f"under [[servers]] in site.toml ({endpoint.id})"
    if status in (401, 403):
        told = f"in the variable {endpoint.key_env}" if endpoint.key_env else "none was sent"
        return PluginFailed(
            f"the server {endpoint.id} refused the key ({told})",
            "the key that it was started with",
            f"mend key_env {where}",
        )
    if status in (400, 413, 422, 500) and "context" in said and any(w in said for w in ("length", "size", "window")):
        return ModelRefused(
            f"a prompt longer than the context of {endpoint.id}", "prompt and answer within it", "ask for less at once"
        )
    if status in (400, 404, 422, 500, 501) and any(w in said for w in ("image", "multimodal", "mmproj", "vision")):
        return PluginFailed(
            f"the model of the server {endpoint.id} takes no pictures",
            "a model that does",
            f"serve one, or mend model {where}",
        )
    if status == 404 or "model_not_found" in said:
        return PluginFailed(
            f"the server {endpoint.id} does not serve the model that site.toml names, or not at that address",
            "a model of its list (GET /v1/models)",
            f"mend model or url {where}",
        )
    if 300 <= status < 400:
        return PluginFailed(
            f"the server {endpoint.id} sends the call elsewhere", "the address itself", f"mend url {where}"
        )
    if status in (429, 502, 503, 504):
        return WorkerFailed(
            f"the server {endpoint.id} is busy or still loading ({status})", "a server that answers", "try again later"
        )
    return WorkerFailed(
        f"the server {endpoint.id} answered with status {status}" + (f" and an error of kind {kind!r}" if kind else ""),
        "an answer",
        "see its own log",
    )


def _nonsense(endpoint: Endpoint, seen: str) -> WorkerFailed:
    return WorkerFailed(
        f"the server {endpoint.id} gave {seen}",
        "a stream of chat completions",
        "see its own log, or choose another",
    )


def _key(endpoint: Endpoint) -> str:
    if not endpoint.key_env:
        return ""
    key = os.environ.get(endpoint.key_env, "").strip()
    if not key:
        raise PluginFailed(
            f"the variable {endpoint.key_env}, which should hold the key of {endpoint.id}, is empty",
            "a key",
            f"set {endpoint.key_env} before the command, or take key_env out of site.toml",
        )
    return key


def _local_address(host: str) -> str | None:
    """The loopback address that a host stands for; None where any of its addresses is another machine's."""
    try:
        found = [ipaddress.ip_address(host)]
    except ValueError:
        try:
            found = [ipaddress.ip_address(info[4][0]) for info in socket.getaddrinfo(host, None)]
        except (OSError, UnicodeError):
            return None
    if not found or not all(address.is_loopback for address in found):
        return None
    return str(next((a for a in found if a.version == 4), found[0]))
