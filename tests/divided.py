"""Training and prediction of a small problem on meshes, in a process of its own with simulated devices.

`python tests/divided.py DEVICES PRECISION` reads a JSON object a line, {"mesh", "operator", "posterior", "training",
"field"?, "options"?, "posterior_options"?, "batched"?, "draws"?}, and answers each with the losses of a few steps and
the scores after them. Of several processes, found as those of a run are, all read the same lines and all answer.
"""

import json
import os
import sys
from typing import Any

from tests.devices import flags

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = flags(int(sys.argv[1]))

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from flax import nnx

from pnol_jax import scores
from pnol_jax.bases import Basis, make_operands, stack_operands
from pnol_jax.calibration import (
    Asked,
    RegionScaling,
    conformity_scores,
    regional_scores,
)
from pnol_jax.config import MeshConfig, TrainingConfig
from pnol_jax.features import SpectralFeatures
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import build_operator, functional
from pnol_jax.optimizer_config import AdamWConfig
from pnol_jax.posterior_config import PosteriorConfig
from pnol_jax.posteriors import Batch, ExactFunctionals, FitBatch, build_posterior
from pnol_jax.posteriors.march import march
from pnol_jax.predictive import Predictive
from pnol_jax.sharding.divide import current_mesh, divided
from pnol_jax.sharding.mesh import make_mesh, use
from pnol_jax.sharding.partition import spec
from pnol_jax.sharding.placement import OF_CASES, WHOLE, BatchPlacement, grid_specs, on_host, placed
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import initial_state, make_step

STEPS, CASES = 5, 8
BOUNDED = Axis.uniform(15, "bounded", 1.0, "centre")  # 15 points are padded to 16
# Of the last two the spectral layers' modes can be divided: pairs of wave numbers, and functions of a basis.
FIELDS = {
    "mixed": (Grid((Axis.uniform(8), BOUNDED)), (Basis("fourier", 6), Basis("padded", 5))),
    "periodic": (
        Grid((Axis.uniform(9), Axis.uniform(7), Axis.uniform(16))),
        (Basis("fourier", 8), Basis("fourier", 5), Basis("fourier", 6)),
    ),
    "bounded": (Grid((BOUNDED, BOUNDED)), (Basis("cosine", 8), Basis("padded", 5))),
}
OPTIONS = {
    "fno": {"width": 8, "depth": 2, "norm": "group"},
    "ffno": {"width": 8, "depth": 2},
    "deeponet": {"width": 8, "depth": 2, "features": 8},
    "uno": {"width": 8, "levels": 2},
    "transolver": {"width": 8, "depth": 2, "heads": 4, "slices": 5},
}
# Of an ensemble the noise is a variance per member, so that `fit` is seen too.
POSTERIORS: dict[str, dict[str, Any]] = {
    "ensemble": {"members": 4, "heteroscedastic": False},
    "laplace": {"cache": ""},
}
CONSTANTS = {"inputs.mean": 0.3, "inputs.std": 2.0, "outputs.mean": -1.0, "outputs.std": 0.5}


def build(asked: dict[str, Any]) -> Any:
    """The posterior, with the options that are `given`."""
    settings = TrainingConfig(**asked["training"])
    bases = FIELDS[asked.get("field", "mixed")][1]
    told = OPTIONS[asked["operator"]] | asked.get("options", {}) | {"remat": settings.remat}

    def make(channels: int, seed: int | None, more: int = 0) -> Any:
        def operator() -> Any:
            return build_operator(asked["operator"], 1 + more, channels, bases, told, nnx.Rngs(seed or 0))

        return functional(nnx.eval_shape(operator) if seed is None else operator(), settings.remat)

    given = POSTERIORS.get(asked["posterior"], {})
    options = {"name": asked["posterior"]} | given | asked.get("posterior_options", {})
    config = msgspec.convert(options, PosteriorConfig)
    return build_posterior(config, settings, make, 1, bases, CASES)


