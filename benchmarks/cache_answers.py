"""Answers of trained FNOs by the service, computed and held; and how many bytes they take, packed and not."""

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from numpy.typing import NDArray

from experiments import simulate, train
from experiments.export import export
from serving.cache import Cache
from serving.cache.compression import pack
from serving.engine import Engine
from serving.query import Options, Query
from serving.repository import Repository
from serving.service import Service
from serving.settings import Settings

CASES, STEPS, ROOM = 24, 40, 256 * 2**20
OUTPUTS = ("mean", "aleatoric", "epistemic")
CONFIG = """
name = "{name}"
[data]
train = ["{folder}/cases-{points}"]
inputs = ["permeability"]
outputs = ["pressure"]
axes = [{{ kind = "bounded" }}, {{ kind = "bounded" }}]
[operator]
name = "fno"
modes = [{modes}, {modes}]
width = {width}
[training]
steps = {steps}
batch_size = 8
[calibration]
kind = "none"
[export]
buckets = [[{points}, {points}]]
"""


@dataclass(frozen=True)
class Model:
    """An FNO on points x points of Darcy flow."""

    name: str
    points: int
    width: int
    modes: int

    def make(self, folder: Path) -> NDArray[np.float32]:
        """Train it and write its servable into folder/models: its inputs, (cases, points, points, 1)."""
        cases = folder / f"cases-{self.points}"
        simulate.main(["darcy", "--cases", str(CASES), "--points", str(self.points), "--out", str(cases)])
        config, run = folder / f"{self.name}.toml", folder / self.name
        sizes = {"points": self.points, "width": self.width, "modes": self.modes}
        config.write_text(CONFIG.format(folder=folder, name=self.name, steps=STEPS, **sizes))
        train.main([str(config), "--run", str(run), "--no-report"])
        export(run, folder / "models")
        inputs: NDArray[np.float32] = np.load(next(cases.rglob("permeability.npy")))
        return inputs.reshape(CASES, self.points, self.points, 1).astype(np.float32)


@dataclass
class Asked:
    """A side that asks a service one query after the other; `fresh`: each for inputs that were never asked before."""

    name: str
    service: Service
    model: str
    inputs: NDArray[np.float32]
    runner: "asyncio.Runner"
    fresh: bool
    pid: int = field(default_factory=os.getpid)
    asked: int = 0

    def run(self, steps: int) -> float:
        """Ask `steps` times and return the seconds that one took."""
        return self.runner.run(self._ask(steps))

    async def _ask(self, steps: int) -> float:
        options, started = Options(model=self.model, outputs=OUTPUTS), time.perf_counter()
        for _ in range(steps):
            self.asked += self.fresh
            answer = await self.service.answer(Query(options, self.inputs + np.float32(self.asked)))
        seconds = (time.perf_counter() - started) / steps
        if answer.cached == self.fresh and steps > 1:
            raise RuntimeError(f"{self.name}: got an answer that was{'' if answer.cached else ' not'} held")
        return seconds


def services(folder: Path) -> tuple[Service, Service, Engine]:
    """Services of what is in folder/models, the second holding its answers compressed."""
    settings = Settings(models=str(folder / "models"), batch_sizes=(1,), samples_batch_sizes=(1,))
    repository = Repository(settings)
    repository.load()
    engine = Engine(settings.queue_cases, settings.operands_bytes, settings.utilisation_window)
    plain, packed = (
        Service(repository, engine, Cache(ROOM, compressed), settings.max_cases, settings.deadline_seconds)
        for compressed in (False, True)
    )
    return plain, packed, engine


def runner() -> asyncio.Runner:
    """An event loop as the server's."""
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def answers(service: Service, model: str, inputs: NDArray[np.float32]) -> list[dict[str, NDArray[Any]]]:
    """The answers to cases one by one."""
    options = Options(model=model, outputs=OUTPUTS)
    return [(await service.answer(Query(options, case))).arrays for case in inputs]


def compression_ratio(arrays: Iterable[NDArray[Any]]) -> float:
    """How many times fewer bytes arrays take when each is packed where that pays."""
    held = list(arrays)
    return sum(array.nbytes for array in held) / sum(pack(array).nbytes for array in held)
