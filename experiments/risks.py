"""The risks of a config, and which of a posterior's answers knows them."""

import re
from typing import Any

from experiments.experiment import Experiment, channel_names
from pnol_jax.config import RiskConfig
from pnol_jax.errors import InputError
from pnol_jax.posteriors import Posterior
from pnol_jax.risk import Risk
from pnol_jax.risk.draws import least_draws
from pnol_jax.servable.manifest import DERIVED, OF_PROGRAMS

# Figures are called NAME.mean and so on: names that would make one of the service's own outputs.
RESERVED = {name.partition(".")[0] for name in (*DERIVED, *OF_PROGRAMS) if "." in name}

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def risks_of(experiment: Experiment) -> tuple[Risk, ...]:
    """The risks that the config asks for.

    Raises:
        InputError: an unknown output, a box that is none, or a name that stands twice.
    """
    risks = tuple(_risk(position, one, experiment) for position, one in enumerate(experiment.config.risk))
    if len({risk.name for risk in risks}) != len(risks):
        raise InputError(f"risk: got the names {[risk.name for risk in risks]}, expected each once")
    return risks


def _risk(position: int, one: RiskConfig, experiment: Experiment) -> Risk:
    data, where = experiment.config.data, f"risk[{position}]"
    channels = channel_names(data.outputs, experiment.train.output_channels)
    if not NAME.fullmatch(one.name):
        raise InputError(f"{where}.name: got {one.name!r}, expected a letter, then letters, digits, _ or -")
    if one.output and one.output not in channels:
        raise InputError(f"{where}.output: got {one.output!r}, expected one of {channels}")
    if one.box and len(one.box) != len(data.axes):
        raise InputError(f"{where}.box: got {len(one.box)} intervals, expected {len(data.axes)}, one per axis")
    if any(not 0 <= low < high <= axis.length for (low, high), axis in zip(one.box, data.axes, strict=False)):
        lengths = [axis.length for axis in data.axes]
        raise InputError(f"{where}.box: got {one.box}, expected intervals within the axes of lengths {lengths}")
    box = tuple(
        (low / axis.length, 2.0 if high == axis.length else high / axis.length)  # the last point belongs to it
        for (low, high), axis in zip(one.box, data.axes, strict=False)
    )
    channel = channels.index(one.output) if one.output else 0
    return Risk(one.name, channel, box, one.statistic, one.threshold, one.level)


def exact(posterior: Posterior) -> Any:
    """The posterior's own distribution of linear functionals, None if it has none.

    `functional(params, inputs, grid, weights)` gives mean, aleatoric and epistemic variance, (batch, functionals).
    """
    return getattr(posterior, "functional", None)


def by_draws(risk: Risk, posterior: Posterior) -> bool:
    """Whether a risk's figures are made of draws."""
    return not (risk.of_marginals or (risk.statistic == "mean" and exact(posterior) is not None))


def check_risks(experiment: Experiment) -> None:
    """Refuse, before anything is trained, what the posterior cannot say.

    Raises:
        InputError: it knows variances at each point only, or the draws are too few for a tail.
    """
    draws, posterior = experiment.config.export.num_samples, experiment.posterior
    for position, risk in enumerate(risks_of(experiment)):
        if (taken := risk.name.partition(".")[0]) in RESERVED:
            raise InputError(
                f"risk[{position}].name: got {risk.name!r}, expected another one: {taken!r} is the service's"
            )
        if by_draws(risk, posterior) and not posterior.has_samples:
            name = type(experiment.config.posterior).__struct_config__.tag
            raise InputError(
                f"risk[{position}]: the {risk.statistic} over a region does not follow from variances at each point, "
                f"which is all that posterior.name = {name!r} gives; expected a posterior that draws, such as "
                "'ensemble', or for a mean one with exact functionals, such as 'laplace'; or statistic = 'share'"
            )
        if by_draws(risk, posterior) and draws < least_draws(risk.level):
            raise InputError(
                f"export.num_samples: got {draws}, expected at least {least_draws(risk.level)}, so that one draw lies "
                f"in the tail of risk[{position}].level = {risk.level:g}"
            )
