"""What a balancer hears from this process: the share of requests that it can take, as HAProxy's agents say it."""

import asyncio

from serving.listener import address, listen
from serving.readiness import Readiness
from serving.service import Service
from serving.settings import Settings


class Agent:
    """Says a percentage to whoever connects, and closes. Used from the event loop.

    The share is half once a request waits `agent_half_seconds` for its batch, a third at twice that, and so on; 0 while
    the process is not ready. Only the percentage is said: the word "ready" would end a drain that the fleet ordered.
    """

    def __init__(self, service: Service, readiness: Readiness, settings: Settings) -> None:
        self._service = service
        self._readiness = readiness
        self._settings = settings
        self._seen = 0, 0.0
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen, and say where.

        Raises:
            InputError: the address cannot be had.
        """
        listener = listen(self._settings.host, self._settings.agent_port or 0)
        self._server = await asyncio.start_server(self._answer, sock=listener)
        return address(listener).replace("http", "agent", 1)

    def line(self) -> bytes:
        """What is said now."""
        if not self._readiness.ready:
            return b"0%\n"
        return b"%d%%\n" % max(1, round(100 / (1 + self._wait() / self._settings.agent_half_seconds)))

    def _wait(self) -> float:
        """Seconds: what requests have waited since this was asked last, or what one would by what waits now."""
        ladders = [entry.ladder for entry in self._service.repository.entries() if entry.ladder is not None]
        queues = [ladder.stages.queue for first in ladders for ladder in (first, *first.others)]
        count, total = sum(sum(queue.counts) for queue in queues), sum(queue.total for queue in queues)
        (before, spent), self._seen = self._seen, (count, total)
        waited = (total - spent) / (count - before) if count > before else 0.0
        return max(0.0, waited, self._service.engine.backlog_seconds())

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.line())
        writer.close()
