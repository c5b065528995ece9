"""A fleet for a while: HAProxy, replicas and supervisor, all of which end with it."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pnol_jax.errors import InputError
from serving.fleet.identity import Identity
from serving.fleet.replicas.book import read_book

END_SECONDS = 60.0
CONFIG = """
name = "demo"
{numbers}
[serving]
models = {models}
batch_sizes = [1]
samples_batch_sizes = [1]
cache_bytes = 0
[balancer]
port = 0
connect_seconds = 0.1
[replicas]
cores = 0
[scaling]
{scaling}
[supervisor]
folder = {folder}
port = 0

"""


@dataclass
class Fleet:
    """Where a fleet answers, and its supervisor."""

    url: str
    own: str

    def about(self) -> dict[str, Any]:
        """What `/monitoring/fleet` says."""
        with urllib.request.urlopen(f"{self.own}/monitoring/fleet", timeout=10) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    def ready(self) -> int:
        """Replicas that could answer, spares among them."""
        return sum(each["phase"] == "ready" for each in self.about()["replicas"])

    def wait(self, ready: int, seconds: float = 120.0) -> float:
        """Wait for so many, and say how long it took.

        Raises:
            InputError: they were not there in time.
        """
        began = time.perf_counter()
        while self.ready() < ready:
            if time.perf_counter() - began > seconds:
                raise InputError(f"got {self.ready()} replicas in {seconds:g} s, expected {ready}")
            time.sleep(0.05)
        return time.perf_counter() - began


@contextlib.contextmanager
def fleet(models: Path, numbers: str, scaling: str) -> Iterator[Fleet]:
    """A fleet of a folder of servables; `numbers` and `scaling` are lines of its config.

    Raises:
        InputError: it did not start; what it said is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="fleet") as name:
        folder = Path(name)
        places = {"models": json.dumps(str(models)), "folder": json.dumps(str(folder / "state"))}
        (folder / "fleet.toml").write_text(CONFIG.format(numbers=numbers, scaling=scaling, **places))
        command = [sys.executable, "-m", "serving.fleet", "--config", str(folder / "fleet.toml")]
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):
            try:
                assert process.stdout is not None
                found = re.search(r"ready on (\S+), supervisor on (\S+)", process.stdout.readline())
                if found is None:
                    raise InputError(f"the fleet did not start: {(folder / 'log').read_text()[-2000:]}")
                yield Fleet(found[1], found[2])
            finally:
                _end(process, folder / "state")


def _end(process: "subprocess.Popen[str]", state: Path) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    book, record = read_book(state), state / "haproxy.json"
    left = [replica.identity for replica in book.replicas] if book else []
    if record.exists():
        left.append(Identity(**json.loads(record.read_text())["identity"]))
    for identity in left:
        identity.signal(signal.SIGKILL)


@dataclass
class Watched:
    """What a fleet said of itself, with the seconds since `zero`."""

    zero: float
    seen: list[tuple[float, dict[str, Any]]] = field(default_factory=list)


@contextlib.contextmanager
def watched(fleet: Fleet, zero: float, interval: float = 0.25) -> Iterator[Watched]:
    """Ask a fleet again and again, as long as the context lasts."""
    found, stopping = Watched(zero), threading.Event()

    def look() -> None:
        while not stopping.wait(interval):
            with contextlib.suppress(OSError):
                found.seen.append((time.perf_counter() - zero, fleet.about()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        stopping.set()
        thread.join()
