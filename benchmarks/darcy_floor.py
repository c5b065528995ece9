"""How much of the error on the Darcy set is the data's own: what a solver makes of the same samples.

The permeability is known at n x n points only; where between two points it jumps is not. Here each point's value is
taken for the cell around it, and -div(a grad u) = f is solved on cells `FINER` times smaller. The two values' ratio and
the source are not in the files: the ratio is fitted to the first `FITTED` cases at n = 32, the source to each set. What
then is left of the relative L2 error is what the samples do not tell, by this reading of them.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from benchmarks.report import Figure, argument_parser, report
from experiments import fetch
from pnol_jax.data.simulators.darcy import solve_darcy

FINER, FITTED = 4, 8
Fields = NDArray[np.float64]


def main() -> int:
    """Fit the ratio, then compare with both test sets."""
    options = argument_parser(__doc__).parse_args()
    fetch.main(["darcy"])
    sets = {n: np.load(Path("data/darcy") / f"darcy_test_{n}.npz") for n in (16, 32)}
    fitted, pressures = sets[32]["permeability"][:FITTED], interior(sets[32]["pressure"][:FITTED])
    found = minimize_scalar(
        lambda ratio: own_error(fitted, pressures, ratio), bounds=(0.03, 0.1), method="bounded", options={"xatol": 1e-3}
    )
    figures = [Figure("darcy_ratio_of_permeabilities", float(1 / found.x), "", 20.0)]
    for n, cases in sets.items():
        error = own_error(cases["permeability"], interior(cases["pressure"]), found.x)
        figures.append(Figure(f"darcy_own_error_{n}", error, "relative", 0.0))
    return report(figures, options.json)


def interior(fields: NDArray[np.float32]) -> Fields:
    """What does not lie on the edge, (cases, n - 1, n - 1)."""
    return fields[:, 1:, 1:].astype(np.float64)


def own_error(permeability: NDArray[np.uint8], pressure: Fields, ratio: float) -> float:
    """The mean relative L2 error of the solver's pressure, scaled to the set by least squares."""
    solved = np.stack([solution(case, ratio) for case in permeability])
    error = solved * (np.vdot(solved, pressure) / np.vdot(solved, solved)) - pressure
    return float(np.mean(np.linalg.norm(error, axis=(1, 2)) / np.linalg.norm(pressure, axis=(1, 2))))


def solution(permeability: NDArray[np.uint8], ratio: float) -> Fields:
    """The pressure at the points i/n, 0 < i < n, where the permeability is 1 for a 1 and `ratio` for a 0."""
    n = len(permeability)
    nearest = np.minimum(np.rint((np.arange(n * FINER) + 0.5) / FINER).astype(int), n - 1)
    cells = np.where(permeability == 1, 1.0, ratio)[np.ix_(nearest, nearest)]
    u = solve_darcy(cells, np.ones_like(cells))
    after = np.arange(1, n) * FINER
    around = [u[np.ix_(i, j)] for i in (after - 1, after) for j in (after - 1, after)]
    return np.mean(around, axis=0)


if __name__ == "__main__":
    sys.exit(main())
