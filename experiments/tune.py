"""Search over configs: `python -m experiments.tune STUDY.toml [search.key=value ...]`.

Trials are trained in this process, on workers of this machine or on SLURM. The study's folder then holds the best
config, or those of the Pareto front, and report.html. The same command again goes on where it stopped; beside one that
runs, also on another host of a shared file system, it helps.
"""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from experiments.command import run
from experiments.jobs import add_flags, from_flags
from pnol_jax.errors import InputError
from pnol_jax.memory import keep_arena
from pnol_jax.training.interrupt import RESUME_ME


def main(arguments: Sequence[str] | None = None) -> int:
    """Search until the study has all its trials; write what was found, also where a signal stops it before."""
    asked = _parser().parse_intermixed_args(arguments)
    keep_arena()
    try:
        from experiments.search import opening, page, results
        from experiments.search.run import search
    except ImportError as error:
        raise InputError(f"a search needs {error.name}: pip install 'pnol-jax[tune]'") from None
    settings = from_flags(asked)
    study = opening.open_search(asked.study, asked.overrides, asked.run)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        finished = search(study, settings)
    except KeyboardInterrupt:
        finished = False
    configs = results.write_results(study)
    advice = results.advice(study, configs, opening.full_steps(asked.study, asked.overrides)) if configs else ""
    report = page.write_page(study, advice)
    if not finished:
        done = f"{len(study.finished())} of {study.total()} trials"
        console.print(f"{study.folder}: stopped; {done} are kept, and the same command again goes on from there")
        return RESUME_ME
    if configs:
        console.print(results.table(study))
        console.print(advice)
    console.print(f"report: {report}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.tune", description=__doc__)
    parser.add_argument("study", help="the study's TOML file")
    parser.add_argument("overrides", nargs="*", metavar="search.key=value", help="what differs from the file")
    parser.add_argument("--run", metavar="FOLDER", help="the study's folder (runs/NAME)")
    add_flags(parser)
    return parser


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
