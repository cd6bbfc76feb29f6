"""The vault's file form: one study, encrypted in chunks of 1 MiB with AES-256-GCM, never in the clear on the disk.

A file is MAGIC, a 16-byte salt, then chunks of (length, ciphertext). The key is derived from the home key and the salt;
the nonce counts the chunks and marks the last, so that chunks cannot be swapped, dropped or cut off; the case id is
authenticated with each, so that files cannot be exchanged.
Inside: a JSON header with the files' names, then their bytes.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import VaultLocked
from ..records import SourceFile, Study
from .keys import hkdf

MAGIC = b"ATTENDING VAULT 1\n"
CHUNK = 1 << 20


def seal(study: Study, case_id: str, key: bytes, path: Path) -> None:
    """Write a study to a new file, on the disk when this returns."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt = os.urandom(16)
    cipher = AESGCM(hkdf(key, salt, b"attending vault file"))
    associated = MAGIC + case_id.encode()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(MAGIC + salt)
        for number, (chunk, last) in enumerate(_marked(_chunks(_plain(study)))):
            sealed = cipher.encrypt(_nonce(number, last), chunk, associated)
            f.write(struct.pack(">I", len(sealed)) + sealed)
        f.flush()
        os.fsync(f.fileno())


def unseal(path: Path, case_id: str, key: bytes) -> Study:
    """The study of a file, without its stacks. Raises VaultLocked where the key or the content is not the right one."""
    with path.open("rb") as f:
        opened = _Opened(f, case_id, key)
        (length,) = struct.unpack(">I", opened.read(4))
        header = json.loads(opened.read(length))
        files = tuple(
            SourceFile(name=name, data=opened.read(size), sha256=sha256) for name, size, sha256 in header["files"]
        )
    return Study(
        kind=header["kind"],
        digest=header["digest"],
        files=files,
        stacks=(),
        given=tuple(header["given"]),
        licence=header["licence"],
        declared=tuple((name, value) for name, value in header["declared"]),
    )


def _plain(study: Study) -> Iterator[bytes]:
    header = {
        "kind": study.kind,
        "digest": study.digest,
        "given": study.given,
        "licence": study.licence,
        "declared": study.declared,
        "files": [(f.name, len(f.data), f.sha256) for f in study.files],
    }
    text = json.dumps(header).encode()
    yield struct.pack(">I", len(text)) + text
    for file in study.files:
        yield file.data


def _chunks(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of CHUNK; the last may be shorter."""
    held = bytearray()
    for part in parts:
        view = memoryview(part)
        while view:
            take = view[: CHUNK - len(held)]
            held += take
            view = view[len(take) :]
            if len(held) == CHUNK:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)


def _marked(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    held = next(chunks)
    for chunk in chunks:
        yield held, False
        held = chunk
    yield held, True


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


class _Opened:
    """Reads plain bytes out of a sealed file, chunk by chunk."""

    def __init__(self, file: BinaryIO, case_id: str, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if file.read(len(MAGIC)) != MAGIC:
            raise _locked()
        self.file, self.associated = file, MAGIC + case_id.encode()
        self.cipher = AESGCM(hkdf(key, file.read(16), b"attending vault file"))
        self.number, self.held, self.at, self.done = 0, b"", 0, False

    def read(self, size: int) -> bytes:
        out = bytearray()
        while len(out) < size:
            if self.at == len(self.held):
                self._next()
            piece = self.held[self.at : self.at + size - len(out)]
            self.at += len(piece)
            out += piece
        return bytes(out)

    def _next(self) -> None:
        from cryptography.exceptions import InvalidTag

        prefix = self.file.read(4)
        if self.done or len(prefix) != 4:
            raise _locked()
        sealed = self.file.read(min(struct.unpack(">I", prefix)[0], CHUNK + 16))
        for last in (False, True):
            try:
                self.held = self.cipher.decrypt(_nonce(self.number, last), sealed, self.associated)
            except InvalidTag:
                continue
            self.number, self.at, self.done = self.number + 1, 0, last
            return
        raise _locked()


def _locked() -> VaultLocked:
    return VaultLocked(
        "a study in the vault cannot be opened: its key is another, or it was changed",
        "a file that this home's key sealed",
        "restore vault/ and keys/ from the same backup",
    )
