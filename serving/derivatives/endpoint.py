"""`POST /derivatives`: the mean, and the product of its Jacobian in the inputs with a tangent or a cotangent."""

from typing import ClassVar

from serving.abstention import Abstention
from serving.deadline import within
from serving.derivatives.query import BODIES, Derivative, fit
from serving.endpoint import Endpoint, Exchange
from serving.engine import Arrays
from serving.failures import Response
from serving.monitoring.metrics import Metrics
from serving.monitoring.recorder import Recorder
from serving.monitoring.watch import Watch
from serving.releases.service import ReleasingService
from serving.settings import Settings
from serving.wire.named import accepted, encode


class DerivativesEndpoint(Endpoint):
    """Past the cache: a design loop asks at other inputs every time."""

    paths: ClassVar[tuple[str, ...]] = ("/derivatives",)

    def __init__(self, service: ReleasingService, settings: Settings, metrics: Metrics, recorder: Recorder) -> None:
        super().__init__(settings, metrics, recorder)
        self._service = service

    async def answer(self, exchange: Exchange) -> Response:
        """In the format of the request unless `Accept` names the other."""
        watch, content_type = Watch(), exchange.header("content-type")
        asked = BODIES.decode(exchange.body, content_type)
        derivative = watch.decoded(fit(asked, self._service, self.settings))
        abstention, arrays = await self._computed(derivative, asked.timeout)
        manifest = watch.answered(derivative).manifest
        about = {
            "model": manifest.name,
            "version": manifest.version,
            "bucket": derivative.bucket,
            "method": manifest.signature.method,
            **({} if abstention is None else {"abstention": abstention}),
        }
        form = accepted(exchange.header("accept"), content_type)
        content = await encode(
            about, {name: a[0] if derivative.question.single else a for name, a in arrays.items()}, form
        )
        watch.encoded()
        return Response(200, [(b"content-type", form.encode())], content)

    async def _computed(self, derivative: Derivative, timeout: float | None) -> tuple[Abstention | None, Arrays]:
        async with within(timeout, self.settings.deadline_seconds):
            abstention = await self._service.judge(derivative.question, derivative.ladder, derivative.options)
            return abstention, await self._service.engine.submit(derivative.job)
