"""What a command line is given by path: keys and policies, read from files and from standard input.

An error of what is in a file names the file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final, TypeVar

from evidence.disclosure_policy import DisclosurePolicy
from evidence.disclosure_policy_file import MAX_BYTES as MAX_DISCLOSURE_POLICY_BYTES
from evidence.disclosure_policy_file import parse_disclosure_policy
from evidence.errors import KeyRefused, MalformedInput
from evidence.keys import SharedSecret, VerifyingKey
from evidence.note import NoteKey
from evidence.policy_kinds import mistaken
from evidence.trust import TrustPolicy
from evidence.trust_file import MAX_BYTES as MAX_POLICY_BYTES
from evidence.trust_file import parse_policy

T = TypeVar("T")

_MAX_KEY_BYTES: Final = 64 * 1024


def read_limited(path: str, most: int) -> bytes:
    """Read a file, or standard input (``-``), and no more of it than may be.

    Raises:
        MalformedInput: It has more bytes, or is a standard input that is closed.
        OSError: It cannot be read.
    """
    if path == "-":
        if sys.stdin is None:
            raise MalformedInput("standard input", "is closed")
        data = sys.stdin.buffer.read(most + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(most + 1)
    if len(data) > most:
        raise MalformedInput(path, f"expected at most {most} bytes")
    return data


def read_parsed(path: str, parse: Callable[[bytes], T], most: int, expected: str | None = None) -> T:
    """Read a file of at most so many bytes, and parse it; what is malformed in it is said to be in this file.

    `expected` is the kind of policy that it should be, such as ``disclosure policy``: where it is another
    kind, that is said, and not what a parser makes of it.

    Raises:
        MalformedInput: It cannot be parsed, or is too large.
        OSError: It cannot be read.
    """
    data = read_limited(path, most)
    try:
        return parse(data)
    except MalformedInput as error:
        if expected is not None and (reason := mistaken(data, expected)) is not None:
            raise MalformedInput(path, reason) from None
        raise MalformedInput(f"{path}: {error.place}", error.reason) from None


def read_policy(path: str) -> TrustPolicy:
    """Read the file of a trust policy.

    Raises:
        MalformedInput: It is none.
        OSError: It cannot be read.
    """
    return read_parsed(path, parse_policy, MAX_POLICY_BYTES, "trust policy")


def read_disclosure_policy(path: str) -> DisclosurePolicy:
    """Read the file of a disclosure policy.

    Raises:
        MalformedInput: It is none.
        OSError: It cannot be read.
    """
    return read_parsed(path, parse_disclosure_policy, MAX_DISCLOSURE_POLICY_BYTES, "disclosure policy")


def read_log_key(given: str, origin: str) -> NoteKey:
    """Read a log's key: a verifier key, or a file with one, or with PEM for the log of this origin.

    Raises:
        KeyRefused: It is none.
        OSError: The file cannot be read.
    """
    try:
        is_file = os.path.isfile(given)
        text = read_limited(given, _MAX_KEY_BYTES).decode().strip() if is_file else given
        if text.startswith("-----BEGIN"):
            return NoteKey(origin, VerifyingKey.load(text))
        return NoteKey.from_vkey(text)
    except (KeyRefused, UnicodeDecodeError) as error:
        raise KeyRefused(f"--log-key {given}: {error}") from None


def read_public_key(path: str) -> VerifyingKey:
    """Read a public key: PEM, or a C2SP verifier key.

    Raises:
        KeyRefused: It is none, such as the private one.
        OSError: It cannot be read.
    """
    data = read_limited(path, _MAX_KEY_BYTES)
    if b"PRIVATE KEY" in data:
        raise KeyRefused(f"{path}: a private key, expected a public one: give the .pub file beside it")
    try:
        return VerifyingKey.load(data)
    except KeyRefused as error:
        raise KeyRefused(f"{path}: {error}") from None


def read_shared_secret(path: str) -> SharedSecret:
    """Read a shared secret: the file's bytes as they are, a line end included.

    Raises:
        KeyRefused: It holds fewer than 16 bytes.
        OSError: It cannot be read.
    """
    try:
        return SharedSecret(read_limited(path, _MAX_KEY_BYTES))
    except KeyRefused as error:
        raise KeyRefused(f"{path}: {error}") from None
