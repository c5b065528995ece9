"""What a person may ask of a fleet and have it do. Bodies are JSON and say so, which no page of another site may."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from msgspec import Meta

from pnol_jax.errors import InputError
from serving.fleet.replicas.book import Bounds
from serving.fleet.supervisor import report
from serving.fleet.supervisor.edge import FAULTS
from serving.fleet.supervisor.reading import Reading
from serving.fleet.supervisor.supervisor import Supervisor
from serving.refusals import NotFound, Refusal, Unavailable, Unsupported

AnyRequest = Request[Any, Any, State]
T = TypeVar("T", bound=msgspec.Struct)
Natural = Annotated[int, Meta(ge=0)]
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class ScaleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`replicas` fixes the number, `minimum` and `maximum` bound it; neither gives it back to policies and config."""

    replicas: Natural | None = None
    minimum: Natural | None = None
    maximum: Annotated[int, Meta(ge=1)] | None = None


class BalancerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`weights`: shares by replica, 1 being a whole one. `replica` and `state`: requests for it, or none."""

    method: str | None = None
    weights: dict[str, Annotated[float, Meta(ge=0)]] = {}
    replica: str | None = None
    state: Literal["ready", "drain"] | None = None


class RestartBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing is asked."""


@get("/health")
async def health() -> Response[bytes]:
    """200 while the supervisor runs."""
    return _json({"live": True})


@get("/monitoring/scaling")
async def scaling(fleet: NamedDependency[Supervisor]) -> Response[bytes]:
    """How many replicas there are and shall be, and why."""
    return _json(report.scaling(fleet))


@get("/monitoring/fleet")
async def about(fleet: NamedDependency[Supervisor]) -> Response[bytes]:
    """Every replica and the balancer."""
    return _json(report.fleet(fleet))


@get("/monitoring/metrics")
async def metrics(fleet: NamedDependency[Supervisor]) -> Response[bytes]:
    """The same for Prometheus."""
    return Response(report.metrics(fleet), media_type=PROMETHEUS)


@get("/load_balancer")
async def balancer(fleet: NamedDependency[Supervisor]) -> Response[bytes]:
    """Servers with shares and figures."""
    return _json(report.balancer(fleet))


@post("/load_balancer", status_code=200)
async def set_balancer(request: AnyRequest, fleet: NamedDependency[Supervisor]) -> Response[bytes]:
    """Shares, and whether a replica gets requests."""
    body = await _body(request, BalancerBody)
    if body.method not in (None, fleet.config.balancer.method):
        method = fleet.config.balancer.method
        raise Refusal(f"method: got {body.method!r}, expected {method!r}: HAProxy takes another only when it starts")
    if (body.replica is None) != (body.state is None):
        raise Refusal("body: got one of replica and state, expected both or none")
    _known([*body.weights, *([body.replica] if body.replica else [])], fleet)
    try:
        for name, share in body.weights.items():
            await fleet.edge.call(fleet.edge.balancer.weight, name, share)
    except InputError as error:
        raise Refusal(str(error)) from None
    except (*FAULTS, OSError) as error:
        raise Unavailable(str(error)) from None
    if body.replica is not None:
        fleet.hold(body.replica, body.state == "drain")
    return _json(report.balancer(fleet))


@post("/admin/scale", status_code=200)
async def scale(request: AnyRequest, fleet: NamedDependency[Supervisor]) -> Response[bytes]:
    """Fix or bound the number of replicas, or give it back to the policies."""
    body = await _body(request, ScaleBody)
    fleet.bound(Bounds(body.replicas, body.minimum, body.maximum))
    return _json(report.scaling(fleet))


@post("/admin/restart", status_code=202)
async def restart(
    request: AnyRequest, fleet: NamedDependency[Supervisor], reading: NamedDependency[Reading]
) -> Response[bytes]:
    """Read the config again, and replace all replicas by such with its settings and today's code, one by one."""
    await _body(request, RestartBody)
    release = fleet.update(reading.settings())
    before = fleet.updates.before
    return _json({"release": release.number, "replaces": before and before.number}, 202)


def _known(names: Iterable[str], fleet: Supervisor) -> None:
    for name in names:
        if name not in fleet.roster.replicas:
            raise NotFound(f"replica: got {name!r}, expected one of {sorted(fleet.roster.replicas)}")


async def _body(request: AnyRequest, kind: type[T]) -> T:
    media = request.headers.get("content-type", "").partition(";")[0].strip()
    if media != MediaType.JSON:
        raise Unsupported(f"content-type: got {media!r}, expected {MediaType.JSON.value!r}")
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"body: {error}") from None


def _json(value: Any, status: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(value), status_code=status, media_type=MediaType.JSON)


ENDPOINTS = [health, scaling, about, metrics, balancer, set_balancer, scale, restart]
