"""Two versions of a model that differ in the noise that they believe in; the truth's is `heat.NOISE`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests import heat

GRID = heat.grid(12)
LABELS = 'stable = "1"\ncanary = "2"\n'


def write(models: Path, version: str, noise: float) -> None:
    """The version `line/VERSION`."""
    weights = heat.weights(1) | {"noise": np.float32([noise]), "spread": np.float32([0])}
    only = {"signature": heat.signature(1, ["moments"]), "predict": heat.uncalibrated, "calibration": None}
    heat.write(models, "line", version, axes=1, weights=weights, **only)


def write_both(models: Path) -> None:
    """`line/1`, which is calibrated, and `line/2`, which is far too confident."""
    write(models, "1", heat.NOISE)
    write(models, "2", heat.NOISE / 5)


def case(generator: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A field, (12, 1), and what comes true of it."""
    scale = np.float32(generator.uniform(1, 2))
    field, solution = heat.wave(GRID, 1)
    return scale * field, scale * solution + heat.NOISE * generator.standard_normal(solution.shape)
