"""Products with the generalised Gauss-Newton matrix G = sum over cases of J^T H J, batch by batch.

J is the Jacobian of the mean in the chosen parameters, H the diagonal Hessian of the likelihood (`likelihood.py`).
Programs run by parts on a mesh; what comes out of them are sums, whole on every device, which the host adds up over
the batches in float64. No data is gathered, and of J no more than `BUDGET` bytes exist at a time.
"""

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import CASES, SPACE
from pnol_jax.posteriors.laplace.likelihood import Fit, Observations, fit_of, information
from pnol_jax.posteriors.laplace.linearise import Linearised, Moments, linearise, noise_of
from pnol_jax.posteriors.laplace.subset import Subset
from pnol_jax.posteriors.protocol import NORMALISER, FitBatch, Params
from pnol_jax.sharding.divide import Program, divided
from pnol_jax.sharding.partition import spec
from pnol_jax.sharding.placement import on_host

Float64 = NDArray[np.float64]
Indices = NDArray[np.int32]
Statistic = Callable[[jax.Array], Any]  # of a vector, such as its squares
BUDGET = 2**28  # bytes of columns of J at a time
DIRECTIONS, ROUNDING = 4, 100  # by which entries without effect are found; in units of the precision
TOGETHER = {True: 128, False: 8}  # directions pushed at a time: of the last layer, of deeper ones


@dataclass(frozen=True)
class Products:
    """Sums over passes of `data`, the training cases, at the parameters `params`.

    `moments` gives mean and variance, `noise` the variance where there is no head. Vectors hold the entries `index` of
    the subset's own.
    """

    moments: Moments
    subset: Subset
    observations: Observations
    noise: jax.Array | None
    params: Params
    data: Callable[..., Iterable[FitBatch]]
    index: Indices

    def gram(self) -> tuple[Float64, Fit]:
        """G itself, (P, P), by the columns of J; and the fit, of the same pass."""
        found, fit = self._summed(self.gram_program, jnp.asarray(self.index))
        return (found + found.T) / 2, fit

    @functools.cached_property
    def gram_program(self) -> Program[Any, Any]:
        """Of one batch: (params, noise, batch, index) -> G and `Fit`."""

        def of(params: Params, noise: Any, one: FitBatch, index: jax.Array) -> tuple[jax.Array, Fit]:
            size = one.batch.inputs.itemsize * index.size * math.prod(one.grid.shape) * one.batch.outputs.shape[-1]
            if size > BUDGET:
                there = self._around(params, noise, one)
                return self._rows(there, index), self._fit(there, params, one)
            parts = _fewest_parts(len(one.mask), BUDGET // size)
            if parts == 1:
                return self._square(params, noise, one, index)
            each = lax.map(lambda part: self._square(params, noise, part, index), _in_parts(one, parts))
            summed: tuple[jax.Array, Fit] = jax.tree.map(functools.partial(jnp.sum, axis=0), each)
            return summed

        return divided(of, spec())

    def _square(self, params: Params, noise: Any, one: FitBatch, index: jax.Array) -> tuple[jax.Array, Fit]:
        """J^T H J of some cases, by the columns of H^(1/2) J."""
        there = self._around(params, noise, one)
        fields = columns(there.linear, self.subset, _unit_vectors(index, there.precision), index)
        flat = (fields * jnp.sqrt(there.precision)).reshape(index.size, -1)
        return _over_parts(flat @ flat.T), self._fit(there, params, one)

    def _rows(self, there: "_Around", index: jax.Array) -> jax.Array:
        """The same by its rows, where columns are too long: no more than a few fields exist at a time."""
        rows: jax.Array = lax.map(
            lambda vector: self._product(there, vector, index),
            _unit_vectors(index, there.precision),
            batch_size=TOGETHER[self.subset.last_layer],
        )
        return rows

    def multiply(self, vector: Float64) -> tuple[Float64, Fit]:
        """G v, (P,); and the fit, of the same pass."""
        found, fit = self._summed(self.product_program, jnp.asarray(self.index), jnp.asarray(vector, self._dtype))
        return found, fit

    @functools.cached_property
    def product_program(self) -> Program[Any, Any]:
        """Of one batch: (params, noise, batch, index, vector) -> G v and `Fit`."""

        def of(params: Params, noise: Any, one: FitBatch, index: jax.Array, vector: jax.Array) -> tuple[jax.Array, Fit]:
            there = self._around(params, noise, one)
            return self._product(there, vector, index), self._fit(there, params, one)

        return divided(of, spec())

    def sampled(self, statistic: Statistic, probes: int, seed: int) -> tuple[Any, Fit]:
        """The sum of statistic(g) over random vectors g of mean 0 and covariance G; and the fit, of the same pass.

        Unbiased for what is linear in g g^T. g = J^T H^(1/2) s with random signs s at every point of a batch, `probes`
        of them, whose mean is taken.
        """

        def of(params: Params, noise: Any, one: FitBatch, index: jax.Array, key: jax.Array) -> tuple[Any, Fit]:
            there = self._around(params, noise, one)

            def probe(key: jax.Array) -> Any:
                signs = jnp.sign(collectives.normal(key, there.precision.shape, there.precision.dtype))
                return statistic(self.subset.join(there.linear.pull(signs * jnp.sqrt(there.precision)))[index])

            found = lax.map(probe, jax.random.split(key, probes), batch_size=TOGETHER[False])
            return jax.tree.map(functools.partial(jnp.mean, axis=0), found), self._fit(there, params, one)

        found, fit = self._summed(divided(of, spec()), jnp.asarray(self.index), key=jax.random.key(seed))
        return found, fit

    def active(self) -> NDArray[np.bool_]:
        """Which entries of the subset the mean depends on at all, whatever the inputs, (size,): not a head's, say.

        Those whose derivative, for random inputs and in random directions, is above rounding next to their parameter's
        largest.
        """

        def of(params: Params, one: FitBatch) -> jax.Array:
            batch, grid, _ = one
            first, second = jax.random.split(jax.random.key(0))
            draws = collectives.normal(first, batch.inputs.shape, batch.inputs.dtype)
            mean, deviation = params[NORMALISER + "inputs.mean"], params[NORMALISER + "inputs.std"]
            linear = linearise(self.moments, self.subset, params, mean + deviation * draws, grid)
            there = jnp.asarray(grid.mask(), draws.dtype)[..., None]

            def probe(key: jax.Array) -> jax.Array:
                field = there * collectives.normal(key, linear.mean.shape, draws.dtype)
                return jnp.abs(self.subset.join(linear.pull(field)))

            return jnp.max(lax.map(probe, jax.random.split(second, DIRECTIONS)), axis=0)

        slopes = on_host(divided(of, spec())(self.params, next(iter(self.data()))))
        rounding = ROUNDING * np.finfo(slopes.dtype).eps
        each = [slopes[span] > rounding * slopes[span].max() for _, span in self.subset.spans()]
        return np.concatenate(each)

    @property
    def _dtype(self) -> Any:
        return self.params[NORMALISER + "outputs.std"].dtype

    def _around(self, params: Params, noise: Any, one: FitBatch) -> "_Around":
        batch, grid, mask = one
        linear = linearise(self.moments, self.subset, params, batch.inputs, grid)
        variance = noise_of(linear, noise)
        return _Around(linear, variance, information(variance, mask, grid, self.observations, linear.mean))

    def _product(self, there: "_Around", vector: jax.Array, index: jax.Array) -> jax.Array:
        pushed = there.linear.push(tangents(self.subset, vector, index, there.linear.theta))
        return self.subset.join(there.linear.pull(there.precision * pushed))[index]

    def _fit(self, there: "_Around", params: Params, one: FitBatch) -> Fit:
        outputs = one.batch.outputs if one.batch.outputs.ndim == one.batch.inputs.ndim else one.batch.outputs[:, 0]
        truth = (outputs - params[NORMALISER + "outputs.mean"]) / params[NORMALISER + "outputs.std"]
        return fit_of(there.linear.mean, there.variance, truth, there.precision)

    def _summed(self, program: Program[Any, Any], *arguments: Any, key: Any = None) -> Any:
        """The sum over a pass of what a program gives, in float64; with a `key` each batch gets one of its own."""
        total: Any = None
        for number, one in enumerate(self.data()):
            extra = () if key is None else (jax.random.fold_in(key, number),)
            found = on_host(program(self.params, self.noise, one, *arguments, *extra))
            found = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found)
            total = found if total is None else jax.tree.map(np.add, total, found)
        return total


