"""`POST /derivatives`: the mean, and the product of its Jacobian in the inputs with a tangent or a cotangent."""

from typing import ClassVar

from serving.deadline import within
from serving.derivatives.query import BODIES, Derivative, fit
from serving.endpoint import Endpoint, Exchange
from serving.engine import Arrays
from serving.failures import Response, send_response
from serving.monitoring.metrics import Metrics
from serving.releases.service import ReleasingService
from serving.settings import Settings
from serving.wire.named import accepted, encode


class DerivativesEndpoint(Endpoint):
    """Past the cache: a design loop asks at other inputs every time."""

    path: ClassVar[str] = "/derivatives"

    def __init__(self, service: ReleasingService, settings: Settings, metrics: Metrics) -> None:
        super().__init__(settings, metrics)
        self._service = service

    async def answer(self, exchange: Exchange) -> int:
        """In the format of the request unless `Accept` names the other."""
        content_type = exchange.header("content-type")
        asked = BODIES.decode(exchange.body, content_type)
        derivative = fit(asked, self._service, self.settings)
        arrays = await self._computed(derivative, asked.timeout)
        manifest = derivative.ladder.servable.manifest
        about = {
            "model": manifest.name,
            "version": manifest.version,
            "bucket": derivative.job.place.bucket,
            "method": manifest.signature.method,
        }
        form = accepted(exchange.header("accept"), content_type)
        content = encode(about, {name: a[0] if derivative.single else a for name, a in arrays.items()}, form)
        headers = [(b"content-type", form.encode()), *exchange.named]
        await send_response(Response(200, headers, content), exchange.send)
        return 200

    async def _computed(self, derivative: Derivative, timeout: float | None) -> Arrays:
        async with within(timeout, self.settings.deadline_seconds):
            return await self._service.engine.submit(derivative.job)
