"""Keys: which are refused, which files are read, and which signatures are accepted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import Ed25519Signer, HmacSigner, KeyRefused, SharedSecret, VerifyingKey
from evidence.keys import format_private_key, load_key, parse_private_key

SEED = b"\x01" * 32
SIGNER = Ed25519Signer(SEED)
KEY = SIGNER.verifying_key
VKEY = "example.com/tracebus+e7f3eb5e+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c"

P = 2**255 - 19


def encoding(y: int, sign: int = 0) -> bytes:
    """Encode a y coordinate and a sign bit as 32 bytes, canonical or not."""
    return (y | sign << 255).to_bytes(32, "little")


Y8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
TORSION = {
    "order 1": encoding(1),
    "order 2": encoding(P - 1),
    "order 4": encoding(0),
    "order 4, negative": encoding(0, 1),
    "order 8": encoding(Y8),
    "order 8, negative": encoding(Y8, 1),
    "order 8, other": encoding(P - Y8),
    "order 8, other, negative": encoding(P - Y8, 1),
}
NOT_CANONICAL = {
    "order 1, with a sign": encoding(1, 1),
    "order 2, with a sign": encoding(P - 1, 1),
    "y = p": encoding(P),
    "y = p, with a sign": encoding(P, 1),
    "y = p + 1": encoding(P + 1),
    "y = p + 1, with a sign": encoding(P + 1, 1),
    "y = 2^255 - 1": encoding(2**255 - 1),
    "y = 2^255 - 1, with a sign": encoding(2**255 - 1, 1),
}


def add(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
    """Add two points of the curve, in affine coordinates (RFC 8032 section 5.1)."""
    d = -121665 * pow(121666, -1, P) % P
    (x1, y1), (x2, y2) = one, two
    k = d * x1 * x2 * y1 * y2 % P
    x3 = (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P
    y3 = (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P
    return x3, y3


def decoded(data: bytes) -> tuple[int, int]:
    """Decode a canonical point."""
    value = int.from_bytes(data, "little")
    y, sign = value & (2**255 - 1), value >> 255
    d = -121665 * pow(121666, -1, P) % P
    square = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return (x if x & 1 == sign else P - x), y


def encoded_point(point: tuple[int, int]) -> bytes:
    """Encode a point canonically."""
    x, y = point
    return encoding(y, x & 1)


# Which keys are refused


def test_torsion_points_are_of_small_order() -> None:
    """Each of the eight points, added eight times, is the neutral element: the list is what it says."""
    for data in TORSION.values():
        point = total = decoded(data)
        for _ in range(7):
            total = add(total, point)
        assert (0, 1) == total


@pytest.mark.parametrize("name", TORSION)
def test_keys_of_small_order_are_refused(name: str) -> None:
    """Under a key of small order one signature may fit every message."""
    with pytest.raises(KeyRefused, match="not a point of prime order"):
        VerifyingKey(TORSION[name])


@pytest.mark.parametrize("name", NOT_CANONICAL)
def test_keys_that_are_not_canonical_are_refused(name: str) -> None:
    """A key has one encoding."""
    with pytest.raises(KeyRefused):
        VerifyingKey(NOT_CANONICAL[name])


@pytest.mark.parametrize("name", [name for name in TORSION if name != "order 1"])
def test_keys_of_mixed_order_are_refused(name: str) -> None:
    """A good key with a point of small order added is refused."""
    mixed = encoded_point(add(decoded(KEY.raw), decoded(TORSION[name])))
    with pytest.raises(KeyRefused, match="not a point of prime order"):
        VerifyingKey(mixed)


def test_the_arithmetic_of_this_test_holds() -> None:
    """Adding the neutral element gives the good key back, so mixed keys are refused for what they are."""
    assert KEY.raw == VerifyingKey(encoded_point(add(decoded(KEY.raw), (0, 1)))).raw


def test_what_is_no_point_is_refused() -> None:
    """Half of all y coordinates belong to no point."""
    refused = 0
    for y in range(2, 42):
        try:
            VerifyingKey(encoding(y))
        except KeyRefused:
            refused += 1
    assert refused > 30  # no point at all, or not of prime order


@pytest.mark.parametrize("raw", [b"", KEY.raw[:-1], KEY.raw + b"\0", bytearray(KEY.raw), memoryview(KEY.raw)])
def test_other_lengths_and_types_are_refused(raw: Any) -> None:
    """A key is 32 bytes."""
    with pytest.raises(KeyRefused):
        VerifyingKey.load(raw)


@pytest.mark.parametrize("key", [None, 1, object(), SEED.hex().encode(), Ed25519Signer])
def test_what_is_no_key_is_refused(key: Any) -> None:
    """What is no key at all raises KeyRefused, too."""
    with pytest.raises(KeyRefused):
        load_key(key)


@given(st.binary(max_size=80) | st.text(max_size=80))
def test_any_bytes_are_a_key_or_refused(key: bytes | str) -> None:
    """Arbitrary bytes and text end in a key or in KeyRefused."""
    try:
        found = load_key(key)
    except KeyRefused:
        return
    assert key == found.raw


# Files


def test_a_public_key_is_read_from_all_its_forms() -> None:
    """Raw bytes, PEM as text and as bytes, a C2SP key and the object are the same key."""
    forms: list[Any] = [KEY.raw, KEY.to_pem(), KEY.to_pem().encode(), VKEY, VKEY.encode(), f"  {VKEY}\n", KEY]
    assert [KEY] * len(forms) == [VerifyingKey.load(form) for form in forms]


def test_line_ends_of_pem_do_not_matter() -> None:
    """A PEM file that went through Windows is read."""
    assert KEY == VerifyingKey.load(KEY.to_pem().replace("\n", "\r\n"))


def test_keys_of_wycheproof_are_read_from_pem(shared: Path) -> None:
    """The PEM and the raw form of each good key of Wycheproof are the same key."""
    groups = json.loads((shared / "vectors/ed25519/wycheproof_ed25519.json").read_text())["testGroups"]
    keys = [group["publicKey"]["pk"] for group in groups]
    assert keys == [VerifyingKey.load(group["publicKeyPem"]).raw.hex() for group in groups]


def test_pem_is_as_wycheproof_writes_it(shared: Path) -> None:
    """Our PEM is that of Wycheproof."""
    groups = json.loads((shared / "vectors/ed25519/wycheproof_ed25519.json").read_text())["testGroups"]
    expected = [group["publicKeyPem"].strip() for group in groups]
    assert expected == [VerifyingKey(bytes.fromhex(g["publicKey"]["pk"])).to_pem().strip() for g in groups]


DER = bytes.fromhex("302a300506032b6570032100") + KEY.raw
BAD_PEM = {
    "empty": "",
    "no end": KEY.to_pem().replace("END", "ENO"),
    "other label": KEY.to_pem().replace("PUBLIC", "OPENSSH"),
    "private key": SIGNER.to_pem(),
    "two blocks": KEY.to_pem() * 2,
    "text before": "key:\n" + KEY.to_pem(),
    "text after": KEY.to_pem() + "x",
    "no body": "-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----",
    "X25519": "-----BEGIN PUBLIC KEY-----\n"
    + base64.b64encode(DER.replace(b"\x65\x70", b"\x65\x6e", 1)).decode()
    + "\n-----END PUBLIC KEY-----\n",
    "one byte more": "-----BEGIN PUBLIC KEY-----\n"
    + base64.b64encode(DER + b"\0").decode()
    + "\n-----END PUBLIC KEY-----\n",
    "one byte less": "-----BEGIN PUBLIC KEY-----\n"
    + base64.b64encode(DER[:-1]).decode()
    + "\n-----END PUBLIC KEY-----\n",
    "header lines": KEY.to_pem().replace("KEY-----\n", "KEY-----\nComment: x\n\n", 1),
    "unused bits": KEY.to_pem().replace("1w=", "1x="),
    "not ASCII": KEY.to_pem().replace("M", "\u041c"),
}


@pytest.mark.parametrize("name", BAD_PEM)
def test_other_pem_is_refused(name: str) -> None:
    """PEM that is not exactly one Ed25519 public key is refused."""
    with pytest.raises(KeyRefused):
        VerifyingKey.load(BAD_PEM[name])


def test_a_weak_key_in_pem_is_refused() -> None:
    """A key of small order is refused in every form."""
    pem = KEY.to_pem().replace(
        base64.b64encode(DER).decode(), base64.b64encode(DER[:12] + TORSION["order 1"]).decode()
    )
    with pytest.raises(KeyRefused, match="not a point of prime order"):
        VerifyingKey.load(pem)


@pytest.mark.parametrize(
    "vkey",
    {
        "other hash": VKEY.replace("e7f3eb5e", "e7f3eb5f"),
        "other name": VKEY.replace("tracebus", "tracebut"),
        "upper-case hash": VKEY.replace("e7f3eb5e", "E7F3EB5E"),
        "no name": VKEY.replace("example.com/tracebus", ""),
        "space in the name": VKEY.replace("/tracebus", " tracebus"),
        "signature type 4": "example.com/tracebus+"
        + hashlib.sha256(b"example.com/tracebus\n\x04" + KEY.raw).hexdigest()[:8]
        + "+"
        + base64.b64encode(b"\x04" + KEY.raw).decode(),
        "weak key": "a+"
        + hashlib.sha256(b"a\n\x01" + TORSION["order 1"]).hexdigest()[:8]
        + "+"
        + base64.b64encode(b"\x01" + TORSION["order 1"]).decode(),
        "one byte less": "a+" + hashlib.sha256(b"a\n\x01").hexdigest()[:8] + "+AQ==",
        "a private key": "PRIVATE+KEY+" + VKEY,
    }.items(),
    ids=lambda item: item[0],
)
def test_other_verifier_keys_are_refused(vkey: tuple[str, str]) -> None:
    """A C2SP key whose hash, name, type or point is wrong is refused."""
    with pytest.raises(KeyRefused):
        VerifyingKey.load(vkey[1])


def test_private_keys_come_back_from_pem() -> None:
    """A private key's PEM holds its seed."""
    assert SEED == parse_private_key(format_private_key(SEED))


