"""Reading a request's body within the limits of bytes and seconds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.datastructures import State

from serving.refusals import BodyTimeout, Refusal, TooLarge, Unsupported
from serving.settings import Settings


async def read_body(request: Request[Any, Any, State], settings: Settings) -> bytes:
    """The whole body.

    Raises:
        Refusal: too many bytes, stated or sent; too slow; broken off; a content encoding.
    """
    limit = settings.max_body_bytes
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit:
        raise TooLarge(f"body: got {stated} bytes, expected at most {limit}")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise Unsupported(f"content-encoding: got {encoding!r}, expected none")
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for piece in _pieces(request):
                body += piece
                if len(body) > limit:
                    raise TooLarge(f"body: got more than {limit} bytes, expected at most that")
    except TimeoutError:
        raise BodyTimeout(f"body: got {len(body)} bytes in {settings.body_seconds:g} s, expected all of it") from None
    return bytes(body)


async def _pieces(request: Request[Any, Any, State]) -> AsyncIterator[bytes]:
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise Refusal("body: the client left before it was complete")
        yield message["body"]
        if not message["more_body"]:
            return
