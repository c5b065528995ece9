"""Several processes on one port: each loads the models, has an engine and cores of its own, and accepts when free.

The parent holds the listening socket and no traffic. A worker that dies is started again at once, and the connections
that nobody had accepted yet wait for the others; it accepts none before it is ready. One whose event loop or engine
stands still is ended: its connections break, and who asked it can ask another. Workers are new interpreters, never
forks: JAX has threads.
"""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.pulse import Pulse, Watch
from serving.saying import ERRORS, say
from serving.settings import Settings
from serving.workers.hub import Hub
from serving.workers.role import Role

LASTED = 10.0  # seconds after which a worker that ends counts as one that had worked
PAUSE, LONGEST_PAUSE = 0.5, 30.0  # before one that did not is started again, twice as long each time
PATIENCE = 10.0  # beyond the time for draining
TICK = 0.05  # between looks at the workers


@dataclass
class Worker:
    """A process that is started again when it ends, and ended when it gives no sign of life."""

    command: Sequence[str]
    number: int
    workers: int
    listener: int
    hub: Hub
    stall_seconds: float
    ready: threading.Event = field(default_factory=threading.Event)
    said: str = ""
    process: subprocess.Popen[str] | None = None
    started: float = 0.0
    pause: float = 0.0
    due: float | None = None  # when it is started again; none while it runs

    def __post_init__(self) -> None:
        self._pulse = Pulse()
        self._watch = Watch(self._pulse)

    def start(self) -> None:
        """Begin a new process.

        Raises:
            OSError, RuntimeError: the machine is out of processes, memory or files, or of threads.
        """
        link = self.hub.join(self.number)
        role = Role(self.number, self.workers, self.listener, link.theirs.fileno(), self._pulse.descriptor)
        self.started = time.monotonic()
        self._watch.restart()
        process = None
        try:
            process = subprocess.Popen(
                self.command,
                env=role.environment(),
                pass_fds=[role.listener, role.link, role.pulse],
                stdout=subprocess.PIPE,
                text=True,
            )
            link.listen()
            threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        except (OSError, RuntimeError):
            if process is not None:  # nobody would hear it
                process.kill()
                process.wait()
            self.hub.leave(link)
            raise
        self.process = process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if line.startswith("ready "):
                    self.said = line.rstrip()
                    self.ready.set()

    def tend(self, now: float) -> None:
        """Start it again where it has ended, at once unless it ended soon; end it where it has stalled."""
        assert self.process is not None
        if self.process.poll() is None:
            if self._watch.look(TICK) > self.stall_seconds:
                self._say(f"gave no sign of life for {self.stall_seconds:g} s and is ended")
                self.process.kill()  # what it was asked is lost at once, and its clients can ask another
                self.process.wait()
            return
        if self.due is None:
            self.pause = 0.0 if now - self.started >= LASTED else self.pause
            self.due = self.started + self.pause
        if now < self.due:
            return
        self._say(f"ended (status {self.process.returncode}) and is started again")
        self.pause = min(max(PAUSE, 2 * self.pause), LONGEST_PAUSE)
        try:
            self.start()
        except (OSError, RuntimeError) as error:
            self.due = now + self.pause
            self._say(f"cannot be started, and is tried again in {self.pause:g} s: {error}")
        else:
            self.due = None

    def _say(self, what: str) -> None:
        say(f"serving: worker {self.number} {what}", ERRORS)


def supervise(settings: Settings, listener: socket.socket, arguments: Sequence[str]) -> int:
    """Run workers with these flags until SIGTERM or SIGINT, let them drain, and return 0.

    Returns a worker's status if it ends before it was ready for the first time: what stopped it stops the others.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    command = [sys.executable, "-m", "serving", *arguments]
    total, stall = settings.workers, settings.stall_seconds
    hub = Hub(total, total * settings.feedback_requests, settings.ledgers)
    workers = [Worker(command, number, total, listener.fileno(), hub, stall) for number in range(total)]
    try:
        for worker in workers:
            worker.start()
        status = _first(workers, stopping)
        if status is None and not stopping.is_set():
            say(f"{workers[0].said} in {len(workers)} workers")
            while not stopping.wait(TICK):
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
