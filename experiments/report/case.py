"""What is drawn of one test case: one output channel of it, and how its test set's colours are scaled."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.report.words import Names, Quantity
from experiments.results import TestResults
from pnol_jax.grids import Grid

Array = NDArray[Any]
CHANNELS = 3  # outputs drawn of a case


@dataclass(frozen=True)
class Scales:
    """The largest error, standard deviation and half-width over the cases that are shown of a test set."""

    error: float
    std: float
    half: float


@dataclass(frozen=True)
class Case:
    """A shown case, one output channel: fields are (*space); `inputs` are given with the first channel only.

    The band is the calibrated one, or the Gaussian interval at the level where there is none.
    """

    grid: Grid
    axes: tuple[Quantity, ...]
    inputs: tuple[tuple[Quantity, Array], ...]
    output: Quantity
    truth: Array
    mean: Array
    aleatoric: Array
    epistemic: Array
    lower: Array
    upper: Array
    band: str
    scales: Scales

    @property
    def error(self) -> Array:
        """Mean minus truth."""
        return self.mean - self.truth

    @property
    def std(self) -> Array:
        """The predicted standard deviation."""
        std: Array = np.sqrt(self.aleatoric + self.epistemic)
        return std

    @property
    def half(self) -> Array:
        """Half of the band's width."""
        return (self.upper - self.lower) / 2


def shown_cases(entry: TestResults, about: Names, level: float) -> Iterator[tuple[str, int, list[Case]]]:
    """Which case it is (best, median, worst), its number in the test set, and its first output channels."""
    fields = dict(entry.fields)
    band = "calibrated band"
    if "lower" not in fields:
        band = f"{100 * level:g}% interval"
        half = NormalDist().inv_cdf((1 + level) / 2) * np.sqrt(fields["aleatoric"] + fields["epistemic"])
        fields |= {"lower": fields["mean"] - half, "upper": fields["mean"] + half}
    channels = range(min(CHANNELS, len(about.outputs)))
    scales = [_scales(fields, channel) for channel in channels]
    for row, (name, number) in enumerate(entry.shown.items()):
        given = tuple((about.inputs[i], fields["inputs"][row, ..., i]) for i in range(len(about.inputs)))
        parts = ("truth", "mean", "aleatoric", "epistemic", "lower", "upper")
        yield (
            name,
            number,
            [
                Case(
                    grid=entry.grid,
                    axes=about.axes,
                    inputs=given if channel == 0 else (),
                    output=about.outputs[channel],
                    **{part: fields[part][row, ..., channel] for part in parts},
                    band=band,
                    scales=scales[channel],
                )
                for channel in channels
            ],
        )


def _scales(fields: dict[str, Array], channel: int) -> Scales:
    def largest(field: Array) -> float:
        values = np.abs(field[..., channel])
        return float(np.max(values[np.isfinite(values)], initial=0.0)) or 1.0

    std = np.sqrt(fields["aleatoric"] + fields["epistemic"])
    half = (fields["upper"] - fields["lower"]) / 2
    return Scales(largest(fields["mean"] - fields["truth"]), largest(std), largest(half))
