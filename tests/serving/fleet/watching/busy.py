"""A service that has had some of everything: hits and misses, alarms, truths, requests that failed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np

from tests import heat
from tests.serving.conftest import Server, running

GRID = heat.grid(12)
ALARM = {"false_alarm": 0.25, "cases": 40}


def write(models: Path) -> Path:
    """A folder with `line/1`, of which each request counts, and the figure "ood" is an alarm from 0.75 on."""
    heat.write(models, "line", "1", axes=1, signature=heat.signature(1, ["moments"]), alarm=ALARM)
    (models / "line" / "labels.toml").write_text('stable = "1"\n')
    return models


@contextlib.contextmanager
def service(folder: Path, *flags: str) -> Iterator[Server]:
    """The service of it."""
    executables = ["--executables", str(folder / "executables")]
    flags = ("--batch-sizes", "[1]", *executables, *flags)
    with running(write(folder / "models"), folder / "errors", *flags) as server:
        yield server


def ask(server: Server, rounds: int = 8) -> None:
    """Requests of every kind, with truths; of these many points lie outside their interval."""
    generator = np.random.default_rng(0)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for number in range(rounds):
            field, solution = heat.wave(GRID, 1)
            scale = np.float32(1 + number / rounds)
            for _ in range(2):
                body = {"inputs": (scale * field).tolist(), "id": str(number)}
                client.post("/predict", json=body).raise_for_status()
            truth = scale * solution + 2 * heat.BAND * generator.standard_normal(solution.shape)
            client.post("/feedback", json={"id": str(number), "truth": truth.tolist()})
            fail(client, number)


def fail(client: httpx.Client, number: int) -> None:
    """A request that cannot be answered in the time that it gives."""
    field, _ = heat.wave(GRID, 1)
    body = {"inputs": (np.float32(3 + number) * field).tolist(), "timeout": 1e-9}
    assert client.post("/predict", json=body).status_code == 504
