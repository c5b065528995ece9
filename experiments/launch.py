"""Train on many processes: `python -m experiments.launch CONFIG [section.key=value ...] [-- words for train]`.

Runs once per job, finds where it is (an allocation of SLURM or of another batch system with Open MPI, a pod of
Kubernetes, a list of hosts, this machine), starts the workers and watches them. A lost or hanging process ends the
others, and the job goes on from its last checkpoint. SIGTERM and SIGUSR1 let the workers save; launch then exits 75:
run the same command again. FOLDER/launch.jsonl says what happened, FOLDER/logs/ what each process said.
"""

import argparse
import importlib
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments import lock
from experiments.command import load_config, run
from experiments.supervision import nodes
from experiments.supervision.events import FILE, Events
from experiments.supervision.machine import Policy
from experiments.supervision.sites import SSH, Allocation, Hosts, Local, Pod, Site
from experiments.supervision.supervise import supervise
from experiments.supervision.workers import module
from pnol_jax.errors import InputError
from pnol_jax.sharding.mesh import check_processes
from pnol_jax.sharding.places import find_place

CLUSTERS = ("auto", "slurm", "mpi", "local")


def main(arguments: Sequence[str] | None = None) -> int:
    """Start and supervise what the command line names."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    own, train = _split(words)
    asked = parser().parse_intermixed_args(own)
    nodes.check_once(os.environ)
    config, *overrides = asked.words
    settings = load_config(config, overrides)  # also where the folder is given: nothing wrong is started
    folder = Path(asked.run or f"runs/{settings.name}")
    site = find_site(asked)
    training = settings.training
    check_processes(settings.mesh, training.batch_size, training.accumulate, *processes_of(site))
    if asked.overwrite and (folder / "config.toml").exists():
        with Events(folder), lock.held(folder):  # nobody else works in it
            lock.clear(folder)
    policy = Policy(restarts=asked.restarts, hang=asked.hang, begin=asked.begin, grace=asked.grace, save=asked.save)
    command = train_command([*asked.words, *train], folder)
    with tempfile.TemporaryDirectory(prefix="pnol-compiled-") as compiled:  # private, as what is in it is executed
        if isinstance(site, Local):
            site.compiled = compiled
        return supervise(site, command, folder, policy, _events(site))


def train_command(words: Sequence[str], folder: Path) -> Callable[[int | None], list[str]]:
    """What every process runs: a run that has begun goes on, also where it was lost before anything was saved."""

    def command(checkpoint: int | None) -> list[str]:
        begun = checkpoint is not None or (folder / "config.toml").exists()
        return module("experiments.train", *words, "--run", str(folder), *(["--resume"] if begun else []))

    return command


def find_site(asked: argparse.Namespace) -> Site:
    """Where to start the workers.

    Raises:
        InputError: the number of processes does not fit the hosts, or the words contradict each other.
    """
    cluster = nodes.find_cluster(os.environ) if asked.cluster == "auto" else asked.cluster
    minimum = asked.minimum if asked.elastic else None
    hosts = asked.hosts.split(",") if asked.hosts else None
    if cluster == "kubernetes":
        pod = find_place(os.environ)
        return Pod(pod.index, pod.count, pod.coordinator, _each(asked.processes, range(pod.count)))
    if hosts and cluster == "local":
        return Hosts(hosts, _each(asked.processes, hosts), minimum, [*shlex.split(asked.ssh)])
    if cluster == "local":
        return Local(asked.processes or 1, minimum, asked.devices_per_process, asked.pin)
    using = hosts or nodes.find_nodes(cluster)
    default = int(os.environ.get("SLURM_NTASKS_PER_NODE", 1)) if cluster == "slurm" else 1
    return Allocation(cluster, _worker_command(cluster), using, _each(asked.processes, using, default), minimum)


def processes_of(site: Site) -> tuple[int, int]:
    """How many processes a site starts, and devices of each; 0 where only they will know."""
    match site:
        case Local():
            return site.processes, site.devices
        case Hosts():
            return len(site.hosts) * site.each, 0
        case Pod():
            return site.pods * site.each, 0
        case Allocation():
            return len(site.nodes or [""]) * site.each, 0
    raise TypeError(f"no site: {site!r}")


def _worker_command(cluster: str) -> Callable[[list[str], list[str] | None, int], list[str]]:
    try:
        found: Callable[[list[str], list[str] | None, int], list[str]]
        found = importlib.import_module(f"experiments.clusters.{cluster}").worker_command
    except ModuleNotFoundError as error:
        raise InputError(f"cluster {cluster!r}: {error}") from None
    return found


def add_site_options(parser: argparse.ArgumentParser) -> None:
    """The options that say where processes run."""
    parser.add_argument("--processes", type=_count, metavar="N", help="of all hosts together (one a host)")
    parser.add_argument("--hosts", metavar="A,B,C", help="start them on these hosts, by ssh or by mpirun")
    parser.add_argument("--cluster", choices=CLUSTERS, default="auto", help="how they are started (auto)")
    parser.add_argument("--devices-per-process", type=int, default=0, metavar="N", help="simulated CPU devices of each")
    parser.add_argument("--pin", action="store_true", help="cores of its own for each process on this machine")
    parser.add_argument("--ssh", default=shlex.join(SSH), metavar="COMMAND", help="how a host is reached (%(default)s)")
    parser.add_argument("--elastic", action="store_true", help="go on with the processes or hosts that are left")
    parser.add_argument("--minimum", type=_count, default=1, metavar="N", help="with --elastic: fewest processes (1)")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.launch", description=__doc__)
    parser.add_argument(
        "words", nargs="+", metavar="CONFIG | FILE.toml | section.key=value", help="config file, overlays, overrides"
    )
    parser.add_argument("--run", metavar="FOLDER", help="the run's folder (runs/NAME)")
    parser.add_argument("--overwrite", action="store_true", help="delete a run that is in the folder")
    add_site_options(parser)
    patience = Policy()
    for name, what in (
        ("restarts", "how often to start again without progress in between"),
        ("hang", "seconds without a step after which the processes count as hanging"),
        ("begin", "the same before the first step"),
        ("grace", "seconds from SIGTERM to SIGKILL after a loss"),
        ("save", "seconds for saving after SIGTERM"),
    ):
        default = getattr(patience, name)
        parser.add_argument(f"--{name}", type=type(default), default=default, metavar="N", help=f"{what} (%(default)g)")
    return parser


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Launch's words, and those after `--` for train."""
    at = words.index("--") if "--" in words else len(words)
    train = words[at + 1 :]
    for word in ("--run", "--resume", "--overwrite", "--config"):
        if word in train:
            raise InputError(f"{word} after --: launch says this to train itself, expected it before --")
    return words[:at], train


def _each(processes: int | None, hosts: Sequence[object] | None, default: int = 1) -> int:
    """Processes on each host."""
    if processes is None or hosts is None:
        return processes or default
    if processes % len(hosts):
        raise InputError(f"--processes: got {processes} on {len(hosts)} hosts, expected a multiple of {len(hosts)}")
    return processes // len(hosts)


def _events(site: Site) -> str:
    """Pods of one job share the run's folder, and each has its own events."""
    return f"launch-{site.pod}.jsonl" if isinstance(site, Pod) and site.pod else FILE


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"got {count}, expected at least 1")
    return count


if __name__ == "__main__":
    run(main)
