"""laplax on the FNO of `benchmarks.laplace_problem`, timed by the line protocol.

    PYTHONPATH=ROOT python laplax_laplace.py SIZE FOLDER PRECISION

`fit` is the curvature and the posterior's scale for a given prior and noise, `predict` mean and variance of the
linearised operator at every point: its full curvature (`create_full_curvature`), or low rank by its Lanczos, and its
`set_lin_pushforward` with `lin_pred_var`. Every stage is compiled once, as a user would. It takes one direction, and
one output point, at a time: the functions that do hand no size of a batch on to those that could take one. Of the
last layer it is asked in two ways: with the whole network as its model, and with the last layer alone as the model
of features that the rest gives, computed anew in every call.

laplax takes the Hessian of a sum of squares, 2, so its factor `sigma_squared` is 1 / (2 noise^2).
"""

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(os.environ["PYTHONPATH"])

import jax
import jax.numpy as jnp
import numpy as np
from laplax.curv.cov import set_posterior_fn
from laplax.curv.full import create_full_curvature
from laplax.curv.ggn import create_ggn_mv_without_data
from laplax.curv.low_rank import create_low_rank_curvature
from laplax.enums import LossFn
from laplax.eval.pushforward import lin_pred_mean, lin_pred_var, lin_setup, set_lin_pushforward
from line_protocol import serve

from benchmarks.laplace_problem import LAST, NOISE, PRECISION, SIZES, cases, memory, operator

PRIOR = {"prior_prec": PRECISION, "sigma_squared": 1 / (2 * NOISE**2)}
Model = Callable[..., jax.Array]


class Side:
    """Fit and prediction with one model; `prepare` makes of inputs what the model reads."""

    def __init__(self, model: Model, params: Any, prepare: Callable[[Any], Any], inputs: Any, asked: Any, rank: int):
        kind = "lanczos" if rank else "full"

        def curvature(params: Any, inputs: Any) -> Any:
            data = {"input": prepare(inputs), "target": jnp.zeros(())}
            product = create_ggn_mv_without_data(model, params, LossFn.MSE, 1.0, loss_hessian_mv=lambda jv, **_: 2 * jv)
            target = jnp.zeros((len(inputs), 1))

            def multiply(vector: Any) -> Any:
                return product(vector, data | {"target": target})

            if rank:
                precision = {"calc_dtype": target.dtype, "mv_dtype": target.dtype, "return_dtype": target.dtype}
                key = jax.random.key(0)
                return create_low_rank_curvature(multiply, layout=params, key=key, rank=rank, **precision)
            return create_full_curvature(multiply, layout=params)

        def posterior(params: Any, found: Any) -> Any:
            return set_posterior_fn(kind, found, layout=params)

        def fitted(params: Any, inputs: Any) -> Any:
            found = curvature(params, inputs)
            return posterior(params, found)(PRIOR).state

        def predict(params: Any, state: Any, asked: Any) -> Any:
            shell = posterior(params, self.found)(PRIOR)
            shell.state = state
            predictive = set_lin_pushforward(
                model, params, lambda *_: shell, PRIOR, pushforward_fns=[lin_setup, lin_pred_mean, lin_pred_var]
            )
            results = jax.lax.map(predictive, prepare(asked))
            return results["pred_mean"], results["pred_var"]

        self.found = jax.jit(curvature)(params, inputs)
        self._fit = jax.jit(fitted).lower(params, inputs).compile()
        state = self._fit(params, inputs)
        self._predict = jax.jit(predict).lower(params, state, asked).compile()
        self.fit = lambda: jax.block_until_ready(self._fit(params, inputs))
        self.predict = lambda: jax.block_until_ready(self._predict(params, state, asked))
        self.memory = {"fit": memory(self._fit), "predict": memory(self._predict)}


def main() -> None:
    """Compile, keep the answers, serve."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    jax.config.update("jax_enable_x64", sys.argv[3] == "float64")
    size = SIZES[name]
    made, grid = operator(size)
    inputs, asked = cases(size)
    chosen = {key: made.params[key] for key in (made.params if size.rank else LAST)}

    def whole(input: jax.Array, params: Any) -> jax.Array:
        return made.apply(made.params | params, input[None], grid).ravel()

    sides = {"": Side(whole, chosen, lambda fields: fields, inputs, asked, size.rank)}
    if not size.rank:
        width = made.params[LAST[1]].shape[0]
        identity = {LAST[0]: jnp.zeros(width), LAST[1]: jnp.eye(width)}

        def features(fields: jax.Array) -> jax.Array:
            return made.apply(made.params | identity, fields, grid)

        def last(input: jax.Array, params: Any) -> jax.Array:
            return (input @ params[LAST[1]] + params[LAST[0]]).ravel()

        sides[" on features"] = Side(last, chosen, features, inputs, asked, 0)
    for key, side in sides.items():
        mean, variance = side.predict()
        np.savez(folder / f"laplax{key.replace(' ', '_')}.npz", mean=mean, std=np.sqrt(variance))
    operations = {f"{kind}{key}": getattr(side, kind) for key, side in sides.items() for kind in ("fit", "predict")}
    spent = {f"{kind}{key}": side.memory[kind] for key, side in sides.items() for kind in ("fit", "predict")}
    serve(
        {name.replace(" ", "_"): step for name, step in operations.items()},
        {"memory": {name.replace(" ", "_"): value for name, value in spent.items()}, "version": version("laplax")},
    )


if __name__ == "__main__":
    main()
