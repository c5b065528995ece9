"""Several engines, one for each device, that are asked as one."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec

from serving.devices import served_devices
from serving.engine.choice import make_choice
from serving.engine.jobs import Arrays, Job
from serving.engine.statistics import EngineStatistics
from serving.engine.thread import Engine
from serving.ladder import Ladder
from serving.settings import Choice, Settings


def make_replicas(settings: Settings) -> "Replicas":
    """An engine for each device that is served on. Where there are several, the event loop runs no batch itself."""
    devices = served_devices(settings.devices)
    inline = settings.inline_seconds if len(devices) == 1 else 0.0
    given = settings.queue_cases, settings.operands_bytes, settings.utilisation_window, inline
    return Replicas([Engine(*given, device) for device in devices], settings.device_choice)


class Replicas:
    """Every program is on every device; each job goes to one of them. Used from the event loop's thread."""

    def __init__(self, engines: Sequence[Engine], choice: Choice = "expected") -> None:
        self.engines = tuple(engines)
        self._choose = make_choice(choice, self.engines)

    @property
    def alive(self) -> bool:
        """Whether all engines run."""
        return all(engine.alive for engine in self.engines)

    @property
    def statistics(self) -> EngineStatistics:
        """Of all together."""
        each = [msgspec.structs.astuple(engine.statistics) for engine in self.engines]
        return EngineStatistics(*map(sum, zip(*each, strict=True)))

    @property
    def utilisation(self) -> float:
        """The busy share of the window, of a device on average."""
        return sum(engine.utilisation for engine in self.engines) / len(self.engines)

    def submit(self, job: Job) -> asyncio.Future[Arrays]:
        """Queue a job on a device; see `Engine.submit`.

        Raises:
            Unavailable: the queue there is full, or the engine is closing.
        """
        if len(self.engines) == 1:
            return self.engines[0].submit(job)
        number = self._choose(job)
        return self.engines[number].submit(replace(job, ladder=job.ladder.on(number)))

    def has_room(self, cases: int) -> bool:
        """Whether so many cases may be queued on any device."""
        return all(engine.has_room(cases) for engine in self.engines)

    def forget(self, ladder: Ladder) -> None:
        """Keep nothing of a servable beyond the requests that wait for it."""
        for number, engine in enumerate(self.engines):
            engine.forget(ladder.on(number))

    def backlog_seconds(self) -> float:
        """How long the devices would need for what is under way and waits, if it were spread evenly."""
        return sum(engine.backlog_seconds() for engine in self.engines) / len(self.engines)

    def close(self) -> None:
        """Answer what is waiting, then end the threads."""
        with ThreadPoolExecutor(len(self.engines)) as pool:
            list(pool.map(Engine.close, self.engines))
