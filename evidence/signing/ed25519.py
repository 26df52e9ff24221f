"""Sign with an Ed25519 key held in this process (RFC 8032, by PyNaCl)."""

from __future__ import annotations

import os
from pathlib import Path

from nacl.signing import SigningKey

from evidence.errors import KeyRefused
from evidence.keys import ED25519, VerifyingKey, format_private_key, parse_private_key


class Ed25519Signer:
    """Signs with an Ed25519 private key: a 32-byte seed, or PEM text (PKCS #8).

    Raises:
        KeyRefused: The key cannot be read.
    """

    alg = ED25519

    def __init__(self, key: bytes | str) -> None:
        seed = key if isinstance(key, bytes) and len(key) == 32 else parse_private_key(key)
        self._key = SigningKey(seed)
        self.verifying_key = VerifyingKey(bytes(self._key.verify_key))

    @classmethod
    def generate(cls) -> Ed25519Signer:
        """Make a new key from the operating system's randomness."""
        return cls(os.urandom(32))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Ed25519Signer:
        """Read the key from a PEM file such as ``tracebus keygen`` writes.

        Raises:
            KeyRefused: The file cannot be read, or holds no Ed25519 private key.
        """
        try:
            text = Path(path).read_text("ascii")
            if "PUBLIC KEY" in text:
                raise KeyRefused("a public key, expected a private one: give the .key file beside it")
            return cls(text)
        except FileNotFoundError as error:
            raise KeyRefused(f"{path}: {error.strerror}; tracebus keygen makes a key") from None
        except OSError as error:
            raise KeyRefused(f"{path}: {error.strerror}") from None
        except (UnicodeError, KeyRefused) as error:
            raise KeyRefused(f"{path}: {error}") from None

    @property
    def key_id(self) -> str:
        """The id of the public key."""
        return self.verifying_key.key_id

    def to_pem(self) -> str:
        """Return the private key as PEM, unencrypted: keep it where only its owner reads."""
        return format_private_key(bytes(self._key))

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature over a message."""
        return self._key.sign(message).signature

    def __repr__(self) -> str:
        return f"Ed25519Signer(key_id={self.key_id!r})"
