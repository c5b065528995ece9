"""From the start of the service to its first answer: with programs that an earlier start compiled, and without.

The model is an FNO of width 32 with 12 modes on up to 64x64 points, in five batch sizes; every start checks digests,
replays the test vector and runs each program to see what it costs.
"""

import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

from benchmarks import served_models, servers
from benchmarks.child import ROOT
from benchmarks.measure import paired_ratio
from benchmarks.report import Figure, argument_parser, report
from benchmarks.serving import SIZES
from experiments.command import run
from pnol_jax.ports import free_port

MODEL = "medium"


def main() -> int:
    """Start in turns, warm and cold."""
    asked = argument_parser(__doc__, rounds=5).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models, kept, fresh = (Path(folder) / name for name in ("models", "kept", "fresh"))
        served_models.write(models, [MODEL])
        first_answer(models, kept)
        warm, cold = [], []
        for _ in range(asked.rounds):
            warm.append(first_answer(models, kept))
            shutil.rmtree(fresh, ignore_errors=True)
            cold.append(first_answer(models, fresh))
    return report(
        [
            Figure("ready_seconds", float(np.median(warm)), "s", 3.0, less=True),
            Figure("ready_seconds_without_executables", float(np.median(cold)), "s", 10.0, less=True),
            Figure.of_ratio("cold_over_warm", paired_ratio(np.asarray(cold), np.asarray(warm)), 2.0),
        ],
        asked.json,
    )


def first_answer(models: Path, executables: Path) -> float:
    """Seconds from a start to an answer."""
    port = free_port()
    command = servers.ours(models, port, "--batch-sizes", str(list(SIZES)), "--executables", str(executables))
    size = served_models.SERVED[MODEL].bucket
    body = str(np.zeros((size, size)).tolist())
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict",
        f'{{"inputs": {body}}}'.encode(),
        {"content-type": "application/json"},
    )
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            if not process.stdout.readline().startswith("ready"):
                raise RuntimeError("the service ended before it was ready")
            with urllib.request.urlopen(request) as answer:
                answer.read()
            return time.perf_counter() - began
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    run(main)
