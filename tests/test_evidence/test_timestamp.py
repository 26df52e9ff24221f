"""Timestamps: of a local authority, of others' test vectors, and of forgers."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import (
    Ed25519Signer,
    EvidenceError,
    Incomplete,
    KeyRefused,
    MalformedInput,
    SignatureRefused,
    Unverifiable,
)
from evidence.checkpoint import Checkpoint, sign_checkpoint, timestamped_bytes
from evidence.note import NoteKey, NoteSignature, format_note, parse_note
from evidence.timestamp import MAX_BYTES, Timestamp, make_timestamp_request, open_timestamp
from evidence.trust import TrustPolicy
from evidence.trust_file import parse_policy

pytest.importorskip("rfc3161_client", reason="rfc3161-client is not installed")

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SIGNER = Ed25519Signer(b"\x01" * 32)
LOG_KEY = NoteKey("example.com/tracebus", SIGNER.verifying_key)
CHECKPOINT = timestamped_bytes(sign_checkpoint(Checkpoint(LOG_KEY.name, 8, b"\x08" * 32), SIGNER), LOG_KEY)

TIME_STAMPING = ExtendedKeyUsageOID.TIME_STAMPING
TST_INFO = "1.2.840.113549.1.9.16.1.4"
CONFIG = """
[ tsa ]
default_tsa = local
[ local ]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = {digests}
accuracy = secs:1, millisecs:500
clock_precision_digits = 3
ess_cert_id_alg = {binding}
"""


# A local authority


@dataclass(frozen=True)
class Certified:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(Encoding.DER)

    def write(self, folder: Path) -> None:
        """Write certificate and key where openssl finds them."""
        (folder / "tsa.pem").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "tsa.private").write_bytes(pem)


def certify(
    name: str,
    issuer: Certified | None = None,
    *,
    usage: Sequence[x509.ObjectIdentifier] = (TIME_STAMPING,),
    is_critical: bool = True,
    key: ec.EllipticCurvePrivateKey | None = None,
    serial: int | None = None,
    valid: tuple[timedelta, timedelta] = (timedelta(days=-2), timedelta(days=365)),
) -> Certified:
    """Make a root, or a certificate that an issuer signs, for timestamps unless said otherwise."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now + valid[0])
        .not_valid_after(now + valid[1])
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer and usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=is_critical)
    return Certified(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


@dataclass(frozen=True)
class Authority:
    """A timestamp authority: `openssl ts` in a folder, with a certificate under a root."""

    folder: Path
    openssl: str
    root: Certified
    signer: Certified

    def run(self, *arguments: str) -> bytes:
        """Run openssl in the folder, and return what it prints."""
        command = [self.openssl, *arguments]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True).stdout

    def answer(self, request: bytes, *, digests: str = "sha256", binding: str = "sha256") -> bytes:
        """Answer a request, as an authority does."""
        self.signer.write(self.folder)
        (self.folder / "serial").write_text("01\n")
        config = CONFIG.format(folder=self.folder.as_posix(), digests=digests, binding=binding)
        (self.folder / "tsa.cnf").write_text(config)
        (self.folder / "query.tsq").write_bytes(request)
        files = (
            "-queryfile",
            "query.tsq",
            "-signer",
            "tsa.pem",
            "-inkey",
            "tsa.private",
            "-out",
            "reply.tsr",
        )
        self.run("ts", "-reply", "-config", "tsa.cnf", *files)
        return (self.folder / "reply.tsr").read_bytes()

    def forge(self, data: bytes, signer: Certified, *options: str) -> bytes:
        """Sign what an authority said, with another certificate, as openssl ts would not."""
        honest = self.answer(make_timestamp_request(data).der)
        (self.folder / "reply.tsr").write_bytes(honest)
        self.run("ts", "-reply", "-in", "reply.tsr", "-token_out", "-out", "token.der")
        self.run("cms", "-verify", "-noverify", "-inform", "DER", "-in", "token.der", "-out", "info.der")
        signer.write(self.folder)
        signed = ("-signer", "tsa.pem", "-inkey", "tsa.private", "-md", "sha256", "-econtent_type", TST_INFO)
        self.run(
            *("cms", "-sign", "-binary", "-nodetach", "-nosmimecap", "-outform", "DER", "-in", "info.der"),
            *(*signed, *options, "-out", "forged.der"),
        )
        granted = bytes.fromhex("3003020100")
        return element(0x30, granted + (self.folder / "forged.der").read_bytes())