def run(asked: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """Losses of a few steps, then scores of the trained posterior on the last batch, by name."""
    settings = msgspec.convert(asked["mesh"], MeshConfig)
    count = int(np.prod([size or 1 for size in msgspec.structs.astuple(settings)]))
    posterior, draws = build(asked), np.random.default_rng(0)
    grid, bases = FIELDS[asked.get("field", "mixed")]
    optimizer = make_optimizer(AdamWConfig(learning_rate=1e-2, warmup_steps=1), 50, posterior.members)
    with use(make_mesh(settings, jax.devices()[:count])):
        place, parts = BatchPlacement(CASES), asked["mesh"].get("space", 1)
        shape = grid.shape
        operands = make_operands(grid, bases, (*shape[:-1], -(-shape[-1] // parts) * parts), np.dtype(dtype).name)
        there, steps = placed(operands, grid_specs(operands)), asked["training"].get("unroll", 1)
        if asked.get("batched"):
            there = place.grid(stack_operands([operands] * (place.rows.stop - place.rows.start)))
        parts_of_batch = asked["training"].get("accumulate", 1)
        constants = {f"normaliser.{name}": np.full(1, value, dtype) for name, value in CONSTANTS.items()}
        constants = placed(constants, dict.fromkeys(constants, WHOLE))
        state, step, losses = (
            initial_state(posterior, optimizer, 0, True),
            make_step(posterior, optimizer, 0.9, parts_of_batch),
            [],
        )
        for _ in range(STEPS):
            inputs = draws.standard_normal((CASES, *shape, 1)).astype(dtype)
            outputs = draws.standard_normal((CASES, *([steps] if steps > 1 else []), *shape, 1)).astype(dtype)
            batch = Batch(*(place.field(_padded(field, parts)[place.rows]) for field in (inputs, outputs)))
            state, metrics = step(state, constants, batch, there)
            losses.append(float(metrics["loss"]))
        mask = place.cases((np.arange(CASES) < 7).astype(dtype)[place.rows])
        params = posterior.fit(state.average | constants, lambda unroll=1: [FitBatch(batch, there, mask)])
        found = scored(posterior, params, batch, there, shape, asked.get("field", "mixed"))
        return {"losses": losses} | found | marched(posterior, params, batch, there, asked.get("draws", 0))


def _padded(field: Any, parts: int) -> Any:
    width = [(0, 0)] * field.ndim
    width[-2] = (0, -field.shape[-2] % parts)
    return np.pad(field, width)


def scored(posterior: Any, params: Any, batch: Batch, grid: Any, points: tuple[int, ...], field: str) -> dict[str, Any]:
    """What evaluation and calibration read of a prediction."""
    where, bases = FIELDS[field]
    features = SpectralFeatures.make(bases, [axis.length for axis in where.axes], np.zeros(1), np.ones(1))

    def score(params: Any, batch: Batch, grid: Any) -> dict[str, jax.Array]:
        truth = batch.outputs if batch.outputs.ndim == batch.inputs.ndim else batch.outputs[:, 0]
        samples = 3 if posterior.has_samples else 0
        predictive, weights = posterior.predict(params, batch.inputs, grid, jax.random.key(1), samples), grid.weights()
        cells = (2,) * len(grid.axes)
        scaling = RegionScaling(jnp.arange(1.0, 2 ** len(cells) + 1).reshape(*cells, 1), 10)
        wide = (predictive.mean - 2.5 * predictive.std, predictive.mean + 2.5 * predictive.std)
        structure = (scores.patched_energy_score, scores.variogram_score) if samples else ()
        by_cells = {score.__name__: score(predictive, truth, grid, cells) for score in structure}
        return by_cells | {
            "relative_l2": scores.relative_l2(predictive, truth, weights),
            "crps": scores.crps(predictive, truth, weights),
            "nll": scores.gaussian_nll(predictive, truth, weights),
            "simultaneous": scores.simultaneous_coverage(wide, truth, weights),
            "supremum": conformity_scores(predictive, truth, weights, "simultaneous", 1e-3)[:, 0],
            "quantiles": conformity_scores(predictive, truth, weights, "pointwise", 1e-3)[:, 99::100],
            "energy": scores.energy_score(predictive, truth, weights) if samples else jnp.zeros(len(truth)),
            "patched": scores.patched_energy_score(predictive, truth, grid, cells)
            if samples
            else jnp.zeros(len(truth)),
            "variogram": scores.variogram_score(predictive, truth, grid, cells) if samples else jnp.zeros(len(truth)),
            "regions": regional_scores(predictive, truth, grid, cells),
            "features": features(batch.inputs, grid),
            "scaled": scores.gaussian_crps(scaling(predictive, Asked(batch.inputs, grid)), truth, weights),
        }

    found = on_host(divided(score, OF_CASES)(params, batch, grid))
    if isinstance(posterior, ExactFunctionals) and mesh_stores_whole():
        found["functional"] = functionals(posterior, params, batch, grid, points)
    return {name: values.tolist() for name, values in found.items()}


def marched(posterior: Any, params: Any, batch: Batch, grid: Any, draws: int) -> dict[str, Any]:
    """The energy score of draws that march, at two lead times, and their spread: (cases, steps) each."""
    if not draws:
        return {}

    def score(params: Any, batch: Batch, grid: Any) -> dict[str, jax.Array]:
        def keep(states: jax.Array, number: jax.Array) -> dict[str, jax.Array]:
            mean, variance = jnp.mean(states, axis=0), jnp.var(states, axis=0)
            predictive = Predictive(mean, jnp.zeros_like(mean), variance, states)
            energy = scores.energy_score(predictive, batch.inputs, grid.weights())
            return {"marched_energy": energy, "marched_spread": scores.spread(predictive, grid.weights(), draws)}

        by_step = march(posterior, params, batch.inputs, grid, jax.random.key(2), 2, draws, keep)
        return {name: values.T for name, values in by_step.items()}

    found = on_host(divided(score, OF_CASES)(params, batch, grid))
    return {name: values.tolist() for name, values in found.items()}


def mesh_stores_whole() -> bool:
    """Whether gradients of a case are not added to those of others: see `GaussianProcess.functional`."""
    mesh = current_mesh()
    return mesh is None or "fsdp" not in mesh.shape


def functionals(posterior: Any, params: Any, batch: Batch, grid: Any, points: tuple[int, ...]) -> Any:
    """Mean and variances of two functionals, (cases, 6); `points` are those of the grid without padding."""
    *_, last, _ = batch.inputs.shape
    weights = np.random.default_rng(2).standard_normal((2, *points, 1)).astype(batch.inputs.dtype)
    weights = np.pad(weights, [*[(0, 0)] * len(points), (0, last - points[-1]), (0, 0)])
    there = placed(weights, spec(*(None,) * len(points), "space", None))

    def ask(params: Any, inputs: Any, grid: Any, weights: Any) -> jax.Array:
        return jnp.concatenate(posterior.functional(params, inputs, grid, weights), axis=1)

    return on_host(divided(ask, OF_CASES)(params, batch.inputs, grid, there))


def main() -> None:
    """Answer line by line."""
    double = sys.argv[2] == "float64"
    jax.config.update("jax_enable_x64", double)  # type: ignore[no-untyped-call]
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line), np.float64 if double else np.float32)), flush=True)


if __name__ == "__main__":
    main()
