"""The timestamp anchor: a timestamp authority dates each checkpoint (RFC 3161; schemas/trust-v1.md, 9).

A log key that is stolen later signs nothing that looks older than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from evidence.errors import MalformedInput, VerificationFailed
from evidence.timestamp import MAX_BYTES, make_timestamp_request, open_timestamp
from tracebus.anchor._http import SECONDS, check_url, post
from tracebus.anchor.base import PublishedLog
from tracebus.errors import AnchorUnavailable
from tracebus.transparency.anchorings import Receipt

_QUERY: Final = "application/timestamp-query"  # RFC 3161 section 3.4


class TimestampAnchor:
    """Has checkpoints timestamped by an authority, over HTTP. Only what verifies is kept.

    Args:
        url: Where the authority answers.
        roots: The certificates that its timestamps must lead to, DER, each its own issuer.
        chain: Certificates that it leaves out of its responses, DER.
        name: The anchor's name; the URL unless given.
        seconds: How long a request may take.

    Raises:
        ValueError: There is no root, or the URL is none.
    """

    def __init__(
        self,
        url: str,
        roots: Sequence[bytes],
        *,
        chain: Sequence[bytes] = (),
        name: str | None = None,
        seconds: float = SECONDS,
    ) -> None:
        if not roots:
            raise ValueError("roots: expected a certificate at least, or nothing that comes back would count")
        self.name = name or url
        self._url = check_url(url)
        self._roots = tuple(roots)
        self._chain = tuple(chain)
        self._seconds = seconds

    @classmethod
    def from_options(cls, name: str, options: Mapping[str, Any], folder: Path) -> Self:
        """Make the anchor of a table: `url`, `roots`, and perhaps `chain`, names of PEM files, `seconds`."""
        certificates = {
            key: [der for path in options[key] for der in _read_pem(folder / path)]
            for key in ("roots", "chain")
            if key in options
        }
        return cls(**{**options, **certificates, "name": name})

    def anchor(self, log: PublishedLog, last: Receipt | None) -> Receipt:
        """Have the checkpoint timestamped, unless it was: the first timestamp is the one that tells most.

        Raises:
            AnchorUnavailable: The authority did not answer with a timestamp that holds.
            Unverifiable: rfc3161-client is absent.
            KeyRefused: A root or a chain certificate cannot be read.
        """
        if last is not None and last.size == log.size and last.timestamp is not None:
            return last
        request = make_timestamp_request(log.note)
        status, body = post(self._url, request.der, _QUERY, most=MAX_BYTES, seconds=self._seconds)
        if status != 200:
            raise AnchorUnavailable(f"{self._url}: answered {status}")
        try:
            stamp = open_timestamp(body, log.note, self._roots, chain=self._chain, nonce=request.nonce)
        except (MalformedInput, VerificationFailed) as error:
            raise AnchorUnavailable(f"{self._url}: {error}") from error
        details = {"authority": stamp.authority, "serial": str(stamp.serial), "time": str(stamp.time)}
        return Receipt(log.size, timestamp=body, details=details)


def _read_pem(path: Path) -> list[bytes]:
    """Return the certificates of a PEM file, in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificates

    certificates = load_pem_x509_certificates(path.read_bytes())
    return [certificate.public_bytes(Encoding.DER) for certificate in certificates]
