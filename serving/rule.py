"""When evidence between two versions moves a label, as `labels.toml` says it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Metric = Literal["crps", "error", "interval"]


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """When the candidate's label moves to the base's version (roll back), or the base's to the candidate's (promote).

    `level`: the largest probability of doing so wrongly; `minimum`: truths before anything is done; `coverage`: of the
    intervals that are scored.
    """

    base: str = "stable"
    candidate: str = "canary"
    metric: Metric = "crps"
    level: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    minimum: Annotated[int, Meta(ge=1)] = 50
    on_worse: Literal["roll_back", "nothing"] = "roll_back"
    on_better: Literal["promote", "nothing"] = "nothing"
    coverage: Annotated[float, Meta(gt=0, lt=1)] = 0.9
