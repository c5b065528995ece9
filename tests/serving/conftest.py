"""A servable whose answers are known, in this process and behind a real server."""

import contextlib
import dataclasses
import re
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from pnol_jax.servable import load_servable
from serving.costs import Costs
from serving.ladder import Ladder, compile_ladder
from tests import heat

START_SECONDS = 120.0


@dataclass
class Server:
    """A server process of its own."""

    process: subprocess.Popen[str]
    url: str
    port: int
    errors: Path
    ready_line: str = field(repr=False)

    @property
    def grpc(self) -> str:
        """HOST:PORT of gRPC, where that is served."""
        address = re.search(r"grpc://(\S+)", self.ready_line)
        assert address, self.ready_line
        return address[1]

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def command(models: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "serving", "--models", str(models), "--port", "0", *flags]


@contextlib.contextmanager
def running(models: Path, errors: Path, *flags: str, under: Sequence[str] = ()) -> Iterator[Server]:
    """A server on a port that the system chooses, once it says that it is ready; `under` another command."""
    with errors.open("w") as log:
        process = subprocess.Popen([*under, *command(models, *flags)], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = read_line(process)
        address = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert address, f"no ready line but {line!r}, exit status {process.wait(60)}: {errors.read_text()}"
        yield Server(process, address[0], int(address[1]), errors, line)
    finally:
        process.kill()
        process.wait()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(START_SECONDS), "the server said nothing"
    return process.stdout.readline()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `heat/1`, two axes, two buckets."""
    folder = tmp_path_factory.mktemp("models")
    heat.write(folder)
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `line/1` and `line/10`, one axis, moments only: quick to load."""
    folder = tmp_path_factory.mktemp("small")
    for version in ("1", "10"):
        heat.write(folder, "line", version, axes=1, signature=heat.signature(1, ["moments"]))
    return folder


@pytest.fixture(scope="session")
def ladder(models: Path) -> Ladder:
    """The same, compiled in this process."""
    compiled = compile_ladder(load_servable(models / "heat" / "1"), {"moments": (1, 2, 4), "samples": (1,)})
    costs = {1: 1e-3, 2: 1.2e-3, 4: 1.6e-3}  # of any machine
    known = {kind: Costs.of(costs if kind[1] == "moments" else {1: 1e-3}) for kind in compiled.costs}
    return dataclasses.replace(compiled, costs=known)


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of it with limits that a test can reach."""
    flags = ["--batch-sizes", "[1, 4]", "--samples-batch-sizes", "[1]", "--max-cases", "32"]
    flags += ["--max-body-bytes", "300000", "--header-seconds", "1", "--body-seconds", "1"]
    with running(models, tmp_path_factory.mktemp("log") / "errors", *flags) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of the server, which answers before and after the test."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
        assert client.get("/health").json()["ready"]
        assert server.process.poll() is None
