"""Reading a request's body within the limits of bytes and seconds."""

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar.types import Receive

from serving.refusals import BodyTimeout, Refusal, TooLarge, Unsupported
from serving.settings import Settings


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, settings: Settings, *, whole: bool) -> bytes:
    """The whole body; `whole`: it is here already and needs no clock.

    Raises:
        Refusal: too many bytes, stated or sent; too slow; broken off; a content encoding.
    """
    limit = settings.max_body_bytes
    stated = headers.get(b"content-length", b"")
    if stated.isdigit() and int(stated) > limit:
        raise TooLarge(f"body: got {int(stated)} bytes, expected at most {limit}")
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding != b"identity":
        raise Unsupported(f"content-encoding: got {encoding.decode('latin-1')!r}, expected none")
    if whole:
        return await _read(receive, limit, [])
    pieces: list[bytes] = []
    try:
        async with asyncio.timeout(settings.body_seconds):
            return await _read(receive, limit, pieces)
    except TimeoutError:
        got = sum(map(len, pieces))
        raise BodyTimeout(f"body: got {got} bytes in {settings.body_seconds:g} s, expected all of it") from None


async def _read(receive: Receive, limit: int, pieces: list[bytes]) -> bytes:
    length = 0
    while True:
        message: Any = await receive()
        if message["type"] != "http.request":
            raise Refusal("body: the client left before it was complete")
        pieces.append(message["body"])
        length += len(pieces[-1])
        if length > limit:
            raise TooLarge(f"body: got more than {limit} bytes, expected at most that")
        if not message["more_body"]:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