def element(tag: int, content: bytes) -> bytes:
    """Return a DER element of 128 bytes or more."""
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return a local authority."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    root = certify("test root")
    return Authority(tmp_path, openssl, root, certify("test authority", root))


def test_a_fresh_timestamp_is_verified(authority: Authority) -> None:
    """A response to our request is verified with the root and the nonce, and tells the time."""
    request = make_timestamp_request(CHECKPOINT)
    before = int(time.time())
    found = open_timestamp(
        authority.answer(request.der), CHECKPOINT, [authority.root.der], nonce=request.nonce
    )
    expected = Timestamp(found.time, 2, "CN=test authority", "1.3.6.1.4.1.99999.1", 2)
    assert (expected, True) == (found, before <= found.time <= time.time())


def test_an_archived_timestamp_is_verified(authority: Authority) -> None:
    """The response, the data and the root are enough; the request need not be kept."""
    response = authority.answer(make_timestamp_request(CHECKPOINT).der)
    found = open_timestamp(response, CHECKPOINT, [authority.root.der])
    assert found.time + 3 == found.existed_by


@pytest.mark.parametrize("binding", ["sha1", "sha256", "sha384", "sha512"])
def test_each_way_to_name_the_certificate_is_read(authority: Authority, binding: str) -> None:
    """The signed attributes name the certificate by SHA-1 in old responses, by SHA-2 in others."""
    response = authority.answer(make_timestamp_request(CHECKPOINT).der, binding=binding)
    assert "CN=test authority" == open_timestamp(response, CHECKPOINT, [authority.root.der]).authority


def test_openssl_reads_our_request(authority: Authority) -> None:
    """A request is for a SHA-256, with a nonce, and asks for the certificate."""
    request = make_timestamp_request(CHECKPOINT)
    (authority.folder / "q.tsq").write_bytes(request.der)
    text = authority.run("ts", "-query", "-in", "q.tsq", "-text").decode().lower()
    found = [
        part in text for part in ("algorithm: sha256", f"nonce: 0x{request.nonce:016x}"[:12], "required: yes")
    ]
    assert [True, True, True] == found


def test_two_requests_have_two_nonces() -> None:
    """A nonce is fresh."""
    assert make_timestamp_request(b"x").nonce != make_timestamp_request(b"x").nonce


def test_openssl_verifies_the_checkpoint_as_stored(authority: Authority) -> None:
    """Who has only openssl verifies the stored files."""
    (authority.folder / "checkpoint.note").write_bytes(CHECKPOINT)
    response = authority.answer(make_timestamp_request(CHECKPOINT).der)
    (authority.folder / "checkpoint.tsr").write_bytes(response)
    (authority.folder / "root.pem").write_bytes(authority.root.certificate.public_bytes(Encoding.PEM))
    files = ("-data", "checkpoint.note", "-in", "checkpoint.tsr", "-CAfile", "root.pem")
    assert b"Verification: OK\n" == authority.run("ts", "-verify", *files)


def test_other_data_is_refused(authority: Authority) -> None:
    """A timestamp is about its data."""
    response = authority.answer(make_timestamp_request(CHECKPOINT).der)
    with pytest.raises(SignatureRefused, match="Mismatch between messages"):
        open_timestamp(response, CHECKPOINT + b"\n", [authority.root.der])


def test_another_nonce_is_refused(authority: Authority) -> None:
    """An old response is no answer to a new request."""
    request = make_timestamp_request(CHECKPOINT)
    with pytest.raises(SignatureRefused, match="Nonce mismatch"):
        open_timestamp(
            authority.answer(request.der), CHECKPOINT, [authority.root.der], nonce=request.nonce ^ 1
        )


def test_another_root_is_refused(authority: Authority) -> None:
    """Whoever is not under a root of the verifier is nobody, whatever its root is called."""
    response = authority.answer(make_timestamp_request(CHECKPOINT).der)
    with pytest.raises(SignatureRefused, match=r"certificate"):
        open_timestamp(response, CHECKPOINT, [certify("test root").der])


def test_one_of_several_roots_is_enough(authority: Authority) -> None:
    """A verifier may have several roots."""
    response = authority.answer(make_timestamp_request(CHECKPOINT).der)
    roots = [certify("other root").der, authority.root.der]
    assert "CN=test authority" == open_timestamp(response, CHECKPOINT, roots).authority


