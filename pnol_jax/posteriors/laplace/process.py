"""The linearised operator as a Gaussian process over output fields (Magnani, Pfoertner, Weber, Hennig 2024, "LUNO").

With parameters theta ~ N(theta*, Sigma), Sigma = R R^T, and f linear in them, f is a Gaussian process: for inputs a its
mean is f(a; theta*) and its covariance J(a, x) Sigma J(a', x')^T between any two points, of one grid or of two, and any
two cases. A draw of theta is a whole operator: one function on every grid, of every input.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax import collectives
from pnol_jax.bases import GridOperands
from pnol_jax.calculus import integral
from pnol_jax.collectives import CASES, FSDP
from pnol_jax.errors import InputError
from pnol_jax.posteriors.laplace.likelihood import Observations, worth
from pnol_jax.posteriors.laplace.linearise import Linearised, Moments, linearise, noise_of
from pnol_jax.posteriors.laplace.products import TOGETHER, columns
from pnol_jax.posteriors.laplace.structure import Arrays, Structure
from pnol_jax.posteriors.laplace.subset import Subset
from pnol_jax.posteriors.protocol import NORMALISER, Params

SEED = 0  # of the directions by which a variance is estimated: the same for every grid and every request


@dataclass(frozen=True)
class GaussianProcess:
    """The distribution of the field without its noise, for the inputs of a batch; everything in physical units.

    `noise` is the variance of the noise where there is no head, and `gamma` a factor on it.
    """

    moments: Moments
    subset: Subset
    structure: Structure
    observations: Observations
    probes: int
    params: Params
    arrays: Arrays
    index: jax.Array
    gamma: jax.Array
    noise: jax.Array | None
    inputs: jax.Array
    grid: GridOperands

    @functools.cached_property
    def _linear(self) -> Linearised:
        return linearise(self.moments, self.subset, self.params, self.inputs, self.grid)

    @property
    def _scale(self) -> jax.Array:
        return self.params[NORMALISER + "outputs.std"]

    @property
    def mean(self) -> jax.Array:
        """(batch, *space, out)."""
        return self._linear.mean * self._scale + self.params[NORMALISER + "outputs.mean"]

    @property
    def aleatoric(self) -> jax.Array:
        """The variance of the noise, (batch, *space, out)."""
        variance = noise_of(self._linear, self.noise)
        return jnp.broadcast_to(variance * self.gamma * self._scale**2, self._linear.mean.shape)

    @property
    def exact(self) -> bool:
        """Whether `variance` is: of parameters in the last layer, and of at most `probes` others."""
        return self.subset.last_layer or self.index.size <= self.probes

    def variance(self) -> jax.Array:
        """The variance at each point, (batch, *space, out): the sum over the columns r of R of (J r)^2.

        Where that is not `exact`, the mean of (J R s)^2 over `probes` vectors s of random signs: unbiased, with a
        relative standard error of at most sqrt(2 / probes). They are the same for every grid and every case.
        """
        size = self.index.size
        if self.exact:
            return self._sum_of_squares(lambda number: jax.nn.one_hot(number, size, dtype=self._scale.dtype), size)
        key = jax.random.key(SEED, impl="threefry2x32")

        def signs(number: jax.Array) -> jax.Array:
            drawn = jax.random.rademacher(jax.random.fold_in(key, number), (size,), self._scale.dtype)
            return drawn * (number < self.probes)

        return self._sum_of_squares(signs, self.probes) / self.probes

    def _sum_of_squares(self, white: Callable[[jax.Array], jax.Array], count: int) -> jax.Array:
        """The sum of (J R w)^2 over w = white(0) ... white(count - 1), in turns; beyond that w is zero."""
        together = min(TOGETHER[self.subset.last_layer], count)
        numbers = jnp.arange(-(-count // together) * together).reshape(-1, together)

        def add(total: jax.Array, numbers: jax.Array) -> tuple[jax.Array, None]:
            return total + jnp.sum(jnp.square(self.deviations(jax.vmap(white)(numbers))), axis=0), None

        start = 0 * self._linear.mean
        if len(numbers) == 1:
            return add(start, numbers[0])[0]
        total: jax.Array = lax.scan(add, start, numbers)[0]
        return total

    def deviations(self, white: jax.Array) -> jax.Array:
        """J R w for vectors w, (K, P): what they add to the mean, (K, batch, *space, out)."""
        vectors = self.structure.scale(self.arrays, white)
        return columns(self._linear, self.subset, vectors, self.index) * self._scale

    def samples(self, key: jax.Array, num_samples: int) -> jax.Array:
        """Draws, (num_samples, batch, *space, out): of one key the same functions on every grid."""
        white = jax.random.normal(key, (num_samples, self.index.size), self._scale.dtype)
        return self.mean + self.deviations(white)

    def functional(self, weights: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Mean, aleatoric and epistemic variance of the functionals int sum_c w_c u_c dx: (batch, functionals) each.

        Exact, by one product with J^T for each case and functional. The noise counts as its independent observations:
        its variance is |D| / n int sum_c w_c^2 s_c dx.

        Args:
            weights: (functionals, *space, out), or (functionals, batch, *space, out).
        """
        weights = self._of_cases(weights)
        each = worth(self.grid, self.observations, self._linear.mean)[..., None]
        quadrature = jnp.asarray(self.grid.weights(), self._scale.dtype)[..., None]
        spread = jnp.where(each > 0, quadrature / each, 0)  # |D| / n
        means = jax.vmap(lambda weight: integral(weight * self.mean, self.grid))(weights)
        noises = jax.vmap(lambda weight: integral(spread * weight**2 * self.aleatoric, self.grid))(weights)
        loadings = self._loadings(weights * quadrature)
        return jnp.sum(means, axis=-1).T, jnp.sum(noises, axis=-1).T, jnp.sum(jnp.square(loadings), axis=-1)

    def covariance(
        self, points: jax.Array, other: "GaussianProcess | None" = None, others: jax.Array | None = None
    ) -> jax.Array:
        """Between points of each case here and points of the same case of `other` (or of this one), (batch, m, k).

        Args:
            points: (m,), numbers of entries of a field (*space, out), as `numpy.ravel_multi_index` counts them.
            other: the process on another grid, or of other inputs; made of the same posterior and parameters.
            others: points of it, (k,); `points` if there are none.
        """
        here = self._loadings(self._at(points))
        there = (
            here
            if other is None and others is None
            else (other or self)._loadings((other or self)._at(points if others is None else others))
        )
        return jnp.einsum("bmp,bkp->bmk", here, there)

    def _at(self, points: jax.Array) -> jax.Array:
        shape = self._linear.mean.shape
        size = self._linear.mean[0].size
        fields = jax.nn.one_hot(points, size, dtype=self._scale.dtype).reshape(-1, *shape[1:])
        return self._of_cases(fields)

    def _of_cases(self, fields: jax.Array) -> jax.Array:
        """(K, *space, out) -> (K, batch, *space, out)."""
        shape = self._linear.mean.shape
        if fields.shape[1:] not in (shape, shape[1:]):
            raise InputError(
                f"functional: got weights of shape {fields.shape}, expected (functionals, "
                f"{', '.join(map(str, shape[1:]))}), or an axis of cases after the first"
            )
        if fields.ndim == len(shape):
            fields = fields[:, None]
        return jnp.broadcast_to(fields, (len(fields), *shape))

    def _loadings(self, fields: jax.Array) -> jax.Array:
        """R^T J^T f of every case, fields (K, batch, *space, out) -> (batch, K, P); covariances are their products."""
        stored = [name for name in self.subset.shapes if "out" in self.subset.names.get(name, ())]
        if stored and collectives.count((FSDP,)) > 1:
            raise InputError(
                f"functional: {stored[0]} is stored in parts, and gradients of it are sums over cases; expected a mesh "
                "with fsdp = 1"
            )
        # Gradients of a case are its own: over the parts of a batch they must not be added up.
        own = {name: collectives.varying(value, CASES) for name, value in self.subset.of(self.params).items()}

        def of_case(inputs: jax.Array, grid: GridOperands, fields: jax.Array) -> jax.Array:
            grid = jax.tree.map(lambda leaf: leaf[None], grid) if self.grid.batched else grid
            linear = linearise(self.moments, self.subset, self.params | own, inputs[None], grid)

            def of_field(field: jax.Array) -> jax.Array:
                gradient = self.subset.join(linear.pull(field[None] * self._scale))
                return self.structure.scale_transposed(self.arrays, gradient[self.index])

            found: jax.Array = lax.map(of_field, fields, batch_size=TOGETHER[False])
            return found

        each = 0 if self.grid.batched else None
        loadings: jax.Array = jax.vmap(of_case, (0, each, 1))(self.inputs, self.grid, fields)
        return loadings