@pytest.mark.parametrize(
    "pem", ["", KEY.to_pem(), SIGNER.to_pem() * 2, SIGNER.to_pem()[:-9], "x", "\u00e9", b"\xff"]
)
def test_other_private_keys_are_refused(pem: Any) -> None:
    """What is no unencrypted PKCS #8 of an Ed25519 key is refused."""
    with pytest.raises(KeyRefused):
        Ed25519Signer(pem)


def test_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    """A key file that is not there, and one that holds no text, raise KeyRefused with its name."""
    (tmp_path / "binary.key").write_bytes(b"\xff")
    for name in ("absent.key", "binary.key"):
        with pytest.raises(KeyRefused, match=name):
            Ed25519Signer.from_file(tmp_path / name)


@pytest.fixture
def openssl() -> str:
    """Return the path of openssl."""
    path = shutil.which("openssl")
    if path is None:
        pytest.skip("openssl is not installed")
    return path


def test_openssl_reads_our_private_key(openssl: str, tmp_path: Path) -> None:
    """OpenSSL derives the same public key from our private key's PEM, in the same PEM."""
    (tmp_path / "k.key").write_text(SIGNER.to_pem())
    command = [openssl, "pkey", "-in", str(tmp_path / "k.key"), "-pubout"]
    assert KEY.to_pem() == subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_openssl_verifies_our_signature(openssl: str, tmp_path: Path) -> None:
    """OpenSSL accepts our signature with our public key's PEM."""
    files = {"key": KEY.to_pem().encode(), "signature": SIGNER.sign(b"message"), "message": b"message"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", "key", "-rawin", "-in", "message"]
    done = subprocess.run(
        [*command, "-sigfile", "signature"], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert "Signature Verified Successfully" in done.stdout


def test_we_read_openssl_keys(openssl: str, tmp_path: Path) -> None:
    """A key made by OpenSSL is read, public and private."""
    private = subprocess.run(
        [openssl, "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True, text=True
    ).stdout
    (tmp_path / "k.key").write_text(private)
    command = [openssl, "pkey", "-in", str(tmp_path / "k.key"), "-pubout"]
    public = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert VerifyingKey.load(public) == Ed25519Signer.from_file(tmp_path / "k.key").verifying_key


def test_we_refuse_other_openssl_keys(openssl: str) -> None:
    """A key of another algorithm is refused."""
    private = subprocess.run([openssl, "genpkey", "-algorithm", "x25519"], check=True, capture_output=True)
    with pytest.raises(KeyRefused, match="expected an Ed25519 key"):
        Ed25519Signer(private.stdout)


# Signatures


def test_wycheproof_ed25519(shared: Path) -> None:
    """Every signature of Wycheproof is accepted or refused as it says."""
    groups = json.loads((shared / "vectors/ed25519/wycheproof_ed25519.json").read_text())["testGroups"]
    expected, found = {}, {}
    for group in groups:
        key = VerifyingKey(bytes.fromhex(group["publicKey"]["pk"]))
        for test in group["tests"]:
            expected[test["tcId"]] = test["result"] == "valid"
            found[test["tcId"]] = key.accepts(bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
    assert expected == found


def test_wycheproof_hmac(shared: Path) -> None:
    """Every full-length MAC of Wycheproof is accepted or refused as it says; truncated ones are refused."""
    groups = json.loads((shared / "vectors/hmac/wycheproof_hmac_sha256.json").read_text())["testGroups"]
    expected, found = {}, {}
    for group in groups:
        for test in group["tests"]:
            raw = bytes.fromhex(test["key"])
            if len(raw) >= 16:
                is_full = group["tagSize"] == 256
                expected[test["tcId"]] = test["result"] == "valid" and is_full
                found[test["tcId"]] = SharedSecret(raw).accepts(
                    bytes.fromhex(test["tag"]), bytes.fromhex(test["msg"])
                )
    assert (True, expected) == (len(expected) > 100, found)


@given(st.binary(max_size=100))
def test_a_signature_fits_its_message(message: bytes) -> None:
    """What was signed is accepted, and with one bit changed refused."""
    signature = SIGNER.sign(message)
    changed = bytes([signature[0] ^ 1]) + signature[1:]
    found = [
        KEY.accepts(s, m) for s, m in ((signature, message), (changed, message), (signature, message + b"x"))
    ]
    assert [True, False, False] == found


@pytest.mark.parametrize("length", [0, 32, 63, 65, 128])
def test_signatures_of_another_length_are_refused(length: int) -> None:
    """A signature is 64 bytes."""
    assert not KEY.accepts((SIGNER.sign(b"m") * 2)[:length], b"m")


def test_a_signature_with_a_larger_s_is_refused() -> None:
    """S plus the group order would fit the equation, and is refused (RFC 8032 section 5.1.7)."""
    signature = SIGNER.sign(b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[32:], "little") + order
    assert not KEY.accepts(signature[:32] + s.to_bytes(32, "little"), b"m")


# Shared secrets


@pytest.mark.parametrize("raw", [b"", b"x" * 15])
def test_short_secrets_are_refused(raw: bytes) -> None:
    """A shared secret has at least 16 bytes."""
    with pytest.raises(KeyRefused, match="at least 16 bytes"):
        SharedSecret(raw)


def test_bytes_are_never_a_secret() -> None:
    """Sixteen bytes are no public key, and are not taken for a secret."""
    with pytest.raises(KeyRefused):
        load_key(b"x" * 16)


def test_a_secret_is_not_shown() -> None:
    """Neither `repr` nor the key id gives a secret away."""
    secret = SharedSecret(b"swordfish swordfish")
    shown = repr(secret) + str(secret) + repr(HmacSigner(secret)) + repr(Ed25519Signer(SEED))
    assert ("swordfish" in shown, SEED.hex() in shown) == (False, False)


def test_key_ids_are_what_the_specification_says() -> None:
    """A public key's id is its SHA-256; a secret's is an HMAC, from which it cannot be guessed."""
    secret = b"a secret of more than sixteen bytes"
    expected = (
        hashlib.sha256(KEY.raw).hexdigest(),
        hmac.new(secret, b"tracebus/key-id/v1\n", hashlib.sha256).hexdigest(),
    )
    assert expected == (KEY.key_id, SharedSecret(secret).key_id)


def test_a_secret_and_a_key_of_the_same_bytes_differ() -> None:
    """A secret made of a public key's bytes is another key, with another id and algorithm."""
    secret = SharedSecret(KEY.raw)
    assert (False, False, False) == (secret == KEY, secret.key_id == KEY.key_id, secret.alg == KEY.alg)


def test_the_hmac_signer_wants_a_secret() -> None:
    """Plain bytes make no HMAC signer."""
    with pytest.raises(TypeError, match="expected a SharedSecret"):
        HmacSigner(KEY.raw)  # type: ignore[arg-type]


def test_verifying_keys_can_be_sent_to_another_process() -> None:
    """A verifying key survives pickling."""
    assert KEY == pickle.loads(pickle.dumps(KEY))


def test_generated_keys_differ() -> None:
    """Two new keys are two keys."""
    assert Ed25519Signer.generate().key_id != Ed25519Signer.generate().key_id
