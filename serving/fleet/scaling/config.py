"""How a fleet is scaled: the section `scaling` of `fleet.toml`, with every default."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Part = Annotated[float, Meta(ge=0, le=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
Inner = Annotated[float, Meta(gt=0, lt=1)]
Window = Annotated[float, Meta(ge=0)]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$")]
Clock = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class PolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """Says how many replicas there should be."""

    name: Name | None = None  # in decisions; none: the kind, and a number where there are several


class UtilisationConfig(PolicyConfig, frozen=True, tag="utilisation"):
    """Replicas that work this share of their time; by the formula of Kubernetes."""

    target: Share = 0.7


class RequestsConfig(PolicyConfig, frozen=True, kw_only=True, tag="requests"):
    """So many requests a second for each replica; by the formula of Kubernetes."""

    per_replica: Positive


class ConcurrencyConfig(PolicyConfig, frozen=True, kw_only=True, tag="concurrency"):
    """So many requests in flight at each replica; by the rule of Knative's autoscaler."""

    per_replica: Positive  # that wait or are worked on
    window_seconds: Positive = 60.0  # that their number is a mean over
    panic_seconds: Positive = 6.0  # the same, to notice when many come at once
    panic: Annotated[float, Meta(ge=1)] = (
        2.0  # times as many replicas as are ready: from here on the shorter mean counts
    )

    def __post_init__(self) -> None:
        """Refuse a short window that is the longer one."""
        if self.panic_seconds > self.window_seconds:
            got = f"{self.panic_seconds:g}"
            raise ValueError(f"panic_seconds: got {got}, expected at most window_seconds, {self.window_seconds:g}")


class PrometheusConfig(PolicyConfig, frozen=True, kw_only=True, tag="prometheus"):
    """The value of a query; by the formula of Kubernetes."""

    query: Annotated[str, Meta(min_length=1)]
    target: Positive
    per_replica: bool = False  # true: the target is each replica's part of the value; false: it is of the value


class SizedConfig(PolicyConfig, frozen=True, kw_only=True):
    """Replicas enough for a queue of Poisson arrivals (`scaling.queues`)."""

    service_seconds: Positive | None = None  # of a request alone; none: learnt from utilisation and rate
    variability: Window = 1.0  # of service times, standard deviation over mean


class QueueConfig(SizedConfig, frozen=True, kw_only=True):
    """Sized for what comes and what waits."""

    rate_seconds: Positive = 10.0  # that the rate is a mean over
    within: Positive = 2.0  # seconds, in which work that waits already is to be done


class QueueTimeConfig(QueueConfig, frozen=True, kw_only=True, tag="queue_time"):
    """As few replicas as keep the mean time in the queue."""

    target: Positive = 0.1  # seconds


class LatencyConfig(QueueConfig, frozen=True, kw_only=True, tag="latency"):
    """As few replicas as answer this share of the requests within the objective."""

    objective: Positive  # seconds from arrival to answer
    share: Inner = 0.99


class ForecastConfig(SizedConfig, frozen=True, kw_only=True, tag="forecast"):
    """Replicas for the rate that trend and season foretell, sized by utilisation."""

    method: Literal["holt_winters", "seasonal_naive"] = "holt_winters"
    season_seconds: Window = 86400.0  # 0: a trend alone
    interval_seconds: Positive = 300.0  # that one value of the rate stands for
    horizon_seconds: Positive = 300.0  # ahead; the largest forecast until then counts
    target: Share = 0.7  # utilisation
    level: Part = 0.3  # smoothing of Holt and Winters, each: the weight of the newest value
    trend: Part = 0.05
    season: Part = 0.3


class ScheduleConfig(PolicyConfig, frozen=True, kw_only=True, tag="schedule"):
    """At least so many replicas at these times of the day, which may reach over midnight."""

    start: Clock
    end: Clock  # as start: the whole day
    replicas: Natural
    days: tuple[Weekday, ...] = WEEK  # on which it starts
    zone: str = "UTC"  # of the IANA database


AnyPolicy: TypeAlias = (
    UtilisationConfig
    | RequestsConfig
    | ConcurrencyConfig
    | PrometheusConfig
    | QueueTimeConfig
    | LatencyConfig
    | ForecastConfig
    | ScheduleConfig
)


class StepConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much may change within a period."""

    type: Literal["pods", "percent"]
    value: Count
    period_seconds: Positive = 15.0


class RulesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In one direction: what `behavior.scaleUp` and `scaleDown` of `autoscaling/v2` are."""

    window_seconds: Window = 0.0  # of which the most cautious recommendation counts
    tolerance: Part = 0.1  # of the formula of Kubernetes: a smaller change is none
    select: Literal["max", "min", "disabled"] = "max"  # of the steps
    steps: list[StepConfig] = []  # none: no limit


class ScalingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Policies, of which the largest counts, and how fast a fleet may follow."""

    policies: list[AnyPolicy] = msgspec.field(default_factory=lambda: [QueueTimeConfig()])
    up: RulesConfig = RulesConfig()
    down: RulesConfig = RulesConfig(window_seconds=60.0)
    interval_seconds: Positive = 0.5  # between decisions
    spares: Natural = 1  # replicas that are loaded and get no traffic until they are needed, beside the maximum
    idle_seconds: Positive = 300.0  # without a request, after which a fleet of minimum 0 has no replica
    prometheus: str = ""  # address of the server that queries go to, as http://127.0.0.1:9090
    prometheus_seconds: Positive = 2.0  # to wait for its answer

    def __post_init__(self) -> None:
        """Refuse queries that nobody could be asked, and policies that decisions could not tell apart."""
        if self.queries() and not self.prometheus:
            raise ValueError(f"scaling.prometheus: got '', expected an address for {', '.join(self.queries())}")
        if not self.policies:
            raise ValueError("scaling.policies: got none, expected at least one")
        names = self.names()
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"scaling.policies: got {min(twice)!r} as the name of two, expected names of their own")

    def names(self) -> list[str]:
        """What each policy is called in decisions."""
        tags = [policy.name or str(policy.__struct_config__.tag) for policy in self.policies]
        numbers = [tags[: place + 1].count(tag) for place, tag in enumerate(tags)]
        return [tag if tags.count(tag) == 1 else f"{tag}_{no}" for tag, no in zip(tags, numbers, strict=True)]

    def queries(self) -> dict[str, str]:
        """Prometheus queries by the policy's name, under which `Observation.metrics` holds their values."""
        named = zip(self.names(), self.policies, strict=True)
        return {name: policy.query for name, policy in named if isinstance(policy, PrometheusConfig)}


def hpa(policies: list[AnyPolicy], prometheus: str = "") -> ScalingConfig:
    """The settings that Kubernetes' HorizontalPodAutoscaler has where its object gives none."""
    quadruple, double = StepConfig("pods", 4), StepConfig("percent", 100)
    return ScalingConfig(
        policies, RulesConfig(steps=[quadruple, double]), RulesConfig(300.0, steps=[double]), prometheus=prometheus
    )
