"""The client for asyncio."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
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


class AsyncClient:
    """What `serving.client.Client` is, with methods to be awaited."""

    def __init__(
        self,
        url: str,
        *,
        deadline: float = 60.0,
        retries: Retries = RETRIES,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=dict(headers or {}), transport=transport)
        self._deadline = deadline
        self._retries = retries

    async def predict(self, inputs: ArrayLike, **asking: Unpack[Asking]) -> Prediction:
        """Predict for inputs (*space, channels) or (cases, *space, channels); see `Asking`.

        Raises:
            ServingError: there is no answer; its kind says why, and its message is the service's own.
        """
        return await self._run(calls.predict(inputs, asking), asking.get("deadline"))

    async def predict_many(
        self, fields: Iterable[ArrayLike], *, concurrency: int = 8, **asking: Unpack[Asking]
    ) -> AsyncIterator[Prediction]:
        """The predictions for many inputs, in their order, with at most `concurrency` of them asked for at a time.

        Each is ([cases,] *space, channels). They are taken from the iterable as they are needed, so it may be longer
        than memory. The first error ends it.
        """
        calls.check_concurrency(concurrency)
        waiting: deque[asyncio.Task[Prediction]] = deque()
        try:
            for inputs in fields:
                if len(waiting) == concurrency:
                    yield await waiting.popleft()
                waiting.append(asyncio.create_task(self.predict(inputs, **asking)))
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def jvp(self, inputs: ArrayLike, tangent: ArrayLike, **where: Unpack[Where]) -> Derivative:
        """As `serving.client.Client.jvp`, of inputs and a tangent ([cases,] *space, channels)."""
        return await self._run(derivatives.call(inputs, "tangent", tangent, where), where.get("deadline"))

    async def vjp(self, inputs: ArrayLike, cotangent: ArrayLike, **where: Unpack[Where]) -> Derivative:
        """As `serving.client.Client.vjp`, of inputs and a cotangent ([cases,] *space, channels)."""
        return await self._run(derivatives.call(inputs, "cotangent", cotangent, where), where.get("deadline"))

    async def rollout(self, inputs: ArrayLike, steps: int, **asking: Unpack[Marching]) -> AsyncIterator[Step]:
        """As `serving.client.Client.rollout`, from ([cases,] *space, channels)."""
        call = rollouts.call(inputs, steps, asking)
        attempts = self._attempts(asking.get("deadline"))
        reply = await self._opened(call, attempts)
        try:
            frames = rollouts.Frames()
            async for piece in reply.aiter_bytes():
                for step in frames.feed(piece):
                    yield step
            frames.finish()
        except httpx.TransportError as error:
            raise attempts.lost(error) from error
        finally:
            await reply.aclose()

    async def health(self) -> Health:
        """Whether the service lives and answers."""
        return await self._run(calls.health())

    async def models(self) -> list[Model]:
        """Every version that the service has, whether it answers or not."""
        return await self._run(calls.models())

    async def metadata(self, model: str | None = None, version: str | None = None) -> dict[str, Any]:
        """The Open Inference Protocol's metadata of a model, or of the server."""
        return await self._run(calls.metadata(model, version))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _run(self, call: Call[T], deadline: float | None = None) -> T:
        attempts = self._attempts(deadline)
        while True:
            try:
                return call.answer(await self._send(call, attempts))
            except ServingError as error:
                pause = attempts.pause(error)
            await asyncio.sleep(pause)

    def _attempts(self, deadline: float | None) -> Attempts:
        return Attempts(self._retries, self._deadline if deadline is None else deadline)

    async def _opened(self, call: Call[None], attempts: Attempts) -> httpx.Response:
        """A reply whose body is still to come."""
        while True:
            try:
                reply = await self._http.send(call.request(self._http, attempts.remaining()), stream=True)
                if reply.status_code in call.expected:
                    return reply
                await reply.aread()
                call.answer(reply)
            except httpx.TransportError as error:
                pause = attempts.pause(attempts.lost(error))
            except ServingError as error:
                pause = attempts.pause(error)
            await asyncio.sleep(pause)

    async def _send(self, call: Call[T], attempts: Attempts) -> httpx.Response:
        remaining = attempts.remaining()
        try:
            async with asyncio.timeout(remaining):
                return await self._http.send(call.request(self._http, remaining))
        except TimeoutError:
            raise attempts.expired() from None
        except httpx.TransportError as error:
            raise attempts.lost(error) from error
