"""Where the workers of a job are started: on this machine, on hosts by ssh, in an allocation, in a pod of many.

`start` begins all of them and says which processes they are; each finds in its environment which one it is
(`pnol_jax.sharding.places`). With `minimum` a site goes on with fewer processes where some are lost for good.
"""

import concurrent.futures
import os
import random
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from experiments.supervision.nodes import alive
from experiments.supervision.workers import LIFELINE, Client, Worker, with_environment
from pnol_jax.ports import free_port
from pnol_jax.sharding.heartbeat import heartbeat_file
from pnol_jax.sharding.processes import LOGS

Started = tuple[list[Worker], Sequence[int]]

SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5")


class Site(Protocol):
    """Starts the workers of a job."""

    def start(self, command: Sequence[str], folder: Path, lost: tuple[int, ...]) -> Started:
        """Start `command` as every process of the run in `folder`, and say which processes these are.

        Args:
            command: what each process runs.
            folder: the run's; logs go to its `logs/`.
            lost: the workers whose end was the cause of this start.

        Returns:
            The workers, and the indices of the processes; neither where fewer than the minimum could be had.
        """
        ...


@dataclass
class Local:
    """`processes` on this machine.

    `devices` is the number of simulated CPU devices of each (0: the real ones); with `pin` each has its own cores.
    In the folder `compiled`, if one is given, JAX keeps its programs: whoever is started again need not compile them.
    """

    processes: int
    minimum: int | None = None
    devices: int = 0
    pin: bool = False
    compiled: str = ""

    def start(self, command: Sequence[str], folder: Path, lost: tuple[int, ...]) -> Started:
        """Start all; with a minimum without those that were lost, as many as were left."""
        if self.minimum is not None and lost:
            self.processes = max(self.minimum, self.processes - len(lost))
        address = f"127.0.0.1:{free_port()}"
        every = range(self.processes)
        return [self._worker(command, folder, index, address) for index in every], every

    def _worker(self, command: Sequence[str], folder: Path, index: int, address: str) -> Worker:
        environment = _environment(index, self.processes, index, self.processes, address)
        if self.devices:
            flags = os.environ.get("XLA_FLAGS", "")
            environment["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={self.devices}".strip()
            environment["JAX_PLATFORMS"] = "cpu"
        if self.compiled and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
            environment["JAX_COMPILATION_CACHE_DIR"] = self.compiled
            environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
        if not self.pin:
            return Worker(command, environment, log_file(folder, index))
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, mine[index % len(mine) :: self.processes])  # a child has its parent's
        try:
            return Worker(command, environment, log_file(folder, index))
        finally:
            os.sched_setaffinity(0, mine)


@dataclass
class Hosts:
    """`each` processes on each host, by ssh: the folder of this command and the same Python must be there too."""

    hosts: Sequence[str]
    each: int = 1
    minimum: int | None = None
    ssh: Sequence[str] = SSH

    def start(self, command: Sequence[str], folder: Path, lost: tuple[int, ...]) -> Started:
        """Start all; with a minimum on the hosts that answer."""
        hosts = self.hosts if self.minimum is None or not lost else self._answering()
        count = len(hosts) * self.each
        if count < (self.minimum or 1):
            return [], []
        address = f"{hosts[0].rpartition('@')[2]}:{_some_port()}"
        places = [(host, local) for host in hosts for local in range(self.each)]
        return [
            self._worker(command, folder, host, _environment(index, count, local, self.each, address))
            for index, (host, local) in enumerate(places)
        ], range(count)

    def _worker(self, command: Sequence[str], folder: Path, host: str, environment: dict[str, str]) -> Worker:
        words = shlex.join(with_environment(command, environment))
        remote = f"cd {shlex.quote(str(Path.cwd()))} && exec {words}"
        return Client([*self.ssh, host, remote], log_file(folder, int(environment["PNOL_PROCESS"])))

    def _answering(self) -> list[str]:
        with concurrent.futures.ThreadPoolExecutor(min(32, len(self.hosts))) as pool:
            answers = pool.map(self._answers, self.hosts)
            return [host for host, answered in zip(self.hosts, answers, strict=True) if answered]

    def _answers(self, host: str) -> bool:
        asked = [*self.ssh, host, "true"]
        return not subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode


@dataclass
class Allocation:
    """`each` processes on each node of an allocation, by one client of the cluster for all of them.

    `command` makes a client's command line of a worker's, the nodes and the processes of each; `nodes` is None where
    only the client knows them.
    """

    cluster: str
    command: Callable[[list[str], list[str] | None, int], list[str]]
    nodes: Sequence[str] | None
    each: int = 1
    minimum: int | None = None
    alive: Callable[[Sequence[str]], list[str]] = field(default=alive)

    def start(self, command: Sequence[str], folder: Path, lost: tuple[int, ...]) -> Started:
        """Start all; with a minimum on the nodes that are up."""
        using = self.nodes
        if using is not None and self.minimum is not None and lost:
            using = self.alive(using)
            if len(using) * self.each < self.minimum:
                return [], []
        logs = log_file(folder, 0).parent.absolute()
        environment = {**LIFELINE, LOGS: str(logs)}
        if using:
            environment["PNOL_COORDINATOR"] = f"{using[0]}:{_some_port()}"
        words = with_environment(command, environment)
        client = self.command(words, None if using is None else list(using), self.each)
        forwarded = frozenset({signal.SIGUSR2} if self.cluster == "mpi" else ())
        return [Client(client, logs / f"{self.cluster}.log", forwarded, logs)], range(len(using or [""]) * self.each)


@dataclass
class Pod:
    """`each` processes in this pod, which is `pod` of `pods` of one job; every pod runs a supervisor of its own."""

    pod: int
    pods: int
    coordinator: str
    each: int = 1

    def start(self, command: Sequence[str], folder: Path, lost: tuple[int, ...]) -> Started:
        """Start those of this pod; the other pods' lose touch with the lost one and are started by their own."""
        every = range(self.pod * self.each, (self.pod + 1) * self.each)
        count = self.pods * self.each
        return [
            Worker(command, _environment(index, count, local, self.each, self.coordinator), log_file(folder, index))
            for local, index in enumerate(every)
        ], every


def log_file(folder: Path, index: int) -> Path:
    """Where the output of process `index` goes."""
    return heartbeat_file(folder, index).with_name(f"process-{index}.log")


def _environment(index: int, count: int, local: int, local_count: int, address: str) -> dict[str, str]:
    return {
        "PNOL_PROCESS": str(index),
        "PNOL_PROCESSES": str(count),
        "PNOL_LOCAL_PROCESS": str(local),
        "PNOL_LOCAL_PROCESSES": str(local_count),
        "PNOL_COORDINATOR": address,
        **LIFELINE,
    }


def _some_port() -> int:
    """For another machine, where nobody can look which one is free; the next start takes another."""
    return random.Random(time.time_ns() ^ os.getpid()).randrange(49152, 61440)
