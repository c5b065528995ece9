"""Linearised Laplace: a Gaussian around the trained parameters, and what the linearised operator makes of it.

After training as the deterministic posterior is trained, one pass or a few over the training cases give the curvature
of the likelihood at the parameters chosen (generalised Gauss-Newton), the marginal likelihood gives the precision of
the prior and the noise, and the predictive distribution is that of the linearised operator (Khan et al. 2019; Immer,
Korzepa, Bauer 2021; over functions: Magnani et al. 2024). Its mean is the trained operator's.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from pnol_jax.bases import GridOperands
from pnol_jax.cache import Cache
from pnol_jax.posteriors import mixture
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.posteriors.laplace.digest import digest
from pnol_jax.posteriors.laplace.evidence import Data, Float64, maximise
from pnol_jax.posteriors.laplace.likelihood import Observations
from pnol_jax.posteriors.laplace.process import GaussianProcess
from pnol_jax.posteriors.laplace.products import Indices, Products
from pnol_jax.posteriors.laplace.structure import Arrays, Found, Groups, Structure
from pnol_jax.posteriors.laplace.subset import Subset
from pnol_jax.posteriors.protocol import NORMALISER, Batch, FitBatch, Metrics, Params
from pnol_jax.posteriors.residuals import NOISE
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.partition import Axes
from pnol_jax.sharding.placement import WHOLE, from_first, on_host, placed

PREFIX = "laplace."
ROOT = PREFIX + "root."


@dataclass(frozen=True)
class Laplace:
    """The posterior of an operator's parameters `subset`, its covariance of a given `structure`.

    `prior` is the precision of the prior, `noise` the standard deviation of the noise in units of the outputs' own:
    each a number, or what the marginal likelihood says ("evidence"); "trained" keeps the base's noise. With `layerwise`
    each layer has a prior of its own. `cache` is a folder for decompositions.
    """

    base: Deterministic
    subset: Subset
    structure: Structure
    observations: Observations = "points"
    prior: Literal["evidence"] | float = "evidence"
    noise: Literal["evidence", "trained"] | float = "evidence"
    layerwise: bool = False
    probes: int = 64
    cache: Cache | None = None
    members: int | None = None
    has_samples: bool = True

    @property
    def axes(self) -> Mapping[str, Axes]:
        """The base's."""
        return self.base.axes

    def initial(self, seed: int) -> Params:
        """The base's."""
        return self.base.initial(seed)

    def loss(self, params: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The base's."""
        return self.base.loss(params, batch, grid, key)

    def fit(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Params:
        """The base's noise, then "laplace.*": the covariance's root, prior precision, noise factor, log evidence."""
        params = self.base.fit(params, data)
        if not isinstance(self.noise, str):
            params = params | {NOISE: jnp.full_like(params[NOISE], self.noise**2)}
        found = self._decomposition(params, data)
        active, index = found.pop("active") > 0, found.pop("index").astype(np.int32)
        groups = self.groups
        squares = np.bincount(groups, active * np.square(self.vector(params))).astype(float)
        residual, observations, log_noise = found.pop("fit")
        spectrum = self.structure.spectrum(found, groups[index], len(squares))
        prior = None if self.prior == "evidence" else float(self.prior)
        best = maximise(spectrum, Data(residual, observations, log_noise, squares), prior, self.noise == "evidence")
        root = self.structure.root(found, best.precision[groups[index]], best.gamma)
        arrays: dict[str, NDArray[Any]] = {
            PREFIX + "prior_precision": best.precision,
            PREFIX + "noise": np.asarray([best.gamma]),
            PREFIX + "log_marginal": np.asarray([best.log_marginal]),
            **{ROOT + name: value for name, value in root.items()},
        }
        dtype = params[NORMALISER + "outputs.std"].dtype
        there = {name: value.astype(dtype) for name, value in arrays.items()} | {PREFIX + "index": index}
        return params | placed(
            {name: jnp.asarray(value) for name, value in from_first(there).items()}, dict.fromkeys(there, WHOLE)
        )

    def _decomposition(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Found:
        if self.cache is None or jax.process_count() > 1:
            return self._decompose(params, data)
        about = f"{sorted(self.subset.shapes)} {self.structure!r} {self.observations} {self._program(params, data)}"
        return self.cache.get(digest(params, data, about), lambda: self._decompose(params, data))

    def _program(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> str:
        """What the operator computes, as the text of its program."""
        one = next(iter(data()))
        shapes = jax.eval_shape(lambda *given: given, params, one.batch.inputs, one.grid)
        return str(jax.jit(self.moments).lower(*shapes).as_text())

    def _decompose(self, params: Params, data: Callable[..., Iterable[FitBatch]]) -> Found:
        """What the structure finds, with "active" and "index", which entries have an effect and which it is about."""
        products = Products(
            self.moments, self.subset, self.observations, params.get(NOISE), params, data, np.zeros(0, np.int32)
        )
        active = products.active()
        index: Indices = self.structure.kept(active)
        products = dataclasses.replace(products, index=index)
        about = {"active": active.astype(float), "index": index.astype(float)}
        return self.structure.decompose(products) | about

    @property
    def moments(self) -> Callable[[Params, jax.Array, GridOperands], tuple[jax.Array, jax.Array | None]]:
        """The base's, of (batch, *space, in), never in 16 bits, which would be too coarse for derivatives."""
        return dataclasses.replace(self.base, precision="float32").moments

    def vector(self, params: Params) -> Float64:
        """The parameters that it is about, (size,), on the host."""
        return np.concatenate([np.asarray(on_host(params[name]), np.float64).ravel() for name in self.subset.shapes])

    @property
    def groups(self) -> Groups:
        """The group of each entry, whose prior has one precision: its layer's number, or 0."""
        groups = np.zeros(self.subset.size, np.int64)
        if self.layerwise:
            layers = [name.rpartition(".")[0] for name in self.subset.shapes]
            for (_, span), layer in zip(self.subset.spans(), layers, strict=True):
                groups[span] = sorted(set(layers)).index(layer)
        return groups

    def arrays(self, params: Params) -> Arrays:
        """The covariance's root, as the structure has it."""
        return {name.removeprefix(ROOT): value for name, value in params.items() if name.startswith(ROOT)}

    def process(self, params: Params, inputs: jax.Array, grid: GridOperands) -> GaussianProcess:
        """The output fields' distribution without noise, of inputs (batch, *space, in): moments, draws, functionals."""
        return GaussianProcess(
            moments=self.moments,
            subset=self.subset,
            structure=self.structure,
            observations=self.observations,
            probes=self.probes,
            params=params,
            arrays=self.arrays(params),
            index=params[PREFIX + "index"],
            gamma=params[PREFIX + "noise"],
            noise=params.get(NOISE),
            inputs=inputs,
            grid=grid,
        )

    def predict(
        self, params: Params, inputs: jax.Array, grid: GridOperands, key: jax.Array, num_samples: int = 0
    ) -> Predictive:
        """The operator's mean, the noise, and the variance of the linearised operator (`GaussianProcess.variance`).

        A sample is a draw of the function, of one key the same on every grid, with its noise at each point.
        """
        process = self.process(params, inputs, grid)
        aleatoric, samples = process.aleatoric, None
        if num_samples:
            functions, noise = jax.random.split(key)
            samples = mixture.with_noise(process.samples(functions, num_samples), aleatoric, noise)
        return Predictive(mean=process.mean, aleatoric=aleatoric, epistemic=process.variance(), samples=samples)

    def advance(
        self, params: Params, inputs: jax.Array, grid: GridOperands, function: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """As `pnol_jax.posteriors.march.Marching` has it: a draw keeps its function."""

        def component(key: jax.Array, inputs: jax.Array) -> Predictive:
            process = self.process(params, inputs, grid)
            (field,) = process.samples(key, 1)
            return Predictive(field, process.aleatoric, jnp.zeros_like(field))

        return mixture.advance(component, inputs, function, noise)

    def functional(
        self, params: Params, inputs: jax.Array, grid: GridOperands, weights: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Mean, aleatoric and epistemic variance of linear functionals, exactly (`GaussianProcess.functional`)."""
        return self.process(params, inputs, grid).functional(weights)
