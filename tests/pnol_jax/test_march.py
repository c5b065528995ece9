"""Draws of a rollout keep what is theirs: an operator at every step, and noise of each step alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax.bases import GridOperands, stack_operands
from pnol_jax.operators import stochastic
from pnol_jax.operators.layout import enter, fold, leave, unfold
from pnol_jax.operators.transforms import analyse, synthesise
from pnol_jax.posterior_config import DropConfig, DropoutConfig, HeadsConfig, SWAGConfig, VariationalConfig
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.dropout import Dropout
from pnol_jax.posteriors.ensemble import Ensemble
from pnol_jax.posteriors.gaussian_weights import GaussianWeights
from pnol_jax.posteriors.heads import Heads
from pnol_jax.posteriors.laplace import Laplace
from pnol_jax.posteriors.laplace.structure import Full
from pnol_jax.posteriors.laplace.subset import Subset
from pnol_jax.posteriors.march import march
from pnol_jax.posteriors.residuals import LEAST_VARIANCE, NOISE
from pnol_jax.posteriors.swag import SWAG
from pnol_jax.posteriors.variational import LOG_NOISE, Variational
from tests.linear import BASES, Pointwise, Spectral, constants, field, operands, problem

pytestmark = pytest.mark.usefixtures("x64")
N, STEPS, KEY = 7, 3, 5
DRIFT, SPREAD, VARIANCE = 0.2, 0.3, 0.04
Made = tuple[Any, dict[str, jax.Array]]


def base(apply: Callable[..., jax.Array], **names: Any) -> Deterministic:
    return Deterministic(apply, lambda seed: {}, 1, names, heteroscedastic=False)


def drifting() -> Deterministic:
    """u -> u + drift, everywhere the same."""
    return base(lambda params, inputs, grid: inputs + params["drift"], drift=(None,))


def _variational(one: Deterministic) -> Made:
    weights = GaussianWeights({"drift": (1,)}, one.names, rank=0, prior=1.0, start=1.0)
    known = {"operator.deviation.drift": jnp.full(1, np.log(SPREAD)), LOG_NOISE: jnp.full(1, np.log(VARIANCE))}
    return Variational(one, weights, cases=1, observations=1.0, draws=2), known


def _swag(one: Deterministic) -> Made:
    """Half of the variance is diagonal's, and half that of two opposite deviations."""
    deviations = SPREAD * jnp.asarray([[1.0], [-1.0]]) / 2**0.5
    known = {"swag.variance.drift": jnp.full(1, SPREAD**2), "swag.deviations.drift": deviations}
    return SWAG(one, SWAGConfig(steps=4, every=2, rank=2), {"drift": (1,)}), known | {NOISE: jnp.full(1, VARIANCE)}


def _laplace(one: Deterministic) -> Made:
    subset = Subset({"operator.drift": (1,)}, one.axes, last_layer=True)
    known = {"laplace.root.root": jnp.full((1, 1), SPREAD), "laplace.index": jnp.zeros(1, jnp.int32)}
    return Laplace(one, subset, Full()), known | {"laplace.noise": jnp.ones(1), NOISE: jnp.full(1, VARIANCE)}


@pytest.mark.parametrize("make", [_variational, _swag, _laplace])
def test_an_error_of_the_operator_grows_with_the_steps_and_noise_with_their_root(
    make: Callable[[Deterministic], Made],
) -> None:
    """The covariance of the errors after steps j and k is j k s^2 + min(j, k) v."""
    posterior, known = make(drifting())
    params, draws = {"operator.drift": jnp.full(1, DRIFT)} | known | constants(1, 1), 4000
    states = marched((posterior, params), jnp.ones((1, N, 1)), operands(N), draws)[:, :, 0, :, 0]
    step = np.arange(1, STEPS + 1)
    exact = SPREAD**2 * np.outer(step, step) + (VARIANCE + LEAST_VARIANCE) * np.minimum.outer(step, step)
    error = 5 * np.sqrt((np.outer(np.diag(exact), np.diag(exact)) + exact**2) / draws)
    np.testing.assert_array_less(np.abs(np.cov(states[:, :, 0]) - exact), error)
    np.testing.assert_allclose(states.mean(axis=(1, 2)), 1 + DRIFT * step, atol=5 * (exact.max() / draws) ** 0.5)
    two = np.mean((states[:, :, 0] - states[:, :, 1]) ** 2, axis=1)  # what is left of it is noise
    np.testing.assert_allclose(two, 2 * step * (VARIANCE + LEAST_VARIANCE), rtol=5 * (2 / draws) ** 0.5)


def marching(made: Made, draws: int) -> Callable[..., jax.Array]:
    """From inputs, grid and key to the states of every step, (steps, draws, batch, *space, out)."""
    posterior, params = made
    return jax.jit(lambda inputs, grid, key: march(posterior, params, inputs, grid, key, STEPS, draws))


def marched(made: Made, inputs: jax.Array, grid: GridOperands, draws: int) -> np.ndarray[Any, Any]:
    """Those states with one key."""
    return np.asarray(marching(made, draws)(inputs, grid, jax.random.key(KEY)))


