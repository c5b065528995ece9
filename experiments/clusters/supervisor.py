"""The process behind a detached job: `python -m experiments.clusters.supervisor FOLDER`, started by `detached.submit`.

It waits for the jobs that must come before, runs the tasks one after the other, has them save and starts them again
when their time is up, ends them when it is told to by SIGTERM, and writes on the board how each stands.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import psutil

from experiments.clusters import board, detached, processes, record
from experiments.clusters.board import Board, Task
from experiments.clusters.durations import seconds
from experiments.clusters.interface import REQUEUE_ME, Job, State

LOOK = 0.2  # seconds between two looks at the command
STOPPED = (REQUEUE_ME, 128 + signal.SIGUSR1)  # the latter: it came before the command had a handler for it
GRACE = 30.0  # seconds that a command has to end after SIGTERM, as in SLURM


class Supervisor:
    """Runs the tasks of one job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job: Job = board.read_job(folder)
        names = [f"{folder.name}_{number}" for number in range(len(self.job.tasks))] or [folder.name]
        self.board = Board(supervisor=processes.identify(os.getpid()), tasks={name: Task() for name in names})
        self.cancelled = False
        signal.signal(signal.SIGTERM, self._cancel)

    def _cancel(self, number: int, frame: FrameType | None) -> None:
        self.cancelled = True

    def run(self) -> None:
        """Run all tasks; what is left when the job is cancelled is marked so."""
        self.board.write(self.folder)
        obstacle = self._wait_for_others()
        for number, task in enumerate(self.board.tasks.values()):
            if self.cancelled or obstacle:
                task.state, task.detail = "cancelled", obstacle
            else:
                self._run_task(number, task)
            self.board.write(self.folder)

    def _wait_for_others(self) -> str:
        """Wait until the jobs before this one have ended; what stands in the way if one did not succeed."""
        for other in self.job.after:
            submitted, tasks = record.find(other)
            while not self.cancelled:
                found = [status for status in detached.status(submitted) if status.id in tasks]
                if failed := next((s for s in found if s.final and s.state != "done"), None):
                    return f"{failed.id}, which had to succeed before it, {failed.state}"
                if all(status.final for status in found):
                    break
                time.sleep(LOOK)
        return ""

    def _run_task(self, number: int, task: Task) -> None:
        while True:
            self._run_once(number, task)
            stopped = task.state == "failed" and task.exit in STOPPED
            if not stopped or task.restarts >= self.job.requeue or self.cancelled:
                return
            task.restarts += 1

    def _run_once(self, number: int, task: Task) -> None:
        with open(self._log(number), "ab") as log:
            process = psutil.Popen(
                ["bash", str(self.folder / "job.sh"), str(number)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        task.state, task.process = "running", processes.identify(process.pid)
        self.board.write(self.folder)
        task.state = self._watch(process)
        code = process.wait()
        task.exit = code if code >= 0 else 128 - code
        if task.state == "running":
            task.state = "failed" if code else "done"
        task.process = None

    def _watch(self, process: psutil.Popen) -> State:
        """Look after a command until it has ended; "running" if it did so by itself, else what ended it."""
        limit = seconds(self.job.time) if self.job.time else float("inf")
        begin, told = time.monotonic(), not self.job.signal_before
        while process.poll() is None:
            spent = time.monotonic() - begin
            if self.cancelled or spent > limit:
                processes.end(process, GRACE)
                return "cancelled" if self.cancelled else "out of time"
            if not told and spent > limit - self.job.signal_before:
                process.send_signal(signal.SIGUSR1)
                told = True
            time.sleep(LOOK)
        return "running"

    def _log(self, number: int) -> Path:
        return self.job.submit / f"{list(self.board.tasks)[number]}.log"


if __name__ == "__main__":
    Supervisor(Path(sys.argv[1])).run()
