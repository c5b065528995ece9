"""The endpoints that tell: health, figures, models, and the Open Inference Protocol's metadata."""

from typing import Any

from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from serving import openapi
from serving.monitoring import exposition, summary
from serving.readiness import Readiness
from serving.repository import Catalogue, Entry
from serving.service import Service
from serving.settings import Settings
from serving.wire import metadata
from serving.wire.json import encode
from serving.workers.team import Team


@get("/health")
async def health(readiness: NamedDependency[Readiness]) -> Response[bytes]:
    """Live (the engine runs) and ready (a model answers)."""
    return _json(readiness.report(), 200 if readiness.ready else 503)


@get(["/health/live", "/v2/health/live"])
async def live(readiness: NamedDependency[Readiness]) -> Response[bytes]:
    """200 while the process need not be restarted."""
    return _json({"live": readiness.live}, 200 if readiness.live else 503)


@get(["/health/ready", "/v2/health/ready"])
async def ready(readiness: NamedDependency[Readiness]) -> Response[bytes]:
    """200 while requests should be sent here."""
    return _json({"ready": readiness.ready}, 200 if readiness.ready else 503)


@get("/stats")
async def stats(team: NamedDependency[Team], readiness: NamedDependency[Readiness]) -> Response[bytes]:
    """Figures of all workers since the start."""
    return _json({"uptime_seconds": readiness.uptime(), **summary.stats(await team.figures())})


@get("/monitoring/metrics")
async def prometheus(team: NamedDependency[Team]) -> Response[bytes]:
    """Figures of all workers for Prometheus."""
    return Response(exposition.text(await team.figures()), media_type=exposition.MEDIA_TYPE)


@get("/monitoring/scaling")
async def scaling(team: NamedDependency[Team], settings: NamedDependency[Settings]) -> Response[bytes]:
    """Figures of all workers for an autoscaler."""
    return _json(summary.scaling(await team.figures(), settings))


@get("/models")
async def models(service: NamedDependency[Service]) -> Response[bytes]:
    """Every version in the folder: its state, signature and calibration, or why it does not answer."""
    return _json({"models": [_describe(entry, service.repository.catalogue) for entry in service.repository.entries()]})


@get(openapi.PATH)
async def schema() -> Response[bytes]:
    """The OpenAPI document."""
    return _json(openapi.document())


@get("/v2")
async def server() -> Response[bytes]:
    """The server's metadata."""
    return _json(metadata.server_metadata())


@get("/v2/models/{name:str}")
async def model(name: FromPath[str], service: NamedDependency[Service]) -> Response[bytes]:
    """A model's metadata."""
    return _json(find_metadata(service, name, None))


@get("/v2/models/{name:str}/versions/{number:str}")
async def model_version(
    name: FromPath[str], number: FromPath[str], service: NamedDependency[Service]
) -> Response[bytes]:
    """A version's metadata."""
    return _json(find_metadata(service, name, number))


@get("/v2/models/{name:str}/ready")
async def model_ready(name: FromPath[str], service: NamedDependency[Service]) -> Response[bytes]:
    """200 if the model answers, 404 if not."""
    return _ready(service, name, None)


@get("/v2/models/{name:str}/versions/{number:str}/ready")
async def version_ready(
    name: FromPath[str], number: FromPath[str], service: NamedDependency[Service]
) -> Response[bytes]:
    """200 if the version answers, 404 if not."""
    return _ready(service, name, number)


def _json(value: Any, status: int = 200) -> Response[bytes]:
    return Response(encode(value), status_code=status, media_type=MediaType.JSON)


def find_metadata(service: Service, name: str, version: str | None) -> dict[str, Any]:
    """A model's metadata, of the newest version if none is named.

    Raises:
        NotFound: there is none that is ready.
    """
    manifest = service.repository.find(name, version).servable.manifest
    entries = service.repository.entries()
    return metadata.model_metadata(
        manifest, [entry.version for entry in entries if entry.name == name and entry.ladder]
    )


def _ready(service: Service, name: str, version: str | None) -> Response[bytes]:
    manifest = service.repository.find(name, version).servable.manifest
    return _json({"name": name, "version": manifest.version, "ready": True})


def _describe(entry: Entry, catalogue: Catalogue) -> dict[str, Any]:
    about: dict[str, Any] = {"name": entry.name, "version": entry.version, "state": entry.state}
    about["labels"] = catalogue.labels_of(entry)
    if entry.error is not None:
        about["error"] = entry.error
    if entry.ladder is None:
        return about
    servable = entry.ladder.servable
    manifest = servable.manifest
    return about | {
        "digest": servable.digest,
        "signature": manifest.signature,
        "buckets": manifest.buckets,
        "num_samples": manifest.num_samples if "samples" in manifest.signature.answers else 0,
        "calibration": manifest.calibration,
        "alarm": manifest.alarm,
        "optimised": manifest.optimised,
        "provenance": manifest.provenance,
    }


INFORMATION = [
    health,
    live,
    ready,
    stats,
    prometheus,
    scaling,
    models,
    schema,
    server,
    model,
    model_version,
    model_ready,
    version_ready,
]
