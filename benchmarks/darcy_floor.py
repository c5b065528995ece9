"""How much of the error on the Darcy set is the data's own: what a solver makes of the same samples.

The permeability is known at n x n points only; where between two points it jumps is not. Here each point's value is
taken for the cell around it, and -div(a grad u) = f is solved on cells `FINER` times smaller. The two values' ratio and
the source are not in the files: the ratio is fitted to the first `FITTED` cases at n = 32, which then do not count, the
source to each set. What is left of the relative L2 error is what the samples do not tell, by this reading of them, and
the solver's own error, which smaller cells show to be far less. The goals are what smaller cells should not change.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from benchmarks.report import Figure, argument_parser, report
from experiments import fetch
from experiments.command import run
from pnol_jax.data.simulators.darcy import solve_darcy

FINER, FITTED, BOUNDS = 4, 8, (0.03, 0.1)
Fields = NDArray[np.float64]


def main() -> int:
    """Fit the ratio, then compare with both test sets."""
    options = argument_parser(__doc__).parse_args()
    fetch.main(["darcy"])
    sets = {n: np.load(Path("data/darcy") / f"darcy_test_{n}.npz") for n in (16, 32)}
    fitted, pressures = sets[32]["permeability"][:FITTED], interior(sets[32]["pressure"][:FITTED])
    found = minimize_scalar(
        lambda ratio: own_error(fitted, pressures, ratio), bounds=BOUNDS, method="bounded", options={"xatol": 1e-3}
    )
    if not 1.05 * BOUNDS[0] < found.x < 0.95 * BOUNDS[1]:
        raise RuntimeError(f"the ratio was found at {found.x:g}, on a bound of {BOUNDS}")
    print(f"ratio of the two permeabilities: {1 / found.x:.1f}")
    figures = []
    for n, cases in sets.items():
        permeability, pressure = cases["permeability"][FITTED:], interior(cases["pressure"][FITTED:])
        error, again = (own_error(permeability, pressure, found.x, finer) for finer in (FINER, 2 * FINER))
        figures.append(Figure(f"darcy_own_error_{n}", error, "relative", again, less=True))
    return report(figures, options.json)


def interior(fields: NDArray[np.float32]) -> Fields:
    """What does not lie on the edge, (cases, n - 1, n - 1)."""
    return fields[:, 1:, 1:].astype(np.float64)


def own_error(permeability: NDArray[np.uint8], pressure: Fields, ratio: float, finer: int = FINER) -> float:
    """The mean relative L2 error of the solver's pressure, scaled to the set by least squares."""
    solved = np.stack([solution(case, ratio, finer) for case in permeability])
    error = solved * (np.vdot(solved, pressure) / np.vdot(solved, solved)) - pressure
    return float(np.mean(np.linalg.norm(error, axis=(1, 2)) / np.linalg.norm(pressure, axis=(1, 2))))


def solution(permeability: NDArray[np.uint8], ratio: float, finer: int) -> Fields:
    """The pressure at the points i/n, 0 < i < n, where the permeability is 1 for a 1 and `ratio` for a 0."""
    n = len(permeability)
    nearest = np.minimum(np.rint((np.arange(n * finer) + 0.5) / finer).astype(int), n - 1)
    cells = np.where(permeability == 1, 1.0, ratio)[np.ix_(nearest, nearest)]
    u = solve_darcy(cells, np.ones_like(cells))
    after = np.arange(1, n) * finer
    around = [u[np.ix_(i, j)] for i in (after - 1, after) for j in (after - 1, after)]
    return np.mean(around, axis=0)


if __name__ == "__main__":
    run(main)
