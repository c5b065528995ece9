"""What is asked by the fuzzing benchmark: the application in this process, and a server in another."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import grpc  # type: ignore[import-untyped]
import httpx
import psutil

from benchmarks.fuzz_grpc import GRPC
from benchmarks.fuzz_sent import Sent
from serving.app import build_app
from serving.monitoring.metrics import Metrics
from serving.monitoring.recorder import Recorder
from serving.process import make_service
from serving.readiness import Readiness
from serving.rpc import SERVICE, RpcServer
from serving.settings import Settings
from serving.workers.team import Team

# The statuses of HTTP that gRPC's codes stand for; all others are faults of the server.
STATUSES = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 413,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
LOST = 599  # no status came back: not in time, the connection ended, or what came was none of HTTP
SECONDS = 60.0


@dataclass(frozen=True)
class Target:
    """Something to be asked; `pid` is the process whose memory counts."""

    name: str
    ask: Callable[[Sent], tuple[int, bytes]]
    pid: int


@contextmanager
def in_process(settings: Settings) -> Iterator[Target]:
    """The ASGI application and the gRPC method without a network."""
    service = make_service(settings)
    readiness, metrics = Readiness(service), Metrics(service)
    recorder, team = Recorder([]), Team(service, metrics, None)
    app = build_app(service, readiness, settings, metrics, recorder, team, None)
    call = RpcServer(service, readiness, metrics, recorder, settings, None).guarded(
        SERVICE.methods_by_name["ModelInfer"]
    )
    service.repository.load()
    with asyncio.Runner() as runner:

        def ask(sent: Sent) -> tuple[int, bytes]:
            try:
                return runner.run(_called(call, sent) if sent.kind == GRPC else _asked(app, sent))
            except TimeoutError as error:
                return LOST, repr(error).encode()

        yield Target("in process", ask, psutil.Process().pid)
    service.repository.stop()
    service.engine.close()


async def _asked(app: Any, sent: Sent) -> tuple[int, bytes]:
    half = len(sent.body) // 2
    pieces = [(sent.body[:half], True), (sent.body[half:], False)]
    found: list[Any] = []

    async def receive() -> Any:
        body, more = pieces.pop(0)
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(message: Any) -> None:
        found.append(message)

    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.headers.items()]
    scope = {"type": "http", "method": "POST", "path": sent.path, "raw_path": sent.path.encode(), "headers": headers}
    scope |= {"query_string": sent.query.encode(), "extensions": {}, "root_path": "", "http_version": "1.1"}
    await asyncio.wait_for(app(scope, receive, send), SECONDS)
    return found[0]["status"], b"".join(message.get("body", b"") for message in found[1:])


class _AbortError(Exception):
    pass


async def _called(call: Any, sent: Sent) -> tuple[int, bytes]:
    codes: list[Any] = []

    async def abort(code: Any, *_: Any) -> None:
        codes.append(code)
        raise _AbortError

    context = SimpleNamespace(time_remaining=lambda: None, abort=abort, invocation_metadata=lambda: ())
    try:
        answer = await asyncio.wait_for(call(sent.body, context), SECONDS)
    except _AbortError:
        return STATUSES.get(codes[0].name, 500), b""
    return 200, answer.SerializeToString()


@contextmanager
def over_the_network(http: str, rpc: str, pid: int) -> Iterator[Target]:
    """A server at a URL and at gRPC's HOST:PORT."""
    with httpx.Client(base_url=http, timeout=SECONDS) as client, grpc.insecure_channel(rpc) as channel:

        def ask(sent: Sent) -> tuple[int, bytes]:
            if sent.kind == GRPC:
                return _remote(channel, sent)
            headers = {name.encode(): value.encode("latin-1") for name, value in sent.headers.items()}
            url = sent.path + (f"?{sent.query}" if sent.query else "")
            try:
                response = client.post(url, headers=headers, content=sent.body)
            except httpx.HTTPError as error:
                return LOST, repr(error).encode()
            return response.status_code, response.content

        yield Target("server", ask, pid)


def _remote(channel: Any, sent: Sent) -> tuple[int, bytes]:
    try:
        return 200, channel.unary_unary(sent.path, None, None)(sent.body, timeout=SECONDS)
    except grpc.RpcError as error:
        code = error.code().name  # type: ignore[attr-defined]
        return STATUSES.get(code, 500), f"{code}: {error.details()}".encode()  # type: ignore[attr-defined]