def test_the_authoritys_own_certificate_is_no_root(authority: Authority) -> None:
    """A certificate that another one issued is no root."""
    response = authority.answer(make_timestamp_request(CHECKPOINT).der)
    with pytest.raises(SignatureRefused, match="certificate"):
        open_timestamp(response, CHECKPOINT, [authority.signer.der])


def test_a_refusal_is_told(authority: Authority) -> None:
    """An authority that does not grant a timestamp says so, and that is what is raised."""
    response = authority.answer(make_timestamp_request(CHECKPOINT).der, digests="sha512")
    with pytest.raises(SignatureRefused, match="did not grant it: status 2"):
        open_timestamp(response, CHECKPOINT, [authority.root.der])


# Validity


@pytest.mark.parametrize(
    "valid",
    [(timedelta(days=-2), timedelta(days=-1)), (timedelta(days=1), timedelta(days=2))],
    ids=["expired", "not yet valid"],
)
@pytest.mark.parametrize("whose", ["root", "authority"])
def test_certificates_that_were_not_valid_then_are_refused(
    authority: Authority, whose: str, valid: tuple[timedelta, timedelta]
) -> None:
    """The whole chain was valid when the timestamp was made."""
    root = certify("test root", valid=valid) if whose == "root" else authority.root
    signer = certify("test authority", root, **({"valid": valid} if whose == "authority" else {}))
    response = replace(authority, root=root, signer=signer).answer(make_timestamp_request(CHECKPOINT).der)
    with pytest.raises(SignatureRefused, match=r"expired|not yet valid"):
        open_timestamp(response, CHECKPOINT, [root.der])


@pytest.mark.slow
def test_certificates_may_expire_later(authority: Authority) -> None:
    """A timestamp stays good when its certificates have expired since."""
    short = (timedelta(days=-1), timedelta(seconds=3))
    root = certify("test root", valid=short)
    signer = certify("test authority", root, valid=short)
    response = replace(authority, root=root, signer=signer).answer(make_timestamp_request(CHECKPOINT).der)
    time.sleep(max(0, signer.certificate.not_valid_after_utc.timestamp() + 1 - time.time()))
    found = open_timestamp(response, CHECKPOINT, [root.der])
    assert (True, True) == (
        found.time <= signer.certificate.not_valid_after_utc.timestamp() < time.time(),
        signer.certificate.not_valid_after_utc < datetime.now(UTC),
    )


# Forgers


def test_the_forgers_tool_makes_good_timestamps(authority: Authority) -> None:
    """What is refused below is refused for what it says, for this one is not."""
    forged = authority.forge(CHECKPOINT, authority.signer, "-cades")
    assert "CN=test authority" == open_timestamp(forged, CHECKPOINT, [authority.root.der]).authority


@pytest.mark.parametrize(
    ("usage", "is_critical"),
    [
        ((), True),
        ((TIME_STAMPING,), False),
        ((ExtendedKeyUsageOID.CODE_SIGNING,), True),
        ((TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING), True),
        ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), True),
    ],
    ids=["none", "not critical", "other", "more than one", "any"],
)
def test_certificates_for_something_else_are_refused(
    authority: Authority, usage: tuple[x509.ObjectIdentifier, ...], is_critical: bool
) -> None:
    """A certificate under the root that is not for timestamps alone makes none."""
    other = certify("web server", authority.root, usage=usage, is_critical=is_critical)
    forged = authority.forge(CHECKPOINT, other, "-cades")
    with pytest.raises(SignatureRefused, match="unsuitable certificate purpose"):
        open_timestamp(forged, CHECKPOINT, [authority.root.der])


def test_a_signature_that_names_no_certificate_is_refused(authority: Authority) -> None:
    """RFC 3161 has the signed attributes name the certificate."""
    forged = authority.forge(CHECKPOINT, authority.signer)
    with pytest.raises(SignatureRefused, match="does not name the signer's certificate"):
        open_timestamp(forged, CHECKPOINT, [authority.root.der])


def test_a_substituted_certificate_is_refused(authority: Authority) -> None:
    """Another certificate of the same key, issuer and number is not the one that was signed with."""
    serial = authority.signer.certificate.serial_number
    twin = certify("test authority", authority.root, key=authority.signer.key, serial=serial)
    forged = authority.forge(CHECKPOINT, authority.signer, "-cades", "-nocerts")
    assert "CN=test authority" == self_named(forged, authority, authority.signer)
    with pytest.raises(SignatureRefused, match="missing"):
        self_named(forged, authority, twin)


