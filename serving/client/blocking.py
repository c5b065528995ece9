"""The client for ordinary code."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar, Unpack

import httpx
from numpy.typing import ArrayLike

from serving.client import calls, derivatives, rollouts
from serving.client.calls import Asking, Call
from serving.client.derivatives import Derivative, Where
from serving.client.errors import ServingError
from serving.client.replies import Health, Model, Prediction
from serving.client.retries import RETRIES, Attempts, Retries
from serving.client.rollouts import Marching, Step

T = TypeVar("T")


class Client:
    """A client of the service at a URL; its connections are kept, and any thread may use it.

    A call is tried again while the service is unavailable or unreachable, within its deadline; predictions depend on
    nothing but the request, so a second try does no harm. The deadline is looked at between the pieces of an answer.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline: float = 60.0,
        retries: Retries = RETRIES,
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=dict(headers or {}), transport=transport)
        self._deadline = deadline
        self._retries = retries

    def predict(self, inputs: ArrayLike, **asking: Unpack[Asking]) -> Prediction:
        """Predict for inputs (*space, channels) or (cases, *space, channels); see `Asking`.

        Raises:
            ServingError: there is no answer; its kind says why, and its message is the service's own.
        """
        return self._run(calls.predict(inputs, asking), asking.get("deadline"))

    def predict_many(
        self, fields: Iterable[ArrayLike], *, concurrency: int = 8, **asking: Unpack[Asking]
    ) -> Iterator[Prediction]:
        """The predictions for many inputs, in their order, with at most `concurrency` of them asked for at a time.

        Each is ([cases,] *space, channels). They are taken from the iterable as they are needed, so it may be longer
        than memory. The first error ends it.
        """
        calls.check_concurrency(concurrency)
        waiting: deque[Future[Prediction]] = deque()
        with ThreadPoolExecutor(concurrency) as pool:
            try:
                for inputs in fields:
                    if len(waiting) == concurrency:
                        yield waiting.popleft().result()
                    waiting.append(pool.submit(self.predict, inputs, **asking))
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def jvp(self, inputs: ArrayLike, tangent: ArrayLike, **where: Unpack[Where]) -> Derivative:
        """The mean at the inputs, and its derivative along a tangent of them, (cases, *space, output channels).

        Raises:
            ServingError: as `predict`, and where the version was exported without derivatives.
        """
        return self._run(derivatives.call(inputs, "tangent", tangent, where), where.get("deadline"))

    def vjp(self, inputs: ArrayLike, cotangent: ArrayLike, **where: Unpack[Where]) -> Derivative:
        """The mean at the inputs, and the gradient in them of sum(cotangent * mean), (cases, *space, input channels).

        With the gradient of an objective in the mean as the cotangent it is that of the objective in the inputs.

        Raises:
            ServingError: as `jvp`.
        """
        return self._run(derivatives.call(inputs, "cotangent", cotangent, where), where.get("deadline"))

    def rollout(self, inputs: ArrayLike, steps: int, **asking: Unpack[Marching]) -> Iterator[Step]:
        """Steps from a first state ([cases,] *space, channels), as they are computed; ending the loop ends the rollout.

        It is tried again until it has begun, not after. The deadline is for that, and for each piece that comes later.

        Raises:
            ServingError: there is no answer, or the rollout ended before its last step.
        """
        call = rollouts.call(inputs, steps, asking)
        attempts = self._attempts(asking.get("deadline"))
        reply = self._opened(call, attempts)
        try:
            frames = rollouts.Frames()
            for piece in reply.iter_bytes():
                yield from frames.feed(piece)
            frames.finish()
        except httpx.TransportError as error:
            raise attempts.lost(error) from error
        finally:
            reply.close()

    def health(self) -> Health:
        """Whether the service lives and answers."""
        return self._run(calls.health())

    def models(self) -> list[Model]:
        """Every version that the service has, whether it answers or not."""
        return self._run(calls.models())

    def metadata(self, model: str | None = None, version: str | None = None) -> dict[str, Any]:
        """The Open Inference Protocol's metadata of a model, or of the server."""
        return self._run(calls.metadata(model, version))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, call: Call[T], deadline: float | None = None) -> T:
        attempts = self._attempts(deadline)
        while True:
            try:
                return call.answer(self._send(call, attempts))
            except ServingError as error:
                time.sleep(attempts.pause(error))

    def _attempts(self, deadline: float | None) -> Attempts:
        return Attempts(self._retries, self._deadline if deadline is None else deadline)

    def _opened(self, call: Call[None], attempts: Attempts) -> httpx.Response:
        """A reply whose body is still to come."""
        while True:
            try:
                reply = self._http.send(call.request(self._http, attempts.remaining()), stream=True)
                if reply.status_code in call.expected:
                    return reply
                reply.read()
                call.answer(reply)
            except httpx.TransportError as error:
                time.sleep(attempts.pause(attempts.lost(error)))
            except ServingError as error:
                time.sleep(attempts.pause(error))

    def _send(self, call: Call[T], attempts: Attempts) -> httpx.Response:
        request = call.request(self._http, attempts.remaining())
        try:
            reply = self._http.send(request, stream=True)
            try:
                pieces = []
                for piece in reply.iter_bytes():
                    pieces.append(piece)
                    attempts.remaining()
            finally:
                reply.close()
        except httpx.TransportError as error:
            raise attempts.lost(error) from error
        return _whole(reply, b"".join(pieces))


def _whole(reply: httpx.Response, content: bytes) -> httpx.Response:
    headers = [(name, value) for name, value in reply.headers.multi_items() if name != "content-encoding"]
    return httpx.Response(reply.status_code, headers=headers, content=content)
