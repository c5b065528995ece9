"""One of two processes of a training is killed at a random step, again and again: how long until the next step?

Trainings of the same config by `experiments.launch` on two processes of this machine. One is left alone; in two others
SIGKILL ends one of the processes ten times, each time at a random step. Counted are the seconds from the kill to the
first step that is done after it, the steps that had to be done again, and whether the final parameters are the same bit
for bit. One of the two waits for each checkpoint (`training.checkpoint_wait`), so that no kill can cost more than an
interval; in the other they are written while training goes on, and a kill in that moment costs an interval and the
steps that were done meanwhile. The same steps are killed in both.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.child import ROOT
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run
from experiments.supervision.events import read_events
from pnol_jax.sharding.heartbeat import heartbeat_file, read_beat

PROCESSES, INTERVAL, APART = 2, 25, 60  # steps between checkpoints, and at most between the kills
PATIENCE = 300.0
CONFIG = """
name = "recovery"
[data]
train = ["{folder}/cases"]
inputs = ["permeability"]
outputs = ["pressure"]
axes = [{{ kind = "bounded" }}, {{ kind = "bounded" }}]
[operator]
name = "fno"
modes = [8, 8]
width = 16
[training]
steps = {steps}
batch_size = 8
checkpoint_every = {interval}
checkpoint_wait = {wait}
[calibration]
kind = "none"
"""


@dataclass(frozen=True)
class Kill:
    """What one cost: seconds to the first step afterwards, and steps that are done again."""

    step: int
    seconds: float
    lost: int


def main() -> int:
    """Train twice, kill, compare."""
    parser = argument_parser(__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the steps and the processes that are killed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(["simulate", "darcy", "--cases", "48", "--points", "16", "--out", str(folder / "cases")])
        steps = (options.kills + 1) * APART
        for wait in ("true", "false"):
            text = CONFIG.format(folder=folder, steps=steps, interval=INTERVAL, wait=wait)
            (folder / f"{wait}.toml").write_text(text)
        _run(_launch(folder, "true", "whole"))
        waited = _broken(folder, "true", random.Random(options.seed), options.kills)
        kills = _broken(folder, "false", random.Random(options.seed), options.kills)
        weights = [(folder / run / "model.safetensors").read_bytes() for run in ("whole", "true", "false")]
    _show("waiting for each checkpoint", waited)
    _show("writing them meanwhile", kills)
    seconds = [kill.seconds for kill in waited + kills]
    return report(
        [
            Figure("recovery_seconds_p50", float(np.median(seconds)), "s", 20.0, less=True),
            Figure("recovery_seconds_max", max(seconds), "s", 60.0, less=True),
            _lost("recovery_steps_lost_max", waited),
            _lost("recovery_steps_lost_max_asynchronous", kills),
            Figure("recovery_bitwise", float(len(set(weights)) == 1), "share", 1.0, at_least=1.0),
        ],
        options.json,
    )


def _lost(name: str, kills: list[Kill]) -> Figure:
    return Figure(name, max(kill.lost for kill in kills), "steps", INTERVAL, less=True)


def _broken(folder: Path, wait: str, draws: random.Random, count: int) -> list[Kill]:
    run, kills = folder / wait, []
    process = subprocess.Popen(_command(_launch(folder, wait, wait)), cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        for number in range(count):
            first = number * APART  # so that every kill has steps of its own
            step, pids = _until_step(run, first + draws.randrange(1, APART), process)
            victim, now = draws.randrange(PROCESSES), time.monotonic()
            os.kill(pids[victim], signal.SIGKILL)
            _until_step(run, 1, process, pids)
            seconds = time.monotonic() - now
            kills.append(Kill(step, seconds, step - _restored(run)))
        if process.wait(PATIENCE):
            raise RuntimeError(f"the broken run ended with {process.returncode}")
        return kills
    finally:
        process.terminate()  # its workers end with it
        process.wait(PATIENCE)


def _until_step(
    run: Path, step: int, process: "subprocess.Popen[bytes]", gone: Sequence[int] = ()
) -> tuple[int, list[int]]:
    """Wait until every process has done a step, none of those that are `gone`; the furthest, and the process ids."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        beats = [read_beat(heartbeat_file(run, index)) for index in range(PROCESSES)]
        steps = [beat.step or 0 for beat in beats if beat and beat.pid not in gone]
        if len(steps) == PROCESSES and min(steps) >= step:
            return max(steps), [beat.pid for beat in beats if beat]
        time.sleep(0.005)
    raise RuntimeError(f"no step {step} within {PATIENCE:g} s; the launch's status is {process.poll()}")


def _restored(run: Path) -> int:
    """The checkpoint from which the processes that now run began."""
    return next((event.get("step", 0) for event in reversed(read_events(run)) if event["event"] == "started"), 0)


def _launch(folder: Path, wait: str, run: str) -> list[str]:
    words = ["launch", str(folder / f"{wait}.toml"), "--run", str(folder / run), "--processes", str(PROCESSES)]
    return [*words, "--restarts", "100", "--", "--no-report"]


def _command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", f"experiments.{words[0]}", *words[1:]]


def _run(words: Sequence[str]) -> None:
    done = subprocess.run(_command(words), cwd=ROOT, check=False, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {done.stderr[-1000:]}")


def _show(how: str, kills: Sequence[Kill]) -> None:
    table = Table(
        "killed at step",
        "seconds to the next step",
        "steps done again",
        title=f"SIGKILL of one of two processes, {how}",
    )
    for kill in kills:
        table.add_row(str(kill.step), f"{kill.seconds:.1f}", str(kill.lost))
    Console().print(table)


if __name__ == "__main__":
    run(main)
