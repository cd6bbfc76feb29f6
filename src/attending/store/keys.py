"""The home's keys: one for what is encrypted or keyed, one that signs the audit log, and its last signed head."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ExtraMissing, VaultLocked
from .database import sync_folder, write_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

DOMAIN = b"attending audit head 1\n"
GENESIS = "0" * 64


@dataclass(frozen=True)
class Head:
    """A point of the audit log that is vouched for: entry ``seq`` has ``hash``. seq 0 is the log before any entry."""

    seq: int
    hash: str
    signature: str

    @staticmethod
    def message(seq: int, hash: str) -> bytes:
        return DOMAIN + f"{seq} {hash}".encode()


@dataclass(frozen=True)
class Keys:
    """What lies in ``keys/``. Secret bytes are in no repr."""

    folder: Path
    home: bytes = field(repr=False)
    signer: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> Ed25519PublicKey:
        return self.signer.public_key()

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose, from the home key by HKDF-SHA256."""
        return hkdf(self.home, b"", f"attending {purpose}".encode())

    def sign(self, seq: int, hash: str) -> Head:
        return Head(seq, hash, self.signer.sign(Head.message(seq, hash)).hex())

    def holds(self, head: Head) -> bool:
        """Whether this home signed that head."""
        from cryptography.exceptions import InvalidSignature

        try:
            self.public.verify(bytes.fromhex(head.signature), Head.message(head.seq, head.hash))
        except (InvalidSignature, ValueError):
            return False
        return True

    def anchor(self) -> Head | None:
        """The newest head kept outside the database, so that a cut is seen; None where it is gone or forged."""
        try:
            document = json.loads((self.folder / "head.json").read_text(encoding="utf-8"))
            head = Head(int(document["seq"]), str(document["hash"]), str(document["signature"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return head if self.holds(head) else None

    def advance(self, head: Head) -> None:
        """Move the anchor forward, never back. A missing anchor is not made up for: its absence must be seen."""
        with locked(self.folder / "lock"):
            now = self.anchor()
            if now is None or now.seq >= head.seq:
                return
            _replace(self.folder / "head.json", _text(head))


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)


def create(folder: Path, where: str) -> None:
    """Make what is missing of the keys of a new home; a run that was killed half-way is completed, not replaced."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not (folder / "home.key").exists():
        key = secrets.token_bytes(32)
        name = ""
        if where == "keyring":
            name = secrets.token_hex(8)
            _keyring_set(name, key.hex())
        _replace(folder / "home.key", (f"keyring {name}\n" if name else key.hex() + "\n").encode())
    if not (folder / "audit.key").exists():
        _replace(folder / "audit.key", secrets.token_hex(32).encode() + b"\n")
    if not (folder / "head.json").exists():
        signer = Ed25519PrivateKey.from_private_bytes(bytes.fromhex((folder / "audit.key").read_text().strip()))
        _replace(folder / "head.json", _text(Head(0, GENESIS, signer.sign(Head.message(0, GENESIS)).hex())))


def load(folder: Path) -> Keys:
    """The keys of a home. Raises VaultLocked where one is missing, unreadable, malformed, or open to others."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    home = _read(folder / "home.key")
    if home.startswith("keyring "):
        home = _keyring_get(home.split()[1])
    return Keys(folder, _bytes(home), Ed25519PrivateKey.from_private_bytes(_bytes(_read(folder / "audit.key"))))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; the system lets go of it when the holder dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _text(head: Head) -> bytes:
    return json.dumps({"seq": head.seq, "hash": head.hash, "signature": head.signature}).encode()


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        write_file(new, data)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    sync_folder(path.parent)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as f:
            if os.fstat(f.fileno()).st_mode & 0o077:
                raise VaultLocked(
                    f"keys/{path.name} can be read by other users of this machine",
                    "a key that only its owner can read",
                    f"chmod 600 keys/{path.name} in the hospital's folder, and ask who may have copied it",
                )
            return f.read().strip()
    except (OSError, UnicodeDecodeError):
        raise VaultLocked(
            f"keys/{path.name} is missing or cannot be read",
            "the key that this hospital's folder was made with",
            "restore keys/ from a backup; without it the vault stays closed",
        ) from None


def _bytes(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise VaultLocked("a key that is not 32 bytes in hexadecimal", "the key of this folder", "restore keys/")
    return key


def _keyring_set(name: str, value: str) -> None:
    try:
        import keyring
    except ImportError:
        raise ExtraMissing("no keyring library", "keyring", "pip install keyring, or set vault.key") from None
    from keyring.errors import KeyringError

    try:
        keyring.set_password("attending", name, value)
    except KeyringError:
        raise VaultLocked(
            "the system has no keyring that would take a key",
            'an unlocked keyring, or vault.key = "file" in site.toml',
            "unlock the keyring, or keep the key in a file",
        ) from None


def _keyring_get(name: str) -> str:
    try:
        import keyring
    except ImportError:
        raise ExtraMissing("no keyring library", "keyring", "pip install keyring") from None
    from keyring.errors import KeyringError

    try:
        value = keyring.get_password("attending", name)
    except KeyringError:
        value = None
    if value is None:
        raise VaultLocked("the keyring does not give the key", "an unlocked keyring of this user", "unlock it")
    return str(value)
