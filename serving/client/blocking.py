"""The client for ordinary code."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar, Unpack

import httpx
from numpy.typing import ArrayLike

from serving.client import calls
from serving.client.calls import Asking, Call
from serving.client.errors import ServingError
from serving.client.replies import Health, Model, Prediction
from serving.client.retries import RETRIES, Attempts, Retries

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

        Inputs are taken from the iterable as they are needed, so it may be longer than memory. The first error ends it.
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
        attempts = Attempts(self._retries, self._deadline if deadline is None else deadline)
        while True:
            try:
                return call.answer(self._send(call, attempts))
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
