"""What Prometheus says to the queries of policies, asked beside the loop."""

import asyncio
import logging

from serving.fleet.scaling import ScalingConfig
from serving.fleet.scaling.prometheus import read
from serving.fleet.supervisor.decisions import Decisions


class Queries:
    """Keeps the latest values by policy; what has none now is absent, and why is noted when it changes."""

    def __init__(self, config: ScalingConfig, interval: float, decisions: Decisions) -> None:
        self.values: dict[str, float] = {}
        self._config, self._interval, self._decisions = config, interval, decisions
        self._faults: list[str] = []
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Ask from now on, where there is something to ask."""
        if self._config.queries():
            self._task = asyncio.create_task(self._ask())

    def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()

    async def _ask(self) -> None:
        address, queries, seconds = self._config.prometheus, self._config.queries(), self._config.prometheus_seconds
        while True:
            self.values, faults = await asyncio.to_thread(read, address, queries, seconds)
            if faults != self._faults:
                self._decisions.note("queries", "; ".join(faults) or "all have values", logging.WARNING)
            self._faults = faults
            await asyncio.sleep(self._interval)
