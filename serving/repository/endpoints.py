"""The model repository extension of the Open Inference Protocol: what there is, load, unload."""

from typing import Any, TypeVar

import msgspec
from litestar import MediaType, Request, Response, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from serving.body import read_whole
from serving.refusals import Forbidden, Refusal
from serving.repository import Entry
from serving.service import Service
from serving.settings import Settings
from serving.wire.json import encode
from serving.workers.messages import Act
from serving.workers.team import Team

AnyRequest = Request[Any, Any, State]
T = TypeVar("T")


class IndexBody(msgspec.Struct, forbid_unknown_fields=True):
    """`ready`: only versions that answer."""

    ready: bool = False


class Which(msgspec.Struct, forbid_unknown_fields=True):
    """What of a model is meant: one version, or all. `unload_dependents` is read for the protocol's sake."""

    version: str | None = None
    unload_dependents: bool = False


class ControlBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of load and unload."""

    parameters: Which = msgspec.field(default_factory=Which)


@post("/v2/repository/index", status_code=200)
async def index(
    request: AnyRequest, service: NamedDependency[Service], settings: NamedDependency[Settings]
) -> Response[bytes]:
    """Every version in the folder and its state."""
    body = _decode(await read_whole(request, settings), IndexBody)
    entries = [entry for entry in service.repository.entries() if not body.ready or entry.state == "ready"]
    return Response(encode([_indexed(entry) for entry in entries]), media_type=MediaType.JSON)


@post("/v2/repository/models/{name:str}/load", status_code=200)
async def load(
    request: AnyRequest, name: FromPath[str], team: NamedDependency[Team], settings: NamedDependency[Settings]
) -> Response[bytes]:
    """Load a model, or load anew what failed; answers when it is done."""
    which = await _which(request, settings)
    await team.act(Act("load", name, which.version))
    return Response(b"", media_type=MediaType.JSON)


@post("/v2/repository/models/{name:str}/unload", status_code=200)
async def unload(
    request: AnyRequest, name: FromPath[str], team: NamedDependency[Team], settings: NamedDependency[Settings]
) -> Response[bytes]:
    """Unload a model: no new request finds it, those that have begun are answered."""
    which = await _which(request, settings)
    await team.act(Act("unload", name, which.version))
    return Response(b"", media_type=MediaType.JSON)


async def _which(request: AnyRequest, settings: Settings) -> Which:
    if not settings.repository_control:
        raise Forbidden("models are not loaded or unloaded by request here; the setting repository_control lets them")
    return _decode(await read_whole(request, settings), ControlBody).parameters


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"body: {error}") from None


def _indexed(entry: Entry) -> dict[str, str]:
    """In the protocol's words, which has no word for what failed."""
    state = {"failed": "UNAVAILABLE", "unloaded": "UNAVAILABLE"}.get(entry.state, entry.state.upper())
    return {"name": entry.name, "version": entry.version, "state": state, "reason": entry.error or ""}


REPOSITORY = [index, load, unload]
