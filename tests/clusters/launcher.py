"""A stand-in for the launcher: starts the workers of a job by its cluster, hands SIGUSR1 on, ends as they do.

`launcher.py CLUSTER PROCESSES_PER_NODE COMMAND ...`
"""

import signal
import subprocess
import sys

from experiments.clusters.table import CLUSTERS


def main(cluster: str, processes: str, *command: str) -> int:
    """Run the workers."""
    words = CLUSTERS[cluster].worker_command(list(command), None, int(processes))
    with subprocess.Popen(words) as workers:
        signal.signal(signal.SIGUSR1, lambda number, frame: workers.send_signal(number))
        code = workers.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
