"""A real fleet for benchmarks: a supervisor in a process of its own, and how to ask it; nothing of it is left."""

import contextlib
import json
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.child import ROOT
from serving.fleet.balancer.figures import ServerState, servers
from serving.fleet.balancer.process import recall
from serving.fleet.balancer.render import SOCKET
from serving.fleet.balancer.runtime import Runtime, Unreachable
from serving.fleet.identity import Identity
from serving.fleet.replicas.book import read_book

PATIENCE = 120.0  # seconds for the first replica to be ready


@dataclass
class Fleet:
    """A fleet by the file of its config; `begin` starts a supervisor, also after one that died."""

    config: Path
    folder: Path
    log: Path
    url: str = ""
    own: str = ""
    process: subprocess.Popen[str] | None = None
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=5))

    def begin(self) -> None:
        """Start a supervisor, and wait until it says "ready".

        Raises:
            RuntimeError: it ended, or said nothing in time.
        """
        command = [sys.executable, "-m", "serving.fleet", "--config", str(self.config)]
        with self.log.open("a") as errors:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
        found = re.search(r"ready on (\S+), supervisor on (\S+)", _line(self.process))
        if found is None:
            raise RuntimeError(f"the supervisor did not become ready; see {self.log}")
        self.url, self.own = found[1], found[2]

    def about(self) -> dict[str, Any]:
        """What the supervisor tells."""
        found: dict[str, Any] = self.http.get(f"{self.own}/monitoring/fleet").json()
        return found

    def serving(self) -> list[dict[str, Any]]:
        """Replicas that get requests."""
        return [each for each in self.about()["replicas"] if each["serving"] and each["phase"] == "ready"]

    def post(self, path: str, **body: object) -> None:
        """Tell the supervisor something."""
        self.http.post(f"{self.own}{path}", json=body).raise_for_status()

    def servers(self) -> dict[str, ServerState]:
        """What HAProxy itself says of its servers; none where it is not there."""
        try:
            return servers(Runtime(self.folder / SOCKET))
        except Unreachable:
            return {}

    def balancer(self) -> Identity:
        """HAProxy's process."""
        record = recall(self.folder)
        assert record is not None
        return record.identity

    def decisions(self) -> list[dict[str, Any]]:
        """All lines of `decisions.jsonl`."""
        return [json.loads(line) for line in (self.folder / "decisions.jsonl").read_text().splitlines()]

    def settled(self, serving: int, spares: int = 0) -> None:
        """Wait until so many get requests, so many wait, and nothing else is there."""

        def reached() -> bool:
            phases = [(each["phase"], each["serving"]) for each in self.about()["replicas"]]
            return sorted(phases) == sorted([("ready", True)] * serving + [("ready", False)] * spares)

        until(reached, PATIENCE, f"{serving} replicas and {spares} spares")

    def close(self) -> None:
        """Kill what is left of it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        book, record = read_book(self.folder), recall(self.folder)
        left = [replica.identity for replica in book.replicas] if book else []
        for identity in left + ([record.identity] if record else []):
            identity.signal(signal.SIGKILL)
            identity.wait(5.0)
        self.http.close()


@contextlib.contextmanager
def fleet(folder: Path, config: str, state: Path | None = None) -> Iterator[Fleet]:
    """A fleet of this config, whose section [supervisor] is written here.

    Args:
        folder: of its files
        config: the rest of `fleet.toml`
        state: the fleet's own folder, where it is another one than a new one in `folder`
    """
    state = state or folder / "state"
    file = folder / "fleet.toml"
    file.write_text(f'{config}\n[supervisor]\nfolder = "{state}"\nport = 0\n')
    made = Fleet(file, state, folder / "supervisor.log")
    try:
        made.begin()
        yield made
    finally:
        made.close()


def until(condition: Callable[[], bool], seconds: float, what: str, pause: float = 0.02) -> None:
    """Wait for a condition.

    Raises:
        RuntimeError: it did not come in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds:g} s for {what}")
        time.sleep(pause)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(PATIENCE) else ""
