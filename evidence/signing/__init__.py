"""Signers: what makes the signature of a bundle.

A signer holds a key, or reaches one that it may not hold (a KMS, an HSM). It is handed the bytes to
sign, at most 4,096, and returns the signature, at once or as an awaitable.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, runtime_checkable

from evidence.signing.ed25519 import Ed25519Signer
from evidence.signing.hmac import HmacSigner

__all__ = ["Ed25519Signer", "EvidenceSigner", "HmacSigner"]


@runtime_checkable
class EvidenceSigner(Protocol):
    """Makes signatures with one key.

    `alg` is the algorithm as a bundle names it; `key_id` names the key, and is only a hint to the
    verifier, who has a key already.
    """

    @property
    def alg(self) -> str:
        """The algorithm, as a bundle names it: ``ed25519`` or ``hmac-sha256``."""
        ...

    @property
    def key_id(self) -> str:
        """The id of the key, as `VerifyingKey.key_id` or `SharedSecret.key_id` gives it."""
        ...

    def sign(self, message: bytes) -> bytes | Awaitable[bytes]:
        """Return the signature over a message of at most 4,096 bytes."""
        ...
