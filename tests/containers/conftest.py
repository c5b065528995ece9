"""The images, built once, and containers of the service as a careful operator would run them."""

import contextlib
import json
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pnol_jax.ports import free_port
from tests import heat
from tests.containers import podman
from tests.processes import until

PATIENCE = 180.0  # seconds after which something hangs, on a machine with much else to do too
FIELD, SOLUTION = heat.wave(heat.grid(10, 11), 1, 2)
FIGURES: list[str] = []  # what was measured, printed at the end


@pytest.fixture(scope="session")
def engine() -> Iterator[podman.Podman]:
    """Podman with a base image."""
    if reason := podman.missing():
        pytest.skip(reason)
    with podman.podman(Path(tempfile.mkdtemp(prefix="pnol-containers-"))) as started:
        yield started


@pytest.fixture(scope="session")
def image(engine: podman.Podman) -> str:
    """The image that serves on CPUs."""
    return _built(engine, "cpu")


@pytest.fixture(scope="session")
def training(engine: podman.Podman, image: str) -> str:
    """The image that trains."""
    return _built(engine, "train")


def _built(engine: podman.Podman, target: str) -> str:
    name = engine.build(target)
    size = engine.inspect(name, "image")["Size"] / 1e6
    FIGURES.append(f"{target}: built in {engine.seconds[target]:.0f} s, {size:.0f} MB")
    return name


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `heat/1`, which anybody may read."""
    folder = tmp_path_factory.mktemp("models")
    heat.write(folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for parent in folder.parents[:-2]:  # a container's user is not this one
        parent.chmod(parent.stat().st_mode | 0o011)
    return folder


@dataclass(frozen=True)
class Service:
    """A container that serves."""

    engine: podman.Podman
    name: str
    port: int

    def ask(self, path: str, body: bytes | None = None, timeout: float = PATIENCE) -> Any:
        """The decoded answer.

        Raises:
            OSError: there is none, or another than 200.
        """
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)

    def predict(self) -> Any:
        """The mean of `heat`'s answer to FIELD, which is SOLUTION."""
        question = {"model": "heat", "inputs": FIELD.tolist(), "outputs": ["mean"]}
        return self.ask("/predict", json.dumps(question).encode())["outputs"]["mean"]

    def ready(self) -> bool:
        """Whether it says so."""
        try:
            return bool(self.ask("/health/ready", timeout=1) is not None)
        except (OSError, ValueError):
            return False

    @property
    def python(self) -> int:
        """The process of the service, as this machine counts: the one child of the init."""
        init = self.engine.inspect(self.name)["State"]["Pid"]
        return int(Path(f"/proc/{init}/task/{init}/children").read_text().split()[0])

    def state(self) -> dict[str, Any]:
        """What podman knows of its life."""
        found: dict[str, Any] = self.engine.inspect(self.name)["State"]
        return found

    def log(self) -> str:
        """What it said."""
        done = self.engine.run("logs", self.name)
        return done.stdout + done.stderr


@pytest.fixture
def serve(engine: podman.Podman, image: str, models: Path) -> Iterator[Callable[..., Service]]:
    """Starts containers, each ready unless told otherwise; they are gone after the test."""
    with contextlib.ExitStack() as stack:

        def start(*words: str, read_only: bool = True, wait: bool = True, **settings: object) -> Service:
            port = free_port()
            service = Service(engine, f"pnol-{port}", port)
            # A request's port is the host's, so the container takes the host's network, and listens on loopback alone.
            options = ["--detach", "--pull=never", "--network=host", "--cap-drop=all", "--name", service.name]
            options += ["--security-opt=no-new-privileges", "--volume", f"{models}:/models:ro"]
            options += ["--read-only", "--tmpfs=/tmp"] if read_only else []
            options += [f"--env=PNOL_SERVING_{name.upper()}={value}" for name, value in settings.items()]
            options += ["--env=PNOL_SERVING_HOST=127.0.0.1", f"--env=PNOL_SERVING_PORT={port}"]
            stack.callback(engine, "rm", "--force", "--time=0", service.name, check=False)
            engine("run", *options, *words, image)
            if wait:
                until(service.ready, service.log, seconds=180)
            return service

        yield start


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Sizes and times of this run."""
    for figure in FIGURES:
        terminalreporter.write_line(figure)
