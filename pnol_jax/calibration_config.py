"""The calibration's part of the experiment schema, with every default: scaling, then a band."""

from typing import Literal

from pnol_jax.schema import Count, Natural, OpenShare, Positive, Section

Modulation = Literal["std", "unit", "quantile"]  # how wide a band is at each point, up to its factor


class StepConfig(Section, frozen=True):
    """A step of the calibration. Every step sees calibration cases of its own, in proportion to its `share`."""

    share: Positive = 1.0


class VarianceConfig(StepConfig, frozen=True, tag_field="name", tag="variance"):
    """One factor on the variances, by maximum likelihood."""


class TemperatureConfig(StepConfig, frozen=True, tag_field="name", tag="temperature"):
    """One factor on the standard deviation, by the likelihood or the CRPS."""

    objective: Literal["nll", "crps"] = "crps"


class RegionsConfig(StepConfig, frozen=True, kw_only=True, tag_field="name", tag="regions"):
    """A factor on the variances for each coarse cell of the domain and each channel."""

    cells: list[Count]  # on each axis


class PitConfig(StepConfig, frozen=True, tag_field="name", tag="pit"):
    """A monotone map of quantiles, and the central interval of the level as the band."""


class BandConfig(StepConfig, frozen=True):
    """A band of `calibration.kind` and `calibration.level`, of some width at each point."""

    modulation: Modulation = "std"


class ConformalConfig(BandConfig, frozen=True, tag_field="name", tag="conformal"):
    """Split conformal prediction: the level holds on average over calibration sets."""


class RiskControlConfig(BandConfig, frozen=True, tag_field="name", tag="risk_control"):
    """The level holds with a stated confidence over calibration sets."""

    confidence: OpenShare = 0.9


class GroupsConfig(BandConfig, frozen=True, tag_field="name", tag="groups"):
    """The level holds in each group of cases, told apart by their predicted spread or the size of their inputs."""

    by: Literal["spread", "input"] = "spread"
    groups: Count = 3


class WeightedConfig(BandConfig, frozen=True, kw_only=True, tag_field="name", tag="weighted"):
    """The level holds for the inputs in some files, of another distribution: case files, or files of inputs only."""

    inputs: list[str]


class AdaptiveConfig(BandConfig, frozen=True, tag_field="name", tag="adaptive"):
    """A simultaneous band that is corrected by what is observed along a trajectory."""

    rate: OpenShare = 0.05


class BallConfig(BandConfig, frozen=True, tag_field="name", tag="ball"):
    """A ball in L2 around the mean; with `outside` the band that it implies but for that share of the domain."""

    modulation: Modulation = "unit"
    outside: OpenShare | None = None


Step = (
    VarianceConfig
    | TemperatureConfig
    | RegionsConfig
    | PitConfig
    | ConformalConfig
    | RiskControlConfig
    | GroupsConfig
    | WeightedConfig
    | AdaptiveConfig
    | BallConfig
)


class CalibrationConfig(Section, frozen=True):
    """What is done with the calibration cases: a split conformal band, or the steps that are given."""

    kind: Literal["none", "pointwise", "simultaneous"] = "simultaneous"  # of a band; none: no calibration at all
    level: OpenShare = 0.9
    steps: list[Step] = []  # in this order; the one step `conformal` if empty
    rollout: Natural = 0  # of the calibration cases, trajectories that set the noise of rollouts; 0: it stays
    rollout_start: Natural = 0  # from which of their states on; those before may be unlike those that will be asked

    @property
    def resolved(self) -> list[Step]:
        """The steps that are taken."""
        if self.kind == "none":
            return []
        return list(self.steps) or [ConformalConfig()]
