"""Mentions: texts, such as a name or an e-mail address, found in what events say.

A log's index knows for whom a run was started, and nothing of whom others speak. To find that, events are
opened and read. Letters are compared without regard to case and to how Unicode composes them; a text has to
stand in one value or name. Of what was recorded as its beginning, only that is read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from tracebus.free_form import read_free_form


class Mentions:
    """Texts to look for.

    Raises:
        ValueError: One of them is empty.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(dict.fromkeys(texts))
        self._folded = [_fold(text) for text in self.texts]
        if not all(text.strip() for text in self._folded):
            raise ValueError("mention: expected a text to look for, found nothing")

    def __bool__(self) -> bool:
        return bool(self.texts)

    def find(self, payload: Any) -> tuple[str, ...]:
        """Return which of the texts an opened payload has somewhere."""
        missing = dict(zip(self.texts, self._folded, strict=True))
        for value in _texts_in(payload):
            folded = _fold(value)
            for text in [text for text, wanted in missing.items() if wanted in folded]:
                del missing[text]
            if not missing:
                break
        return tuple(text for text in self.texts if text not in missing)


def _fold(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _texts_in(value: Any) -> Iterator[str]:
    """Yield the texts, numbers and names in a value, those in JSON text included."""
    pending = [value]
    while pending:
        value = read_free_form(pending.pop())
        if isinstance(value, dict):
            yield from value
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str):
            yield value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield str(value)
