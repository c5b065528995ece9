"""What the batch script of SLURM becomes: `python -m experiments.clusters.batch FOLDER REQUEUES COMMAND ...`.

It runs the command, hands SIGUSR1 on to it, puts the job back into the queue when the command asks for that by status
75, and leaves in FOLDER how the job ended. (Bash could do all of it but one thing: where a signal and the end of the
command meet, its `wait` may return -1.)
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from experiments.clusters.external import call
from experiments.clusters.interface import REQUEUE_ME
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically

# The second: the signal came before the command had a handler for it, so there was nothing to save.
STOPPED = (REQUEUE_ME, 128 + signal.SIGUSR1)


class Batch:
    """A command, and the signals that SLURM has for it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.save = False  # SIGUSR1 came: the time is nearly up, or somebody else needs the nodes

    def run(self, command: list[str]) -> int:
        """Run the command; its exit status, 128 + n if signal n ended it."""
        signal.signal(signal.SIGUSR1, self._hand_on)
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # SLURM sends it to the command as well
        self.process = subprocess.Popen(command)
        if self.save:
            self.process.send_signal(signal.SIGUSR1)
        code = self.process.wait()
        return code if code >= 0 else 128 - code

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self.save = True
        if self.process is not None:
            self.process.send_signal(number)


def main(folder: Path, requeues: int, command: list[str]) -> int:
    """Run the command and put the job back, or write down how it ended."""
    status = Batch().run(command)
    job, ended = os.environ["SLURM_JOB_ID"], ""
    try:
        state = re.search(r"JobState=(\w+)", call("scontrol", "--oneliner", "show", "job", job))
        if state is None or state[1] != "RUNNING":
            ended = "ended"  # by SLURM, which decides whether it runs again
        elif status in STOPPED and int(os.environ.get("SLURM_RESTART_COUNT", "0")) < requeues:
            call("scontrol", "requeue", job)
            return status
    except InputError as error:
        print(f"not put back into the queue: {error}", file=sys.stderr)
    write_atomically(folder / f"{task_id(os.environ)}.outcome", f"{status} {ended}\n")
    return status


def task_id(environment: Mapping[str, str]) -> str:
    """The id of the job, JOB_2 of a task of an array, by SLURM's variables."""
    if "SLURM_ARRAY_JOB_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment["SLURM_JOB_ID"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
