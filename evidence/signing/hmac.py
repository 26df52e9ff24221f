"""Authenticate with a shared secret (HMAC-SHA256, RFC 2104).

It shows those who hold the secret that one of them made the bundle. It convinces no third party.
"""

from __future__ import annotations

from evidence.keys import HMAC_SHA256, SharedSecret


class HmacSigner:
    """Makes HMACs with a shared secret."""

    alg = HMAC_SHA256

    def __init__(self, secret: SharedSecret) -> None:
        if not isinstance(secret, SharedSecret):
            raise TypeError(f"secret: expected a SharedSecret, found {type(secret).__name__}")
        self._secret = secret

    @property
    def key_id(self) -> str:
        """The id of the secret."""
        return self._secret.key_id

    def sign(self, message: bytes) -> bytes:
        """Return the 32-byte HMAC of a message."""
        return self._secret.mac(message)

    def __repr__(self) -> str:
        return f"HmacSigner(key_id={self.key_id!r})"
