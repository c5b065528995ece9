"""Hand an experiment to a cluster, and ask for it again.

python -m experiments.submit CONFIG [section.key=value ...] --cluster local|slurm|... [--nodes N ...]
                             [-- words for experiments.launch]
python -m experiments.submit status|wait|logs|cancel ID
python -m experiments.submit history

The job's id is printed; the script, what it printed and how it ended are in `submit/` of the run's folder.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from experiments.clusters import arrays, flags, record, watch
from experiments.clusters.interface import Job, Request, Status, Submitted
from experiments.clusters.table import CLUSTERS
from experiments.command import load_config, run
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.toml import parse

STDOUT, SHOW = Console(soft_wrap=True, highlight=False), Console(stderr=True, soft_wrap=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hand a job in, or do what the first word says."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        return COMMANDS[words[0]](words[0], words[1:])
    return submit(words)


def submit(words: Sequence[str]) -> int:
    """Check the config, hand the job in, print its id."""
    at = words.index("--") if "--" in words else len(words)
    asked = _parser().parse_intermixed_args(words[:at])
    job = make_job(asked, words[at + 1 :])
    cluster = CLUSTERS[asked.cluster]
    if asked.dry_run:
        print(cluster.script(job), end="")
        return 0
    try:
        job_id = cluster.submit(job)
    except InputError as error:
        others = "--dry-run shows what would be handed in, --cluster local trains on this machine"
        raise error if asked.cluster == "local" else InputError(f"{error}; {others}") from None
    print(job_id)
    record.add(asked.cluster, job_id, job)
    SHOW.print(f"{job.name}: handed to {asked.cluster}; python -m experiments.submit wait {job_id}")
    return 0


def make_job(asked: argparse.Namespace, more: Sequence[str] = ()) -> Job:
    """The job that runs the launcher on a config, each task of an array in a folder of its own.

    Raises:
        InputError: the config is wrong, for any of the tasks: nothing wrong waits in a queue. Or the job would delete
            its own run when it is queued again.
    """
    if "--overwrite" in more:
        raise InputError(
            "--overwrite after --: a job that is queued again would delete what it has done; "
            "expected another --run FOLDER, or the old one removed beforehand"
        )
    config = load_config(asked.config, asked.overrides)
    changes, request = arrays.overrides(asked.array), flags.read(asked)
    for change in changes or [[]]:
        checked = load_config(asked.config, [*asked.overrides, *change])
        if not any(word.startswith("--processes") for word in more):
            _check_share(checked, request)
    folder = asked.run or f"runs/{config.name}"
    python = "python" if request.image else sys.executable  # an image has its own
    where = [*(["--elastic"] if request.elastic else []), *CLUSTERS[asked.cluster].launch_words(request)]
    command = [python, "-m", "experiments.launch", asked.config, *asked.overrides, *where]
    job = msgspec.structs.asdict(request) | {
        "name": config.name,
        "command": command if changes else [*command, "--run", folder, *more],
        "tasks": [[*change, "--run", f"{folder}/{number}", *more] for number, change in enumerate(changes)],
        "folder": folder,
        "workdir": str(Path.cwd()),
        "after": asked.after,
    }
    return parse(job, Job, "job")


def _check_share(config: ExperimentConfig, request: Request) -> None:
    """Refuse a batch that the job's processes cannot share."""
    from pnol_jax.sharding.mesh import check_processes  # here: jax takes a second to import

    processes = max(request.nodes, len(request.hosts)) * request.processes_per_node
    devices = request.devices_per_node // request.processes_per_node
    check_processes(config.mesh, config.training.batch_size, config.training.accumulate, processes, devices)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.submit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG", help="the config file")
    parser.add_argument("overrides", nargs="*", metavar="FILE.toml | section.key=value", help="overlays, overrides")
    parser.add_argument("--cluster", required=True, choices=CLUSTERS, help="where it runs")
    parser.add_argument("--run", metavar="FOLDER", help="the run's folder (runs/NAME); of an array: FOLDER/0, ...")
    parser.add_argument("--array", action="append", default=[], help="a task for each of 0-3 (seeds) or key=a,b,c")
    parser.add_argument("--after", action="append", default=[], metavar="ID", help="a job that must succeed before")
    parser.add_argument("--dry-run", action="store_true", help="print the script or manifest and hand nothing in")
    flags.add(parser)
    return parser


