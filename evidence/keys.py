"""Keys that a verifier holds, and the files that keep them.

A verifying key comes from the verifier's own hands, never from a bundle, and says by its kind which
algorithm counts. `VerifyingKey` is an Ed25519 public key; `SharedSecret` is an HMAC key, and whoever
can verify with it can forge with it.

Files are PEM (RFC 7468), as every tool reads them: ``NAME.key`` is PKCS #8 (RFC 8410), ``NAME.pub``
a SubjectPublicKeyInfo. A C2SP verifier key, ``name+hash+base64``, is read too (c2sp.org/signed-note).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from evidence.errors import KeyRefused

ED25519: Final = "ed25519"
HMAC_SHA256: Final = "hmac-sha256"
NOTE_ED25519: Final = 1
"""The signature type of a C2SP verifier key that signs notes with Ed25519."""
KEY_NAME: Final = r"[^\s+\x00-\x1f\ud800-\udfff]+"
"""What a key may be called in C2SP notes: anything without Unicode spaces, "+" and controls."""

_SECRET_ID_DOMAIN: Final = b"tracebus/key-id/v1\n"

# RFC 8410 section 4 and 7: everything before the 32 key bytes is fixed.
_SPKI_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")
_PKCS8_PREFIX: Final = bytes.fromhex("302e020100300506032b657004220420")
_PEM: Final = re.compile(
    r"-----BEGIN (?P<label>[A-Z ]+)-----\r?\n(?P<body>[A-Za-z0-9+/=\r\n]+)-----END (?P=label)-----"
)
_VKEY: Final = re.compile(rf"(?P<name>{KEY_NAME})\+(?P<hash>[0-9a-f]{{8}})\+(?P<key>[A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """An Ed25519 public key, RFC 8032.

    Keys of small order, keys outside the prime-order subgroup and non-canonical encodings are
    refused: under some of them, one signature fits every message.

    Raises:
        KeyRefused: Not 32 bytes, or not a key that may be trusted.
    """

    raw: bytes

    alg = ED25519
    convinces_third_parties = True

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise KeyRefused(f"Ed25519 public key: expected 32 bytes, found {len(self.raw)}")
        if not crypto_core_ed25519_is_valid_point(self.raw):
            raise KeyRefused("Ed25519 public key: not a point of prime order in its canonical form")

    @property
    def key_id(self) -> str:
        """The lower-case hex SHA-256 of the raw key: a name for it, and no more than a hint."""
        return hashlib.sha256(self.raw).hexdigest()

    @classmethod
    def load(cls, key: VerifyingKey | bytes | str) -> VerifyingKey:
        """Read a key given as 32 raw bytes, as PEM, or as a C2SP verifier key.

        Raises:
            KeyRefused: It is none of these, or too weak.
        """
        if isinstance(key, VerifyingKey):
            return key
        if isinstance(key, bytes) and len(key) == 32:
            return cls(key)
        text = _ascii(key)
        if text.startswith("-----BEGIN"):
            return cls(_unwrap(text, "PUBLIC KEY", _SPKI_PREFIX))
        _, signature_type, raw = parse_vkey(text)
        if signature_type != NOTE_ED25519:
            raise KeyRefused(f"verifier key: expected signature type 1, Ed25519, found {signature_type}")
        return cls(raw)

    def to_pem(self) -> str:
        """Return the key as PEM, a SubjectPublicKeyInfo."""
        return _wrap(self.raw, "PUBLIC KEY", _SPKI_PREFIX)

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Tell whether this is the key's signature over the message."""
        try:
            VerifyKey(self.raw).verify(message, signature)
        except (BadSignatureError, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """An HMAC-SHA256 key. Whoever can verify with it can forge with it.

    Raises:
        KeyRefused: Shorter than 16 bytes.
    """

    raw: bytes

    alg = HMAC_SHA256
    convinces_third_parties = False

    def __post_init__(self) -> None:
        if len(self.raw) < 16:
            raise KeyRefused("shared secret: expected at least 16 bytes")

    def __repr__(self) -> str:
        return f"SharedSecret(key_id={self.key_id!r})"

    @property
    def key_id(self) -> str:
        """A name for the secret that does not give it away."""
        return hmac.digest(self.raw, _SECRET_ID_DOMAIN, "sha256").hex()

    def mac(self, message: bytes) -> bytes:
        """Return the HMAC-SHA256 of a message, RFC 2104."""
        return hmac.digest(self.raw, message, "sha256")

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Tell whether this is the MAC of the message, in constant time."""
        return hmac.compare_digest(self.mac(message), signature)


def load_key(key: VerifyingKey | SharedSecret | bytes | str) -> VerifyingKey | SharedSecret:
    """Return the key that a verifier was given, in whichever form `VerifyingKey.load` reads.

    A shared secret is only ever a `SharedSecret`: bytes are always a public key, so that nobody's
    public key is taken for an HMAC key.

    Raises:
        KeyRefused: The key cannot be read, or is too weak.
    """
    return key if isinstance(key, SharedSecret) else VerifyingKey.load(key)


def format_private_key(seed: bytes) -> str:
    """Return an Ed25519 seed of 32 bytes as PEM, PKCS #8."""
    return _wrap(seed, "PRIVATE KEY", _PKCS8_PREFIX)


def parse_private_key(pem: str | bytes) -> bytes:
    """Return the 32-byte Ed25519 seed of a PEM file.

    Raises:
        KeyRefused: It is not an unencrypted Ed25519 private key in PKCS #8.
    """
    return _unwrap(_ascii(pem), "PRIVATE KEY", _PKCS8_PREFIX)


def note_key_id(name: str, signature_type: int, raw: bytes) -> bytes:
    """Return the four bytes by which a note's signature line names a key (C2SP signed-note)."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([signature_type]) + raw).digest()[:4]


def parse_vkey(text: str) -> tuple[str, int, bytes]:
    """Return the name, signature type and key of a C2SP verifier key, ``name+hash+base64``.

    Raises:
        KeyRefused: It is none, or its hash is not that of the rest.
    """
    match = _VKEY.fullmatch(text)
    if match is None:
        raise KeyRefused("key: expected 32 bytes, PEM or a verifier key name+hash+base64")
    typed_key = _decode_base64(match["key"])
    signature_type, raw = typed_key[0], typed_key[1:]
    expected = note_key_id(match["name"], signature_type, raw).hex()
    if match["hash"] != expected:
        raise KeyRefused(f"verifier key: hash {match['hash']} is not that of its key ({expected})")
    return match["name"], signature_type, raw


def format_vkey(name: str, signature_type: int, raw: bytes) -> str:
    """Return a key as a C2SP verifier key, ``name+hash+base64``."""
    typed_key = base64.b64encode(bytes([signature_type]) + raw).decode()
    return f"{name}+{note_key_id(name, signature_type, raw).hex()}+{typed_key}"


def _ascii(key: bytes | str) -> str:
    if not isinstance(key, (bytes, str)):
        raise KeyRefused(f"key: expected 32 bytes, PEM or a verifier key, found {type(key).__name__}")
    try:
        text = key.decode("ascii") if isinstance(key, bytes) else key
        text.encode("ascii")
    except UnicodeError:
        raise KeyRefused("key: expected 32 bytes, PEM or a verifier key, found other bytes") from None
    return text.strip()


def _wrap(key: bytes, label: str, prefix: bytes) -> str:
    body = base64.b64encode(prefix + key).decode()
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"


def _unwrap(text: str, label: str, prefix: bytes) -> bytes:
    match = _PEM.fullmatch(text)
    if match is None:
        raise KeyRefused(f"PEM: expected one {label} block")
    if match["label"] != label:
        raise KeyRefused(
            f"PEM: expected {label}, found {match['label']}; the other one of the pair is beside it"
        )
    der = _decode_base64("".join(match["body"].split()))
    if len(der) != len(prefix) + 32 or not der.startswith(prefix):
        raise KeyRefused(f"PEM {label}: expected an Ed25519 key")
    return der[len(prefix) :]


def _decode_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise KeyRefused("key: not base64") from None
    if base64.b64encode(data).decode() != text:
        raise KeyRefused("key: not base64 in its one canonical spelling")
    return data
