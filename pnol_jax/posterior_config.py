"""The posterior's part of the experiment schema, with every default: where uncertainty comes from."""

from typing import Annotated, Literal

import msgspec

from pnol_jax.schema import Closed, Count, Decay, Natural, NonNegative, OpenShare, Positive, Section, Several


class HeadConfig(Section, frozen=True):
    """What every posterior around a mean with Gaussian noise is told."""

    heteroscedastic: bool = True  # a second head for the noise; else one variance per channel, from the residuals
    beta: Closed = 0.0  # the likelihood is weighted by the variance to this power, so that noisy points still teach


class DropConfig(Section, frozen=True):
    """What is dropped at random, in function space: the same on every grid."""

    spectral: Decay = 0.1  # share of the modes, wherever a layer reads coefficients
    channel: Decay = 0.0  # share of the hidden channels, before every block and the projection
    whole_modes: bool = False  # a mode in all channels at once, rather than in each by itself


class NoiseConfig(Section, frozen=True):
    """A random field: one number a point, or a function with a spectrum that does not depend on the grid."""

    kind: Literal["white", "correlated"] = "white"
    length: Positive = 0.1  # of correlation, in lengths of the axes
    smoothness: Positive = 1.0  # of the Matern covariance: the spectrum falls as |k|^-(2 smoothness + dimensions)


class DeterministicConfig(HeadConfig, frozen=True, tag_field="name", tag="deterministic"):
    """One operator; with `heteroscedastic`, a second head for the logarithm of the noise variance."""


class ColouredConfig(HeadConfig, frozen=True, tag_field="name", tag="coloured"):
    """One operator; noise that is correlated over the domain as the residuals of training are."""


class EnsembleConfig(HeadConfig, frozen=True, tag_field="name", tag="ensemble"):
    """Members trained side by side as one program, each from a start of its own."""

    members: Count = 4


class HeadsConfig(HeadConfig, frozen=True, tag_field="name", tag="heads"):
    """An ensemble of projections on one operator, each from a start of its own: cheaper, and less diverse."""

    heads: Several = 4


class DropoutConfig(HeadConfig, frozen=True, tag_field="name", tag="dropout"):
    """Monte Carlo dropout: what is dropped in training is dropped in prediction too."""

    dropout: DropConfig = DropConfig()
    draws: Several = 16  # passes that a prediction is the mean of


class LaplaceConfig(HeadConfig, frozen=True, tag_field="name", tag="laplace"):
    """Linearised Laplace around one operator: a Gaussian process over output fields."""

    parameters: str = "last_layer"  # that are uncertain: "last_layer", "spectral", "all", or a pattern of names
    structure: Literal["full", "kronecker", "diagonal", "low_rank"] = "full"  # of the curvature
    rank: Count = 20  # of "low_rank": as many passes over the training cases
    observations: Literal["points"] | Positive = "points"  # how many independent ones a case is worth
    prior_precision: Literal["evidence"] | Positive = "evidence"  # given, or by the marginal likelihood
    prior: Literal["shared", "layerwise"] = "shared"  # one precision, or one for each layer
    noise: Literal["evidence", "trained"] | Positive = "evidence"  # a number: deviation, in the outputs' own
    exact: Count = 4096  # parameters up to which the curvature is computed entry by entry
    probes: Count = 64  # random vectors where something is not computed exactly
    cache: str = "runs/.cache"  # folder of decompositions; none if empty


class SWAGConfig(HeadConfig, frozen=True, tag_field="name", tag="swag"):
    """A Gaussian around the iterates of gradient descent that goes on after training at a constant rate."""

    members: Count = 1  # multi-SWAG: so many trainings, each with a Gaussian of its own
    steps: Count = 400  # after training
    learning_rate: Positive = 1e-2
    momentum: Decay = 0.9
    clip_norm: NonNegative = 1.0  # of all gradients together; 0 for none
    every: Count = 10  # steps from one iterate that is kept to the next
    rank: Several = 20  # the last so many are kept whole
    draws: Several = 16  # of weights, that a prediction is the mean of; of each member


class VariationalConfig(Section, frozen=True, tag_field="name", tag="variational"):
    """A Gaussian over chosen weights, trained with the mean by the evidence's lower bound."""

    heteroscedastic: bool = True  # else one noise variance per channel, trained with the rest
    parameters: list[str] = []  # patterns of names such as "operator.projection.*"; the last layer if empty
    rank: Natural = 0  # of the covariance beside its diagonal
    prior: Positive = 1.0  # standard deviation of the weights before there is data
    initial: Positive = 1e-2  # of a weight's standard deviation when training begins, as a share of the prior's
    observations: Literal["points"] | Positive = "points"  # how many independent ones a case is worth
    draws: Several = 16  # of weights, that a prediction is the mean of


class PNOConfig(Section, frozen=True, tag_field="name", tag="pno"):
    """An operator that draws, trained by a proper score of its draws."""

    variant: Literal["reparametrised", "dropout"] = "reparametrised"
    score: Literal["energy", "crps"] = "energy"
    draws: Several = 3  # in the loss
    noise: NoiseConfig = NoiseConfig()  # of "reparametrised"
    dropout: DropConfig = DropConfig()  # of "dropout"
    passes: Several = 32  # that mean and variance are made of; of "dropout"


class QuantileConfig(Section, frozen=True, tag_field="name", tag="quantile"):
    """Quantiles at each point, which cannot cross, trained by the pinball loss."""

    levels: list[OpenShare] = msgspec.field(default_factory=lambda: [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])
    noise: NoiseConfig = NoiseConfig(kind="correlated")  # of the ranks of a drawn field


class StudentConfig(Section, frozen=True, tag_field="name", tag="student"):
    """One operator with a head for the scale of its noise, which is Student's t: for residuals with heavy tails."""

    degrees: Literal["trained"] | Annotated[float, msgspec.Meta(gt=2)] = "trained"  # of freedom; more: lighter tails
    levels: list[OpenShare] = msgspec.field(
        default_factory=lambda: [0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.995]
    )  # of the quantiles that it states
    noise: NoiseConfig = NoiseConfig()  # of the ranks of a drawn field


class FlowConfig(Section, frozen=True, tag_field="name", tag="flow"):
    """A flow from random functions to outputs, trained by flow matching."""

    residual: bool = True  # of what a mean and its noise, trained beside, leave over; else of the outputs themselves
    method: Literal["heun", "euler"] = "heun"
    steps: Count = 4  # from noise to output; two evaluations each by Heun's method
    noise: NoiseConfig = NoiseConfig(kind="correlated")
    pairs: Several = 8  # of draws from opposite noise, that mean and variance are made of


PosteriorConfig = (
    DeterministicConfig
    | ColouredConfig
    | EnsembleConfig
    | HeadsConfig
    | DropoutConfig
    | LaplaceConfig
    | SWAGConfig
    | VariationalConfig
    | PNOConfig
    | QuantileConfig
    | StudentConfig
    | FlowConfig
)
