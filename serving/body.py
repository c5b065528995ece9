"""Reading a request's body within the limits of bytes and seconds."""

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar import Request
from litestar.datastructures import State
from litestar.types import Receive

from serving.refusals import BodyTimeout, Refusal, TooLarge
from serving.settings import Settings
from serving.wire.encodings import Identity, find_encoding


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, settings: Settings, *, whole: bool) -> bytes:
    """The whole body, inflated if it was sent compressed; the limit counts before and after.

    `whole`: it is here already and needs no clock.

    Raises:
        Refusal: too many bytes, stated or sent; too slow; broken off; an encoding that is not read.
    """
    limit = settings.max_body_bytes
    stated = headers.get(b"content-length", b"")
    if stated.isdigit() and int(stated) > limit:
        raise TooLarge(f"body: got {int(stated)} bytes, expected at most {limit}")
    encoding = find_encoding(headers.get(b"content-encoding", b"").decode("latin-1"), limit)
    pieces: list[bytes] = []
    if whole:
        await _read(receive, encoding, pieces)
    else:
        try:
            async with asyncio.timeout(settings.body_seconds):
                await _read(receive, encoding, pieces)
        except TimeoutError:
            got = sum(map(len, pieces))
            raise BodyTimeout(f"body: got {got} bytes in {settings.body_seconds:g} s, expected all of it") from None
    encoding.finish()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def read_whole(request: Request[Any, Any, State], settings: Settings) -> bytes:
    """The same, of a request that came through the framework."""
    return await read_body(dict(request.scope["headers"]), request.receive, settings, whole=False)


async def _read(receive: Receive, encoding: Identity, pieces: list[bytes]) -> None:
    more = True
    while more:
        message: Any = await receive()
        if message["type"] != "http.request":
            raise Refusal("body: the client left before it was complete")
        for step in encoding.feed(message["body"]):
            pieces.append(step)
            if step is not message["body"]:
                await asyncio.sleep(0)  # inflating is work, and others wait
        more = message["more_body"]
