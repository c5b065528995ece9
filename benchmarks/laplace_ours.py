"""Our half of the comparison with laplax: `python -m benchmarks.laplace_ours SIZE FOLDER PRECISION`.

`fit` is curvature, decomposition and the covariance's root for a given prior and noise; `predict` mean and variance at
every point. Programs are compiled once, as the peer's are.
"""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.laplace_problem import NOISE, PRECISION, SIZES, Size, cases, memory, operator
from benchmarks.peer_scripts.line_protocol import serve
from pnol_jax.config import TrainingConfig
from pnol_jax.memory import keep_arena
from pnol_jax.posterior_config import LaplaceConfig
from pnol_jax.posteriors import Batch, FitBatch, build_posterior
from pnol_jax.posteriors.laplace import Laplace
from pnol_jax.posteriors.laplace.products import Products

PREFIX = "laplace."


class Side:
    """Fit and prediction."""

    def __init__(self, size: Size) -> None:
        made, self.grid = operator(size)
        self.posterior = _posterior(size)
        constants = {f"normaliser.{name}": jnp.ones(1) for name in ("inputs.std", "outputs.std")}
        constants |= {f"normaliser.{name}": jnp.zeros(1) for name in ("inputs.mean", "outputs.mean")}
        self.params = {f"operator.{name}": value for name, value in made.params.items()} | constants
        self.params |= {"noise.variance": jnp.full(1, NOISE**2)}
        inputs, asked = cases(size)
        self.batch = FitBatch(Batch(inputs, jnp.zeros_like(inputs)), self.grid, jnp.ones(size.cases))
        self.asked = asked
        empty = np.zeros(0, np.int32)
        given = (self.posterior.moments, self.posterior.subset, "points", jnp.full(1, NOISE**2), self.params)
        first = Products(*given, lambda: [self.batch], empty)
        self.products = Products(*given, lambda: [self.batch], self.posterior.structure.kept(first.active()))
        self.fitted = self.params | self._root()
        self._predict = jax.jit(self._moments).lower(self.fitted, self.asked).compile()

    def _root(self) -> dict[str, Any]:
        structure = self.posterior.structure
        found = structure.decompose(self.products)
        index = self.products.index
        root = structure.root(found, np.full(len(index), PRECISION), 1.0)
        arrays = {f"{PREFIX}root.{name}": jnp.asarray(value, float) for name, value in root.items()}
        return arrays | {f"{PREFIX}index": jnp.asarray(index), f"{PREFIX}noise": jnp.ones(1)}

    def _moments(self, fitted: Any, asked: jax.Array) -> tuple[jax.Array, jax.Array]:
        predictive = self.posterior.predict(fitted, asked, self.grid, jax.random.key(0))
        return predictive.mean, predictive.epistemic

    def fit(self) -> None:
        """From cases to the covariance's root."""
        jax.block_until_ready(self._root())

    def predict(self) -> Any:
        """Mean and variance of a batch."""
        return jax.block_until_ready(self._predict(self.fitted, self.asked))

    def exact_std(self) -> Any:
        """The standard deviation at every point by products with J^T: what the peer computes."""
        every = jnp.arange(self.asked[0].size)

        def of(fitted: Any, asked: jax.Array) -> jax.Array:
            covariance = self.posterior.process(fitted, asked, self.grid).covariance(every)
            return jnp.sqrt(jnp.diagonal(covariance, axis1=1, axis2=2))

        return jax.jit(of)(self.fitted, self.asked)

    @property
    def memory(self) -> dict[str, int]:
        """Bytes that the programs take beside their arguments."""
        index, low = jnp.asarray(self.products.index), self.posterior.structure.__class__.__name__ == "LowRank"
        program = self.products.product_program if low else self.products.gram_program
        extra = (jnp.zeros(index.size),) if low else ()
        lowered = program.lower(self.params, self.products.noise, self.batch, index, *extra)
        return {"fit": memory(lowered.compile()), "predict": memory(self._predict)}


def _posterior(size: Size) -> Laplace:
    made, _ = operator(size)
    config = LaplaceConfig(
        heteroscedastic=False,
        parameters="all" if size.rank else "last_layer",
        structure="low_rank" if size.rank else "full",
        rank=size.rank or 1,
        cache="",
    )
    posterior = build_posterior(config, TrainingConfig(), lambda *_: made, 1)
    assert isinstance(posterior, Laplace)
    return posterior


def main() -> None:
    """Compile, keep the answers, serve."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    jax.config.update("jax_enable_x64", sys.argv[3] == "float64")
    keep_arena()
    side = Side(SIZES[name])
    mean, variance = side.predict()
    std = np.asarray(side.exact_std())
    np.savez(folder / "ours.npz", mean=np.asarray(mean).reshape(std.shape), std=std, asked=np.sqrt(variance))
    serve({"fit": side.fit, "predict": side.predict}, {"memory": side.memory, "parameters": len(side.products.index)})


if __name__ == "__main__":
    main()
