"""Texts that a record of upkeep keeps for ever: they must not name the person whom it is about."""

from __future__ import annotations

import re
import unicodedata


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


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