def _members(noise: float = 0.0) -> Made:
    ensemble = Ensemble(problem(Spectral, 1, 1).network(1), 3)
    return ensemble, ensemble.initial(0) | constants(1, 1) | {NOISE: jnp.full((3, 1), noise)}


def _heads() -> Made:
    heads = Heads.build(HeadsConfig(heads=3, heteroscedastic=False), problem(Pointwise, 1, 1))
    return heads, heads.initial(0) | constants(1, 1) | {NOISE: jnp.zeros((3, 1))}


def _multi_swag(spread: float = 0.0) -> Made:
    """Three members, with weights that are known exactly unless there is a spread."""
    config = SWAGConfig(members=3, heteroscedastic=False, steps=4, every=2, rank=2)
    swag = SWAG.build(config, problem(Spectral, 1, 1))
    params = swag.initial(0)
    for name, shape in swag.shapes.items():
        params["swag.variance." + name] = jnp.full((3, *shape), spread)
        params["swag.deviations." + name] = jnp.full((2, 3, *shape), spread)
    return swag, params | constants(1, 1) | {NOISE: jnp.zeros((3, 1))}


@pytest.mark.parametrize("make", [_members, _heads, _multi_swag])
@pytest.mark.parametrize("draws", [7, 2])
def test_every_draw_is_the_rollout_of_one_member_alone(make: Callable[[], Made], draws: int) -> None:
    """So the spread of as many draws as members after any steps is that of the members, each marched by itself."""
    posterior, params = make()
    inputs, grid = field(2, N, 1), operands(N)
    states = marched((posterior, params), inputs, grid, draws)
    one = getattr(posterior.base, "base", posterior.base)
    for draw in range(draws):
        own = {name: value[draw % 3] if name.startswith("operator.") else value for name, value in params.items()}
        state = inputs
        for step in range(STEPS):
            state = one.mean(own, state, grid)
            np.testing.assert_allclose(states[step, draw], state, atol=1e-12)


def _masked() -> Made:
    """u -> u, of which half the modes are dropped."""

    def apply(params: Any, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        modes = analyse(unfold(enter(inputs, grid), grid), grid)
        return leave(fold(synthesise(stochastic.drop_modes(modes, "layer", BASES), grid)), grid)

    dropout = Dropout(base(apply), DropConfig(spectral=0.5), draws=2)
    return dropout, constants(1, 1) | {NOISE: jnp.zeros(1)}


def test_a_draw_keeps_its_mask() -> None:
    """A mode that the first step has kept is kept by all, and doubled at a rate of a half; other masks drop it."""
    states = marched(_masked(), jnp.ones((1, N, 1)), operands(N), draws=400)[:, :, 0, :, 0].mean(axis=-1)
    kept = states[0] > 1
    assert 0.4 < kept.mean() < 0.6
    for step in range(STEPS):
        np.testing.assert_allclose(states[step], np.where(kept, 2.0 ** (step + 1), 0.0), atol=1e-12)


def _drawn_weights() -> Made:
    config = VariationalConfig(heteroscedastic=False, parameters=["operator.*"], rank=2, initial=0.3)
    posterior = Variational.build(config, problem(Spectral, 1, 1, cases=1))
    return posterior, posterior.initial(0) | constants(1, 1) | {LOG_NOISE: jnp.full(1, -2.0)}


def _dropped() -> Made:
    config = DropoutConfig(heteroscedastic=False, dropout=DropConfig(spectral=0.3))
    posterior = Dropout.build(config, problem(Spectral, 1, 1))
    return posterior, posterior.initial(0) | constants(1, 1) | {NOISE: jnp.full(1, 0.1)}


def _noisy_members() -> Made:
    return _members(noise=0.1)


def _noisy_swag() -> Made:
    return _multi_swag(spread=0.1)


@pytest.mark.parametrize("make", [_noisy_members, _noisy_swag, _dropped, _drawn_weights])
def test_what_is_drawn_is_a_matter_of_the_key_and_not_of_padding(make: Callable[[], Made]) -> None:
    run, inputs, bucket = marching(make(), draws=4), field(2, N, 1), N + 2
    states = run(inputs, operands(N), jax.random.key(KEY))
    assert np.abs(states - run(inputs, operands(N), jax.random.key(KEY + 1))).max() > 1e-2
    padded = jnp.pad(inputs, [(0, 0), (0, bucket - N), (0, 0)], constant_values=7.0)
    again = run(padded, stack_operands([operands(N, bucket)] * 2), jax.random.key(KEY))
    np.testing.assert_allclose(again[:, :, :, :N], states, atol=1e-12)


def test_a_draw_costs_one_operator_a_step_whatever_the_number_of_members() -> None:
    """Asked through `predict`, every member would answer every draw: three times as many."""
    evaluations = []

    def apply(params: Any, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        jax.debug.callback(lambda _: evaluations.append(1), jnp.sum(inputs))
        return params["slope"] * inputs

    ensemble = Ensemble(base(apply, slope=(None,)), 3)
    params = {"operator.slope": jnp.asarray([[0.9], [1.0], [1.1]]), NOISE: jnp.zeros((3, 1))} | constants(1, 1)
    marched((ensemble, params), jnp.ones((1, N, 1)), operands(N), draws=6)
    jax.effects_barrier()
    assert len(evaluations) == 6 * STEPS
