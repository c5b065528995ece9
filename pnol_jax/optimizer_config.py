"""The optimiser's part of the experiment schema, with every default: optimisers, schedules, groups of parameters."""

from typing import Any, Literal

import msgspec

from pnol_jax.schema import Count, Decay, Natural, NonNegative, OpenShare, Positive, Section

# Which parameters: all; those that are matrices ("kernels"); those of them between lifting and projection ("hidden");
# or patterns of dotted names, of which the last that fits decides, "!" before one excepting what it names.
Mask = Literal["all", "kernels", "hidden"] | list[str]


class PieceConfig(Section, frozen=True):
    """A piece of the learning rate's schedule. Ratios are shares of `optimizer.learning_rate`."""

    steps: Count | None = None  # its length; if not given, what the other pieces leave of the run
    start_ratio: Positive | None = None  # if not given, where the piece before ended; 1 for the first


class DecayConfig(PieceConfig, frozen=True):
    """A piece that ends elsewhere than it begins."""

    final_ratio: NonNegative | None = None  # if not given, optimizer.final_ratio


class ConstantConfig(PieceConfig, frozen=True, tag_field="name", tag="constant"):
    """The rate stays."""


class CosineConfig(DecayConfig, frozen=True, tag_field="name", tag="cosine"):
    """Half a cosine down."""


class PolynomialConfig(DecayConfig, frozen=True, tag_field="name", tag="polynomial"):
    """final + (start - final) (1 - t)^power, t from 0 to 1; linear with power 1."""

    power: Positive = 1.0


class ExponentialConfig(DecayConfig, frozen=True, tag_field="name", tag="exponential"):
    """start (final / start)^t, t from 0 to 1."""


class StepConfig(PieceConfig, frozen=True, kw_only=True, tag_field="name", tag="step"):
    """The rate is multiplied by `factor` at each of the steps `at`, counted from the piece's own beginning."""

    at: list[Count]
    factor: Positive = 0.1


class OneCycleConfig(DecayConfig, frozen=True, tag_field="name", tag="one_cycle"):
    """Half a cosine up to the learning rate over the share `rise` of the piece, then half a cosine down."""

    start_ratio: Positive | None = 0.04
    final_ratio: NonNegative | None = 4e-6
    rise: OpenShare = 0.3


class RestartsConfig(DecayConfig, frozen=True, tag_field="name", tag="restarts"):
    """Half a cosine down, again and again (Loshchilov, Hutter 2017)."""

    cycles: Count = 4
    growth: Positive = 1.0  # of a cycle's length over the one before
    peak: Positive = 1.0  # of the rate at a cycle's beginning over the one before


class PlateauConfig(DecayConfig, frozen=True, tag_field="name", tag="plateau"):
    """The rate falls by `factor` where the loss has stopped falling, down to `final_ratio`. Only as the last piece."""

    factor: OpenShare = 0.5
    window: Count = 50  # steps whose mean loss is looked at
    patience: Count = 5  # windows without a smaller loss
    threshold: Positive = 1e-4  # by which a loss must be smaller to count
    cooldown: Natural = 0  # windows after a fall that do not count


Piece = (
    ConstantConfig
    | CosineConfig
    | PolynomialConfig
    | ExponentialConfig
    | StepConfig
    | OneCycleConfig
    | RestartsConfig
    | PlateauConfig
)


class GroupConfig(Section, frozen=True, kw_only=True):
    """Parameters with a learning rate of their own. A parameter belongs to the first group that names it."""

    parameters: str | list[str]  # patterns of dotted names, such as "operator.lifting.*"
    rate: NonNegative  # factor on the learning rate; 0: they stay what they are

    @property
    def patterns(self) -> list[str]:
        """The patterns as a list."""
        return [self.parameters] if isinstance(self.parameters, str) else self.parameters


class OptimizerConfig(Section, frozen=True):
    """What every optimiser is told."""

    learning_rate: Positive = 1e-3
    final_ratio: NonNegative = 1e-2  # learning rate at the end, as a share of the highest
    warmup_steps: Natural = 100  # linear from zero to where the schedule begins; at most half of the run
    schedule: list[Piece] = []  # after the warm-up, one piece after the other; a cosine if empty
    clip_norm: NonNegative = 1.0  # of all gradients together; 0 for none
    clip_adaptive: NonNegative = 0.0  # of a unit's gradient, as a share of the norm of its weights; 0 for none
    groups: list[GroupConfig] = []


