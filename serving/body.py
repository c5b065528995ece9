"""Reading a request's body within the limits of bytes and seconds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.datastructures import State

from serving.refusals import BodyTimeout, Refusal, TooLarge
from serving.settings import Settings
from serving.wire.encodings import find_encoding


async def read_body(request: Request[Any, Any, State], settings: Settings) -> bytes:
    """The whole body, inflated if it was sent compressed; the limit counts before and after.

    Raises:
        Refusal: too many bytes, stated or sent; too slow; broken off; an encoding that is not read.
    """
    limit = settings.max_body_bytes
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit:
        raise TooLarge(f"body: got {stated} bytes, expected at most {limit}")
    encoding = find_encoding(request.headers.get("content-encoding", ""), limit)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for piece in _pieces(request):
                for step in encoding.feed(piece):
                    body += step
                    if step is not piece:
                        await asyncio.sleep(0)  # inflating is work, and others wait
    except TimeoutError:
        raise BodyTimeout(f"body: got {len(body)} bytes in {settings.body_seconds:g} s, expected all of it") from None
    encoding.finish()
    return bytes(body)


async def _pieces(request: Request[Any, Any, State]) -> AsyncIterator[bytes]:
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise Refusal("body: the client left before it was complete")
        yield message["body"]
        if not message["more_body"]:
            return
