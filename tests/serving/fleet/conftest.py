"""A real fleet: HAProxy, replicas of a small servable, and the supervisor in a process of its own."""

import contextlib
import json
import os
import random
import re
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.client import Client, ServingError
from serving.fleet.identity import Identity
from serving.fleet.replicas.book import read_book
from tests import heat
from tests.processes import until

START_SECONDS = 120.0
CONFIG = """
name = "tried"
minimum = {minimum}
maximum = 3
[serving]
models = "{models}"
batch_sizes = [1]
samples_batch_sizes = [1]
cache_bytes = 0
[balancer]
port = 0
[scaling]
spares = {spares}
policies = [{{ kind = "requests", per_replica = 1e9 }}]
[supervisor]
folder = "{folder}"
port = 0
"""


@pytest.fixture
def haproxy() -> None:
    if shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("haproxy is not installed")


@dataclass
class Fleet:
    """A fleet's supervisor, and how to ask it and its replicas."""

    config: Path
    folder: Path
    process: subprocess.Popen[str]
    url: str
    own: str

    def about(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.own}/monitoring/fleet", timeout=10).json()
        return found

    def replicas(self, **like: object) -> list[dict[str, Any]]:
        return [each for each in self.about()["replicas"] if all(each[key] == value for key, value in like.items())]

    def serving(self) -> set[str]:
        return {each["name"] for each in self.replicas(serving=True, phase="ready")}

    def post(self, path: str, **body: object) -> httpx.Response:
        return httpx.post(f"{self.own}{path}", json=body, timeout=10)

    def decisions(self, **like: object) -> list[dict[str, Any]]:
        lines = map(json.loads, (self.folder / "decisions.jsonl").read_text().splitlines())
        return [line for line in lines if all(line.get(key) == value for key, value in like.items())]

    def events(self) -> list[str]:
        return [line["event"] for line in self.decisions()]

    def haproxy(self) -> int:
        return int(json.loads((self.folder / "haproxy.json").read_text())["identity"]["pid"])

    def settled(self, serving: int, spares: int = 0) -> None:
        """Wait until so many get requests, so many wait, and nothing else is there."""

        def reached() -> bool:
            replicas = self.replicas()
            ready = [each for each in replicas if each["phase"] == "ready"]
            return len(ready) == len(replicas) == serving + spares and len(self.serving()) == serving

        until(reached, seconds=120)


def ask(url: str, number: float = 0.5) -> httpx.Response:
    values = (number * heat.wave(heat.grid(12), 1)[0]).tolist()
    return httpx.post(f"{url}/predict", json={"inputs": values}, timeout=30)


@dataclass
class Load:
    """Requests without pause from some threads; what came of them. `again`: by our client, which asks again."""

    url: str
    again: bool
    answers: list[int | str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def failed(self) -> list[int | str]:
        return [answer for answer in self.answers if answer != 200]

    def _ask(self) -> None:
        client = Client(self.url)
        while not self.stopping.wait(0.01):
            try:
                if self.again:
                    client.predict(random.random() * heat.wave(heat.grid(12), 1)[0])
                    self.answers.append(200)
                else:
                    self.answers.append(ask(self.url, random.random()).status_code)
            except (httpx.TransportError, ServingError) as error:
                self.answers.append(repr(error))


@contextlib.contextmanager
def load(url: str, threads: int = 3, again: bool = False) -> Iterator[Load]:
    made = Load(url, again)
    workers = [threading.Thread(target=made._ask) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        until(lambda: len(made.answers) > threads)
        yield made
        before = len(made.answers)
        until(lambda: len(made.answers) > before + 5 * threads)
    finally:
        made.stopping.set()
        for worker in workers:
            worker.join()


Begin = Callable[..., Fleet]


@pytest.fixture
def begin(tmp_path: Path, haproxy: None) -> Iterator[Begin]:
    """Starts a supervisor, again too; whatever is left of its fleet in the end is killed."""
    models, folder, config = tmp_path / "models", tmp_path / "state", tmp_path / "fleet.toml"
    heat.write(models, "line", "1", axes=1, signature=heat.signature(1, ["moments"]))
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str, minimum: int = 2, spares: int = 0, more: str = "") -> Fleet:
        if not config.exists():
            config.write_text(CONFIG.format(models=models, folder=folder, minimum=minimum, spares=spares) + more)
        command = [sys.executable, "-m", "serving.fleet", "--config", str(config), *words]
        log = (tmp_path / f"errors{len(processes)}").open("w")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        processes.append(process)
        line = read_line(process)
        found = re.search(r"ready on (\S+), supervisor on (\S+)", line)
        assert found, f"no ready line but {line!r}: {Path(log.name).read_text()}"
        return Fleet(config, folder, process, found[1], found[2])

    try:
        yield start
    finally:
        for process in processes:
            process.kill()
            process.wait()
        _kill(folder)


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(START_SECONDS), "the supervisor said nothing"
    return process.stdout.readline()


def _kill(folder: Path) -> None:
    book, record = read_book(folder), folder / "haproxy.json"
    identities = [replica.identity for replica in book.replicas] if book else []
    if record.exists():
        identities.append(Identity(**json.loads(record.read_text())["identity"]))
    for identity in identities:
        identity.signal(signal.SIGKILL)


def gone(pid: int) -> bool:
    return Identity.of(pid) is None


def seconds_until(condition: Callable[[], bool]) -> float:
    began = time.monotonic()
    until(condition, seconds=60)
    return time.monotonic() - began
