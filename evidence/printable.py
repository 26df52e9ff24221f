"""Text as it is shown: evidence comes from others, and a terminal takes some characters for commands."""


def printable(text: object) -> str:
    r"""Return text of printable characters: controls, bidi overrides and the like as ``\x1b``."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """Return how many there are of something, in words: ``1 event``, ``2 events``."""
    return f"{number} {noun}{'s' * (number != 1)}"
