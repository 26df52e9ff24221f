"""Digests, written ``algorithm:hex``: ``sha256:9f86d081…``.

A log is made with SHA-256, or with BLAKE3 for its events' hashes; everything else is SHA-256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final

SHA256: Final = "sha256"
BLAKE3: Final = "blake3"
ALGORITHMS: Final = (SHA256, BLAKE3)

_DIGEST: Final = re.compile(r"(sha256|blake3):[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    """Return the SHA-256 digest of some bytes, ``sha256:<64 lower-case hex digits>``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blake3(data: bytes) -> str:
    """Return the BLAKE3 digest of some bytes, ``blake3:<64 lower-case hex digits>``."""
    from blake3 import blake3 as hasher  # only logs that ask for it load it

    return f"blake3:{hasher(data).hexdigest()}"


_HASHERS: Final[dict[str, Callable[[bytes], str]]] = {SHA256: sha256, BLAKE3: blake3}


def digest(data: bytes, algorithm: str) -> str:
    """Return the digest of some bytes by an algorithm of `ALGORITHMS`.

    Raises:
        ValueError: The algorithm is not one of them.
    """
    return hasher(algorithm)(data)


def hasher(algorithm: str) -> Callable[[bytes], str]:
    """Return the function from bytes to digest of an algorithm of `ALGORITHMS`.

    Raises:
        ValueError: The algorithm is not one of them.
    """
    try:
        return _HASHERS[algorithm]
    except KeyError:
        raise ValueError(f"digest algorithm: expected one of {ALGORITHMS}, found {algorithm!r}") from None


def is_digest(text: object) -> bool:
    """Tell whether this is a digest in the one spelling that we accept."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def algorithm_of(digest_text: str) -> str:
    """Return the algorithm that a digest names."""
    return digest_text.partition(":")[0]
