"""The versions that `benchmarks.ab` compares, and cases whose truth is the inputs plus noise."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pnol_jax.bases import GridOperands
from pnol_jax.predictive import Predictive
from pnol_jax.servable import AxisSignature, BasisSignature, Channel, Signature, write_servable
from serving.engine import Engine
from serving.repository import Repository
from serving.settings import Settings

MODEL, POINTS, NOISE = "field", 64, 0.1
VERSIONS = {
    "1": (1.0, 0.0),
    "2": (0.5, 0.0),
    "3": (1.0, 0.5),
    "4": (1.0, -0.5),
}  # believed noise and bias, of the noise


@contextlib.contextmanager
def loaded(folder: Path) -> Iterator[tuple[Repository, Engine]]:
    """The versions, written and loaded, and an engine."""
    for version, (belief, bias) in VERSIONS.items():
        write(folder, version, belief * NOISE, bias * NOISE)
    repository = Repository(Settings(str(folder), batch_sizes=(1,), poll_seconds=0))
    engine = Engine(queue_cases=64, operands_bytes=2**20, utilisation_window=60.0)
    try:
        repository.load()
        yield repository, engine
    finally:
        repository.stop()
        engine.close()


def write(folder: Path, version: str, noise: float, bias: float) -> None:
    """A version whose mean is the inputs plus a bias, and which believes in this noise."""
    basis = BasisSignature("fourier", POINTS // 8)
    signature = Signature(
        inputs=(Channel("state"),),
        outputs=(Channel("state"),),
        axes=(AxisSignature("x", "", "periodic", 1.0, basis),),
        method="stated",
    )
    weights = {"noise": np.array([noise], np.float32), "bias": np.array([bias], np.float32)}
    case = np.sin(2 * np.pi * np.arange(POINTS) / POINTS, dtype=np.float32)[:, None]
    tests = [(case, signature.uniform_grid([POINTS]))]
    write_servable(
        folder,
        MODEL,
        version,
        predict=predict,
        weights=weights,
        signature=signature,
        buckets=[(POINTS,)],
        num_samples=0,
        tests=tests,
        calibration=None,
        provenance={},
    )


def predict(
    weights: dict[str, Any], inputs: jax.Array, grid: GridOperands, key: jax.Array, *, num_samples: int = 0
) -> Predictive:
    """The inputs are the mean; the noise is stated."""
    mean = inputs + weights["bias"]
    return Predictive(mean, jnp.broadcast_to(weights["noise"] ** 2, mean.shape), jnp.zeros_like(mean))


def cases(seed: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """A field, (points, 1), and what comes true of it, without end."""
    generator = np.random.default_rng(seed)
    while True:
        field = generator.standard_normal((POINTS, 1), np.float32)
        yield field, field + NOISE * generator.standard_normal(field.shape)
