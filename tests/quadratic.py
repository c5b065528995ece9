"""A convex quadratic of parameters as an operator has them, and every optimiser at rates that suit it."""

from typing import Any

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
        learning_rate=0.05, schedule=[PlateauConfig(window=5, patience=2, final_ratio=1e-3)], **STILL
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


def make_step(config: OptimizerConfig, of: int, members: int | None = None) -> tuple[Any, Any]:
    """The optimiser of a run of `of` steps and a step of it, which gives up the parameters and state it is given."""
    optimizer = make_optimizer(config, of, members)
    losses = loss if members is None else jax.vmap(loss)

    def step(params: Params, state: Any, target: Params) -> tuple[Params, Any]:
        value, gradient = jax.value_and_grad(lambda p: jnp.sum(losses(p, target)))(params)
        value = value if members is None else losses(params, target)
        updates, state = optimizer.update(gradient, state, params, value=value)
        return jax.tree.map(jnp.add, params, updates), state

    return optimizer, jax.jit(step, donate_argnums=(0, 1))


def descend(
    config: OptimizerConfig, params: Params, target: Params, steps: int, members: int | None = None
) -> tuple[Params, Any]:
    """Parameters and the optimiser's state after a whole run."""
    optimizer, step = make_step(config, steps, members)
    params = jax.tree.map(jnp.copy, params)
    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state, target)
    return params, state