class _Around(NamedTuple):
    """A batch's linearised operator, the variance of its noise, the Hessian of its likelihood."""

    linear: Linearised
    variance: jax.Array
    precision: jax.Array


def tangents(subset: Subset, vectors: jax.Array, index: jax.Array, theta: Params) -> Params:
    """Vectors (*lead, P) of the entries `index` as tangents by name, zero elsewhere."""
    if index.size < subset.size:
        whole = jnp.zeros((*vectors.shape[:-1], subset.size), vectors.dtype)
        vectors = whole.at[..., index].set(vectors)
    return subset.split(vectors, theta)


def columns(linear: Linearised, subset: Subset, vectors: jax.Array, index: jax.Array) -> jax.Array:
    """J times each of the vectors (K, P): fields (K, batch, *space, out)."""

    def push(vector: jax.Array) -> jax.Array:
        return linear.push(tangents(subset, vector, index, linear.theta))

    fields: jax.Array = lax.map(push, vectors, batch_size=TOGETHER[subset.last_layer])
    return fields


def _over_parts(value: jax.Array) -> jax.Array:
    return collectives.total(collectives.total(value, SPACE), CASES)


def _unit_vectors(index: jax.Array, like: jax.Array) -> jax.Array:
    return jnp.eye(index.size, dtype=like.dtype)


def _fewest_parts(size: int, most: int) -> int:
    """Into how few equal parts a batch falls of which each has at most so many cases."""
    return next(parts for parts in range(1, size + 1) if size % parts == 0 and size // parts <= max(most, 1))


def _in_parts(one: FitBatch, parts: int) -> FitBatch:
    """The batch with a leading axis of parts; operands that its cases share are repeated."""

    def cut(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(parts, -1, *leaf.shape[1:])

    def repeat(leaf: jax.Array) -> jax.Array:
        return jnp.broadcast_to(leaf, (parts, *leaf.shape))

    grid: GridOperands = jax.tree.map(cut if one.grid.batched else repeat, one.grid)
    return FitBatch(jax.tree.map(cut, one.batch), grid, cut(one.mask))
