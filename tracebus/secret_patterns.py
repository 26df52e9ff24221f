r"""Secret patterns: the forms of credentials that can be told by their form alone.

Each form has a prefix, or a frame, that its issuer or its specification gave it; what can only be guessed,
from its randomness or from the name of a variable, is not here (ADR 0017). Each pattern takes time that is
linear in the text, also where the text was made to have it take longer: what repeats is bounded, or begins
only where a run of its own characters begins.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final, NamedTuple

# An escape of JSON, Python or a URL in a text ends in a letter or a digit, and a secret may begin behind it.
_ESCAPE: Final = r"(?<=\\[nrtbf])|(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2})"
_END: Final = r"(?![A-Za-z0-9_-])"
_END_WORD: Final = r"(?![A-Za-z0-9])"

_BASE64: Final = r"[A-Za-z0-9+/]"
_BREAK: Final = r"(?:\s|\\+[nrt])"  # of a line, also where it stands escaped in a text
_KEY_LABEL: Final = r"(?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?"
_QUOTED: Final = r"\\{0,15}[\"']?"  # and escaped, in JSON up to four deep


def _start(first: str, not_behind: str = "A-Za-z0-9_-") -> str:
    """Return the beginning of a regular expression: a place where these characters begin something.

    To look for them first costs a quarter of what it costs to look at what stands before.
    """
    return rf"(?={first})(?:(?<![{not_behind}])|{_ESCAPE})"


_WORD: Final = "A-Za-z0-9"


class SecretPattern(NamedTuple):
    """One form of secrets.

    `regex` is searched for in each text; of a match the group ``secret``, or all of it where there is no such
    group, is replaced. Each match must contain one of `literals`: printable ASCII without quotes and
    backslashes. To look for them is what a payload without secrets costs, so take what is rare elsewhere.
    A pattern of yours that backtracks without bound lets whoever writes the text decide how long it takes.
    """

    id: str
    regex: str
    literals: tuple[str, ...]

    @property
    def marker(self) -> str:
        """What is put in place of a secret: ``[secret: github-token]``."""
        return marker(self.id)

    def mask(self, text: str) -> tuple[str, int]:
        """Return a text with markers in place of its secrets, and how many there were."""
        regex = compiled(self.regex)
        parts, end, count = [], 0, 0
        for match in regex.finditer(text):
            framed = "secret" in regex.groupindex and match["secret"] is not None
            start, stop = match.span("secret" if framed else 0)
            parts += [text[end:start], self.marker]
            end, count = stop, count + 1
        return "".join([*parts, text[end:]]), count


def marker(pattern_id: str) -> str:
    """Return what is put in place of a secret of a pattern."""
    return f"[secret: {pattern_id}]"


@cache
def compiled(regex: str) -> re.Pattern[str]:
    """Return the compiled regular expression, which is made when it is first needed."""
    return re.compile(regex)


# RFC 3986 section 3.2.1; stars, x's and names of variables stand for a password and are none, nor is a port
# that a list goes on behind, or what an image's digest follows (docker://alpine:3.12@sha256:…)
URL_PASSWORD: Final = SecretPattern(
    "url-password",
    r"://[^\s/?#@:\"'<>\\]{0,256}:(?!(?:\*+|[xX]+|\$[A-Za-z_({][^\s@]{0,64})@|[0-9]{1,5}[,;|])"
    r"(?P<secret>[^\s/?#@\"'<>{}\[\]\\]{1,256})@(?!sha(?:256|512):)",
    ("://",),
)

PATTERNS: Final = (
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
    SecretPattern(
        "aws-access-key",
        _start("A", _WORD) + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}" + _END_WORD,
        ("AKIA", "ASIA", "ABIA", "ACCA"),
    ),
    # https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html and, with capitals, AWS STS
    SecretPattern(
        "aws-secret-key",
        rf"(?:secret_access_key|SECRET_ACCESS_KEY|[sS]ecretAccessKey){_QUOTED}\s{{0,4}}[:=]\s{{0,4}}{_QUOTED}"
        rf"(?P<secret>{_BASE64}{{40}})(?![A-Za-z0-9+/=])",
        ("secret_access_key", "SECRET_ACCESS_KEY", "ecretAccessKey"),
    ),
    # https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github
    SecretPattern(
        "github-token",
        _start("g") + r"(?:gh[pousr]_[A-Za-z0-9_]{36,}|github_pat_[A-Za-z0-9_]{82,})",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    ),
    # https://docs.gitlab.com/security/tokens/#token-prefixes; an instance may put a prefix of its own before
    SecretPattern(
        "gitlab-token",
        _start("gl", _WORD) + r"gl(?:pat|oas|dt|rt|cbt|ptt|ft|imt|agent|soat|ffct)-"
        r"[A-Za-z0-9_-]{20,}(?:\.[0-9a-z]{2}\.[0-9a-z]{9})?",
        (
            *("glpat-", "gloas-", "gldt-", "glrt-", "glcbt-", "glptt-"),
            *("glft-", "glimt-", "glagent-", "glsoat-", "glffct-"),
        ),
    ),
    # The issuer documents the beginning only; the middle, which reads "OpenAI" in base64, is observed.
    # https://platform.openai.com/docs/api-reference/project-api-keys
    SecretPattern(
        "openai-key",
        _start("sk-") + r"sk-[A-Za-z0-9_-]{20,300}T3BlbkFJ[A-Za-z0-9_-]{20,}",
        ("T3BlbkFJ",),
    ),
    # https://platform.claude.com/docs/en/get-api-key
    SecretPattern(
        "anthropic-key",
        _start("sk-") + r"sk-ant-[a-z]{2,8}[0-9]{2}-[A-Za-z0-9_-]{80,}",
        ("sk-ant-",),
    ),
    # https://cloud.google.com/docs/authentication/api-keys
    SecretPattern("google-api-key", _start("AI") + r"AIza[A-Za-z0-9_-]{35}" + _END, ("AIza",)),
    # https://docs.slack.dev/authentication/tokens
    SecretPattern(
        "slack-token",
        _start("x") + r"(?:xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{20,}|xapp-[0-9]-[A-Za-z0-9-]{20,})",
        ("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe", "xapp-"),
    ),
    # https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
    SecretPattern(
        "slack-webhook",
        r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/(?P<secret>[A-Za-z0-9/_-]{20,})",
        ("hooks.slack.com/", "hooks.slack-gov.com/"),
    ),
    # https://docs.stripe.com/keys and https://docs.stripe.com/webhooks/signature
    SecretPattern(
        "stripe-key",
        _start("[srw]") + r"(?:(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{24,}|whsec_[A-Za-z0-9+/]{32,}={0,2})",
        ("sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"),
    ),
    # https://github.blog/2021-09-23-announcing-npms-new-access-token-format/
    SecretPattern("npm-token", _start("npm") + r"npm_[A-Za-z0-9]{36}" + _END, ("npm_",)),
    # PyPI's help page, section apitoken; behind the prefix stands a macaroon in base64
    SecretPattern("pypi-token", _start("pypi") + r"pypi-AgE[A-Za-z0-9_-]{50,}", ("pypi-AgE",)),
    # https://huggingface.co/docs/hub/security-tokens
    SecretPattern("huggingface-token", _start("hf_") + r"hf_[A-Za-z0-9]{34}" + _END, ("hf_",)),
    # https://www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys
    SecretPattern(
        "sendgrid-key", _start("SG") + r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}" + _END, ("SG.",)
    ),
    # https://core.telegram.org/bots/api#authorizing-your-bot
    SecretPattern(
        "telegram-token",
        _start("[0-9]", "0-9") + r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}" + _END,
        (":AA",),
    ),
    # https://developer.hashicorp.com/vault/docs/concepts/tokens
    SecretPattern("vault-token", _start("hv") + r"hv[sbr]\.[A-Za-z0-9_-]{24,}", ("hvs.", "hvb.", "hvr.")),
    # https://docs.digitalocean.com/reference/api/create-personal-access-token/
    SecretPattern(
        "digitalocean-token",
        _start("do") + r"do[opr]_v1_[0-9a-f]{64}" + _END,
        ("dop_v1_", "doo_v1_", "dor_v1_"),
    ),
    # https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string: 64 or 32 bytes
    SecretPattern(
        "azure-account-key",
        rf"(?:AccountKey|SharedAccessKey)=(?P<secret>{_BASE64}{{86}}==|{_BASE64}{{43}}=)",
        ("AccountKey=", "SharedAccessKey="),
    ),
    # https://learn.microsoft.com/rest/api/storageservices/create-service-sas: HMAC-SHA256, in base64
    SecretPattern(
        "azure-sas",
        _start("sig=", _WORD) + rf"sig=(?P<secret>(?:{_BASE64}|%2[BbFf]){{43}}(?:=|%3[Dd]))",
        ("sig=",),
    ),
    # RFC 7468 sections 10 and 11, RFC 1421 section 4.4 and 4.6 (headers), RFC 9580 section 6.2 (PGP)
    SecretPattern(
        "private-key",
        rf"-----BEGIN {_KEY_LABEL}-----"
        rf"(?:{_BREAK}++[A-Za-z][A-Za-z-]{{1,30}}+: [^\n\\]{{0,200}}+){{0,4}}"
        rf"(?:{_BREAK}*+[A-Za-z0-9+/=]{{16,}}+)++"
        rf"(?:(?:{_BREAK}*+[A-Za-z0-9+/=]{{1,15}}){{0,2}}{_BREAK}*+-----END {_KEY_LABEL}-----)?",
        ("PRIVATE KEY",),
    ),
    # RFC 7515 section 3.1: three parts, of which the first two are JSON objects
    SecretPattern(
        "jwt",
        _start("eyJ", "A-Za-z0-9_.-") + r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}",
        ("eyJ",),
    ),
    # RFC 6750 section 2.1; with a digit, for a long word is no token
    SecretPattern(
        "bearer-token",
        _start("[Bb]", _WORD) + r"(?:[Bb]earer|BEARER) {1,4}(?=[A-Za-z._~+/-]{0,200}[0-9])"
        r"(?P<secret>[A-Za-z0-9._~+/-]{20,}={0,2})",
        ("earer ", "EARER "),
    ),
    # RFC 7617 section 2; what is written as a word is none
    SecretPattern(
        "basic-credentials",
        rf"[Aa]uthorization{_QUOTED}\s{{0,4}}[:=]\s{{0,4}}{_QUOTED}[Bb]asic {{1,4}}"
        rf"(?![A-Za-z]?[a-z]+(?![A-Za-z0-9+/=]))(?P<secret>{_BASE64}{{8,}}={{0,2}})",
        ("asic ",),
    ),
    URL_PASSWORD,
)
"""The built-in patterns, in the order in which they are tried: what is masked is no match for a later one."""
