"""A fleet as its manifests describe it, written by the command that people use."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.client import Client, ServingError
from tests import heat
from tests.kubernetes.older import older
from tests.kubernetes.plane import Cluster
from tests.processes import until

NAME, CONNECTION = "pnol", 20  # requests of a connection
FIELD, SOLUTION = heat.wave(heat.grid(10, 11), 1, 2)
CONFIG = """
name = "pnol"
minimum = 1
maximum = 3
[serving]
batch_sizes = [1]
samples_batch_sizes = [1]
cache_bytes = 0
drain_seconds = 10
stall_seconds = 8.0
utilisation_target = 0.1
utilisation_window = 5
[scaling.down]
window_seconds = 5
[alerts]
evaluation_seconds = 1
[kubernetes]
image = "localhost/pnol:cpu"
cpu = "500m"
memory = "1Gi"
leave_seconds = 3
probe_seconds = 1
scrape_seconds = 1
"""


@dataclass(frozen=True)
class Fleet:
    """One that runs in a cluster; `written` is the folder of its manifests."""

    cluster: Cluster
    written: Path

    def write(self, *overrides: str) -> None:
        """The manifests of the config with these changes."""
        self.written.mkdir(exist_ok=True)
        config = self.written.parent / "fleet.toml"
        config.write_text(CONFIG)
        command = [sys.executable, "-m", "serving.fleet", "manifests", "--config", str(config)]
        subprocess.run([*command, "--out", str(self.written), *overrides], check=True, timeout=60)

    def manifest(self, name: str) -> Any:
        """One of them."""
        return json.loads((self.written / f"{name}.json").read_text())

    def apply(self) -> None:
        """Hand all to the server, as `kubectl apply` of the folder would."""
        for manifest in older([json.loads(path.read_text()) for path in sorted(self.written.glob("*.json"))]):
            self.cluster.apply(manifest)

    def pods(self) -> list[dict[str, Any]]:
        """Those that are ready and stay."""
        return [pod for pod in self.all_pods() if ready(pod) and "deletionTimestamp" not in pod["metadata"]]

    def all_pods(self) -> list[dict[str, Any]]:
        """Those that start and those that leave among them."""
        found: list[dict[str, Any]] = self.cluster.get("pods", "", f"--selector=app.kubernetes.io/instance={NAME}")
        return found

    def until_pods(self, count: int) -> float:
        """Wait until just so many are ready and stay; the seconds that it took."""
        began = time.monotonic()
        until(lambda: len(self.pods()) == count, f"{count} pods are ready", AssertionError, seconds=180)
        return time.monotonic() - began

    @property
    def url(self) -> str:
        """Of the Service, by its address in the cluster."""
        spec = self.cluster.get("service", NAME)["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"


def ready(pod: dict[str, Any]) -> bool:
    """Whether a pod gets requests."""
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))


@dataclass
class Load:
    """What clients that ask one after the other have got: answers, wrong ones, and what was no answer."""

    answered: int = 0
    wrong: int = 0
    failed: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, client: Client) -> None:
        """One call, with the tries that the client makes by itself."""
        try:
            mean = client.predict(FIELD, outputs=["mean"]).arrays["mean"]
        except ServingError as error:
            with self.lock:
                self.failed.append(str(error))
            return
        with self.lock:
            self.answered += 1
            self.wrong += bool(abs(mean - SOLUTION).max() > 1e-5)


@contextlib.contextmanager
def load(url: str, clients: int) -> Iterator[Load]:
    """Load as long as the block."""
    found, over = Load(), threading.Event()

    def ask() -> None:
        while not over.is_set():
            with Client(url) as client:  # a connection stays with its pod, so that none is kept for long
                for _ in range(CONNECTION):
                    found.count(client)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        for thread in threads:
            thread.join()
