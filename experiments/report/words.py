"""Numbers and names as the page shows them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.experiment import Experiment
from experiments.export import signature
from experiments.results import TestResults

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Quantity:
    """Something with a name and, where the config gives one, a unit."""

    name: str
    unit: str

    @property
    def label(self) -> str:
        """As an axis of a drawing is labelled."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


@dataclass(frozen=True)
class Names:
    """What the numbers of an experiment are called: given and asked functions, the axes they live on."""

    inputs: tuple[Quantity, ...]
    outputs: tuple[Quantity, ...]
    axes: tuple[Quantity, ...]
    time_step: float | None

    @property
    def unit(self) -> str:
        """The unit that all outputs share, empty if they differ or none is given."""
        units = {output.unit for output in self.outputs}
        return units.pop() if len(units) == 1 else ""

    @property
    def predicted(self) -> str:
        """The outputs in words."""
        return listed([output.name for output in self.outputs])


def names(experiment: Experiment) -> Names:
    """The names in an experiment's config."""
    about = signature(experiment)
    return Names(
        inputs=tuple(Quantity(channel.name, channel.unit) for channel in about.inputs),
        outputs=tuple(Quantity(channel.name, channel.unit) for channel in about.outputs),
        axes=tuple(Quantity(axis.name, axis.unit) for axis in about.axes),
        time_step=about.time_step,
    )


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def points(shape: Sequence[int]) -> str:
    """The points of a grid, `31 × 31`."""
    return " × ".join(map(str, shape))


def title(entry: TestResults) -> str:
    """A test set and its grid."""
    return f"{entry.name} ({points(entry.grid.shape)})"


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits."""
    if not math.isfinite(value):
        return "not finite"
    size = abs(value)
    if size and not 1e-3 <= size < 10 ** max(digits, 5):
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)}".replace("-", "−")
    places = max(0, digits - 1 - math.floor(math.log10(size))) if size else 0
    return f"{value:,.{places}f}".replace("-", "−")


def percent(share: float) -> str:
    """A measured share as a percentage, with one decimal."""
    return f"{100 * share:.1f}%".replace("-", "−") if math.isfinite(share) else "not finite"


def level(share: float) -> str:
    """A share that was asked for, as a percentage with one decimal, none where it is whole."""
    return percent(share).replace(".0%", "%")


def with_unit(text: str, unit: str) -> str:
    """A number and its unit."""
    return f"{text}\u202f{unit}" if unit else text
