"""How long a request may take: what it asks for, at most what the settings allow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serving.refusals import Expired


@asynccontextmanager
async def within(asked: float | None, most: float, late: str = "no answer within the deadline") -> AsyncIterator[None]:
    """Seconds for what is done inside; `late` says what was not done.

    Raises:
        Expired: they are over.
    """
    seconds = min(asked or most, most)
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Expired(f"{late} of {seconds:g} s") from None
