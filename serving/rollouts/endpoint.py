"""`POST /rollout`: the steps of a trajectory, each sent when it is computed and computed when there is room for it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import ClassVar

import msgspec

from serving.endpoint import Endpoint, Exchange
from serving.failures import failure
from serving.monitoring.metrics import Metrics
from serving.refusals import Unavailable
from serving.rollouts import frames
from serving.rollouts.query import BODIES
from serving.rollouts.service import Rollouts, Step
from serving.settings import Settings


class RolloutEndpoint(Endpoint):
    """A client that leaves ends its own rollout; one that takes nothing is made to leave by its connection."""

    path: ClassVar[str] = "/rollout"

    def __init__(self, rollouts: Rollouts, settings: Settings, metrics: Metrics) -> None:
        super().__init__(settings, metrics)
        self._rollouts = rollouts

    async def answer(self, exchange: Exchange) -> int:
        """Until the first step is there errors are answers of their own, later the last frame."""
        rollout = self._rollouts.begin(BODIES.decode(exchange.body, exchange.header("content-type")))
        kind = frames.stream_type(exchange.header("accept"), exchange.header("content-type"))
        async with contextlib.aclosing(self._rollouts.run(rollout)) as steps:
            first = await anext(steps)
            head = [(b"content-type", kind.encode()), *exchange.named]
            await exchange.send({"type": "http.response.start", "status": 200, "headers": head})
            await _write(exchange, frames.head(rollout, kind))
            return await _stream(exchange, first, steps, kind)


async def _stream(exchange: Exchange, first: Step, steps: AsyncGenerator[Step, None], kind: str) -> int:
    step: Step | None = first
    try:
        while step is not None:
            await _write(exchange, frames.of_step(step, kind))
            step = await anext(steps, None)
        await _write(exchange, b"", more=False)
    except asyncio.CancelledError:
        if exchange.client.gone:
            raise
        return await _fail(exchange, Unavailable("the service is shutting down"), kind)
    except Exception as error:
        return await _fail(exchange, error, kind)
    return 200


async def _fail(exchange: Exchange, error: Exception, kind: str) -> int:
    response = failure(error, exchange.name)
    message = msgspec.json.decode(response.content)["error"]
    await _write(exchange, frames.of_error(message, response.status, kind), more=False)
    return response.status


async def _write(exchange: Exchange, content: bytes, *, more: bool = True) -> None:
    """Send a part once the connection has room, so that what it holds is bounded."""
    await exchange.send({"type": "http.response.body", "body": content, "more_body": more})
