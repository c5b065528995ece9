"""The optimisers there are. Adding one is a struct in `pnol_jax/optimizer_config.py`, a builder and a line here."""

from collections.abc import Callable, Mapping
from typing import Any

import optax

from pnol_jax.optimizer_config import (
    AdafactorConfig,
    AdamWConfig,
    CustomConfig,
    DecayedConfig,
    LAMBConfig,
    LARSConfig,
    LionConfig,
    MuonConfig,
    OptimizerConfig,
    ScheduleFreeAdamWConfig,
    ScheduleFreeSGDConfig,
    SGDConfig,
)
from pnol_jax.training.optimizers.custom import custom
from pnol_jax.training.optimizers.parameters import chosen, kind, masked

# The axes of a spectral kernel that make its matrix, for each mode by itself: the mixing multiplies real and imaginary
# coefficients by the real matrix (in, 2 out), and a shift of the fields turns that matrix from the right only, which
# orthogonalisation follows.
MATRIX_AXES = {
    "matrix": optax.contrib.MuonDimensionNumbers(-2, -1),
    "complex": optax.contrib.MuonDimensionNumbers(-3, (-2, -1)),
}


def _decayed(config: DecayedConfig, rate: optax.Schedule, *direction: Any) -> Any:
    """A step of length `rate` against a direction and the decayed weights, neither of which knows of the other."""
    decay = optax.add_decayed_weights(config.weight_decay, chosen(config.weight_decay_mask))
    return optax.chain(*direction, decay, optax.scale_by_learning_rate(rate))


def _adamw(config: AdamWConfig, rate: optax.Schedule) -> Any:
    return _decayed(config, rate, optax.scale_by_adam(config.b1, config.b2, config.eps, nesterov=config.nesterov))


def _lion(config: LionConfig, rate: optax.Schedule) -> Any:
    return _decayed(config, rate, optax.scale_by_lion(config.b1, config.b2))


def _sgd(config: SGDConfig, rate: optax.Schedule) -> Any:
    return _decayed(config, rate, optax.trace(config.momentum, config.nesterov))


def _lars(config: LARSConfig, rate: optax.Schedule) -> Any:
    return optax.lars(
        rate,
        config.weight_decay,
        chosen(config.weight_decay_mask),
        config.trust_coefficient,
        trust_ratio_mask=chosen(config.trust_ratio_mask),
        momentum=config.momentum,
        nesterov=config.nesterov,
    )


def _lamb(config: LAMBConfig, rate: optax.Schedule) -> Any:
    mask = chosen(config.weight_decay_mask)
    return optax.lamb(rate, config.b1, config.b2, config.eps, weight_decay=config.weight_decay, mask=mask)


def _adafactor(config: AdafactorConfig, rate: optax.Schedule) -> Any:
    """Not `optax.adafactor`: there the weight decay is not multiplied by the learning rate."""
    return _decayed(
        config,
        rate,
        optax.scale_by_factored_rms(decay_rate=config.decay_rate, min_dim_size_to_factor=config.min_dim_size_to_factor),
        optax.clip_by_block_rms(config.clipping_threshold),
        optax.scale_by_param_block_rms() if config.multiply_by_parameter_scale else optax.identity(),
        optax.ema(config.momentum, debias=False) if config.momentum else optax.identity(),
    )


def _muon(config: MuonConfig, rate: optax.Schedule) -> Any:
    def matrices(params: Mapping[str, Any]) -> dict[str, Any]:
        inside = {name: kind(array) for name, array in params.items() if masked(config.matrices, name, array)}
        return {name: MATRIX_AXES.get(inside.get(name, "vector")) for name in params}

    direction = optax.contrib.muon(
        -1.0,  # the direction itself, so that weight decay and rate are in one place for Muon and AdamW
        ns_steps=config.ns_steps,
        beta=config.momentum,
        eps=config.eps,
        nesterov=config.nesterov,
        adam_b1=config.b1,
        adam_b2=config.b2,
        muon_weight_dimension_numbers=matrices,
        consistent_rms=config.consistent_rms,
    )
    return _decayed(config, rate, direction)


def _schedule_free_adamw(config: ScheduleFreeAdamWConfig, rate: optax.Schedule) -> Any:
    """Adam without its first moment, as the average stands in for it."""
    direction = optax.scale_by_rms(config.b2, config.eps, eps_in_sqrt=False, bias_correction=True)
    return _decayed(config, rate, direction)


def _schedule_free_sgd(config: ScheduleFreeSGDConfig, rate: optax.Schedule) -> Any:
    return _decayed(config, rate)


OPTIMIZERS: Mapping[type, Callable[[Any, optax.Schedule], Any]] = {
    AdamWConfig: _adamw,
    LionConfig: _lion,
    SGDConfig: _sgd,
    LARSConfig: _lars,
    LAMBConfig: _lamb,
    AdafactorConfig: _adafactor,
    MuonConfig: _muon,
    ScheduleFreeAdamWConfig: _schedule_free_adamw,
    ScheduleFreeSGDConfig: _schedule_free_sgd,
    CustomConfig: custom,
}


def build_optimizer(config: OptimizerConfig, rate: optax.Schedule) -> Any:
    """The optimiser of a config at the learning rate of a schedule."""
    return OPTIMIZERS[type(config)](config, rate)
