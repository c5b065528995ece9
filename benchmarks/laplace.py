"""Linearised Laplace against laplax: time and memory of fit and prediction, and agreement of what they predict.

Same FNO, parameters, cases, prior and noise (`laplace_problem.py`), each side in a process of its own, in turns. The
peer is asked for the last layer in two ways and compared by the faster. Agreement is in float64; beside it stands how
far either side is from that in float32. In low rank both draw a direction to begin with, and ours predicts by random
vectors, so that no figure compares the answers.

LUNO's own code (github.com/MethodsOfMachineLearning/luno) is on no package index, nor is linox, which it needs and of
which no release is named: it cannot be pinned, so it is not run.
"""

import contextlib
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.child import Child
from benchmarks.laplace_problem import SIZES
from benchmarks.measure import Timings, alternate
from benchmarks.peers import KEEP_MEMORY, laplax
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run

OURS, PEER, FEATURES = "pnol_jax", "laplax", "laplax, on features"
TITLES = {"last_layer": "last layer, full", "low_rank": "all parameters, low rank"}
GOAL, TOLERANCE = 3.0, 1e-6


def ours(size: str, folder: Path, precision: str = "float32") -> Child:
    """Our side as a process."""
    return Child([sys.executable, "-m", "benchmarks.laplace_ours", size, folder, precision], KEEP_MEMORY)


def main() -> int:
    """Measure, then compare the answers."""
    options = argument_parser(__doc__, rounds=9, burst=1.0).parse_args()
    timings: dict[str, Timings] = {}
    figures: list[Figure] = []
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in SIZES:
            with contextlib.ExitStack() as stack:
                here, there = (stack.enter_context(make(size, folder)) for make in (ours, laplax))
                versions = {"laplax": there.facts["version"]}
                for operation in ("fit", "predict"):
                    sides = [here.side(OURS, operation), there.side(PEER, operation)]
                    if f"{operation}_on_features" in there.facts["memory"]:
                        sides.append(there.side(FEATURES, f"{operation}_on_features"))
                    measured = alternate(sides, options.rounds, options.burst)
                    timings[f"{TITLES[size]} ({here.facts['parameters']:,} parameters): {operation}"] = measured
                    figures += _compared(size, operation, measured, here, there)
            if size == "last_layer":
                single = _deviations(folder)
        figures += _agreement(folder, single)
    return report(figures, options.json, timings, versions)


def _compared(size: str, operation: str, measured: Timings, here: Child, there: Child) -> Iterable[Figure]:
    """Times and memory over ours, by the faster of the peer's sides."""
    last = "" if size == "last_layer" else f"_{size}"
    peer = min((name for name in measured.seconds if name != OURS), key=measured.median)
    key = operation if peer == PEER else f"{operation}_on_features"
    ratio = measured.ratio(peer, OURS)
    yield Figure(f"vs_laplax_{operation}{last}", ratio.value, "x", GOAL, interval=(ratio.low, ratio.high))
    spent = there.facts["memory"][key] / here.facts["memory"][operation]
    yield Figure(f"vs_laplax_{operation}_memory{last}", spent, "x", 1.0)


def _deviations(folder: Path) -> dict[str, NDArray[np.float64]]:
    """The standard deviations that the sides gave, by name."""
    found = {}
    for name in ("ours", "laplax"):
        with np.load(folder / f"{name}.npz") as arrays:
            found[name] = arrays["std"].astype(np.float64)
    return found


def _agreement(folder: Path, single: dict[str, NDArray[np.float64]]) -> Iterable[Figure]:
    """Both sides once more in float64, and what float32 costs each."""
    for make in (ours, laplax):
        make("last_layer", folder, "float64").close()
    double = _deviations(folder)
    apart = _apart(double["laplax"], double["ours"])
    yield Figure("laplace_agreement", apart, "relative", TOLERANCE, at_most=TOLERANCE)
    yield Figure("laplace_float32_error", _apart(single["ours"], double["ours"]), "relative", 1e-2, less=True)
    yield Figure("laplax_float32_error", _apart(single["laplax"], double["ours"]), "relative")


def _apart(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """The largest relative difference; what is not a number is infinitely far."""
    return float(np.nan_to_num(np.abs(found / expected - 1), nan=np.inf).max())


if __name__ == "__main__":
    run(main)
