"""Truths of all workers as one: any of them finds the request of another, and the parent counts."""

import asyncio
from collections.abc import Awaitable, Callable

from serving.refusals import Unavailable
from serving.releases.ledger import Account, Counted, Event, Scored
from serving.releases.memory import Asked, Memory, only
from serving.releases.packing import unpack_asked
from serving.workers.line import Line
from serving.workers.messages import Conclude, Count, Recall, Report

EXPECTED = "one of the last requests of a worker that runs; what one remembered that has ended is lost"


class Shared:
    """Of one of several workers; see `serving.releases.truths.Truths`. `look`: has all look at the labels."""

    def __init__(self, memory: Memory, line: Line, look: Callable[[], Awaitable[None]]) -> None:
        self._memory = memory
        self._line = line
        self._look = look
        self._recalling = asyncio.Lock()

    async def recall(self, identifier: str) -> Asked:
        """From its own memory or that of the others; an id that the service gave has only one of them."""
        mine = self._memory.find(identifier)
        if mine and mine[0] is not None and mine[0].query.options.id is None:
            return mine[0]
        async with self._recalling:
            recalled = await self._line.ask(Recall, identifier)
        others = [asked if asked is None else unpack_asked(asked) for asked in recalled.found]
        if recalled.silent and not mine and not others:
            raise Unavailable(f"id: {identifier!r} may be known to a worker that does not answer now")
        return only(identifier, [*mine, *others], EXPECTED)

    async def count(self, scored: Scored) -> Counted:
        """In the parent's ledgers."""
        counted: Counted = (await self._line.ask(Count, scored)).counted
        return counted

    async def conclude(self, model: str, event: Event | None) -> None:
        """Once all workers have looked at the labels, so that what was decided is wanted by none of them again."""
        try:
            if event is not None and event.error is None:
                await self._look()
        finally:
            self._line.say(Conclude(model, event))

    async def accounts(self) -> dict[str, Account]:
        """From the parent's ledgers."""
        accounts: dict[str, Account] = (await self._line.ask(Report)).accounts
        return accounts