def test_a_signature_that_names_two_certificates_is_refused(authority: Authority) -> None:
    """The issuer and number beside a signature are not signed, and do not lead to another certificate."""
    key = authority.signer.key
    one, two = (certify("test authority", authority.root, key=key, serial=n) for n in (0x7A11CE, 0x7B0BB0))
    (authority.folder / "two.pem").write_bytes(two.certificate.public_bytes(Encoding.PEM))
    forged = authority.forge(CHECKPOINT, one, "-cades", "-certfile", "two.pem")
    assert "CN=test authority" == open_timestamp(forged, CHECKPOINT, [authority.root.der]).authority
    start = max(forged.index(each.der) + len(each.der) for each in (one, two))
    names_two = forged[:start] + forged[start:].replace(b"\x02\x03\x7a\x11\xce", b"\x02\x03\x7b\x0b\xb0", 1)
    with pytest.raises(SignatureRefused, match="names two certificates"):
        open_timestamp(names_two, CHECKPOINT, [authority.root.der])


def self_named(response: bytes, authority: Authority, signer: Certified) -> str:
    """Return who timestamped, by a certificate that the verifier has and the response has not."""
    return open_timestamp(response, CHECKPOINT, [authority.root.der], chain=[signer.der]).authority


def test_a_self_made_authority_is_refused(authority: Authority) -> None:
    """A root that a response brings along is not trusted."""
    forged = authority.forge(CHECKPOINT, certify("test root"), "-cades")
    with pytest.raises(SignatureRefused, match=r"self-signed|self signed"):
        open_timestamp(forged, CHECKPOINT, [authority.root.der])


def test_a_root_is_not_passed_off_as_a_link(authority: Authority) -> None:
    """Certificates that complete a chain are never roots themselves."""
    response = authority.answer(make_timestamp_request(CHECKPOINT).der)
    with pytest.raises(KeyRefused, match="its own issuer"):
        open_timestamp(response, CHECKPOINT, [certify("other").der], chain=[authority.root.der])


# Others' test vectors


@pytest.fixture
def vectors(shared: Path) -> Callable[[str], tuple[bytes, list[bytes]]]:
    """Return what reads a response, and the certificates beside it: authority first, root last."""

    def read(name: str) -> tuple[bytes, list[bytes]]:
        path = shared / "vectors/rfc3161" / name
        chain = (path.parent / "ts_chain.pem").read_bytes()
        if chain.startswith(b"-----"):
            found = [each.public_bytes(Encoding.DER) for each in x509.load_pem_x509_certificates(chain)]
        else:
            found = [chain]
        return path.read_bytes(), found

    return read


Vectors = Callable[[str], tuple[bytes, list[bytes]]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_tsa/response.tsr", "2024-10-08T15:40:32Z"),
        ("test_tsa/response-injected-certs.tsr", "2024-10-08T15:40:32Z"),
        ("sigstage/response-sha256.tsr", "2025-05-09T11:58:55Z"),
        ("sigstage/response-sha384.tsr", "2025-05-09T11:58:55Z"),
        ("sigstage/response-sha512.tsr", "2025-05-09T11:58:56Z"),
        ("sigstage/response-no-embedded-cert.tsr", "2025-06-18T08:13:02Z"),
        ("identrust/issue-104.tsr", "2025-03-11T08:52:08Z"),
    ],
)
def test_good_vectors_are_accepted(vectors: Vectors, name: str, expected: str) -> None:
    """Responses of other authorities, about the bytes hello, are verified and tell their time."""
    response, (*chain, root) = vectors(name)
    found = open_timestamp(response, b"hello", [root], chain=chain)
    assert datetime.fromisoformat(expected).timestamp() == found.time


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sigstage/response-invalid-signature.tsr", "signature failure"),
        ("test_tsa/other_response.tsr", "certificate"),
    ],
)
def test_bad_vectors_are_refused(vectors: Vectors, name: str, reason: str) -> None:
    """A wrong signature, and an authority of another root, are refused."""
    response, (*chain, root) = vectors(name)
    with pytest.raises(SignatureRefused, match=reason):
        open_timestamp(response, b"hello", [root], chain=chain)


