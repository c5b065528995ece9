"""Small HTTP servers in threads of their own, each of which says its name, waits where it is told to, and can die."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

from serving.fleet.balancer import Server


@dataclass(frozen=True)
class Got:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Backend:
    """Answers every request with its name; `/health/ready` by whether it is ready.

    `share`: what its agent says. While `closed`, requests are held; `held` of them are.
    """

    def __init__(self, name: str) -> None:
        self.name, self.share, self.ready, self.answer = name, "100%", True, name.encode()
        self.got: list[Got] = []
        self.held = 0
        self._connections: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._http = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._agent = self._call(asyncio.start_server(self._say, "127.0.0.1", 0))

    @property
    def server(self) -> Server:
        http, agent = (server.sockets[0].getsockname()[1] for server in (self._http, self._agent))
        return Server(self.name, "127.0.0.1", http, agent)

    @property
    def closed(self) -> bool:
        return not self._open.is_set()

    @closed.setter
    def closed(self, value: bool) -> None:
        self._loop.call_soon_threadsafe(self._open.clear if value else self._open.set)

    def die(self) -> None:
        """As a process that is killed: nothing listens, and all connections are reset."""
        self._call(self._die())

    def stop(self) -> None:
        self.die()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: object) -> object:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)  # type: ignore[arg-type]

    async def _die(self) -> None:
        for server in (self._http, self._agent):
            server.close()
        for writer in tuple(self._connections):
            writer.transport.abort()
        self._open.set()
        await asyncio.sleep(0)

    async def _say(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{self.share}\n".encode())
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, RuntimeError):
            while True:
                await self._respond(await _read(reader), writer)
        self._connections.discard(writer)
        writer.transport.abort()

    async def _respond(self, got: Got, writer: asyncio.StreamWriter) -> None:
        if got.path == "/health/ready":
            status, body = (200, b"") if self.ready else (503, b"")
        else:
            self.got.append(got)
            self.held += 1
            await self._open.wait()
            self.held -= 1
            status, body = 200, self.answer
        writer.write(b"HTTP/1.1 %d -\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Got:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    method, path, _ = first.split()
    return Got(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


Make = Callable[..., Backend]
