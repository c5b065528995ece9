"""Products with the generalised Gauss-Newton matrix G = sum over cases of J^T H J, batch by batch.

J is the Jacobian of the mean in the chosen parameters, H the diagonal Hessian of the likelihood (`likelihood.py`).
Programs run by parts on a mesh; what comes out of them are sums, whole on every device, which the host adds up over
the batches in float64. No data is gathered, and of J no more than `BUDGET` bytes exist at a time.
"""

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.collectives import CASES, SPACE
from pnol_jax.posteriors.laplace.likelihood import Fit, Observations, fit_of, information
from pnol_jax.posteriors.laplace.linearise import Linearised, Moments, linearise
from pnol_jax.posteriors.laplace.subset import Subset
from pnol_jax.posteriors.protocol import NORMALISER, FitBatch, Params
from pnol_jax.sharding.divide import Program, divided
from pnol_jax.sharding.partition import spec
from pnol_jax.sharding.placement import on_host

Float64 = NDArray[np.float64]
Indices = NDArray[np.int32]
Statistic = Callable[[jax.Array], Any]  # of a vector, such as its squares
BUDGET = 2**28  # bytes of columns of J at a time
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
    data: Callable[[], Iterable[FitBatch]]
    index: Indices

    def fit(self) -> Fit:
        """How well the mean fits the training cases."""

        def of(params: Params, noise: Any, one: FitBatch) -> Fit:
            batch, grid, mask = one
            mean, variance = self.moments(params, batch.inputs, grid)
            variance = noise if variance is None else variance
            precision = information(variance, mask, grid, self.observations, mean)
            return fit_of(mean, variance, self._truth(params, one), precision, mask)

        return Fit(*self._summed(divided(of, spec())))

    def gram(self) -> Float64:
        """G itself, (P, P), by the columns of J."""

        def of(params: Params, noise: Any, one: FitBatch, index: jax.Array) -> jax.Array:
            size = one.batch.inputs.itemsize * index.size * math.prod(one.grid.shape) * self._channels(one)
            if size > BUDGET:
                return self._gram_by_rows(params, noise, one, index)
            parts = _fewest_parts(len(one.mask), BUDGET // size)
            total = collectives.varying(jnp.zeros((index.size, index.size), one.batch.inputs.dtype), (*CASES, *SPACE))

            def add(total: jax.Array, part: FitBatch) -> tuple[jax.Array, None]:
                linear, precision = self._linearised(params, noise, part)
                weighted = columns(linear, self.subset, _unit_vectors(index, precision), index) * jnp.sqrt(precision)
                flat = weighted.reshape(index.size, -1)
                return total + flat @ flat.T, None

            summed, _ = lax.scan(add, total, _in_parts(one, parts))
            return collectives.total(collectives.total(summed, SPACE), CASES)

        found: Float64 = self._summed(divided(of, spec()), jnp.asarray(self.index))
        return (found + found.T) / 2

    def _gram_by_rows(self, params: Params, noise: Any, one: FitBatch, index: jax.Array) -> jax.Array:
        linear, precision = self._linearised(params, noise, one)

        def row(direction: jax.Array) -> jax.Array:
            return self._around(linear, precision, direction, index)

        rows: jax.Array = lax.map(row, _unit_vectors(index, precision), batch_size=TOGETHER[self.subset.last_layer])
        return rows

    def multiply(self) -> Callable[[Float64], Float64]:
        """The function v -> G v, (P,) -> (P,), each a pass over the cases."""

        def of(params: Params, noise: Any, one: FitBatch, index: jax.Array, vector: jax.Array) -> jax.Array:
            return self._around(*self._linearised(params, noise, one), vector, index)

        program, index = divided(of, spec()), jnp.asarray(self.index)
        return lambda vector: self._summed(program, index, jnp.asarray(vector, self._dtype))

    def sampled(self, statistic: Statistic, probes: int, seed: int) -> Any:
        """The sum of statistic(g) over random vectors g of mean zero and covariance G: unbiased for what is linear in g g^T.

        g = J^T H^(1/2) s with random signs s at every point of a batch, `probes` of them, whose mean is taken.
        """

        def of(params: Params, noise: Any, one: FitBatch, index: jax.Array, key: jax.Array) -> Any:
            linear, precision = self._linearised(params, noise, one)

            def probe(key: jax.Array) -> Any:
                signs = jnp.sign(collectives.normal(key, precision.shape, precision.dtype))
                return statistic(self.subset.join(linear.pull(signs * jnp.sqrt(precision)))[index])

            found = lax.map(probe, jax.random.split(key, probes), batch_size=TOGETHER[False])
            return jax.tree.map(functools.partial(jnp.mean, axis=0), found)

        return self._summed(divided(of, spec()), jnp.asarray(self.index), key=jax.random.key(seed))

    def active(self) -> NDArray[np.bool_]:
        """Which entries of the subset the mean depends on at all, whatever the inputs, (size,): not a head's, say."""

        def of(params: Params, one: FitBatch) -> jax.Array:
            batch, grid, _ = one
            first, second = jax.random.split(jax.random.key(0))
            draws = collectives.normal(first, batch.inputs.shape, batch.inputs.dtype)
            mean, deviation = params[NORMALISER + "inputs.mean"], params[NORMALISER + "inputs.std"]
            linear = linearise(self.moments, self.subset, params, mean + deviation * draws, grid)
            there = jnp.asarray(grid.mask(), draws.dtype)[..., None]
            field = there * collectives.normal(second, linear.mean.shape, draws.dtype)
            return self.subset.join(linear.pull(field))

        found = on_host(divided(of, spec())(self.params, next(iter(self.data()))))
        return np.asarray(found != 0)

    @property
    def _dtype(self) -> Any:
        return self.params[NORMALISER + "outputs.std"].dtype

    def _channels(self, one: FitBatch) -> int:
        return one.batch.outputs.shape[-1]

    def _linearised(self, params: Params, noise: Any, one: FitBatch) -> tuple[Linearised, jax.Array]:
        batch, grid, mask = one
        linear = linearise(self.moments, self.subset, params, batch.inputs, grid)
        variance = noise if linear.variance is None else linear.variance
        return linear, information(variance, mask, grid, self.observations, linear.mean)

    def _around(self, linear: Linearised, precision: jax.Array, vector: jax.Array, index: jax.Array) -> jax.Array:
        pushed = linear.push(tangents(self.subset, vector, index, linear.theta))
        return self.subset.join(linear.pull(precision * pushed))[index]

    def _truth(self, params: Params, one: FitBatch) -> jax.Array:
        outputs = one.batch.outputs if one.batch.outputs.ndim == one.batch.inputs.ndim else one.batch.outputs[:, 0]
        return (outputs - params[NORMALISER + "outputs.mean"]) / params[NORMALISER + "outputs.std"]

    def _summed(self, program: Program[Any, Any], *arguments: Any, key: Any = None) -> Any:
        """The sum over a pass of what a program gives, in float64; with a `key` each batch gets one of its own."""
        total: Any = None
        for number, one in enumerate(self.data()):
            extra = () if key is None else (jax.random.fold_in(key, number),)
            found = on_host(program(self.params, self.noise, one, *arguments, *extra))
            found = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found)
            total = found if total is None else jax.tree.map(np.add, total, found)
        return total


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