def test_a_chain_that_expired_since_is_verified(vectors: Vectors) -> None:
    """Of a response whose certificates expired since, only the data is refused: it is not known here."""
    response, (*chain, root) = vectors("sigstore.mock/response-expired.tsr")
    with pytest.raises(SignatureRefused, match="Mismatch between messages"):
        open_timestamp(response, b"hello", [root], chain=chain)
    with pytest.raises(SignatureRefused, match="certificate"):
        open_timestamp(response, b"hello", [vectors("test_tsa/response.tsr")[1][-1]], chain=chain)


@pytest.mark.parametrize(
    ("name", "accuracy"), [("identrust/issue-104.tsr", 0), ("sigstage/response-sha256.tsr", 1)]
)
def test_the_accuracy_is_told(vectors: Vectors, name: str, accuracy: int) -> None:
    """How wrong an authority may be is told, and is 0 where it does not say."""
    response, (*chain, root) = vectors(name)
    found = open_timestamp(response, b"hello", [root], chain=chain)
    assert (accuracy, found.time + 1 + accuracy) == (found.accuracy, found.existed_by)


def test_a_missing_link_is_refused(vectors: Vectors) -> None:
    """Without the certificate in between there is no chain, and with it alone there is no root."""
    response, (_, link, root) = vectors("test_tsa/response.tsr")
    for roots in ([root], [link]):
        with pytest.raises(SignatureRefused, match="certificate"):
            open_timestamp(response, b"hello", roots)


def test_a_missing_certificate_is_refused(vectors: Vectors) -> None:
    """A response without the authority's certificate says nothing to who has not got it."""
    response, (_, root) = vectors("sigstage/response-no-embedded-cert.tsr")
    with pytest.raises(SignatureRefused, match="the certificate that it was signed with is missing"):
        open_timestamp(response, b"hello", [root])


def test_injected_certificates_change_nothing(vectors: Vectors) -> None:
    """Certificates that somebody put into a response are neither the authority nor a root."""
    injected, (*chain, root) = vectors("test_tsa/response-injected-certs.tsr")
    original, _ = vectors("test_tsa/response.tsr")
    assert open_timestamp(original, b"hello", [root], chain=chain) == open_timestamp(
        injected, b"hello", [root], chain=chain
    )
    with pytest.raises(SignatureRefused):
        open_timestamp(injected, b"hello", [certify("Spoofed TSA").der])


# In a trust policy


def policy(*lines: str) -> TrustPolicy:
    """Return a policy of the log, and some lines more."""
    text = "\n".join((f"log {LOG_KEY.to_vkey()}", *lines, "quorum none", ""))
    return parse_policy(text.encode())


def trusting(authority: Authority, *lines: str) -> TrustPolicy:
    """Return a policy with an authority's root."""
    return policy(f"#tracebus timestamp-root {base64.b64encode(authority.root.der).decode()}", *lines)


def test_a_policys_timestamps_count(authority: Authority) -> None:
    """A timestamp under a root of the policy shows by when a checkpoint existed, and not that it is new."""
    response = authority.answer(make_timestamp_request(CHECKPOINT).der)
    trust = trusting(authority, "#tracebus require timestamp")
    found = trust.verify_checkpoint(CHECKPOINT, [response])
    trust.verify_requirements(found, 0)
    assert (1, found.timestamps[0].existed_by, None) == (
        len(found.timestamps),
        found.existed_by,
        found.newest_at,
    )


def test_witnesses_do_not_disturb_a_timestamp(authority: Authority) -> None:
    """Lines that come after the timestamp are not under it."""
    response = authority.answer(make_timestamp_request(CHECKPOINT).der)
    note = parse_note(CHECKPOINT).with_signatures(NoteSignature("w", b"abcd", b"x"))
    assert 1 == len(trusting(authority).verify_checkpoint(format_note(note), [response]).timestamps)


def test_timestamps_that_do_not_count_are_passed_over(authority: Authority) -> None:
    """What is no timestamp of this checkpoint under a root is as good as none, and its reason is told."""
    other = authority.answer(make_timestamp_request(b"other").der)
    trust = trusting(authority, "#tracebus require timestamp")
    found = trust.verify_checkpoint(CHECKPOINT, [other, b""])
    assert (2, None) == (len(found.passed_over), found.existed_by)
    with pytest.raises(Incomplete, match="expected a timestamp under a root"):
        trust.verify_requirements(found, 0)


