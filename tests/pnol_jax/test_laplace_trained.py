"""Structures of the curvature on a small trained FNO, in float32: how they order, and what becomes of them after."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pnol_jax.bases import Basis, make_operands
from pnol_jax.config import TrainingConfig
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import build_operator, functional
from pnol_jax.optimizer_config import AdamWConfig
from pnol_jax.posterior_config import LaplaceConfig
from pnol_jax.posteriors import Batch, FitBatch, build_posterior
from pnol_jax.posteriors.laplace.digest import digest
from pnol_jax.servable import AxisSignature, BasisSignature, Channel, Signature, load_servable, write_servable
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import initial_state, make_step

pytestmark = pytest.mark.slow

BASES, POINTS, CASES, STEPS = (Basis("fourier", 6),), 16, 24, 150
INNER = "*.blocks.1.mlp.*"  # 76 parameters
SIZES = {"fno": {"width": 8, "depth": 2}, "ffno": {"width": 8, "depth": 2}, "deeponet": {"width": 8, "features": 4}}
CONSTANTS = {f"normaliser.{name}": np.ones(1, np.float32) for name in ("inputs.std", "outputs.std")}
CONSTANTS |= {f"normaliser.{name}": np.zeros(1, np.float32) for name in ("inputs.mean", "outputs.mean")}


def grid(n: int = POINTS) -> Any:
    return make_operands(Grid((Axis.uniform(n),)), BASES)


def smoothing(cases: int, n: int = POINTS, seed: int = 0) -> Batch:
    """Random waves, and twice their integral squared: not linear in the input."""
    draws = np.random.default_rng(seed).standard_normal((cases, 2, 3))
    angle = 2 * np.pi * np.arange(1, 4)[:, None] * np.arange(n) / n
    waves = np.stack([np.cos(angle), np.sin(angle)])
    inputs = np.einsum("csk,skx->cx", draws, waves)[..., None]
    outputs = np.einsum("csk,skx->cx", draws / np.arange(1, 4), waves)[..., None] ** 2 / 4
    return Batch(jnp.asarray(inputs, jnp.float32), jnp.asarray(outputs, jnp.float32))


def laplace(operator: str = "fno", **options: Any) -> Any:
    def build(channels: int, seed: int | None) -> Any:
        return functional(build_operator(operator, 1, channels, BASES, SIZES[operator], nnx.Rngs(seed or 0)))

    given = LaplaceConfig(**{"heteroscedastic": False, "cache": ""} | options)
    return build_posterior(given, TrainingConfig(), build, 1)


@pytest.fixture(scope="module")
def params() -> Any:
    """An FNO after some steps."""
    made, batch = laplace(), smoothing(CASES)
    optimizer = make_optimizer(AdamWConfig(learning_rate=5e-3, warmup_steps=10), STEPS, None)
    state, step = initial_state(made, optimizer, 0, False), make_step(made, optimizer, 0.0)
    for _ in range(STEPS):
        state, metrics = step(state, CONSTANTS, batch, grid())
    assert metrics["relative_l2"] < 0.3
    return state.params | CONSTANTS


def data() -> list[FitBatch]:
    return [FitBatch(smoothing(CASES), grid(), jnp.ones(CASES))]


def deviation(made: Any, fitted: Any) -> Any:
    """The epistemic standard deviation of cases that it was not trained on."""
    return np.sqrt(jax.jit(made.predict)(fitted, smoothing(8, seed=1).inputs, grid(), jax.random.key(0)).epistemic)


@pytest.mark.slow
def test_structures_order_as_they_should(params: Any) -> None:
    """Against the full curvature: what is kept of the correlations brings the deviations nearer."""
    found = {}
    for name, options in {
        "full": {"structure": "full"},
        "kronecker": {"structure": "kronecker"},
        "diagonal": {"structure": "diagonal"},
        "rank 4": {"structure": "low_rank", "rank": 4},
        "rank 60": {"structure": "low_rank", "rank": 60},
    }.items():
        made = laplace(parameters=INNER, probes=76, prior_precision=1.0, noise="trained", **options)
        found[name] = deviation(made, made.fit(params, data))
    error = {name: np.abs(np.log(found[name] / found["full"])).mean() for name in found}
    assert error["kronecker"] < error["diagonal"]
    assert error["rank 60"] < 0.1 * error["rank 4"]
    assert error["rank 60"] < 0.01
    assert np.mean(found["rank 4"]) > np.mean(found["full"])  # what is not seen keeps the prior's variance


def test_a_kept_decomposition_gives_the_same_posterior(params: Any, tmp_path: Path) -> None:
    """It does not depend on the prior, of which the marginal likelihood prefers its own; nor is it another's."""
    kept = laplace(cache=str(tmp_path))
    fitted = kept.fit(params, data)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_ino
    again = kept.fit(params, data)
    for name, value in fitted.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)
    for options in ({"prior_precision": 1e-2}, {"prior_precision": 1e3}, {"noise": "trained"}):
        other = laplace(cache=str(tmp_path), **options).fit(params, data)
        assert other["laplace.log_marginal"] < fitted["laplace.log_marginal"]
    assert [file.stat().st_ino for file in tmp_path.iterdir()] == [written]
    kept.fit(params, lambda: data() * 2)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_digest_is_of_parameters_cases_and_options(params: Any) -> None:
    bias = "operator.projection.first.bias"
    found = [
        digest(params, data, "full"),
        digest(params, data, "diagonal"),
        digest(params, lambda: data() * 2, "full"),
        digest(params | {bias: 2 * params[bias]}, data, "full"),
    ]
    assert len(set(found)) == len(found)
    assert digest(dict(reversed(params.items())), data, "full") == found[0]


@pytest.mark.parametrize(
    ("operator", "structure", "parameters"),
    [
        ("fno", "full", "last_layer"),
        pytest.param("ffno", "kronecker", "all", marks=pytest.mark.slow),
        pytest.param("deeponet", "diagonal", "last_layer", marks=pytest.mark.slow),
    ],
)
def test_it_is_served_as_it_answers(operator: str, structure: str, parameters: str, tmp_path: Path) -> None:
    """With draws, on a padded grid: writing replays the programs against the model."""
    made = laplace(operator, structure=structure, parameters=parameters, probes=8, heteroscedastic=True)
    fitted = made.fit(made.initial(0) | CONSTANTS, data)
    axis = AxisSignature("x", "", "periodic", 1.0, BasisSignature("fourier", 6))
    signature = Signature((Channel("a", ""),), (Channel("u", ""),), (axis,), "laplace", ("moments", "samples"))
    case = np.asarray(smoothing(1).inputs[0]), Grid((Axis.uniform(POINTS),))
    folder = write_servable(
        tmp_path,
        "waves",
        "1",
        predict=made.predict,
        weights=fitted,
        signature=signature,
        buckets=[(POINTS + 2,)],
        num_samples=3,
        tests=[case],
        calibration=None,
        provenance={},
    )
    load_servable(folder).replay()
