"""Ed25519 over what was signed, by whom, when."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from ..records import Reading, Review, dumps

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def digest(final: Reading) -> str:
    """sha256 (hex) of the final reading's canonical JSON: what a signature stands for."""
    return hashlib.sha256(dumps(final).encode()).hexdigest()


def message(reading_sha256: str, by: str, when: str) -> bytes:
    """The signed bytes: canonical JSON (sorted keys, no spaces, UTF-8) with a purpose, so that no other one fits."""
    body = {"by": by, "purpose": "attending.review", "reading_sha256": reading_sha256, "schema": 1, "when": when}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sign(final: Reading, by: str, when: str, key: Ed25519PrivateKey) -> tuple[str, str, str]:
    """(reading_sha256, public_key, signature), all hex; the key pair is raw Ed25519 (RFC 8032)."""
    sha256 = digest(final)
    return sha256, key.public_key().public_bytes_raw().hex(), key.sign(message(sha256, by, when)).hex()


def verify(review: Review, final: Reading, public_key: str | None = None) -> bool:
    """Whether ``final`` is, to the last bit, what ``review.by`` signed at ``review.when``.

    public_key  hex; the key that this person is known to sign with. Without it the review's own key is used, which
                shows that nothing was changed since, but not whose key it was.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not review.signature or final.status != "final":
        return False
    if (review.reading, review.reading_sha256) != (final.id, digest(final)):
        return False
    if public_key is not None and public_key != review.public_key:
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(review.public_key))
        key.verify(bytes.fromhex(review.signature), message(review.reading_sha256, review.by, review.when))
    except (InvalidSignature, ValueError):
        return False
    return True
