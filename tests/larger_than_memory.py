"""Trains on a small set, then on a large one of the same kind, and prints how much more memory that took.

`python -m tests.larger_than_memory FOLDER` prints JSON, bytes: the `set`'s, and `more`, by which the memory that is the
process' own, without the pages of mapped files, which the system takes back, was larger at its peak.
"""

import json
import sys
import threading
from pathlib import Path

import numpy as np

from experiments.calibrate import calibrate
from experiments.experiment import open_experiment
from experiments.train import train_model
from pnol_jax.config import AxisConfig, DataConfig, ExperimentConfig, FNOConfig, TrainingConfig
from pnol_jax.data import sources
from pnol_jax.optimizer_config import AdamWConfig

POINTS, SMALL, LARGE, GROUPS = 64, 128, 1600, 6


class Peak(threading.Thread):
    """Looks at the process' memory all the time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes, self._stop_it = 0, threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        while not self._stop_it.wait(0.002):
            status = Path("/proc/self/status").read_text(encoding="ascii")
            line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
            self.bytes = max(self.bytes, 1024 * int(line.split()[1]))

    def __exit__(self, *_: object) -> None:
        self._stop_it.set()
        self.join()

    def __enter__(self) -> "Peak":
        self.start()
        return self


def write(folder: Path, cases: int) -> int:
    """A set in groups; its size in bytes."""
    some = np.random.default_rng(0).standard_normal((cases, POINTS, POINTS), np.float32)
    for group in range(GROUPS):
        (folder / str(group)).mkdir(parents=True)
        for name in "au":
            np.save(folder / str(group) / f"{name}.npy", some)
    return 2 * GROUPS * some.nbytes


def train(folder: Path, run: Path) -> int:
    """Open, train a few steps, calibrate; the largest memory in bytes."""
    axis, settings = AxisConfig(), TrainingConfig(steps=6, batch_size=4)
    data = DataConfig(train=[str(folder)], inputs=["a"], outputs=["u"], axes=[axis, axis], calibration=20)
    operator, optimizer = FNOConfig(modes=[4, 4], width=4, depth=1), AdamWConfig(warmup_steps=1)
    run.mkdir()
    with Peak() as peak:
        experiment = open_experiment(ExperimentConfig("big", data, operator, optimizer=optimizer, training=settings))
        calibrate(experiment, train_model(experiment, run))
    return peak.bytes


def main() -> None:
    """Train twice."""
    root = Path(sys.argv[1])
    small, large = root / "small", root / "large"
    write(small, SMALL)
    size = write(large, LARGE)
    sources.IN_MEMORY_BYTES = size // 2
    before = train(small, root / "run-small")
    print(json.dumps({"set": size, "more": train(large, root / "run-large") - before}))


if __name__ == "__main__":
    main()