class DecayedConfig(OptimizerConfig, frozen=True):
    """With weight decay: multiplied by the learning rate, and kept out of the gradient unless said otherwise."""

    weight_decay: NonNegative = 1e-4
    weight_decay_mask: Mask = "all"


class AdamWConfig(DecayedConfig, frozen=True, tag_field="name", tag="adamw"):
    """AdamW (Loshchilov, Hutter 2019)."""

    b1: Decay = 0.9
    b2: Decay = 0.999
    eps: Positive = 1e-8
    nesterov: bool = False


class LionConfig(DecayedConfig, frozen=True, tag_field="name", tag="lion"):
    """Lion (Chen et al. 2023): the sign of a momentum; a tenth of AdamW's rate, ten times its weight decay."""

    learning_rate: Positive = 1e-4
    weight_decay: NonNegative = 1e-3
    b1: Decay = 0.9
    b2: Decay = 0.99


class SGDConfig(DecayedConfig, frozen=True, tag_field="name", tag="sgd"):
    """Stochastic gradient descent with momentum."""

    learning_rate: Positive = 0.1
    momentum: Decay = 0.9
    nesterov: bool = False


class LARSConfig(DecayedConfig, frozen=True, tag_field="name", tag="lars"):
    """LARS (You, Gitman, Ginsburg 2017): a step is a share of its array's norm. Weight decay is in the gradient."""

    learning_rate: Positive = 1.0
    momentum: Decay = 0.9
    nesterov: bool = False
    trust_coefficient: Positive = 1e-3
    trust_ratio_mask: Mask = "kernels"


class LAMBConfig(DecayedConfig, frozen=True, tag_field="name", tag="lamb"):
    """LAMB (You et al. 2020): AdamW's direction, with a length that is a share of its array's norm."""

    b1: Decay = 0.9
    b2: Decay = 0.999
    eps: Positive = 1e-6


class AdafactorConfig(DecayedConfig, frozen=True, tag_field="name", tag="adafactor"):
    """Adafactor (Shazeer, Stern 2018): second moments as products; a step is a share of its array's size."""

    learning_rate: Positive = 1e-2
    decay_rate: OpenShare = 0.8
    clipping_threshold: Positive = 1.0
    momentum: Decay = 0.0
    multiply_by_parameter_scale: bool = True
    min_dim_size_to_factor: Count = 32  # of both axes; operators are narrower than what the usual 128 is meant for


class MuonConfig(DecayedConfig, frozen=True, tag_field="name", tag="muon"):
    """Muon (Jordan et al. 2024) for matrices, one per mode of a spectral kernel, and AdamW for the rest.

    Its steps are of the size of AdamW's (Liu et al. 2025), so one learning rate and weight decay fit both.
    """

    matrices: Mask = "hidden"
    momentum: Decay = 0.95
    nesterov: bool = True  # of both
    ns_steps: Count = 5  # Newton-Schulz iterations
    consistent_rms: Positive = 0.2  # root mean square of a step's entries, over the learning rate
    b1: Decay = 0.9  # of AdamW, as the next two
    b2: Decay = 0.999
    eps: Positive = 1e-8


class ScheduleFreeConfig(DecayedConfig, frozen=True):
    """An average of the iterates in place of a decaying learning rate (Defazio et al. 2024)."""

    schedule: list[Piece] = msgspec.field(default_factory=lambda: [ConstantConfig()])
    b1: OpenShare = 0.9  # how near to the average the gradient is taken


class ScheduleFreeAdamWConfig(ScheduleFreeConfig, frozen=True, tag_field="name", tag="schedule_free_adamw"):
    """Schedule-free AdamW."""

    learning_rate: Positive = 2.5e-3
    b2: Decay = 0.999
    eps: Positive = 1e-8


class ScheduleFreeSGDConfig(ScheduleFreeConfig, frozen=True, tag_field="name", tag="schedule_free_sgd"):
    """Schedule-free gradient descent."""

    learning_rate: Positive = 1.0


class CustomConfig(OptimizerConfig, frozen=True, kw_only=True, tag_field="name", tag="custom"):
    """An optimiser of one's own: `path` is "package.module:function", such as "optax:adabelief".

    The function is called with the schedule of the learning rate and `options` as keywords, and returns an
    optax.GradientTransformation.
    """

    path: str
    options: dict[str, Any] = {}


Optimizer = (
    AdamWConfig
    | LionConfig
    | SGDConfig
    | LARSConfig
    | LAMBConfig
    | AdafactorConfig
    | MuonConfig
    | ScheduleFreeAdamWConfig
    | ScheduleFreeSGDConfig
    | CustomConfig
)
