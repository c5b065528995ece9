"""What each worker does at its start: it keeps to its cores and devices, and malloc to its memory."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

from pnol_jax.memory import keep_arena


class Slots(WorkerPlugin):
    """Gives the worker named i the i-th of `cores` and `devices`; where there are none, a cluster gives them."""

    name = "pnol-jax-slots"

    def __init__(self, cores: Sequence[Sequence[int]] = (), devices: Sequence[Sequence[str]] = ()) -> None:
        self.cores, self.devices = cores, devices

    def setup(self, worker: Any) -> None:
        """Called in the worker before its first task, and so before JAX is imported."""
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Ctrl-C reaches every process of a terminal; the pool ends this one
        if self.devices:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(self.devices[worker.name])
        if self.cores:
            for thread in Path("/proc/self/task").iterdir():  # those that there are; new ones inherit
                os.sched_setaffinity(int(thread.name), self.cores[worker.name])
        keep_arena()
