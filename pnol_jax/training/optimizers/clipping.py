"""Clipping of gradients: of all together, and of each unit's by the size of its weights."""

import optax

from pnol_jax.optimizer_config import OptimizerConfig
from pnol_jax.training.optimizers.parameters import kind

# The axes that lead into one unit: the whole of a vector, the inputs of an output, for each mode by itself.
FAN_IN = {"vector": None, "matrix": -2, "complex": (-3, -2)}


def clipping(config: OptimizerConfig) -> optax.GradientTransformationExtraArgs:
    """Adaptive clipping (Brock et al. 2021, eq. 3), then by the global norm, each where asked for."""
    norm = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(_adaptive(config.clip_adaptive), norm) if config.clip_adaptive else norm


def _adaptive(share: float) -> optax.GradientTransformationExtraArgs:
    by_kind = {name: optax.adaptive_grad_clip(share, axis=axes) for name, axes in FAN_IN.items()}
    return optax.partition(by_kind, lambda params: {name: kind(array) for name, array in params.items()})
