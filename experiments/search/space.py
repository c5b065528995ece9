"""The space of a search: keys of a config, what each may be, and the config that a point of the space stands for."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from experiments.search.settings import Parameter, SearchConfig, parameter
from pnol_jax import toml
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError

Point = dict[str, Any]  # a value for every key, as Optuna keeps it
# Which cases there are, and what comes after training, is the same for all trials.
SEARCHABLE = ("operator", "posterior", "optimizer", "training", "data.symmetries", "data.thinning", "data.buckets")


@dataclass(frozen=True)
class Space:
    """`tree` is the training config as it was read, `parameters` what is searched, by dotted key."""

    tree: Mapping[str, Any]
    parameters: Mapping[str, Parameter]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """As Optuna wants them.

        Raises:
            InputError: bounds, step and scale that do not go together.
        """
        return {key: self._distribution(key, entry) for key, entry in self.parameters.items()}

    def config(self, point: Mapping[str, Any]) -> ExperimentConfig:
        """The config with the values of a point.

        Raises:
            InputError: values that it cannot have.
        """
        return self._config({key: self._value(key, value) for key, value in point.items()}, "search.space")

    def base(self) -> ExperimentConfig:
        """The config without any of them."""
        return self._config({}, "config")

    def grid(self) -> dict[str, list[Any]]:
        """The values of every key.

        Raises:
            InputError: a range without a step.
        """
        return {key: self._values(key, entry) for key, entry in self.distributions.items()}

    def _config(self, values: Mapping[str, Any], where: str) -> ExperimentConfig:
        tree = copy.deepcopy(dict(self.tree))
        for key, value in values.items():
            toml.put(tree, key, value, where)
        return toml.parse(tree, ExperimentConfig, where)

    def _distribution(self, key: str, entry: Parameter) -> BaseDistribution:
        if entry.choices is not None:
            return CategoricalDistribution([_label(choice) for choice in entry.choices])
        kind: Any = FloatDistribution if self._is_float(key, entry) else IntDistribution
        step = {} if entry.step is None else {"step": entry.step}
        try:
            made: BaseDistribution = kind(entry.low, entry.high, log=entry.log, **step)
        except ValueError as error:
            raise InputError(f"search.space.{key}: {error}") from None
        return made

    def _is_float(self, key: str, entry: Parameter) -> bool:
        """Whether the key is of a number with a point; also where its bounds are written without one."""
        tree = msgspec.to_builtins(self._config({key: entry.low}, f"search.space.{key}"))
        for part in key.split("."):
            tree = tree[part]
        return isinstance(tree, float)

    def _values(self, key: str, entry: BaseDistribution) -> list[Any]:
        if isinstance(entry, CategoricalDistribution):
            return list(entry.choices)
        assert isinstance(entry, FloatDistribution | IntDistribution)
        if entry.step is None or entry.log:
            raise InputError(f"search.space.{key}: got a range without a step, expected one, or choices, for a grid")
        count = round((entry.high - entry.low) / entry.step) + 1
        return [entry.low + number * entry.step for number in range(count)]

    def _value(self, key: str, kept: Any) -> Any:
        choices = self.parameters[key].choices
        return kept if choices is None else next(choice for choice in choices if _label(choice) == kept)


def make_space(tree: Mapping[str, Any], search: SearchConfig) -> Space:
    """The space of a search over the config of a tree.

    Raises:
        InputError: a key that the config does not have or that cannot be searched, or a value that it cannot take, by
            its name.
    """
    parameters = {key: parameter(entry, f"search.space.{key}") for key, entry in search.space.items()}
    space = Space(tree, parameters)
    for key, entry in parameters.items():
        where = f"search.space.{key}"
        if not any(key == part or key.startswith(f"{part}.") for part in SEARCHABLE):
            raise InputError(f"{where}: this is the same for all trials; expected a key of {', '.join(SEARCHABLE)}")
        for value in entry.choices if entry.choices is not None else (entry.low, entry.high):
            space._config({key: value}, where)
    _ = space.distributions
    return space


def _label(choice: Any) -> Any:
    """A choice as Optuna can keep it: lists and tables as text."""
    return json.dumps(choice) if isinstance(choice, list | dict) else choice
