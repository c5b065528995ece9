"""Flow matching in function space: a velocity that carries random functions to outputs, in few steps.

A random function x_0 and an output x_1 are joined by x_t = (1 - t) x_0 + t x_1; an operator that sees x_t, the inputs
and t is trained to give x_1 - x_0. Its flow from t = 0 to 1 then carries the law of x_0 to that of the outputs, given
the inputs (Lipman, Chen, Ben-Hamu, Nickel, Le 2023, Theorem 2; of functions Kerrigan, Migliorini, Smyth 2024). It has a
spectrum of its own and no grid (`random_field.py`), and the operator has none either, so a draw is a function.

With a mean beside it the flow is that of what the mean leaves over, in deviations of its head at each point: a field
of mean zero and variance one, for which few steps and a simple flow suffice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import CASES, SPACE
from pnol_jax.posterior_config import FlowConfig
from pnol_jax.posteriors import losses
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.problem import Problem
from pnol_jax.posteriors.protocol import NORMALISER, OPERATOR, Batch, FitBatch, Metrics, Params
from pnol_jax.posteriors.random_field import RandomField
from pnol_jax.posteriors.units import normal_inputs, normal_outputs, physical
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.partition import Axes

FLOW = OPERATOR + "flow."


@dataclass(frozen=True)
class Flow:
    """A velocity operator, and a mean with a head for its noise or none.

    Trained without being followed: on a trajectory each step starts from the true state before it, with the run's input
    noise on it; the mean is trained as the deterministic posterior is. Drawn fields are those of one operator, so all
    variance stands under aleatoric.
    """

    velocity: Deterministic
    mean: Deterministic | None
    noise: RandomField
    heun: bool
    steps: int
    pairs: int
    members: int | None = None
    has_samples: bool = True

    @classmethod
    def build(cls, config: FlowConfig, problem: Problem) -> "Flow":
        """From its section of the config."""
        if not config.residual:
            problem.check_loss("flow", "flow matching")
        velocity = problem.network(problem.outputs, more_inputs=problem.outputs + 1, prefix=FLOW)
        mean = problem.network(problem.outputs, True, problem.training.loss) if config.residual else None
        noise = RandomField(config.noise, problem.bases)
        return cls(velocity, mean, noise, config.method == "heun", config.steps, config.pairs)

    @property
    def axes(self) -> Mapping[str, Axes]:
        """Those of both operators."""
        return {**self.velocity.axes, **(self.mean.axes if self.mean else {})}

    def initial(self, seed: int) -> Params:
        """The mean as the deterministic posterior's, the velocity from a start of its own."""
        return self.velocity.initial(seed) | (self.mean.initial(seed) if self.mean else {})

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The squared error of the velocity in normalised units, and the loss of the mean."""
        of_mean, of_states, of_flow = jax.random.split(key, 3)
        found = [
            self._matched(params, pair, grid, jax.random.fold_in(of_flow, step))
            for step, pair in enumerate(self._pairs(params, batch, of_states))
        ]
        matched = jnp.mean(jnp.stack(found))
        if self.mean is None:
            return matched, {"flow": matched}
        total, metrics = self.mean.loss(params, batch, grid, of_mean)
        return total + matched, metrics | {"flow": matched}

    def _pairs(self, params: Params, batch: Batch, key: jax.Array) -> list[Batch]:
        """Inputs and outputs of each step; of a trajectory the inputs are the true states, with noise."""
        if batch.outputs.ndim == batch.inputs.ndim:
            return [batch]
        channels, size = batch.outputs.shape[-1], self.velocity.state_noise(params)
        state, static = batch.inputs[..., :channels], batch.inputs[..., channels:]
        pairs = []
        for step, outputs in enumerate(jnp.moveaxis(batch.outputs, 1, 0)):
            noisy = state + size * collectives.normal(jax.random.fold_in(key, step), state.shape, state.dtype)
            pairs.append(Batch(jnp.concatenate([noisy, static], axis=-1), outputs))
            state = outputs
        return pairs

    def _matched(self, params: Params, pair: Batch, grid: GridOperands, key: jax.Array) -> jax.Array:
        of_noise, of_time = jax.random.split(key)
        mean, deviation = self._around(params, pair.inputs, grid)
        aim = (normal_outputs(params, pair.outputs) - lax.stop_gradient(mean)) / lax.stop_gradient(deviation)
        start = self.noise.draw(of_noise, grid, aim.shape[0], aim.shape[-1], aim.dtype)
        time = _times(of_time, aim)
        found = self._velocity(params, start + time * (aim - start), normal_inputs(params, pair.inputs), time, grid)
        return losses.batch_mean(losses.domain_mean(jnp.square(found - (aim - start)), grid))

    def _around(self, params: Params, inputs: jax.Array, grid: GridOperands) -> tuple[jax.Array | float, ...]:
        """What the flow's fields are measured from and by, in normalised units."""
        if self.mean is None:
            return 0.0, 1.0
        mean, variance = self.mean.moments(params, inputs, grid)
        assert variance is not None
        return mean, jnp.sqrt(variance)

    def _velocity(
        self, params: Params, field: jax.Array, inputs: jax.Array, time: jax.Array, grid: GridOperands
    ) -> jax.Array:
        clock = jnp.broadcast_to(time, (*field.shape[:-1], 1)).astype(field.dtype)
        return self.velocity.raw(params, jnp.concatenate([field, inputs, clock], axis=-1), grid)

    def _carried(self, params: Params, field: jax.Array, inputs: jax.Array, grid: GridOperands) -> jax.Array:
        """A field of noise, carried along the flow from time 0 to 1 beside normalised inputs."""
        size = 1 / self.steps

        def step(field: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
            time = size * number.astype(field.dtype)
            first = self._velocity(params, field, inputs, time, grid)
            if not self.heun:
                return field + size * first, None
            second = self._velocity(params, field + size * first, inputs, time + size, grid)
            return field + size * (first + second) / 2, None

        # What an operator gives differs along whatever divides cases or space, and so must what it starts from.
        start = collectives.varying(field, (*CASES, *SPACE))
        carried: jax.Array = lax.scan(step, start, jnp.arange(self.steps))[0]
        return carried

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """Nothing."""
        return params

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """Moments of draws in pairs from opposite noise, the same for all cases; samples are draws of their own."""
        of_moments, of_samples = jax.random.split(key)
        normal = normal_inputs(params, inputs)
        mean, deviation = self._around(params, inputs, grid)
        shape = (inputs.shape[0], self.velocity.outputs, inputs.dtype)

        def pair(key: jax.Array) -> jax.Array:
            noise = self.noise.draw(key, grid, *shape, by_case=False)
            signs = jnp.array([1, -1], noise.dtype)
            both: jax.Array = lax.map(lambda sign: self._carried(params, sign * noise, normal, grid), signs)
            return both

        def sample(key: jax.Array) -> jax.Array:
            carried = self._carried(params, self.noise.draw(key, grid, *shape), normal, grid)
            return physical(params, mean + deviation * carried)

        centre, variance = _paired_moments(lax.map(pair, jax.random.split(of_moments, self.pairs)))
        samples = lax.map(sample, jax.random.split(of_samples, num_samples)) if num_samples else None
        aleatoric = (params[NORMALISER + "outputs.std"] * deviation) ** 2 * variance
        return Predictive(physical(params, mean + deviation * centre), aleatoric, jnp.zeros_like(aleatoric), samples)


def _times(key: jax.Array, like: jax.Array) -> jax.Array:
    """A time for each case, (batch, 1, ..., 1): uniform, and spread evenly over the batch."""
    cases = like.shape[0]
    numbers = collectives.index(CASES) * cases + jnp.arange(cases)
    times = (jax.random.uniform(key, (), like.dtype) + numbers / (cases * collectives.count(CASES))) % 1
    return times.reshape(-1, *(1,) * (like.ndim - 1)).astype(like.dtype)


def _paired_moments(drawn: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and unbiased variance of (pairs, 2, ...), draws that are independent between pairs only."""
    pairs, middle = drawn.shape[0], jnp.mean(drawn, axis=1)
    mean = jnp.mean(middle, axis=0)
    of_mean = jnp.sum(jnp.square(middle - mean), axis=0) / (pairs * (pairs - 1))
    return mean, jnp.mean(jnp.square(drawn - mean), axis=(0, 1)) + of_mean
