"""The project shown by doing it: `python -m experiments.demo [--feature NAME] [--out DIR]`.

Each feature runs for real on this machine, live in the terminal, and ends as a part of `index.html`. The fleet needs
HAProxy. The Darcy model is trained on first use and kept in DIR; further words override its config.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from experiments.command import run
from experiments.demo.features import FEATURES
from experiments.demo.live import Live
from experiments.demo.page import write_page
from experiments.demo.shown import Shown, Stage
from serving.fleet.balancer.process import find_haproxy

NEED_HAPROXY = ("recovery", "autoscaling")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one feature or all of them, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m experiments.demo", description=__doc__)
    parser.add_argument("--feature", choices=list(FEATURES), help="this one alone")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), metavar="DIR", help="folder of page and model")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="overrides of the Darcy config")
    asked = parser.parse_args(arguments)
    names = [asked.feature] if asked.feature else list(FEATURES)
    if set(names) & set(NEED_HAPROXY):
        find_haproxy()  # or say which package is missing, before anything runs
    signal.signal(signal.SIGTERM, _leave)
    asked.out.mkdir(parents=True, exist_ok=True)
    shown: dict[str, Shown] = {}
    with Live() as live:
        for name in names:
            title, show = FEATURES[name]
            stage = Stage(asked.out.absolute(), live.begin(title), tuple(asked.overrides))
            began = time.perf_counter()
            shown[name] = replace(show(stage), seconds=time.perf_counter() - began)
            live.end(shown[name])
    page = write_page(asked.out, {name: FEATURES[name][0] for name in names}, shown)
    live.close(page)
    return 0


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