def _status(command: str, words: Sequence[str]) -> int:
    submitted, tasks = _asked(command, words)
    STDOUT.print(_table(watch.statuses(CLUSTERS[submitted.cluster], submitted, tasks)))
    return 0


def _wait(command: str, words: Sequence[str]) -> int:
    """Exit status 0 if every task succeeded, else 1."""
    submitted, tasks = _asked(command, words)
    with SHOW.status(f"{submitted.id}: asking") as line:
        found = watch.wait(
            CLUSTERS[submitted.cluster], submitted, tasks, lambda now: line.update(f"{submitted.id}: {_counts(now)}")
        )
    STDOUT.print(_table(found))
    return 0 if all(status.state == "done" for status in found) else 1


def _counts(found: Sequence[Status]) -> str:
    """How many are in which state; of a single one that waits, also why, as it may wait for what never comes."""
    if len(found) == 1 and found[0].state == "waiting":
        return f"waiting: {found[0].detail}".rstrip(": ")
    states = [status.state for status in found]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _logs(command: str, words: Sequence[str]) -> int:
    parser = _id_parser(command)
    parser.add_argument("--follow", action="store_true", help="go on until the job has ended")
    asked = parser.parse_args(words)
    submitted, tasks = record.find(asked.id)
    if asked.follow and len(tasks) > 1:
        raise InputError(f"{asked.id} has {len(tasks)} tasks, expected one to follow, such as {tasks[0]}")
    for task in tasks:
        for text in CLUSTERS[submitted.cluster].logs(submitted, task, follow=asked.follow):
            print(text, end="", flush=True)
    return 0


def _cancel(command: str, words: Sequence[str]) -> int:
    submitted, tasks = _asked(command, words)
    for status in watch.cancel(CLUSTERS[submitted.cluster], submitted, tasks):
        SHOW.print(f"{status.id} had ended before: {status.state} {status.detail}".rstrip())
    return 0


def _history(command: str, words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m experiments.submit {command}")
    parser.add_argument("--last", type=int, default=20, metavar="N", help="how many jobs, the newest (20)")
    last, found = parser.parse_args(words).last, record.everything()
    if not found:
        STDOUT.print("no job was submitted yet")
        return 0
    table = Table("submitted", "cluster", "id", "run", "state", box=None)
    for submitted in found[-last:]:
        table.add_row(submitted.when, submitted.cluster, submitted.id, submitted.job.folder, _state(submitted))
    STDOUT.print(table)
    return 0


def _state(submitted: Submitted) -> str:
    """How a job stands; of one whose cluster does not answer, why."""
    try:
        return _counts(watch.statuses(CLUSTERS[submitted.cluster], submitted, submitted.task_ids()))
    except InputError as error:
        return f"unknown: {error}"


def _id_parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m experiments.submit {command}")
    parser.add_argument("id", metavar="ID", help="of a job, or of a task of an array (JOB_2)")
    return parser


def _asked(command: str, words: Sequence[str]) -> tuple[Submitted, list[str]]:
    return record.find(_id_parser(command).parse_args(words).id)


def _table(found: Sequence[Status]) -> Table:
    table = Table("id", "state", "exit", "restarts", "where", "detail", box=None)
    for each in found:
        code = "" if each.exit is None else str(each.exit)
        table.add_row(each.id, each.state, code, str(each.restarts), each.where, each.detail)
    return table


COMMANDS: dict[str, Callable[[str, Sequence[str]], int]] = {
    "status": _status,
    "wait": _wait,
    "logs": _logs,
    "cancel": _cancel,
    "history": _history,
}

if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
