"""The Open Inference Protocol over gRPC, in the same event loop and from the same service as HTTP."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from pnol_jax.errors import InputError
from serving.access import Guard
from serving.information import find_metadata
from serving.monitoring.metrics import Metrics
from serving.monitoring.record import Record
from serving.monitoring.recorder import Recorder
from serving.monitoring.watch import Watch
from serving.readiness import Readiness
from serving.refusals import Abstained, NotFound, Refusal, Unavailable
from serving.service import Service
from serving.settings import Settings
from serving.wire import grpc as wire
from serving.wire import inference_pb2 as pb
from serving.wire import metadata
from serving.wire.json import encode

log = logging.getLogger("serving")
SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
MAX_DETAILS = 2000  # characters; they are sent in a header
Context = Any  # grpc.aio.ServicerContext, which has no types
PATHS = {  # of the same over HTTP, whose scopes hold
    "ServerLive": "/v2/health/live",
    "ServerReady": "/v2/health/ready",
    "ModelReady": "/v2/models",
    "ServerMetadata": "/v2",
    "ModelMetadata": "/v2/models",
    "ModelInfer": "/infer",
}
CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Inference:
    """The methods of the protocol's service, under their names there."""

    def __init__(self, service: Service, readiness: Readiness) -> None:
        self._service = service
        self._readiness = readiness

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:  # noqa: N802
        """Whether the process need not be restarted."""
        return pb.ServerLiveResponse(live=self._readiness.live)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:  # noqa: N802
        """Whether requests should be sent here."""
        return pb.ServerReadyResponse(ready=self._readiness.ready)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:  # noqa: N802
        """Whether a model answers; one that there is not does not."""
        try:
            self._service.repository.find(request.name, request.version or None)
        except NotFound:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """What this server is."""
        return pb.ServerMetadataResponse(**metadata.server_metadata())

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """A model's tensors."""
        return wire.encode_metadata(find_metadata(self._service, request.name, request.version or None))

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:  # noqa: N802
        """Predict."""
        watch = Watch()
        query = watch.decoded(wire.decode_query(request, context.time_remaining()))
        answer = wire.encode_answer(watch.answered(await self._service.answer(query)), request)
        watch.encoded()
        return answer


class RpcServer:
    """A gRPC server on one port."""

    def __init__(
        self,
        service: Service,
        readiness: Readiness,
        metrics: Metrics,
        recorder: Recorder,
        settings: Settings,
        guard: Guard | None,
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._guard = guard
        self._inference = Inference(service, readiness)
        self._metrics = metrics

    async def start(self) -> str:
        """Listen, and give the address.

        Raises:
            InputError: the address cannot be had.
        """
        host, port = self._settings.host, self._settings.grpc_port
        self._server = grpc.aio.server(options=self._options(), maximum_concurrent_rpcs=self._settings.max_connections)
        methods = {method.name: self._handler(method) for method in SERVICE.methods}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, methods),))
        at = f"[{host}]" if ":" in host else host
        try:
            bound = self._server.add_insecure_port(f"{at}:{port}")
        except RuntimeError as error:
            raise InputError(f"address {at}:{port} for gRPC: {error}") from None
        await self._server.start()
        return f"grpc://{at}:{bound}"

    async def stop(self) -> None:
        """Take no more calls, and give those under way the time that draining has."""
        await self._server.stop(self._settings.drain_seconds)

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.so_reuseport", int(self._settings.workers > 1)),  # alone, a port that is taken is an error
            ("grpc.max_receive_message_length", self._settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", self._settings.max_header_bytes),
            ("grpc.max_connection_idle_ms", 1000 * self._settings.keep_alive_seconds),
        ]

    def _handler(self, method: Any) -> Any:
        write = getattr(pb, method.output_type.name).SerializeToString
        return grpc.unary_unary_rpc_method_handler(self.guarded(method), None, write)

    def guarded(self, about: Any) -> Callable[[bytes, Context], Awaitable[Any]]:
        """A method of SERVICE from a message's bytes, whose refusals become statuses, and whose calls are counted."""
        name, read = about.name, getattr(pb, about.input_type.name).FromString
        method = getattr(self._inference, name)

        async def guarded(request: bytes, context: Context) -> Any:
            started = time.perf_counter()
            code = grpc.StatusCode.CANCELLED  # unless it comes to an end
            record = self._record(name, request, context)
            try:
                if self._guard is not None:
                    given = context.invocation_metadata() or ()
                    self._guard.admit(PATHS[name], [(key.encode(), str(value).encode()) for key, value in given])
                answer = await method(read(request), context)
                code = grpc.StatusCode.OK
                return answer
            except Exception as error:
                code, message, metadata = _explain(error)
                if record is not None:
                    record.error = message
                await context.abort(code, message[:MAX_DETAILS], metadata)
            finally:
                self._metrics.count(f"/{SERVICE.full_name}/{name}", code.name, time.perf_counter() - started)
                if record is not None:
                    self._recorder.end(record, code.name, 0)

        return guarded

    def _record(self, name: str, request: bytes, context: Context) -> Record | None:
        if not self._recorder.is_on:
            return None
        given = [(key.encode(), str(value).encode()) for key, value in context.invocation_metadata() or ()]
        record = self._recorder.begin(f"/{SERVICE.full_name}/{name}", given)
        if record is not None:
            record.bytes_in = len(request)
        return record


def _explain(error: Exception) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
    """The status, message and trailing metadata of a call that failed."""
    match error:
        case Unavailable():
            pause = str(1000 * error.retry_after)
            return CODES[error.status], str(error), (("grpc-retry-pushback-ms", pause),)
        case Abstained():
            return CODES[error.status], str(error), (("abstention", encode(error.abstention).decode()),)
        case Refusal():
            return CODES.get(error.status, grpc.StatusCode.INVALID_ARGUMENT), str(error), ()
        case InputError():
            return grpc.StatusCode.INVALID_ARGUMENT, str(error), ()
        case DecodeError():  # gRPC itself would call it a fault of ours
            return grpc.StatusCode.INVALID_ARGUMENT, f"message: {error}", ()
    log.error("a call failed", exc_info=error)
    return grpc.StatusCode.INTERNAL, "internal error", ()
