"""The process: a socket, the models loaded beside it, requests until a signal, then the rest of them."""

import asyncio
import functools
import gc
import signal
import socket
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from pnol_jax.errors import InputError
from serving.abstention import Policy
from serving.access import Guard
from serving.agent import Agent
from serving.app import build_app
from serving.cache import Cache
from serving.connection import Connection
from serving.engine.replicas import make_replicas
from serving.executables import keep_executables
from serving.listener import BACKLOG, address
from serving.monitoring.logs import configure
from serving.monitoring.metrics import Metrics
from serving.monitoring.recorder import Recorder, make_recorder
from serving.readiness import Readiness
from serving.releases.service import ReleasingService
from serving.repository import Entry, Repository
from serving.saying import say
from serving.settings import Settings
from serving.workers.role import Member
from serving.workers.team import Team

if TYPE_CHECKING:
    from serving.rpc import RpcServer  # its packages need not be installed


def serve(settings: Settings, listener: socket.socket, member: Member | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then answer what was accepted and return.

    `member`: which of several processes on this socket; one that is alone answers probes while the models load.

    Raises:
        InputError: no model in the folder can be loaded, or that of the compiled programs is not the user's alone.
    """
    number = member.number if member else 0
    configure(settings, number)
    recorder = make_recorder(settings, number)
    keep_executables(settings.executables)
    service = make_service(settings)
    readiness = Readiness(service)
    metrics = Metrics(service)
    guard = Guard(Path(settings.tokens)) if settings.tokens else None
    rpc = _rpc(service, readiness, metrics, recorder, settings, guard)
    team = Team(service, metrics, member)
    agent = Agent(service, readiness, settings) if settings.agent_port is not None else None
    app = build_app(service, readiness, settings, metrics, recorder, team, guard)
    server = _Server(_server_config(app, settings), readiness, rpc, agent)

    def stop(*_: Any) -> None:  # before uvicorn listens to signals, and after: it raises what it caught once more
        server.should_exit = True
        service.repository.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(server, listener, service, readiness, team, member))
    finally:
        service.engine.close()


def make_service(settings: Settings) -> ReleasingService:
    """The service with its engine, its cache and a repository that has loaded nothing yet."""
    return ReleasingService(
        Repository(settings),
        make_replicas(settings),
        Cache(settings.cache_bytes, settings.cache_compression == "on", settings.cache_approximate),
        settings.max_cases,
        settings.deadline_seconds,
        feedback_requests=settings.feedback_requests,
        feedback_bytes=settings.feedback_bytes,
        shadow_queue=settings.shadow_queue,
        ledgers=settings.ledgers if settings.workers == 1 else "",  # else the parent's
        policy=Policy(settings.abstain, settings.abstain_from),
    )


async def _run(
    server: "_Server",
    listener: socket.socket,
    service: ReleasingService,
    readiness: Readiness,
    team: Team,
    member: Member | None,
) -> None:
    """Load and serve: at the same time, so that probes are answered, or one after the other."""
    loop, repository = asyncio.get_running_loop(), service.repository

    def forget(entry: Entry) -> None:  # in whichever thread let it go
        loop.call_soon_threadsafe(service.forget, entry)
        loop.call_soon_threadsafe(settle)

    repository.on_leave.append(forget)
    await team.begin()
    where = address(listener)
    if server.rpc is not None:
        where += f" and {await server.rpc.start()}"
    if server.agent is not None:
        where += f" and {await server.agent.start()}"
    loading = asyncio.create_task(_load(server, repository, readiness, where))
    if member is not None:
        beating = asyncio.create_task(member.pulse.beat(lambda: readiness.live))
        await asyncio.wait([loading])
    if not server.should_exit:
        team.ready()
        await server.serve(sockets=[listener])
        await team.leave()
    repository.stop()
    await loading
    if member is not None:
        beating.cancel()


def settle() -> None:
    """Let Python's collector look at what is loaded now, and then no more: it took 50 ms each time, of all requests."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def _load(server: "_Server", repository: Repository, readiness: Readiness, url: str) -> None:
    try:
        await asyncio.to_thread(repository.load)
        repository.watch()
        settle()
        readiness.loaded = True
        ready = [f"{entry.name}/{entry.version}" for entry in repository.entries() if entry.state == "ready"]
        if server.should_exit:
            return
        if not ready:
            raise InputError(
                f"{repository.folder}: no model could be loaded, expected NAME/VERSION/ folders, as experiments.export "
                "writes them"
            )
        say(f"ready on {url} with {', '.join(ready)}")
    finally:
        if not readiness.ready:
            server.should_exit = True


class _Server(uvicorn.Server):
    """Tells the readiness probe that it drains, and drains the gRPC server beside it."""

    def __init__(
        self, config: uvicorn.Config, readiness: Readiness, rpc: "RpcServer | None", agent: Agent | None
    ) -> None:
        super().__init__(config)
        self._readiness = readiness
        self.rpc = rpc
        self.agent = agent

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._readiness.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was accepted, over either protocol."""
        await asyncio.gather(super().shutdown(sockets), *([] if self.rpc is None else [self.rpc.stop()]))


def _rpc(
    service: ReleasingService,
    readiness: Readiness,
    metrics: Metrics,
    recorder: Recorder,
    settings: Settings,
    guard: Guard | None,
) -> "RpcServer | None":
    if settings.grpc_port is None:
        return None
    try:
        from serving.rpc import RpcServer
    except ModuleNotFoundError as error:
        raise InputError(f"grpc_port: needs {error.name}, which is not installed; expected the extra 'grpc'") from None
    return RpcServer(service, readiness, metrics, recorder, settings, guard)


def _server_config(app: Any, settings: Settings) -> uvicorn.Config:
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
