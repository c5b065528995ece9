"""Fields of 30, 40, 50, 57 and 64 points a side in one batch of one compiled program: exactness and price.

Each field is padded to 64 x 64 and brings the operands of its own grid. The answers are compared with those of its own
unpadded grid, and the time with a batch of 64 x 64 fields that share one set of operands.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.measure import LocalSide, alternate
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run
from pnol_jax.bases import Basis, GridOperands, make_operands, stack_operands
from pnol_jax.grids import Axis, Grid
from pnol_jax.memory import keep_arena
from pnol_jax.operators import Functional, functional
from pnol_jax.operators.fno import FNO

POINTS, BUCKET, CASES = (30, 40, 50, 57, 64), 64, 16
BASES = (Basis("fourier", 24), Basis("fourier", 24))
MIXED, FIXED = "five grids in one batch", "64x64, operands shared"


def main() -> int:
    """Measure error and time."""
    options = argument_parser(__doc__, rounds=15, burst=1.0).parse_args()
    keep_arena()
    operator = functional(FNO(1, 1, BASES, rngs=nnx.Rngs(0)))
    apply = jax.jit(operator.apply)
    sizes = [POINTS[case % len(POINTS)] for case in range(CASES)]
    fields = [field(case, n) for case, n in enumerate(sizes)]
    mixed = jnp.stack([padded(values) for values in fields])
    own = device(stack_operands([operands(n, BUCKET) for n in sizes]))
    fixed, shared = jnp.stack([field(case, BUCKET) for case in range(CASES)]), device(operands(BUCKET, BUCKET))

    def asker(inputs: jax.Array, grid: GridOperands) -> Callable[[], object]:
        return lambda: jax.block_until_ready(apply(operator.params, inputs, grid))

    sides = [LocalSide(MIXED, asker(mixed, own)), LocalSide(FIXED, asker(fixed, shared))]
    timings = alternate(sides, options.rounds, options.burst)
    error = largest_error(operator, np.asarray(apply(operator.params, mixed, own)), fields)
    figures = [
        Figure("bucket_max_error", error, "relative", 1e-6, less=True),
        Figure.of_ratio("bucket_time_ratio", timings.ratio(MIXED, FIXED), 1.10, less=True),
    ]
    return report(figures, options.json, {"forward pass, batch of 16": timings})


def field(case: int, n: int) -> jax.Array:
    """A smooth periodic function of its own for every case, on n x n points: (n, n, 1)."""
    rng = np.random.default_rng(case)
    x = 2 * np.pi * np.arange(n) / n
    waves = np.stack([np.cos(k * x + phase) for k, phase in enumerate(rng.uniform(0, 6, 6))])
    return jnp.asarray(np.einsum("kl,kx,ly->xy", rng.standard_normal((6, 6)) / 3, waves, waves)[..., None], jnp.float32)


def padded(values: jax.Array) -> jax.Array:
    """A field at the beginning of its bucket; what lies beyond does not matter and is set to be large."""
    room = BUCKET - values.shape[0]
    return jnp.pad(values, [(0, room), (0, room), (0, 0)], constant_values=1e3)


@functools.cache
def operands(n: int, bucket: int) -> GridOperands:
    """The operands of n x n points, padded to the bucket."""
    return make_operands(Grid((Axis.uniform(n), Axis.uniform(n))), BASES, (bucket, bucket))


def device(grid: GridOperands) -> GridOperands:
    """The operands as arrays of the device."""
    moved: GridOperands = jax.tree.map(jnp.asarray, grid)
    return moved


def largest_error(operator: Functional, answers: np.ndarray, fields: list[jax.Array]) -> float:
    """The largest deviation from the answer on the field's own grid, relative to that answer's largest value."""
    apply, errors = jax.jit(operator.apply), []
    for answer, values in zip(answers, fields, strict=True):
        n = values.shape[0]
        alone = np.asarray(apply(operator.params, values[None], operands(n, n)))[0]
        errors.append(np.abs(answer[:n, :n] - alone).max() / np.abs(alone).max())
    return float(max(errors))


if __name__ == "__main__":
    run(main)
