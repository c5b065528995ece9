"""What every source of uncertainty is: how it is trained, what happens after training, how it predicts."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import jax

from pnol_jax.bases import GridOperands
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.partition import Axes

Params = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
OPERATOR = "operator."  # parameters that training changes
NORMALISER = "normaliser."  # constants, fitted on the training cases


class Batch(NamedTuple):
    """inputs (batch, *space, in); outputs (batch, *space, out), or (batch, steps, *space, out) of a trajectory."""

    inputs: jax.Array
    outputs: jax.Array


class FitBatch(NamedTuple):
    """A batch with its grid, and which of its rows are cases, (batch,): the last batch of a pass is filled up."""

    batch: Batch
    grid: GridOperands
    mask: jax.Array


class Posterior(Protocol):
    """Any operator goes with any posterior, and everything after it sees only this.

    Parameters are one flat dict: "operator.*" is trained, "normaliser.*" is constant, and `fit` may add more. Where
    `members` is not None, every trained array has a leading axis of members, which do not see each other in training.
    """

    @property
    def members(self) -> int | None:
        """The number of members trained side by side, None where there is one operator."""
        ...

    @property
    def has_samples(self) -> bool:
        """Whether `predict` can draw samples."""
        ...

    @property
    def axes(self) -> Mapping[str, Axes]:
        """The logical names of the dimensions of every trained parameter, which say how a mesh divides it."""
        ...

    def initial(self, seed: int) -> Params:
        """The parameters to start training from."""
        ...

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """What training minimises, (), and figures to show, () each, given a batch and one key, ()."""
        ...

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """What happens once after training, on passes over the training cases, `data()`.

        Inputs are (batch, *space, in). Of trajectories `data(unroll=steps)` gives windows of so many steps; one if not
        said.
        """
        ...

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """The distribution at inputs (batch, *space, in), in physical units; pure, to be compiled and exported."""
        ...


@runtime_checkable
class ExactFunctionals(Protocol):
    """A posterior that knows the distribution of linear functionals of the field without drawing, as a Gaussian one."""

    def functional(
        self, params: Params, inputs: jax.Array, grid: GridOperands, weights: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Mean, aleatoric and epistemic variance of int sum_c w_c u_c dx, (batch, functionals) each, in physical units.

        Args:
            params: after `fit`.
            inputs: (batch, *space, in).
            grid: of the inputs; padding does not count.
            weights: w, (functionals, *space, out), or (functionals, batch, *space, out) where cases differ.
        """
        ...


def trained(params: Params) -> Params:
    """The parameters that training changes."""
    return {name: value for name, value in params.items() if name.startswith(OPERATOR)}


def constant(params: Params) -> Params:
    """The others."""
    return {name: value for name, value in params.items() if not name.startswith(OPERATOR)}
