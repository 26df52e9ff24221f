"""The Kingfisher scanner: our patterns first, then the rules of MongoDB's Kingfisher (ADR 0017).

    TraceEventBus(log, secret_scanner=KingfisherScanner())    # pip install tracebus[secrets]

The rules are those that kingfisher-secret-scanner holds in high confidence, some 360, and change with its
releases. It looks at text in this process: nothing that is found is tried out, and no network is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from os import PathLike
from typing import Final

from tracebus.secret_patterns import SecretPattern, marker
from tracebus.secret_scanner import MIN_SECRET_LENGTH, SecretScanner

_PREFIX: Final = "kingfisher:"

# A commit, a digest, a trace or a UUID: a rule takes it for a secret by the name that stands before it.
_IDENTIFIER: Final = re.compile(r"[0-9A-Fa-f-]+")


class KingfisherScanner(SecretScanner):
    """Finds secrets by our patterns and by the library's rules. Any thread may use it, and a forked process.

    A rule's finding has the id ``kingfisher:<rule id>``, such as ``kingfisher:betterleaks.github-pat``.
    What consists of hexadecimal digits and hyphens alone is never masked by a rule, and what is encoded in
    base64 is not looked into, for all that was encoded would be masked.

    To make one takes two seconds and 50 MB: make it once, before the event loop starts.

    Args:
        key: As for `SecretScanner`.
        patterns: As for `SecretScanner`.
        cache_dir: A folder for the compiled rules, from which the next process has them in a tenth of the
            time. Whoever can write there decides what is found. Without it nothing is written.

    Raises:
        ModuleNotFoundError: The extra ``secrets`` is not installed.
        ValueError: As for `SecretScanner`.
    """

    def __init__(
        self,
        key: bytes | None = None,
        patterns: Iterable[SecretPattern] = (),
        *,
        cache_dir: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__(key, patterns)
        try:
            import kingfisher_sdk
        except ModuleNotFoundError:
            reason = "KingfisherScanner: needs kingfisher-secret-scanner: install tracebus[secrets]"
            raise ModuleNotFoundError(reason) from None
        rules = kingfisher_sdk.Rules(confidence="high", cache=cache_dir is not None, cache_dir=cache_dir)
        self._library = kingfisher_sdk.Scanner(rules, base64=False)
        self._library_version: Final = kingfisher_sdk.__version__
        ids = [pattern.id for pattern in self.patterns] + [_PREFIX + rule["id"] for rule in rules.metadata()]
        self._markers = re.compile(f"({'|'.join(re.escape(marker(pattern_id)) for pattern_id in ids)})")

    def may_hold(self, data: bytes) -> bool:
        """Tell that strings may hold a secret: what the rules find cannot be told from JSON."""
        return True

    def mask(self, text: str) -> tuple[str, tuple[str, ...]]:
        """Return a text with markers in place of its secrets, and the id of each secret's pattern or rule.

        Rules do not look at markers, nor across them. Where several match, the one that begins first, or
        else reaches farthest, gives its name to all that they match together.
        """
        text, found = super().mask(text)
        if len(text) < MIN_SECRET_LENGTH:
            return text, found
        parts, ids = [], [*found]
        for number, part in enumerate(self._markers.split(text)):
            is_marker = number % 2 == 1
            parts.append(part if is_marker else self._mask_by_rules(part, ids))
        return "".join(parts), tuple(ids)

    @property
    def detected_by(self) -> str:
        """What finds the secrets, with the versions."""
        return f"{super().detected_by}, kingfisher-secret-scanner {self._library_version}"

    def _mask_by_rules(self, text: str, ids: list[str]) -> str:
        """Return a text with markers, and add the ids of what was found."""
        # One byte for each lone surrogate, and no NUL, of which the library would guess UTF-16.
        data = text.encode(errors="replace").replace(b"\0", b" ")
        parts, end, seen = [], 0, 0
        for first, last, rule_id in self._spans(data):
            begin = end + _characters(data[seen:first])
            parts += [text[end:begin], marker(_PREFIX + rule_id)]
            ids.append(_PREFIX + rule_id)
            end, seen = begin + _characters(data[first:last]), last
        return "".join([*parts, text[end:]])

    def _spans(self, data: bytes) -> list[tuple[int, int, str]]:
        """Return where secrets are, in bytes and in order, and by which rule; none touches into another."""
        found = [
            (finding.location["start_offset"], -finding.location["end_offset"], finding.rule_id)
            for finding in self._library.scan(data)
            if finding.visible and not _IDENTIFIER.fullmatch(finding.secret)
        ]
        spans: list[tuple[int, int, str]] = []
        for first, negative_last, rule_id in sorted(found):
            last = -negative_last
            if spans and first < spans[-1][1]:
                earlier_first, earlier_last, earlier_id = spans[-1]
                spans[-1] = (earlier_first, max(earlier_last, last), earlier_id)
            else:
                spans.append((first, last, rule_id))
        return spans


def _characters(data: bytes) -> int:
    """Return how many characters UTF-8 holds."""
    return len(data.decode(errors="ignore"))
