"""The same training steps on meshes of simulated devices, in a process of its own: prints a line of JSON for each mesh.

Simulated devices share the cores of one machine, so that they show what is computed and what is sent, not how fast.
"""

import json
import sys
import time
from typing import Any

import jax
import numpy as np
from flax import nnx

from pnol_jax.bases import Basis, make_operands
from pnol_jax.config import MeshConfig, TrainingConfig
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import Functional, functional
from pnol_jax.operators.fno import FNO
from pnol_jax.optimizer_config import AdamWConfig
from pnol_jax.posterior_config import DeterministicConfig
from pnol_jax.posteriors import Batch, build_posterior
from pnol_jax.sharding.mesh import make_mesh, use
from pnol_jax.sharding.placement import WHOLE, BatchPlacement, grid_specs, placed
from pnol_jax.sharding.traffic import collectives_of
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import initial_state, make_step

DEVICES, STEPS = 4, 20
POINTS, MODES, WIDTH, DEPTH, BATCH = 32, 12, 16, 2, 8
MESHES = {
    "one device": MeshConfig(data=1),
    "2, cases divided": MeshConfig(data=2),
    "4, cases divided": MeshConfig(data=4),
    "4, both divided": MeshConfig(data=2, space=2),
}
BASES = (Basis("fourier", MODES), Basis("fourier", MODES))


def main() -> int:
    """Train the same steps on each mesh."""
    for name, mesh in MESHES.items():
        print(json.dumps({"mesh": name, **trained(mesh)}), flush=True)
    return 0


def trained(config: MeshConfig) -> dict[str, Any]:
    """Losses, seconds of a step, and bytes that each device sends in one."""
    training = TrainingConfig()
    posterior = build_posterior(DeterministicConfig(), training, _build, 1)
    optimizer = make_optimizer(AdamWConfig(learning_rate=1e-2), STEPS, None)
    count = (config.data or 1) * (config.space or 1)
    mesh = make_mesh(config, jax.devices()[:count])
    with use(mesh):
        axes = (Axis.uniform(POINTS), Axis.uniform(POINTS))
        operands = make_operands(Grid(axes), BASES)
        place, (inputs, outputs) = BatchPlacement(BATCH), _cases()
        batch, grid = Batch(place.field(inputs), place.field(outputs)), placed(operands, grid_specs(operands))
        names = ("inputs.mean", "inputs.std", "outputs.mean", "outputs.std")
        scale = {f"normaliser.{name}": np.array([name.endswith("std")], np.float32) for name in names}
        constants = placed(scale, dict.fromkeys(scale, WHOLE))
        state = initial_state(posterior, optimizer, 0, averaged=False)
        step = make_step(posterior, optimizer, 0.0).lower(state, constants, batch, grid).compile()
        sent = sum(collective.sent for collective in collectives_of(step.as_text(), mesh))
        losses, seconds = [], []
        for _ in range(STEPS):
            began = time.perf_counter()
            state, metrics = step(state, constants, batch, grid)
            losses.append(float(metrics["loss"]))
            seconds.append(time.perf_counter() - began)
    return {"devices": count, "losses": losses, "seconds": float(np.median(seconds)), "sent": sent}


def _build(channels: int, seed: int | None) -> Functional:
    def operator() -> FNO:
        return FNO(1, channels, BASES, width=WIDTH, depth=DEPTH, rngs=nnx.Rngs(seed or 0))

    return functional(nnx.eval_shape(operator) if seed is None else operator(), "none")


def _cases() -> tuple[np.ndarray, np.ndarray]:
    """Random waves on a periodic square, and what diffusion makes of them."""
    generator, k = np.random.default_rng(0), np.arange(1, 5)
    x = 2 * np.pi * np.arange(POINTS) / POINTS
    phases, sizes = generator.uniform(0, 2 * np.pi, (2, BATCH, 4)), generator.standard_normal((BATCH, 4))
    waves = [np.sin(k * x[:, None] + phase[:, None, :]) for phase in phases]  # each (batch, points, waves)
    inputs = np.einsum("bk,bxk,byk->bxy", sizes, *waves)[..., None]
    outputs = np.einsum("bk,bxk,byk->bxy", sizes * np.exp(-0.1 * k**2), *waves)[..., None]
    return inputs.astype(np.float32), outputs.astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
