"""What a cluster is: functions of a `Job` or of one that was `Submitted`, and the command that starts workers.

A cluster is a module with the functions of `Cluster`. Waiting and history are written once for all, in `watch.py`.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from experiments.clusters.durations import seconds
from pnol_jax.errors import InputError

REQUEUE_ME = 75  # EX_TEMPFAIL: what a job's command exits with when the job should be put back into the queue

State = Literal["waiting", "running", "done", "failed", "cancelled", "out of time", "unknown"]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Line = Annotated[str, Meta(pattern=r"^[^\n\r\x00]*$")]
Count = Annotated[int, Meta(ge=1)]
Number = Annotated[int, Meta(ge=0)]
Variables = dict[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Line]


class Request(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a job asks of its cluster. Every field is a flag of `experiments.submit` and a key of a `--site` file."""

    nodes: Annotated[Count, Meta(description="nodes")] = 1
    processes_per_node: Annotated[Count, Meta(description="worker processes on each node")] = 1
    devices_per_node: Annotated[Number, Meta(description="accelerators on each node")] = 0
    cpus_per_process: Annotated[Number, Meta(description="cores for each process; 0: as the cluster likes")] = 0
    memory: Annotated[Line, Meta(description="memory on each node: 64G, 500M")] = ""
    time: Annotated[Line, Meta(description="longest run: 30s, 90m, 4h, 2d, or [days-]hours:minutes:seconds")] = ""
    signal_before: Annotated[Number, Meta(description="seconds before its end that a job is told to save")] = 90
    requeue: Annotated[Number, Meta(description="how often a job that was stopped is put back into the queue")] = 3
    elastic: Annotated[bool, Meta(description="a lost node does not end the job")] = False
    at_once: Annotated[Number, Meta(description="tasks of an array that run at once; 0: all")] = 0
    queue: Annotated[Line, Meta(description="partition or queue")] = ""
    account: Annotated[Line, Meta(description="who pays")] = ""
    hosts: Annotated[list[Name], Meta(description="names of the hosts, A,B,C (Open MPI; by ssh on cluster local)")] = []
    image: Annotated[Line, Meta(description="container image (Kubernetes)")] = ""
    claim: Annotated[Line, Meta(description="volume claim with the work folder in it (Kubernetes)")] = ""
    namespace: Annotated[Line, Meta(description="namespace (Kubernetes)")] = ""
    options: Annotated[
        list[Line], Meta(description="further options as the queue spells them, such as --constraint=a100 (SLURM)")
    ] = []
    setup: Annotated[list[Line], Meta(description="lines of shell before the command, such as module load cuda")] = []
    environment: Annotated[Variables, Meta(description="variables for the command")] = {}

    def __post_init__(self) -> None:
        """Refuse quantities of another form, and a job that would be told to save before it has begun."""
        if not re.fullmatch(r"(\d+[MGT])?", self.memory):
            raise InputError(f"memory: got {self.memory!r}, expected a number of M, G or T, such as 64G")
        if self.time and seconds(self.time) <= self.signal_before:
            raise InputError(f"time: got {self.time}, expected more than signal_before = {self.signal_before} seconds")


class Job(Request, frozen=True, kw_only=True):
    """A command with what it asks for. Task i of an array runs `command` with `tasks[i]` behind it."""

    name: Name
    command: Annotated[list[str], Meta(min_length=1)]
    folder: Line  # of the run; the script, logs and outcomes go into submit/ in it
    workdir: Line  # absolute: where the command runs
    tasks: list[list[str]] = []
    after: list[str] = []  # ids of jobs of the same cluster that must have succeeded

    @property
    def submit(self) -> Path:
        """The absolute folder of everything that has to do with submission."""
        return Path(self.workdir) / self.folder / "submit"


class Submitted(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A job that was handed to a cluster: one line of `runs/submitted.jsonl`."""

    cluster: str
    id: str
    when: str  # UTC
    job: Job

    def task_ids(self) -> list[str]:
        """The id of each task of an array; the job's own if it is none."""
        return [f"{self.id}_{number}" for number in range(len(self.job.tasks))] or [self.id]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How a job, or a task of an array, stands."""

    id: str
    state: State
    detail: str = ""  # in the cluster's own words
    exit: int | None = None  # 128 + n: ended by signal n
    restarts: int = 0
    where: str = ""  # its nodes

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in ("waiting", "running")


def refuse(job: Job, cluster: str, fields: Collection[str]) -> None:
    """Refuse what a cluster has no place for: a wish that is passed over in silence is an error found too late.

    Raises:
        InputError: a job asks for one of these fields.
    """
    for field in fields:
        if getattr(job, field):
            raise InputError(f"{field}: {cluster} has no such thing; got {getattr(job, field)!r}, expected none")


class Cluster(Protocol):
    """A kind of cluster. Every function raises InputError where the cluster refuses, in the cluster's words."""

    def script(self, job: Job) -> str:
        """The script or manifest that is handed in."""

    def submit(self, job: Job) -> str:
        """Write the script into the run's folder and hand it in; the job's id."""

    def launch_words(self, request: Request) -> list[str]:
        """What `experiments.launch` is told in the job, where the surroundings do not say it."""

    def status(self, submitted: Submitted) -> list[Status]:
        """How every task stands; one entry where the job is no array."""

    def logs(self, submitted: Submitted, task: str, *, follow: bool) -> Iterator[str]:
        """What a task has printed, piece by piece; with `follow`, until it has ended."""

    def cancel(self, submitted: Submitted, tasks: Sequence[str]) -> None:
        """End these tasks; one that has ended already stays as it is."""

    def worker_command(self, command: list[str], nodes: list[str] | None, processes_per_node: int) -> list[str]:
        """What starts `command` as all workers of a job, run once on its first node.

        Args:
            command: the worker's program and arguments.
            nodes: the nodes to use; all of the job's if None.
            processes_per_node: workers on each of them.
        """
