"""The posteriors there are, by the name that a config gives them. Adding one is a file and a line here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pnol_jax.bases import Basis
from pnol_jax.config import TrainingConfig
from pnol_jax.posterior_config import (
    ColouredConfig,
    DeterministicConfig,
    DropoutConfig,
    EnsembleConfig,
    FlowConfig,
    HeadsConfig,
    LaplaceConfig,
    PNOConfig,
    QuantileConfig,
    StudentConfig,
    SWAGConfig,
    VariationalConfig,
)
from pnol_jax.posteriors.coloured import Coloured
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.dropout import Dropout
from pnol_jax.posteriors.ensemble import Ensemble
from pnol_jax.posteriors.flow import Flow
from pnol_jax.posteriors.heads import Heads
from pnol_jax.posteriors.laplace.build import build_laplace
from pnol_jax.posteriors.pno import PNO
from pnol_jax.posteriors.problem import BuildOperator, Problem
from pnol_jax.posteriors.protocol import Posterior
from pnol_jax.posteriors.quantile import Quantile
from pnol_jax.posteriors.student import Student
from pnol_jax.posteriors.swag import SWAG
from pnol_jax.posteriors.variational import Variational


def _deterministic(config: DeterministicConfig, problem: Problem) -> Deterministic:
    return problem.headed(config)


def _coloured(config: ColouredConfig, problem: Problem) -> Coloured:
    return Coloured(problem.headed(config))


def _ensemble(config: EnsembleConfig, problem: Problem) -> Ensemble:
    return Ensemble(problem.headed(config), config.members)


POSTERIORS: Mapping[type, Callable[[Any, Problem], Posterior]] = {
    DeterministicConfig: _deterministic,
    ColouredConfig: _coloured,
    EnsembleConfig: _ensemble,
    HeadsConfig: Heads.build,
    DropoutConfig: Dropout.build,
    LaplaceConfig: build_laplace,
    SWAGConfig: SWAG.build,
    VariationalConfig: Variational.build,
    PNOConfig: PNO.build,
    QuantileConfig: Quantile.build,
    StudentConfig: Student.build,
    FlowConfig: Flow.build,
}


def build_posterior(
    config: Any,
    training: TrainingConfig,
    build: BuildOperator,
    outputs: int,
    bases: Sequence[Basis] = (),
    cases: int = 0,
) -> Posterior:
    """The posterior of a config.

    Args:
        config: its section.
        training: the training section.
        build: makes its operators: `build(channels, seed)`, or `build(channels, seed, more)` with more input channels
            than the data has. Without a seed, shapes only.
        outputs: channels of the outputs.
        bases: what the operators stand on, for posteriors that draw random functions.
        cases: input-output pairs in the training set, for posteriors that weigh it against a prior.
    """
    return POSTERIORS[type(config)](config, Problem(training, build, outputs, tuple(bases), cases))
