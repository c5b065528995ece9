"""The process: a socket, the models loaded beside it, requests until a signal, then the rest of them."""

import asyncio
import functools
import logging
import signal
import socket
import sys
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from pnol_jax.errors import InputError
from serving.app import build_app
from serving.cache import LRUCache
from serving.connection import Connection
from serving.engine import Engine
from serving.readiness import Readiness
from serving.releases import ReleasingService
from serving.repository import Repository
from serving.settings import Settings

BACKLOG = 2048


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted and return.

    Raises:
        InputError: the address cannot be had, or no model in the folder can be loaded.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("jax").setLevel(logging.WARNING)
    listener = _listen(settings.host, settings.port)
    engine = Engine(settings.queue_cases, settings.operands_cached, settings.utilisation_window)
    repository = Repository(settings)
    cache = LRUCache(settings.cache_bytes)
    service = ReleasingService(
        repository,
        engine,
        cache,
        settings.max_cases,
        settings.deadline_seconds,
        feedback_requests=settings.feedback_requests,
        feedback_bytes=settings.feedback_bytes,
        shadow_queue=settings.shadow_queue,
    )
    readiness = Readiness(service)
    server = _Server(_configuration(build_app(service, readiness, settings), settings), readiness)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises what it caught once more when it has drained
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(server, listener, repository, readiness))
    finally:
        engine.close()


async def _run(server: "_Server", listener: socket.socket, repository: Repository, readiness: Readiness) -> None:
    """Listen at once, so that probes are answered, and load beside it."""
    address = _address(listener)
    loading = asyncio.create_task(_load(server, repository, readiness, address))
    await server.serve(sockets=[listener])
    repository.stop()
    await loading


async def _load(server: "_Server", repository: Repository, readiness: Readiness, address: str) -> None:
    try:
        await asyncio.to_thread(repository.load)
        repository.watch()
        readiness.loaded = True
        ready = [f"{entry.name}/{entry.version}" for entry in repository.entries() if entry.state == "ready"]
        if server.should_exit:
            return
        if not ready:
            raise InputError(f"{repository.folder}: no model could be loaded, expected NAME/VERSION/ folders")
        print(f"ready on {address} with {', '.join(ready)}", flush=True)
    finally:
        if not readiness.ready:
            server.should_exit = True


class _Server(uvicorn.Server):
    """Tells the readiness probe that it drains."""

    def __init__(self, config: uvicorn.Config, readiness: Readiness) -> None:
        super().__init__(config)
        self._readiness = readiness

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._readiness.draining = True
        super().handle_exit(sig, frame)


def _configuration(app: Any, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=functools.partial(Connection, settings=settings),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.drain_seconds,
        backlog=BACKLOG,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InputError(f"address {host}:{port}: {error}") from None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
