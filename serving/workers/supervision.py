"""Several processes on one port: each loads the models, has an engine and cores of its own, and accepts when free.

The parent holds the listening socket and no traffic. A worker that dies is started again at once, and the connections
that nobody had accepted yet wait for the others; it accepts none before it is ready. Workers are new interpreters,
never forks: JAX has threads.
"""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.settings import Settings
from serving.workers.hub import Hub
from serving.workers.role import Role

LASTED = 10.0  # seconds after which a worker that ends counts as one that had worked
PAUSE, LONGEST_PAUSE = 0.5, 30.0  # before one that did not is started again, twice as long each time
PATIENCE = 10.0  # beyond the time for draining


@dataclass
class Worker:
    """A process that is started again when it ends."""

    command: Sequence[str]
    number: int
    workers: int
    listener: int
    hub: Hub
    ready: threading.Event = field(default_factory=threading.Event)
    said: str = ""
    process: subprocess.Popen[str] | None = None
    started: float = 0.0
    pause: float = 0.0

    def start(self) -> None:
        """Begin a new process."""
        link = self.hub.join(self.number)
        role = Role(self.number, self.workers, self.listener, link.theirs.fileno())
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=role.environment(),
            pass_fds=[role.listener, role.link],
            stdout=subprocess.PIPE,
            text=True,
        )
        link.listen()
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready "):
                self.said = line.rstrip()
                self.ready.set()

    def tend(self, now: float) -> None:
        """Start it again where it has ended, at once unless it ended soon."""
        assert self.process is not None
        if self.process.poll() is None:
            return
        if now - self.started >= LASTED:
            self.pause = 0.0
        if now - self.started < self.pause:
            return
        why = f"status {self.process.returncode}"
        print(f"serving: worker {self.number} ended ({why}) and is started again", file=sys.stderr, flush=True)
        self.pause = min(max(PAUSE, 2 * self.pause), LONGEST_PAUSE)
        self.start()


def supervise(settings: Settings, listener: socket.socket, arguments: Sequence[str]) -> int:
    """Run workers with these flags until SIGTERM or SIGINT, let them drain, and return 0.

    Returns a worker's status if it ends before it was ready for the first time: what stopped it stops the others.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    command = [sys.executable, "-m", "serving", *arguments]
    total, hub = settings.workers, Hub(settings.workers)
    workers = [Worker(command, number, total, listener.fileno(), hub) for number in range(total)]
    for worker in workers:
        worker.start()
    try:
        status = _first(workers, stopping)
        if status is None and not stopping.is_set():
            print(f"{workers[0].said} in {len(workers)} workers", flush=True)
            while not stopping.wait(0.05):
                for worker in workers:
                    worker.tend(time.monotonic())
    finally:
        listener.close()
        _end(workers, settings.drain_seconds + PATIENCE)
    return status or 0


def _first(workers: Sequence[Worker], stopping: threading.Event) -> int | None:
    """Until all are ready; the status of one that ends before."""
    while not stopping.wait(0.02) and not all(worker.ready.is_set() for worker in workers):
        for worker in workers:
            assert worker.process is not None
            if not worker.ready.is_set() and worker.process.poll() is not None:
                return worker.process.returncode or 1
    return None


def _end(workers: Sequence[Worker], seconds: float) -> None:
    until = time.monotonic() + seconds
    processes = [worker.process for worker in workers if worker.process is not None]
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
