"""The posteriors there are, by the name that a config gives them. Adding one is a file and a line here."""

from collections.abc import Callable, Mapping
from typing import Any

from pnol_jax.config import ColouredConfig, DeterministicConfig, EnsembleConfig, TrainingConfig
from pnol_jax.operators import Functional
from pnol_jax.posteriors.coloured import Coloured
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.ensemble import Ensemble
from pnol_jax.posteriors.protocol import Posterior

BuildOperator = Callable[[int, int | None], Functional]  # (output channels, seed); without one, shapes only


def _deterministic(
    config: DeterministicConfig | ColouredConfig | EnsembleConfig,
    training: TrainingConfig,
    build: BuildOperator,
    outputs: int,
) -> Deterministic:
    channels = outputs * (2 if config.heteroscedastic else 1)
    template = build(channels, None)
    return Deterministic(
        apply=template.apply,
        start=lambda seed: build(channels, seed).params,
        outputs=outputs,
        names=template.axes,
        loss_kind=training.loss,
        heteroscedastic=config.heteroscedastic,
        pushforward=training.pushforward,
        input_noise=training.input_noise,
        increment=training.increment,
        band_limited=training.band_limited,
        precision=training.precision,
    )


def _coloured(config: ColouredConfig, training: TrainingConfig, build: BuildOperator, outputs: int) -> Coloured:
    return Coloured(_deterministic(config, training, build, outputs))


def _ensemble(config: EnsembleConfig, training: TrainingConfig, build: BuildOperator, outputs: int) -> Ensemble:
    return Ensemble(_deterministic(config, training, build, outputs), config.members)


POSTERIORS: Mapping[type, Callable[..., Posterior]] = {
    DeterministicConfig: _deterministic,
    ColouredConfig: _coloured,
    EnsembleConfig: _ensemble,
}


def build_posterior(config: Any, training: TrainingConfig, build: BuildOperator, outputs: int) -> Posterior:
    """The posterior of a config; `build(channels, seed)` makes its operators."""
    return POSTERIORS[type(config)](config, training, build, outputs)
