"""One HTTP request, as anchors need it: bounded in time and in bytes, and to nobody but who was named."""

from __future__ import annotations

from typing import Final, NamedTuple

import anyio

from tracebus.errors import AnchorUnavailable

SECONDS: Final = 30.0
"""How long a request may take by default, from the first byte to the last, in seconds."""


class Answer(NamedTuple):
    """An answer: status and body."""

    status: int
    body: bytes


def post(url: str, body: bytes, content_type: str, *, most: int, seconds: float) -> Answer:
    """Send a POST request, and return the answer, from a thread without an event loop.

    Redirects are not followed. The limit of time is for all of it, however slowly bytes drip in: the
    request is made in an event loop of its own, which can be cancelled.

    Raises:
        AnchorUnavailable: There is no answer, in time and of at most `most` bytes; or httpx is absent.
    """
    try:
        import httpx
    except ImportError:
        raise AnchorUnavailable(f"{url}: needs httpx: install tracebus[anchors]") from None
    headers = {"Content-Type": content_type, "Accept-Encoding": "identity", "User-Agent": "tracebus"}

    async def send(client: httpx.AsyncClient) -> Answer:
        received = bytearray()
        with anyio.fail_after(seconds):
            async with client, client.stream("POST", url, content=body, headers=headers) as response:
                async for chunk in response.aiter_raw():
                    received += chunk
                    if len(received) > most:
                        raise AnchorUnavailable(f"{url}: answered with more than {most} bytes")
        return Answer(response.status_code, bytes(received))

    try:
        return anyio.run(send, httpx.AsyncClient(timeout=seconds))
    except (TimeoutError, httpx.TimeoutException):
        raise AnchorUnavailable(f"{url}: no whole answer within {seconds:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise AnchorUnavailable(f"{url}: {str(error) or type(error).__name__}") from error


def check_url(url: str) -> str:
    """Return a URL that can be sent to.

    Raises:
        ValueError: It is not one of http or https.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"url: expected https://… or http://…, found {url!r:.80}")
    return url
