"""The posteriors there are, by the name that a config gives them. Adding one is a file and a line here."""

from collections.abc import Callable, Mapping
from typing import Any

from pnol_jax.config import DeterministicConfig, EnsembleConfig, LaplaceConfig, TrainingConfig
from pnol_jax.operators import Functional
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.ensemble import Ensemble
from pnol_jax.posteriors.laplace.build import build_laplace
from pnol_jax.posteriors.laplace.posterior import Laplace
from pnol_jax.posteriors.protocol import Posterior

BuildOperator = Callable[[int, int | None], Functional]  # (output channels, seed); without one, shapes only


def _deterministic(
    config: DeterministicConfig | EnsembleConfig | LaplaceConfig,
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
        precision=training.precision,
    )


def _ensemble(config: EnsembleConfig, training: TrainingConfig, build: BuildOperator, outputs: int) -> Ensemble:
    return Ensemble(_deterministic(config, training, build, outputs), config.members)


def _laplace(config: LaplaceConfig, training: TrainingConfig, build: BuildOperator, outputs: int) -> Laplace:
    template = build(outputs * (2 if config.heteroscedastic else 1), None)
    return build_laplace(config, training, _deterministic(config, training, build, outputs), template)


POSTERIORS: Mapping[type, Callable[..., Posterior]] = {
    DeterministicConfig: _deterministic,
    EnsembleConfig: _ensemble,
    LaplaceConfig: _laplace,
}


def build_posterior(config: Any, training: TrainingConfig, build: BuildOperator, outputs: int) -> Posterior:
    """The posterior of a config; `build(channels, seed)` makes its operators."""
    return POSTERIORS[type(config)](config, training, build, outputs)
