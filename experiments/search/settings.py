"""What a search is told: a study's TOML file."""

from typing import Any, Literal

import msgspec

from pnol_jax.errors import InputError
from pnol_jax.schema import Count, Natural, Section

Sampler = Literal["tpe", "gp", "cmaes", "grid", "random"]
Pruner = Literal["none", "median", "asha", "hyperband"]
Objective = Literal["relative_l2", "rmse", "crps", "nll", "step_seconds", "parameters"]
COSTS = ("step_seconds", "parameters")  # the others are means over the validation cases; all are to be small


class Parameter(Section, frozen=True):
    """What a key of the config may be: one of `choices`, or a number from `low` to `high`, both included."""

    choices: list[Any] | None = None
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False  # as likely between 0.1 and 1 as between 1 and 10
    step: float | int | None = None  # between values, from `low` on


class SearchConfig(Section, frozen=True, kw_only=True):
    """The search. `space` is a table by dotted keys of the config, each a `Parameter`."""

    space: dict[str, dict[str, Any]]
    trials: Count = 20  # that come to an end, pruned ones among them
    objectives: tuple[Objective, ...] = ("relative_l2",)
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    report_every: Count | None = None  # steps between two looks of the pruner; a tenth of the run if not given
    validation: Count = 100  # training cases held out, the same for every trial, to score it on
    vectorised: Count = 1  # trials trained side by side as one program
    seed: Natural = 0  # of the sampler and of which cases are held out

    def __post_init__(self) -> None:
        several = len(self.objectives) > 1
        if not self.space:
            raise InputError("space: got no keys, expected one at least")
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise InputError(f"objectives: got {list(self.objectives)}, expected one at least, and none twice")
        if several and self.pruner != "none":
            raise InputError(f"pruner: got {self.pruner!r} with several objectives, expected 'none', or one objective")
        if several and self.sampler == "cmaes":
            raise InputError("sampler: got 'cmaes' with several objectives, expected another, or one objective")
        if self.objectives[0] in COSTS and self.pruner != "none":
            raise InputError(f"pruner: got {self.pruner!r} with a cost, expected 'none', or a score as the objective")
        costs = [name for name in self.objectives if name in COSTS]
        if costs and self.vectorised > 1:
            raise InputError(
                f"objectives: got {costs[0]!r} with vectorised = {self.vectorised}, whose trials cost alike"
            )


class StudyConfig(Section, frozen=True, kw_only=True):
    """A study: which config is searched over, with which overrides, and how."""

    name: str
    config: str  # path of a training config
    overrides: tuple[str, ...] = ()  # section.key=value
    search: SearchConfig


def parameter(entry: dict[str, Any], where: str) -> Parameter:
    """A part of the space.

    Raises:
        InputError: a key that there is not, or neither choices nor a range.
    """
    try:
        found = msgspec.convert(entry, Parameter)
    except msgspec.ValidationError as error:
        known = ", ".join(Parameter.__struct_fields__)
        raise InputError(f"{where}: {error}; expected {known}") from None
    is_range = found.low is not None and found.high is not None
    if is_range == (found.choices is not None) or (found.choices is not None and not found.choices):
        raise InputError(f"{where}: got {entry}, expected either choices = [...] or low and high")
    return found
