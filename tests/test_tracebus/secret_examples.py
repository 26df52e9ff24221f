"""Made-up secrets, put together when they are needed, so that no scanner finds one in this repository."""

import base64
import json
import random
import string
from typing import Final

_LETTERS: Final = string.ascii_letters + string.digits
_HEX: Final = "0123456789abcdef"
_BASE32: Final = string.ascii_uppercase + "234567"
_random: Final = random.Random(17)


def some(length: int, alphabet: str = _LETTERS) -> str:
    """Return characters that begin with a letter and a digit, so that they are a word of no language."""
    first = [next(a for a in alphabet if a.isalpha() == is_letter) for is_letter in _kinds(alphabet)]
    return "".join([*first, *_random.choices(alphabet, k=length - len(first))])


def _kinds(alphabet: str) -> list[bool]:
    return [kind for kind in (True, False) if any(a.isalpha() == kind for a in alphabet)]


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _armoured(label: str, header: str = "", newline: str = "\n") -> str:
    lines = [f"-----BEGIN {label}-----", *([header, ""] if header else [])]
    lines += [some(64, _LETTERS + "+/") for _ in range(6)] + [some(9) + "=", f"-----END {label}-----"]
    return newline.join(lines)


def secrets() -> dict[str, list[str]]:
    """Return secrets of each form, as they may stand in a text, by the id of their pattern."""
    key = "PRIVATE" + " KEY"
    return {
        "aws-access-key": ["AK" + "IA" + some(16, _BASE32), "AS" + "IA" + some(16, _BASE32)],
        "aws-secret-key": [some(40, _LETTERS + "+/")],
        "github-token": ["ghp" + "_" + some(36), "ghs" + "_" + some(36), "github" + "_pat_" + some(82)],
        "gitlab-token": ["glpat" + "-" + some(20), "glpat" + "-" + some(27) + ".01." + "0a1b2c3d4"],
        "openai-key": [
            "sk" + "-" + some(20) + "T3Blbk" + "FJ" + some(20),
            "sk" + "-proj-" + some(74) + "T3Blbk" + "FJ" + some(74),
        ],
        "anthropic-key": ["sk" + "-ant-api03-" + some(93) + "AA", "sk" + "-ant-oat01-" + some(95)],
        "google-api-key": ["AI" + "za" + some(35)],
        "slack-token": [
            "xox" + "b-" + some(12, string.digits) + "-" + some(24),
            "xap" + "p-1-" + some(11, _BASE32) + "-" + some(13, string.digits) + "-" + some(64, _HEX),
        ],
        "slack-webhook": [some(9, _BASE32) + "/" + some(9, _BASE32) + "/" + some(24)],
        "stripe-key": ["sk" + "_live_" + some(24), "rk" + "_test_" + some(99), "whs" + "ec_" + some(32)],
        "npm-token": ["npm" + "_" + some(36)],
        "pypi-token": ["pypi" + "-AgEIcHlwaS5vcmc" + some(90)],
        "huggingface-token": ["hf" + "_" + some(34, string.ascii_letters)],
        "sendgrid-key": ["SG" + "." + some(22) + "." + some(43)],
        "telegram-token": ["1" + some(9, string.digits) + ":A" + "A" + some(33)],
        "vault-token": ["hvs" + "." + some(90)],
        "digitalocean-token": ["dop" + "_v1_" + some(64, _HEX)],
        "azure-account-key": [some(86) + "==", some(43) + "="],
        "azure-sas": [some(40) + "%2B" + some(2) + "%3D"],
        "private-key": [
            _armoured(f"RSA {key}"),
            _armoured(f"EC {key}", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC," + some(32, _HEX)),
            _armoured(f"OPENSSH {key}", newline="\\n"),
            _armoured(f"PGP {key} BLOCK", "Version: GnuPG v2"),
            _armoured(key).rpartition("\n-----END")[0].rpartition("\n")[0],
        ],
        "jwt": [f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part({'sub': '1', 'iat': 1})}.{some(43)}"],
        "bearer-token": [some(40)],
        "basic-credentials": [base64.b64encode(b"svc:" + some(12).encode()).decode()],
        "url-password": [some(14), "pa:ss%40w0rd"],
    }


FRAMES: Final = {
    "aws-secret-key": ["aws_secret_access_key = {}", '{{"SecretAccessKey": "{}", "SessionToken": 1}}'],
    "slack-webhook": ["https://hooks.slack.com/services/{}"],
    "azure-account-key": ["AccountName=acme;AccountKey={};EndpointSuffix=x", "SharedAccessKey={}"],
    "azure-sas": ["https://acme.blob.core.windows.net/c/b?sv=2022-11-02&sig={}&se=2026"],
    "bearer-token": ["Authorization: Bearer {}", "bearer {}"],
    "basic-credentials": ["Authorization: Basic {}", '{{"authorization": "basic {}"}}'],
    "url-password": ["postgres://svc:{}@db.acme.com:5432/x", "see https://:{}@acme.com/ for it"],
}
"""What has to stand around the secrets that are told by it; it stays."""


def texts() -> list[tuple[str, str, str]]:
    """Return for each secret its pattern's id, the secret, and a text that holds it."""
    return [
        (pattern_id, secret, frame.format(secret))
        for pattern_id, examples in secrets().items()
        for secret in examples
        for frame in FRAMES.get(pattern_id, ["{}", 'use "{}", not the old one', "TOKEN={}\n"])
    ]


def near_misses() -> dict[str, list[str]]:
    """Return what looks like a secret of a form and is none, by the id of the pattern."""
    key = "PRIVATE" + " KEY"
    return {
        "aws-access-key": ["AKIA" + "X" * 15, "AKIA" + "X" * 17, "akia" + "x" * 16, "AKIA" + "0" * 16],
        "aws-secret-key": ["aws_secret_access_key = " + "a" * 39, "secretAccessKey must be set", "a" * 40],
        "github-token": ["ghp_token", "ghp_" + "a" * 35, "xghp_" + "a" * 36, "github_pat_" + "a" * 40],
        "gitlab-token": ["glpat-" + "a" * 19, "xglpat-" + "a" * 20],
        "openai-key": ["sk-learn-compatible-estimators-and-pipelines-of-all-kinds", "T3BlbkFJ", "sk-proj-x"],
        "anthropic-key": ["sk-ant-api03-YOUR_KEY_HERE", "sk-ant-api03-..."],
        "google-api-key": ["AIza" + "a" * 34, "AIza" + "a" * 36],
        "slack-token": ["xoxb-your-token", "xoxo-hugs-and-kisses"],
        "slack-webhook": [
            "https://hooks.slack.com/services/T00/B00/XXX",
            "https://slack.com/services/" + "a" * 30,
        ],
        "stripe-key": ["sk_live_...", "risk_live_" + "a" * 24, "whsec_short"],
        "npm-token": ["npm_config_registry", "npm_" + "a" * 37, "npm_lifecycle_event_of_this_very_package"],
        "pypi-token": ["pypi-AgE", "pypi-AgEexample"],
        "huggingface-token": ["hf_xxx", "hf_hub_download", "hf_" + "a" * 35],
        "sendgrid-key": ["SG.1", "S.G. Smith", "SG." + "a" * 22 + "." + "b" * 42],
        "telegram-token": ["12:34:AAPL", "10:AA", "1234567890:AA" + "a" * 34],
        "vault-token": ["hvs.short", "hvs. the rest"],
        "digitalocean-token": ["dop_v1_", "dop_v1_" + "g" * 64],
        "azure-account-key": ["AccountKey=", "AccountKey=" + "a" * 80],
        "azure-sas": ["?sig=abc", "config=" + "a" * 43 + "="],
        "private-key": [
            f"-----BEGIN {key}-----",
            f"-----BEGIN {key}-----\n...\n-----END {key}-----",
            f"a {key} is kept in the vault",
            "-----BEGIN PUBLIC KEY-----\n" + "a" * 64 + "\n-----END PUBLIC KEY-----",
            "-----BEGIN CERTIFICATE-----\n" + "a" * 64 + "\n-----END CERTIFICATE-----",
        ],
        "jwt": ["eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0", "eyJ.eyJ.x", "a.b.c"],
        "bearer-token": ["Bearer token", "the bearer of internationalisation-and-more", "Bearer <token>"],
        "basic-credentials": [
            "Basic authentication",
            "basic economy fare",
            "Authorization: Basic <creds>",
            "Authorization: Basic authentication",
        ],
        "url-password": [
            "https://acme.com/a:b@c",
            "https://acme.com:8080/x?mail=bob@acme.com",
            "mailto:bob@acme.com",
            "git@github.com:acme/x.git",
            "https://bob@acme.com/",
            "postgres://svc:****@db",
            "postgres://svc:xxxx@db",
            "postgres://svc:$DB_PASSWORD@db",
            "postgres://svc:${DB_PASSWORD}@db",
            "postgres://svc:<password>@db",
            "postgres://svc:{password}@db",
            "std::vector<a>://x",
            "https://shop.acme.com:8443,bob@acme.com",
            "docker://alpine:3.12@sha256:c75ac27b49326926b803b9ed43bf088bc220d22556de1bc5f72d742c91398f69",
        ],
    }
