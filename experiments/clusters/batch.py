"""What the batch script of a queue becomes: the last line of SLURM's runs `python -m experiments.clusters.slurm ...`.

It runs the command, hands SIGUSR1 on to it, puts the job back into the queue when the command asks for that by status
75, and leaves in the folder how the job ended. (Bash could do all of it but one thing: where a signal and the end of
the command meet, its `wait` may return -1.)
"""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from experiments.clusters.interface import REQUEUE_ME, Job, State, Status
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically

# The second: the signal came before the command had a handler for it, so there was nothing to save.
STOPPED = (REQUEUE_ME, 128 + signal.SIGUSR1)


class Queue(NamedTuple):
    """What a job is told, and asks, of the queue that it runs in."""

    task: str  # by which its log and its outcome are called
    ended: Callable[[bool], bool]  # whether the queue ended it, and decides what comes; told whether SIGTERM came
    restarts: Callable[[], int]
    put_back: Callable[[], object]


class Batch:
    """A command, and the signals that the queue has for it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.save = False  # SIGUSR1 came: the time is nearly up, or somebody else needs the nodes
        self.ended = False  # SIGTERM came

    def run(self, command: list[str], notice: int = 0) -> int:
        """Run the command; its exit status, 128 + n if signal n ended it.

        After `notice` seconds (0: never) it is told to save, by the signal that a queue would send.
        """
        signal.signal(signal.SIGUSR1, self._hand_on)
        signal.signal(signal.SIGALRM, self._hand_on)
        signal.signal(signal.SIGTERM, self._end)
        signal.alarm(notice)
        self.process = subprocess.Popen(command)
        if self.save:
            self.process.send_signal(signal.SIGUSR1)
        code = self.process.wait()
        return code if code >= 0 else 128 - code

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self.save = True
        if self.process is not None:
            self.process.send_signal(signal.SIGUSR1)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.ended = True  # and no more: the queue sends it to the command as well


def line(module: str, job: Job, notice: int = 0) -> str:
    """The last line of a script, which becomes the batch process of a cluster's module."""
    words = [sys.executable, "-m", module, str(job.submit), str(job.requeue), str(notice)]
    return f'exec {shlex.join(words)} "${{command[@]}}"'


def main(queue: Queue, words: Sequence[str]) -> int:
    """Run the command and put the job back, or write down how it ended; `words` are those of `line`."""
    folder, requeues, notice, *command = words
    batch, ended = Batch(), ""
    status = batch.run(command, int(notice))
    try:
        if queue.ended(batch.ended):
            ended = "ended"
        elif status in STOPPED and queue.restarts() < int(requeues):
            queue.put_back()
            return status
    except InputError as error:
        print(f"not put back into the queue: {error}", file=sys.stderr)
    write_atomically(Path(folder) / f"{queue.task}.outcome", f"{status} {ended}\n")
    return status


def left(cluster: str, path: Path, task: str) -> Status:
    """How a task ended that its cluster has forgotten, by the outcome that it left."""
    found = re.fullmatch(r"(\d+) (ended)?\n", path.read_text()) if path.is_file() else None
    if found is None:
        return Status(id=task, state="unknown", detail=f"{cluster} knows it no more, and it left no outcome")
    code = int(found[1])
    state: State = "cancelled" if found[2] else "failed" if code else "done"
    return Status(id=task, state=state, detail=f"ended by {cluster}" if found[2] else "", exit=code)
