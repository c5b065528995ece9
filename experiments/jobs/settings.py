"""What a pool of workers is told: where they are, how many, and what each of them may use. From TOML and from flags."""

import argparse
from typing import Annotated, Any

import msgspec

from pnol_jax import toml
from pnol_jax.errors import InputError
from pnol_jax.schema import Count, Section

PLACES = ("auto", "here", "local", "slurm")


class SlurmConfig(Section, frozen=True):
    """What each worker's SLURM job asks for, beside its cores, memory and devices."""

    partition: str | None = None
    account: str | None = None
    time: str = "01:00:00"
    interface: str | None = None  # network between scheduler and workers, such as "ib0"
    directives: tuple[str, ...] = ()  # further ones, such as "--constraint=h100"
    logs: str = "runs/jobs"  # folder of the jobs' output and, while they run, of the keys of their connections


class PoolConfig(Section, frozen=True):
    """A pool. Each worker runs one task at a time and has its own cores, memory and devices."""

    where: str = "auto"  # "here" (this process), "local", "slurm", or tcp://host:port; auto: local if several workers
    workers: Count = 1
    threads: Count = 1  # cores of a worker
    memory: str | None = None  # of a worker, such as "4GiB": beyond it the worker is ended. Local: an equal share
    devices: Annotated[int, msgspec.Meta(ge=0)] = 0  # GPUs of a worker
    deaths: Count = 3  # of workers, after which the task that they were at counts as failed
    dashboard: bool = False
    slurm: SlurmConfig = SlurmConfig()

    def __post_init__(self) -> None:
        if self.where not in PLACES and "://" not in self.where:
            raise InputError(f"where: got {self.where!r}, expected one of {', '.join(PLACES)}, or tcp://host:port")
        if self.place == "here" and self.workers > 1:
            raise InputError(f"workers: got {self.workers} with where = 'here', expected 1, or where = 'local'")

    @property
    def place(self) -> str:
        """Where the workers are, "auto" decided."""
        if self.where != "auto":
            return self.where
        return "local" if self.workers > 1 or self.memory or self.devices or self.dashboard else "here"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that make a `PoolConfig`."""
    group = parser.add_argument_group("workers")
    group.add_argument("--jobs", metavar="TOML", help="a file of settings, which the flags below override")
    group.add_argument("--where", metavar="PLACE", help="here, local, slurm, or tcp://host:port of a dask scheduler")
    group.add_argument("--workers", type=int, metavar="N", help="processes that compute (1: this one)")
    group.add_argument("--threads", type=int, metavar="N", help="cores of a worker (1)")
    group.add_argument("--memory", metavar="SIZE", help="of a worker, such as 4GiB, beyond which it is ended")
    group.add_argument("--devices", type=int, metavar="N", help="GPUs of a worker (0)")
    group.add_argument("--dashboard", action="store_true", default=None, help="dask's page on what the workers do")
    for name, what in (("partition", "partition"), ("account", "account"), ("time", "time limit of a worker's job")):
        group.add_argument(f"--{name}", metavar=name.upper(), help=f"SLURM: {what}")


def from_flags(asked: argparse.Namespace) -> PoolConfig:
    """The settings of a command line.

    Raises:
        InputError: a value that is not possible, or a file that cannot be read.
    """
    tree: dict[str, Any] = msgspec.to_builtins(toml.load(asked.jobs, PoolConfig) if asked.jobs else PoolConfig())
    for names, section in ((PoolConfig.__struct_fields__, tree), (SlurmConfig.__struct_fields__, tree["slurm"])):
        section.update({name: getattr(asked, name) for name in names if getattr(asked, name, None) is not None})
    return toml.parse(tree, PoolConfig, "jobs")
