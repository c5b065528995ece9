"""The optimiser of a config, from optax."""

import jax
import optax

from pnol_jax.config import OptimizerConfig
from pnol_jax.errors import InputError


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Linear warm-up to the learning rate, cosine decay to its `final_ratio` at the last step."""
    if not config.learning_rate > 0:
        raise InputError(f"optimizer.learning_rate: got {config.learning_rate:g}, expected a positive number")
    warmup = min(config.warmup_steps, steps // 2)
    rate = config.learning_rate
    return optax.warmup_cosine_decay_schedule(0.0, rate, warmup, max(steps, warmup + 1), rate * config.final_ratio)


def make_optimizer(config: OptimizerConfig, steps: int, members: int | None) -> optax.GradientTransformation:
    """AdamW with clipping by the global norm; with members, each is clipped and updated by itself."""
    adamw = optax.adamw(schedule(config, steps), weight_decay=config.weight_decay)
    clip = optax.identity() if config.clip_norm is None else optax.clip_by_global_norm(config.clip_norm)
    one = optax.chain(clip, adamw)
    if members is None:
        return one
    return optax.GradientTransformation(jax.vmap(one.init), jax.vmap(one.update))
