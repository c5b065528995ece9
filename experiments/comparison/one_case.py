"""One test case as every run is asked about it."""

import itertools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.comparison.opened import Opened, SharedCases
from experiments.report.case import Case, Scales
from pnol_jax.bases import GridOperands
from pnol_jax.posteriors import Batch
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.placement import on_host

Array = NDArray[Any]
DRAWS = 2  # that are shown of a run


def asked(run: Opened, test: SharedCases, number: int) -> tuple[Batch, GridOperands]:
    """Sample `number` of a test set (of a trajectory a step of it) as a batch of its own, padded as in training."""
    case, window = divmod(number, (test.cases.groups[0].times or 2) - 1)
    alone = test.cases.take(np.array([case]))
    batch, grid, _ = next(itertools.islice(run.experiment.one_pass(alone, size=1), window, None))
    outputs = batch.outputs if test.cases.time_step is None else batch.outputs[:, 0]
    return Batch(batch.inputs, outputs), grid


def program(run: Opened, num_samples: int = 0) -> Any:
    """The compiled prediction of a run, (parameters, inputs, grid) to its Predictive."""
    key = jax.random.key(run.experiment.config.training.seed)

    def predict(params: Any, inputs: jax.Array, grid: GridOperands) -> Predictive:
        return run.model.predict(params, inputs, grid, key, num_samples=num_samples)

    return jax.jit(predict)


@dataclass(frozen=True)
class Shown:
    """What a run says of the case, the first output: its prediction, and draws (DRAWS, *space) where it has any."""

    case: Case
    samples: Array | None


def look(run: Opened, test: SharedCases, number: int) -> Shown:
    """The case as a run sees it."""
    grid = test.cases.groups[0].grid
    batch, operands = asked(run, test, number)
    fields = program(run)(run.model.params, batch.inputs, operands)
    samples = None
    if run.experiment.posterior.has_samples:
        samples = program(run, DRAWS)(run.model.params, batch.inputs, operands).samples
    moments = {name: getattr(fields, name) for name in ("mean", "aleatoric", "epistemic")}
    whole = on_host(moments | {"lower": fields.mean - fields.std, "upper": fields.mean + fields.std})
    whole |= {"truth": np.asarray(batch.outputs)}
    cut = tuple(slice(n) for n in grid.shape)
    given = np.asarray(batch.inputs)[0][cut]
    case = Case(
        grid=grid,
        axes=run.about.axes,
        inputs=tuple((what, given[..., channel]) for channel, what in enumerate(run.about.inputs)),
        output=run.about.outputs[0],
        **{name: values[0][cut][..., 0] for name, values in whole.items()},
        band="mean ± std",
        scales=Scales(1.0, 1.0, 1.0),
    )
    drawn = None if samples is None else on_host(samples)[:, 0][(slice(None), *cut)][..., 0]
    return Shown(case, drawn)
