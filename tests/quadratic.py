"""A convex quadratic of parameters as an operator has them, and every optimiser at rates that suit it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pnol_jax.optimizer_config import (
    AdafactorConfig,
    AdamWConfig,
    CustomConfig,
    LAMBConfig,
    LARSConfig,
    LionConfig,
    MuonConfig,
    OptimizerConfig,
    PlateauConfig,
    ScheduleFreeAdamWConfig,
    ScheduleFreeSGDConfig,
    SGDConfig,
)
from pnol_jax.training.optimizers import make_optimizer

Params = dict[str, jax.Array]
STEPS = 400
SHAPES = {
    "operator.lifting.kernel": (2, 8),
    "operator.lifting.bias": (8,),
    "operator.blocks.0.spectral.kernel": (3, 4, 8, 2, 8),
    "operator.blocks.0.mlp.first.kernel": (8, 4),
    "operator.blocks.0.mlp_skip.gate": (8,),
    "operator.projection.second.kernel": (8, 2),
}
STILL: dict[str, Any] = {"weight_decay": 0.0}  # so that the quadratic's own minimum is where all of them end
CONFIGS: dict[str, OptimizerConfig] = {
    "adamw": AdamWConfig(learning_rate=0.05, **STILL),
    "adamw, plateau": AdamWConfig(
        learning_rate=0.05, warmup_steps=5, schedule=[PlateauConfig(window=5, patience=1)], **STILL
    ),
    "adamw, adaptive clipping": AdamWConfig(learning_rate=0.05, clip_adaptive=0.1, **STILL),
    "lion": LionConfig(learning_rate=0.03, **STILL),
    "sgd": SGDConfig(learning_rate=0.1, clip_norm=0.0, **STILL),
    "sgd, nesterov": SGDConfig(learning_rate=0.1, clip_norm=0.0, nesterov=True, **STILL),
    "lars": LARSConfig(learning_rate=20.0, trust_ratio_mask="all", clip_norm=0.0, **STILL),
    "lamb": LAMBConfig(learning_rate=0.05, **STILL),
    "adafactor": AdafactorConfig(learning_rate=0.05, min_dim_size_to_factor=4, **STILL),
    "adafactor, momentum": AdafactorConfig(learning_rate=0.05, min_dim_size_to_factor=4, momentum=0.9, **STILL),
    "muon": MuonConfig(learning_rate=0.1, **STILL),
    "schedule_free_adamw": ScheduleFreeAdamWConfig(learning_rate=0.1, **STILL),
    "schedule_free_sgd": ScheduleFreeSGDConfig(learning_rate=1.0, clip_norm=0.0, **STILL),
    "custom, schedule-free": CustomConfig(path="optax.contrib:schedule_free_adamw", learning_rate=0.1),
    "custom": CustomConfig(path="optax:adabelief", learning_rate=0.05),
}


def start(seed: int) -> Params:
    """Random parameters in JAX's default precision."""
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.standard_normal(shape)) for name, shape in SHAPES.items()}


def loss(params: Params, target: Params) -> jax.Array:
    """0.5 sum of c (p - t)^2, the curvatures c of each array from 0.5 to 2."""
    total = jnp.zeros(())
    for name, value in params.items():
        curvature = jnp.linspace(0.5, 2.0, value.size).reshape(value.shape)
        total += 0.5 * jnp.sum(curvature * jnp.square(value - target[name]))
    return total


class Run(NamedTuple):
    """An optimiser and a compiled step with it, which gives up the parameters and state that it is given."""

    optimizer: Any
    step: Callable[[Params, Any, Params], tuple[Params, Any]]

    def descend(self, params: Params, target: Params, steps: int) -> tuple[Params, Any]:
        """Parameters and the optimiser's state after some steps from the beginning."""
        params = jax.tree.map(jnp.copy, params)
        state = self.optimizer.init(params)
        for _ in range(steps):
            params, state = self.step(params, state, target)
        return params, state


# Not as other tests are: AdamW divides a gradient near 0 by its epsilon, which makes rounding up to 1e8 times larger.
AS_IN_A_RUN = {"xla_backend_optimization_level": 3}


def make_run(config: OptimizerConfig, steps: int = STEPS, members: int | None = None) -> Run:
    """A run of `steps` steps at most; with members, each has its own loss and target."""
    optimizer = make_optimizer(config, steps, members)
    losses = loss if members is None else jax.vmap(loss)

    def step(params: Params, state: Any, target: Params) -> tuple[Params, Any]:
        gradient = jax.grad(lambda params: jnp.sum(losses(params, target)))(params)
        updates, state = optimizer.update(gradient, state, params, value=losses(params, target))
        return jax.tree.map(jnp.add, params, updates), state

    return Run(optimizer, jax.jit(step, donate_argnums=(0, 1), compiler_options=AS_IN_A_RUN))


@functools.cache
def run_of(name: str, members: int | None = None) -> Run:
    """A run with an optimiser of the table above, compiled once."""
    return make_run(CONFIGS[name], STEPS, members)
