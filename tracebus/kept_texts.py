"""Texts that a record of upkeep keeps for ever: they name neither a credential nor the person it is about."""

from __future__ import annotations

import re
import unicodedata

from tracebus.secret_scanner import DEFAULT_SCANNER


def check_unnamed(user_id: str, **texts: str | None) -> None:
    """Check that texts, by what they are, do not hold a user id as a word, in any case or Unicode form.

    Raises:
        ValueError: One does. The message does not repeat the id.
    """
    word = re.compile(rf"(?<!\w){re.escape(_folded(user_id))}(?!\w)")
    for what, text in texts.items():
        if user_id and text is not None and word.search(_folded(text)):
            raise ValueError(
                f"{what.replace('_', ' ')}: names the user, and would stay when the rest is erased; write it "
                "without, and keep who is meant outside of the log"
            )


def check_no_secret(**texts: str | None) -> None:
    """Check that texts, by what they are, hold no credential of a known form (ADR 0017).

    What code records is masked. What a person is about to write is refused, so that they learn of it.

    Raises:
        ValueError: One does. The message does not repeat it.
    """
    for what, text in texts.items():
        found = () if text is None else DEFAULT_SCANNER.mask(text)[1]
        if found:
            kinds = ", ".join(dict.fromkeys(found))
            raise ValueError(f"{what.replace('_', ' ')}: holds a secret ({kinds}); write it without")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
