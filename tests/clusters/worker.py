"""A stand-in for a training process: finds the others by jax.distributed, sums over all, then does as it is told.

`worker.py sum` ends after the sum; `worker.py stay` goes on summing until SIGUSR1, and then ends with status 75.
"""

import os
import signal
import sys
import time
import traceback

import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils


def main(task: str) -> int:
    """Join, sum, say so."""
    asked: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: asked.append(number))
    jax.distributed.initialize()
    total = _sum(jax.process_index() + 1)
    print(f"process {jax.process_index()} of {jax.process_count()}, pid {os.getpid()}: the sum is {total}", flush=True)
    while task == "stay":
        if _sum(len(asked)):
            print(f"process {jax.process_index()}: saved", flush=True)
            # The first to end with a status other than 0 has srun and mpirun send SIGTERM to the others, whose own
            # status would then count.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            multihost_utils.sync_global_devices("saved")
            return 75
        time.sleep(0.1)
    return 0


def _sum(value: int) -> int:
    return int(multihost_utils.process_allgather(jnp.asarray(value)).sum())


if __name__ == "__main__":
    try:
        status = main(sys.argv[1])
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # left to itself, JAX would wait at exit for the peer that is gone
    sys.exit(status)
