"""What a posterior came to on a problem, kept in a file as soon as it is known, so that a killed benchmark goes on."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pnol_jax.config import ExperimentConfig
from pnol_jax.files import write_atomically
from pnol_jax.scores import Estimate


class Figure(msgspec.Struct, frozen=True):
    """A figure and its 95% interval; none of a prediction that left the finite numbers."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def estimate(self) -> Estimate:
        """With NaN for none."""
        return Estimate(*(math.nan if end is None else end for end in (self.value, self.low, self.high)))


class Shift(msgspec.Struct, frozen=True):
    """How strange shifted cases are to the detector, how wrong the mean is on them; or why they are not answered."""

    auroc: float | None
    relative_l2: float | None
    refused: str = ""


class Row(msgspec.Struct, frozen=True):
    """A posterior on a problem: what it was, what it cost, its figures by task, its CRPS of each case, and shifts."""

    problem: str
    posterior: str
    settings: str  # digest of what was asked
    steps: int
    training_seconds: float
    fit_seconds: float
    cost: float  # of both, in multiples of what the deterministic run's take
    base_seconds: float  # what that would take where the machine is as fast as it was beside this row
    prediction_seconds: float  # of all test cases
    cases: int
    tasks: dict[str, dict[str, Figure]]
    crps: dict[str, list[float | None]]
    shifts: dict[str, Shift] = {}

    @property
    def learning_seconds(self) -> float:
        """Training and `fit`."""
        return self.training_seconds + self.fit_seconds

    @property
    def prediction_cost(self) -> float:
        """Of all test cases, in the same multiples."""
        return self.prediction_seconds / self.base_seconds

    @property
    def milliseconds(self) -> float:
        """Of a prediction, per case."""
        return 1e3 * self.prediction_seconds / self.cases

    def figures(self, task: str) -> dict[str, Estimate]:
        """The figures of a task."""
        return {name: figure.estimate for name, figure in self.tasks[task].items()}


def as_figures(found: Mapping[str, Estimate]) -> dict[str, Figure]:
    """As a row keeps them."""
    return {name: Figure(*(float(end) if math.isfinite(end) else None for end in each)) for name, each in found.items()}


def digest(config: ExperimentConfig) -> str:
    """What a row belongs to: the config as it was asked, before its steps were set by what they cost."""
    return hashlib.sha256(msgspec.json.encode(config)).hexdigest()[:16]


def place(folder: Path, problem: str, posterior: str) -> Path:
    """The file of a row."""
    return folder / problem / f"{posterior}.json"


def write(folder: Path, row: Row) -> None:
    """Keep a row."""
    file = place(folder, row.problem, row.posterior)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, msgspec.json.format(msgspec.json.encode(row), indent=1))


def read(folder: Path, problem: str, posterior: str, settings: str) -> Row | None:
    """The row that is kept; None where there is none, of these settings and this form."""
    try:
        row = msgspec.json.decode(place(folder, problem, posterior).read_bytes(), type=Row)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return row if row.settings == settings else None
