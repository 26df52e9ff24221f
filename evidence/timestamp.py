"""Timestamps (RFC 3161): a timestamp authority's signature over a digest and the time.

A log has its checkpoints timestamped, so that a key that is stolen later signs nothing that looks
older. What is timestamped are the checkpoint's bytes with the log's signature and no other::

    openssl ts -verify -data checkpoint.note -in checkpoint.tsr -CAfile root.pem

The response is kept as it came, and is all that verification needs: the request only adds that the
response is a fresh one. Roots are certificates that the verifier holds, in DER; what a response
carries completes chains to them, and is never trusted by itself.

This needs rfc3161-client, the extra ``timestamp``; it is loaded when it is used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from evidence.errors import KeyRefused, MalformedInput, SignatureRefused, Unverifiable

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse

MAX_BYTES: Final = 256 * 1024
"""How large a response may be, in bytes."""

# RFC 5652 section 5.3, RFC 5816: the signed attribute that names the signer's certificate by its hash.
_SIGNING_CERTIFICATE: Final = bytes.fromhex("2a864886f70d010910020c")
_SIGNING_CERTIFICATE_V2: Final = bytes.fromhex("2a864886f70d010910022f")
_SHA2: Final = {
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
_SEQUENCE: Final = 0x30
_SIGNED_ATTRIBUTES: Final = 0xA0

_OPENSSL_REASONS: Final = (re.compile('data: "Verify error: ([^"]+)"'), re.compile('reason: "([^"]+)"'))


@dataclass(frozen=True, slots=True)
class TimestampRequest:
    """A request to a timestamp authority: the bytes to send, and the nonce that has to come back."""

    der: bytes
    nonce: int


@dataclass(frozen=True, slots=True)
class Timestamp:
    """What a timestamp authority signed.

    Attributes:
        time: When, in POSIX seconds; fractions are cut off.
        accuracy: By how many seconds the authority may be wrong, rounded up; 0 where it does not say.
        authority: The subject of its certificate, RFC 4514.
        policy: The policy that it followed, an OID.
        serial: Its number for this timestamp.
    """

    time: int
    accuracy: int
    authority: str
    policy: str
    serial: int

    @property
    def existed_by(self) -> int:
        """The second by whose begin the data was there, in POSIX seconds."""
        return self.time + 1 + self.accuracy


def make_timestamp_request(data: bytes) -> TimestampRequest:
    """Return a request for a timestamp of the SHA-256 of some bytes, with a fresh nonce.

    It asks for the authority's certificate, without which nobody could verify the response later.

    Raises:
        Unverifiable: rfc3161-client is absent.
        ValueError: There are no bytes.
    """
    client = _client()
    builder = client.TimestampRequestBuilder().data(data).hash_algorithm(client.HashAlgorithm.SHA256)
    request = builder.nonce(nonce=True).cert_request(cert_request=True).build()
    return TimestampRequest(request.as_bytes(), request.nonce)


def open_timestamp(
    response: bytes,
    data: bytes,
    roots: Sequence[bytes],
    *,
    chain: Sequence[bytes] = (),
    nonce: int | None = None,
) -> Timestamp:
    """Verify a timestamp authority's response about some bytes, and return what it says.

    The authority's certificate is the one that the signature names, leads to one of the roots, is for
    timestamps alone, and all of its chain was valid when the timestamp was made.

    Args:
        response: The response, DER, as it came.
        data: The bytes that were timestamped.
        roots: The certificates that the verifier trusts, DER, each its own issuer.
        chain: Certificates that the verifier has for what the response leaves out, DER.
        nonce: That of the request, for a response that just came.

    Raises:
        KeyRefused: One of the roots or the chain cannot be read, or is in the wrong place.
        MalformedInput: The response cannot be read.
        SignatureRefused: The response does not show that an authority under the roots timestamped
            these bytes.
        Unverifiable: rfc3161-client is absent, or there are no roots.
    """
    client = _client()
    if not roots:
        raise Unverifiable("timestamp", "no root certificate is given")
    anchors, links = _load(roots, "root"), _load(chain, "chain certificate")
    if any(link.issuer == link.subject for link in links):
        raise KeyRefused("timestamp chain certificate: its own issuer; if it is trusted, it is a root")
    decoded = _decode(response)
    try:
        signer, is_embedded = _signer(decoded, links)
        verifier = client.VerifierBuilder(
            roots=anchors,
            intermediates=links,
            tsa_certificate=None if is_embedded else signer,
            nonce=nonce,
        ).build()
        # Status, chain at the time told, purpose of the certificate, signature, nonce, digest of the data.
        verifier.verify_message(decoded, data)
        return _timestamp(decoded, signer)
    except SignatureRefused:
        raise
    except Exception as error:  # the libraries below raise much more than they say
        raise SignatureRefused("timestamp", _reason(error)) from None


def _client() -> Any:
    try:
        import rfc3161_client
    except ImportError:
        raise Unverifiable("timestamp", "needs rfc3161-client: install tracebus[timestamp]") from None
    return rfc3161_client


def _load(certificates: Sequence[bytes], what: str) -> list[Certificate]:
    from cryptography.x509 import load_der_x509_certificate

    loaded = []
    for number, der in enumerate(certificates, 1):
        try:
            loaded.append(load_der_x509_certificate(der))
        except Exception:
            raise KeyRefused(f"timestamp {what} {number}: not a certificate in DER") from None
    return loaded


def _decode(response: bytes) -> TimeStampResponse:
    if len(response) > MAX_BYTES:
        raise MalformedInput("timestamp", f"{len(response)} bytes, expected at most {MAX_BYTES}")
    try:
        decoded: TimeStampResponse = _client().decode_timestamp_response(response)
        status, said = decoded.status, ", ".join(decoded.status_string)
    except Exception as error:
        raise MalformedInput("timestamp", f"not a timestamp response: {error}") from None
    if status != 0:  # RFC 3161 section 2.4.2: granted
        raise SignatureRefused(
            "timestamp", f"the authority did not grant it: status {status} {said}".rstrip()
        )
    return decoded


def _signer(response: TimeStampResponse, links: Sequence[Certificate]) -> tuple[Certificate, bool]:
    """Return the certificate that was signed with, and whether the response carries any.

    The response names it twice: by issuer and number, which is what the library goes by and is not
    signed; and by its hash, which is (RFC 3161 section 2.4.1, RFC 5816).
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    (info,) = response.signed_data.signer_infos
    algorithm, expected = _certificate_hash(response.time_stamp_token())
    embedded = _load(sorted(response.signed_data.certificates), "certificate")
    for certificate in (*embedded, *links):
        if hashlib.new(algorithm, certificate.public_bytes(Encoding.DER)).digest() == expected:
            if (certificate.issuer, certificate.serial_number) != (info.issuer, info.serial_number):
                raise SignatureRefused("timestamp", "the signature names two certificates")
            return certificate, bool(embedded)
    raise SignatureRefused("timestamp", "the certificate that it was signed with is missing")


