"""What saves memory in training, by how much, and what each costs in time.

A training step of the 3-D FNO is compiled for each side, and XLA's own analysis says what it needs beside its
arguments. The CPU compiler computes 16-bit fields in 32 bits and keeps them so; what 16 bits save elsewhere is
counted as the arrays that a step keeps from its forward to its backward pass, by their types, without the parameters.
Times are of this machine, where arithmetic in 16 bits is emulated: for bfloat16 they say nothing of a GPU.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from benchmarks.divided_sides import arguments, compiled_step, posterior, training_step
from benchmarks.measure import LocalSide, alternate
from benchmarks.peer_scripts.sizes import SIZES
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run
from pnol_jax.config import MeshConfig
from pnol_jax.memory import keep_arena
from pnol_jax.optimizer_config import AdamWConfig
from pnol_jax.posteriors import trained
from pnol_jax.sharding.mesh import make_mesh, use
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import initial_state

SIZE = SIZES["3d_32"]
DIVIDED = replace(SIZE, width=32)  # whose layers eight devices divide
DEVICES = 8
BASE = "as it is"
SIDES: dict[str, dict[str, Any]] = {
    BASE: {},
    "dots": {"remat": "dots"},
    "block": {"remat": "block"},
    "full": {"remat": "full"},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, full": {"precision": "bfloat16", "remat": "full"},
    "4 parts": {"accumulate": 4},
    "4 parts, full": {"accumulate": 4, "remat": "full"},
}


@dataclass(frozen=True)
class Needs:
    """Bytes: what XLA allocates beside the arguments, and what is kept from the forward to the backward pass."""

    temporary: int
    kept: int


def main() -> int:
    """Compile, analyse, run in turns."""
    options = argument_parser(__doc__, rounds=5, burst=2.0).parse_args()
    jax.config.update("jax_num_cpu_devices", DEVICES)  # type: ignore[no-untyped-call]
    keep_arena()
    needs = {name: _needs(training) for name, training in SIDES.items()}
    steps = [LocalSide(name, training_step(SIZE, **training)[0]) for name, training in SIDES.items()]
    measured = alternate(steps, options.rounds, options.burst, warmup=1)
    prices = {name: measured.ratio(name, BASE) for name in SIDES}
    _show(needs, {name: price.value for name, price in prices.items()})
    figures = [
        _saved("remat_reduction", needs, "full", "temporary", 0.5),
        _saved("remat_reduction_block", needs, "block", "temporary"),
        _saved("remat_reduction_kept", needs, "full", "kept"),
        _saved("bf16_reduction", needs, "bfloat16", "kept", 0.45),
        _saved("bf16_reduction_cpu_compiler", needs, "bfloat16", "temporary"),
        _saved("both_reduction", needs, "bfloat16, full", "kept", 0.7),
        _saved("both_reduction_cpu_compiler", needs, "bfloat16, full", "temporary", 0.7),
        _saved("accumulate4_reduction", needs, "4 parts", "temporary"),
        _saved("accumulate4_and_remat_reduction", needs, "4 parts, full", "temporary"),
        Figure("fsdp8_reduction", 1 - _state_share(), "share of the state", 0.85),
    ]
    figures += [Figure.of_ratio(f"{_key(name)}_price", price) for name, price in prices.items() if name != BASE]
    return report(figures, options.json, {f"a training step, {SIZE.points}": measured})


def _needs(training: dict[str, Any]) -> Needs:
    compiled = compiled_step(SIZE, MeshConfig(data=1), 1, **training)[0]
    return Needs(compiled.memory_analysis().temp_size_in_bytes, _kept(training))


def _kept(training: dict[str, Any]) -> int:
    """Bytes that the loss' derivative holds while it waits, but for parameters; those of one part of the batch."""
    source, given = posterior(SIZE, **training), arguments(SIZE)
    params = trained(source.initial(0))

    def backward(params: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            return source.loss(params | given.constants, given.batch, given.grid, jax.random.key(0))[0]

        return jax.vjp(loss, params)[1]

    held = jax.tree.leaves(jax.eval_shape(backward, params))
    sizes = {leaf.size for leaf in params.values()}  # kernels are held as they are, in other shapes
    return sum(leaf.size * leaf.dtype.itemsize for leaf in held if leaf.size not in sizes)


def _state_share() -> float:
    """What one of eight devices holds of parameters, optimiser and average where `fsdp` divides them."""
    source = posterior(DIVIDED)
    with use(make_mesh(MeshConfig(data=1, fsdp=DEVICES))):
        state = initial_state(source, make_optimizer(AdamWConfig(), 100, source.members), 0, averaged=True)
        leaves = [leaf for leaf in jax.tree.leaves(state) if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)]
        here = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    return here / sum(leaf.nbytes for leaf in leaves)


def _saved(name: str, needs: dict[str, Needs], side: str, what: str, goal: float | None = None) -> Figure:
    return Figure(name, 1 - getattr(needs[side], what) / getattr(needs[BASE], what), "share of memory", goal)


def _key(side: str) -> str:
    return side.replace(",", "").replace(" ", "_")


def _show(needs: dict[str, Needs], prices: dict[str, float]) -> None:
    table = Table(
        "", "MB beside arguments (XLA, CPU)", "MB kept for the gradient", "step time", title="Memory of a step"
    )
    for name, need in needs.items():
        kept = "" if "parts" in name else f"{need.kept / 1e6:.0f}"
        table.add_row(name, f"{need.temporary / 1e6:.0f}", kept, f"{prices[name]:.2f}x")
    Console().print(table)


if __name__ == "__main__":
    run(main)
