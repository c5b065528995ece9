"""Where truths find their requests and are counted: in this process alone, or in all that share the port."""

import asyncio
from typing import Protocol

from serving.releases.ledger import Account, Counted, Event, Scored
from serving.releases.ledgers import Ledgers
from serving.releases.memory import Asked, Memory


class Truths(Protocol):
    """What has to be one, however many processes there are; used from the event loop."""

    async def recall(self, identifier: str) -> Asked:
        """The answered request of an id.

        Raises:
            NotFound: it is not known, or not any more.
            Refusal: several requests had it.
            Unavailable: who may know it does not say.
        """

    async def count(self, scored: Scored) -> Counted:
        """Take a truth into account. Not to be cancelled: what it says is to be done has to be concluded."""

    async def conclude(self, model: str, event: Event | None) -> None:
        """An action is done, or could not be; None if there was nothing to do any more, or nothing new to say."""

    async def accounts(self) -> dict[str, Account]:
        """How the versions of each model stand, where truths came."""


class Own:
    """Of a process that is alone."""

    def __init__(self, memory: Memory, ledgers: Ledgers) -> None:
        self._memory = memory
        self._ledgers = ledgers

    async def recall(self, identifier: str) -> Asked:
        """From its own memory."""
        return self._memory.recall(identifier)

    async def count(self, scored: Scored) -> Counted:
        """In its own ledgers, like all that follows."""
        return await asyncio.to_thread(self._ledgers.count, scored)

    async def conclude(self, model: str, event: Event | None) -> None:
        """The labels were moved here, so that nobody else has to look."""
        await asyncio.to_thread(self._ledgers.conclude, model, event)

    async def accounts(self) -> dict[str, Account]:
        """From the ledgers."""
        return await asyncio.to_thread(self._ledgers.accounts)