def _certificate_hash(token: bytes) -> tuple[str, bytes]:
    """Return the algorithm and the hash by which the signed attributes name the signer's certificate."""
    # ContentInfo { type, [0] SignedData { ..., signerInfos { SignerInfo { ..., [0] attributes, ... } } } }
    signed_data = _inner(_inner(token), 1)
    signer_info = _inner(list(_elements(_inner(signed_data)))[-1][1])
    attributes = dict(_elements(signer_info))[_SIGNED_ATTRIBUTES]
    values = {}
    for _, attribute in _elements(attributes):
        (_, kind), (_, value) = _elements(attribute)
        values[kind] = value
    if _SIGNING_CERTIFICATE_V2 in values:
        # SigningCertificateV2 { certs { ESSCertIDv2 { hashAlgorithm DEFAULT sha256, certHash, ... } } }
        first, *rest = _elements(_inner(_inner(_inner(values[_SIGNING_CERTIFICATE_V2]))))
        if first[0] != _SEQUENCE:
            return "sha256", first[1]
        return _SHA2[_inner(first[1])], rest[0][1]
    if _SIGNING_CERTIFICATE in values:
        # SigningCertificate { certs { ESSCertID { certHash, ... } } }
        return "sha1", _inner(_inner(_inner(_inner(values[_SIGNING_CERTIFICATE]))))
    raise SignatureRefused("timestamp", "what was signed does not name the signer's certificate")


def _inner(der: bytes, index: int = 0) -> bytes:
    """Return the content of one of the elements in some DER."""
    return list(_elements(der))[index][1]


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element in some DER (X.690), which the library has read before."""
    while der:
        length, start = der[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[2:start], "big")
        yield der[0], der[start : start + length]
        der = der[start + length :]


def _timestamp(response: TimeStampResponse, signer: Certificate) -> Timestamp:
    info = response.tst_info
    accuracy = info.accuracy
    seconds = 0
    if accuracy is not None:
        has_fraction = bool(accuracy.millis or accuracy.micros)
        seconds = (accuracy.seconds or 0) + has_fraction
    return Timestamp(
        time=int(info.gen_time.timestamp()),
        accuracy=seconds,
        authority=signer.subject.rfc4514_string(),
        policy=info.policy.dotted_string,
        serial=info.serial_number,
    )


def _reason(error: Exception) -> str:
    """Return why a library refused, without the places in its own source."""
    for pattern in _OPENSSL_REASONS:
        if found := pattern.search(str(error)):
            return found[1]
    return str(error) or type(error).__name__
