"""`POST /rollout`: the steps of a trajectory, each sent when it is computed and computed when there is room for it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import ClassVar

import msgspec

from serving.endpoint import Endpoint, Exchange
from serving.failures import failure
from serving.monitoring.metrics import Metrics
from serving.monitoring.recorder import Recorder
from serving.monitoring.watch import Watch
from serving.refusals import Unavailable
from serving.rollouts import frames
from serving.rollouts.query import BODIES
from serving.rollouts.service import Rollouts, Step
from serving.settings import Settings


class RolloutEndpoint(Endpoint):
    """A client that leaves ends its own rollout; one that takes nothing is made to leave by its connection."""

    paths: ClassVar[tuple[str, ...]] = ("/rollout",)

    def __init__(self, rollouts: Rollouts, settings: Settings, metrics: Metrics, recorder: Recorder) -> None:
        super().__init__(settings, metrics, recorder)
        self._rollouts = rollouts

    async def answer(self, exchange: Exchange) -> int:
        """Until the first step is there errors are answers of their own, later the last frame."""
        watch = Watch()
        asked = BODIES.decode(exchange.body, exchange.header("content-type"))
        kind = frames.stream_type(exchange.header("accept"), exchange.header("content-type"))
        rollout = watch.decoded(self._rollouts.begin(asked))
        async with contextlib.aclosing(self._rollouts.run(rollout)) as steps:
            first = await anext(steps)
            watch.answered(rollout)
            await exchange.begin([(b"content-type", kind.encode())])
            await exchange.write(frames.head(rollout, first.abstention, kind))
            return await _stream(exchange, first, steps, kind, watch)


async def _stream(exchange: Exchange, first: Step, steps: AsyncGenerator[Step, None], kind: str, watch: Watch) -> int:
    step: Step | None = first
    try:
        while step is not None:
            watch.encodes()
            frame = await frames.of_step(step, kind)
            watch.encoded()
            await exchange.write(frame)
            step = await anext(steps, None)
        await exchange.write(b"", more=False)
    except asyncio.CancelledError:
        if exchange.client.gone:
            raise
        return await _fail(exchange, Unavailable("the service is shutting down"), kind)
    except Exception as error:
        return await _fail(exchange, error, kind)
    return 200


async def _fail(exchange: Exchange, error: Exception, kind: str) -> int:
    response = failure(error, exchange.name, exchange.record)
    message = msgspec.json.decode(response.content)["error"]
    await exchange.write(frames.of_error(message, response.status, kind), more=False)
    return response.status
