"""Say whether this place is fit for a run: `python -m experiments.doctor [--processes N]`.

Starts processes as launch does, looks around in each, lets them meet, adds up 1 MB over their devices, writes and reads
a checkpoint. Prints what it found, and what is wrong in one sentence each; the exit status is 1 if anything is.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments.command import run
from experiments.diagnosis.findings import findings
from experiments.diagnosis.report import read_reports
from experiments.diagnosis.table import make_table
from experiments.launch import add_site_options, find_site
from experiments.supervision.nodes import find_cluster
from experiments.supervision.sites import Site
from experiments.supervision.workers import Worker, module

LIMIT = 180.0  # seconds for everything


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine, print, and say how it is."""
    asked = _parser().parse_args(arguments)
    folder = Path(asked.run)
    folder.mkdir(parents=True, exist_ok=True)
    show = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as inside:
        with Console(stderr=True).status("examining"):
            examine(find_site(asked), Path(inside), asked.limit)
        reports = read_reports(Path(inside))
        if reports:
            show.print(make_table(reports, _where(asked)))
        wrong = findings(reports)
        logs = _ends(Path(inside)) if wrong else ""
    for sentence in wrong:
        show.print(f"- {sentence}", style="bold red")
    print(logs, end="", file=sys.stderr)
    show.print("" if wrong else "nothing is wrong")
    return 1 if wrong else 0


def examine(site: Site, folder: Path, seconds: float = LIMIT) -> None:
    """Let the processes of a site leave their reports in a folder; those that take longer are ended."""
    workers, _ = site.start(module("experiments.diagnosis.probe", str(folder.absolute())), folder, ())
    try:
        _wait(workers, seconds)
    finally:
        for worker in workers:
            worker.close()


def _wait(workers: Sequence[Worker], seconds: float) -> None:
    end = time.monotonic() + seconds
    while any(worker.status() is None for worker in workers) and time.monotonic() < end:
        time.sleep(0.05)


def _where(asked: argparse.Namespace) -> str:
    cluster = find_cluster(os.environ) if asked.cluster == "auto" else asked.cluster
    return f"hosts {asked.hosts}" if asked.hosts else {"local": "this machine"}.get(cluster, cluster)


def _ends(folder: Path) -> str:
    """The last lines of each log that has any."""
    said = [(log.name, log.read_text(errors="replace").splitlines()[-5:]) for log in sorted(folder.glob("logs/*.log"))]
    return "".join(f"{name}: {line}\n" for name, lines in said for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.doctor", description=__doc__)
    parser.add_argument("--run", default="runs", metavar="FOLDER", help="where runs will be written (runs)")
    parser.add_argument("--limit", type=float, default=LIMIT, metavar="S", help="seconds for everything (%(default)g)")
    add_site_options(parser)
    return parser


if __name__ == "__main__":
    run(main)