def test_a_timestamp_shows_that_a_checkpoint_is_older_than_a_theft(authority: Authority) -> None:
    """A log's revoked key keeps the checkpoints that were timestamped before, and no others."""
    response = authority.answer(make_timestamp_request(CHECKPOINT).der)
    revoked = f"#tracebus revoked {LOG_KEY.to_vkey()} compromised-since"
    later = trusting(authority, f"{revoked} 2999-01-01T00:00:00Z")
    sooner = trusting(authority, f"{revoked} 2020-01-01T00:00:00Z")
    assert 1 == len(later.verify_checkpoint(CHECKPOINT, [response]).timestamps)
    for trust, responses in ((later, []), (sooner, [response])):
        with pytest.raises(SignatureRefused, match="compromised"):
            trust.verify_checkpoint(CHECKPOINT, responses)


def test_a_chain_of_a_policy_is_used(vectors: Vectors) -> None:
    """Links of a policy complete chains; that the data is another one is found after that."""
    response, (_, link, root) = vectors("test_tsa/response.tsr")
    lines = (
        f"#tracebus timestamp-{kind} {base64.b64encode(der).decode()}"
        for kind, der in (("root", root), ("chain", link))
    )
    found = policy(*lines).verify_checkpoint(CHECKPOINT, [response])
    assert ("timestamp: Mismatch between messages",) == found.passed_over


def test_a_bad_root_of_a_policy_is_told() -> None:
    """A policy whose root cannot be read is not passed over in silence."""
    with pytest.raises(KeyRefused, match="timestamp root 1"):
        policy("#tracebus timestamp-root MAA=").verify_checkpoint(CHECKPOINT, [b""])


def test_a_policys_timestamps_need_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library is absent, nobody can tell whether a timestamp counts."""
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    with pytest.raises(Unverifiable):
        policy("#tracebus timestamp-root MAA=").verify_checkpoint(CHECKPOINT, [b""])


# Any bytes


@pytest.mark.parametrize("response", [b"", b"\x30\x00", b"\x30\x80", b"hello", b"\x30" * 1000])
def test_what_is_no_response_is_refused(response: bytes) -> None:
    """What cannot be read is malformed."""
    with pytest.raises(MalformedInput):
        open_timestamp(response, b"hello", [certify("root").der])


def test_too_large_a_response_is_refused() -> None:
    """Size is checked before anything else."""
    with pytest.raises(MalformedInput, match=f"{MAX_BYTES + 1} bytes, expected at most {MAX_BYTES}"):
        open_timestamp(bytes(MAX_BYTES + 1), b"hello", [certify("root").der])


@pytest.mark.parametrize("certificate", [b"", b"\x30\x00", b"-----BEGIN CERTIFICATE-----"])
def test_what_is_no_certificate_is_refused(certificate: bytes) -> None:
    """A root and a link are certificates in DER."""
    with pytest.raises(KeyRefused, match="timestamp root 1"):
        open_timestamp(b"", b"hello", [certificate])
    with pytest.raises(KeyRefused, match="timestamp chain certificate 1"):
        open_timestamp(b"", b"hello", [certify("root").der], chain=[certificate])


def test_without_roots_nothing_can_be_told() -> None:
    """Who trusts no root cannot verify a timestamp."""
    with pytest.raises(Unverifiable, match="no root"):
        open_timestamp(b"", b"hello", [])


def test_without_the_library_nothing_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rfc3161-client is absent, the error names what to install."""
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    with pytest.raises(Unverifiable, match=r"install tracebus\[timestamp\]"):
        open_timestamp(b"", b"hello", [b""])
    with pytest.raises(Unverifiable, match=r"install tracebus\[timestamp\]"):
        make_timestamp_request(b"hello")


def test_nothing_cannot_be_timestamped() -> None:
    """There are bytes to timestamp."""
    with pytest.raises(ValueError, match="empty"):
        make_timestamp_request(b"")


@given(st.data())
def test_a_changed_byte_is_refused_or_changes_nothing(shared: Path, data: st.DataObject) -> None:
    """What is not signed in a response has no say in what is found."""
    folder = shared / "vectors/rfc3161/test_tsa"
    response = (folder / "response.tsr").read_bytes()
    pem = x509.load_pem_x509_certificates((folder / "ts_chain.pem").read_bytes())
    _, link, root = (each.public_bytes(Encoding.DER) for each in pem)
    changed = bytearray(response)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(changed)) | st.integers(0, len(changed)))
    expected: Any = open_timestamp(response, b"hello", [root], chain=[link])
    try:
        found: Any = open_timestamp(bytes(changed[:cut]), b"hello", [root], chain=[link])
    except EvidenceError:
        found = expected
    assert expected == found
