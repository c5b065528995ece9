"""Our FNO as sides of a comparison: the training step and the forward pass at one of the shared sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from numpy.typing import NDArray

from benchmarks.peer_scripts.sizes import Size
from pnol_jax.bases import Basis, GridOperands, make_operands
from pnol_jax.grids import Axis, Grid
from pnol_jax.operators import Functional, functional, wavenumbers
from pnol_jax.operators.fno import FNO
from pnol_jax.operators.layout import fold, unfold
from pnol_jax.operators.spectral import SpectralConv

Step = Callable[[], object]


class FFTConv(SpectralConv):
    """The same spectral convolution with the same kernel through `jnp.fft`, on uniform periodic grids."""

    def __call__(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """Rows (rows, in) -> (rows, out)."""
        field, space = unfold(rows, grid), tuple(range(len(grid.axes)))
        index = kept_index([basis.modes for basis in self.bases], grid.shape)
        spectrum = jnp.fft.rfftn(field, axes=space, norm="forward")
        kernel = as_complex(self.kernel[...])
        mixed = jnp.matmul(spectrum[index], kernel)
        whole = jnp.zeros((*spectrum.shape[:-1], mixed.shape[-1]), spectrum.dtype).at[index].set(mixed)
        return fold(jnp.fft.irfftn(whole, grid.shape, axes=space, norm="forward") + self.bias[...])


def kept_index(modes: Sequence[int], points: Sequence[int]) -> tuple[NDArray[np.intp], ...]:
    """Where the kept modes stand in a real transform of fields of so many points."""
    signed = [_positions(kept, n) for kept, n in zip(modes[:-1], points, strict=False)]
    return np.ix_(*signed, np.arange(modes[-1] // 2 + 1))


def as_complex(kernel: jax.Array) -> jax.Array:
    """(..., in, 2, out) real -> (..., in, out) complex."""
    return jax.lax.complex(kernel[..., 0, :], kernel[..., 1, :])


def _positions(modes: int, points: int) -> NDArray[np.intp]:
    """Where the wave numbers of a signed axis stand in a transform of so many points."""
    return np.asarray(wavenumbers.signed(modes)) % points


def build(size: Size, through_fft: bool = False) -> tuple[Functional, GridOperands]:
    """The FNO of a size and its operands."""
    bases = tuple(Basis("fourier", modes) for modes in size.modes)
    operator = FNO(1, 1, bases, width=size.width, depth=4, rngs=nnx.Rngs(0))
    if through_fft:
        for block in operator.blocks:
            block.spectral = FFTConv(size.width, size.width, bases, rngs=nnx.Rngs(0))
    grid = Grid(tuple(Axis.uniform(n) for n in size.points))
    return functional(operator), jax.tree.map(jnp.asarray, make_operands(grid, bases))


@dataclass
class Sides:
    """`step` and `forward` of one operator on random fields, as the peer's script has them; each waits for its end."""

    step: Step
    forward: Step
    parameters: int


def sides(size: Size, through_fft: bool = False) -> Sides:
    """Compile a size: mean square error, AdamW with the peer's rate and weight decay."""
    operator, grid = build(size, through_fft)
    draws = np.random.default_rng(0).standard_normal((2, size.batch, *size.points, 1))
    inputs, outputs = jnp.asarray(draws, jnp.float32)
    optimizer = optax.adamw(1e-3, weight_decay=1e-2)

    def update(params: Any, state: Any, inputs: jax.Array, outputs: jax.Array, grid: GridOperands) -> tuple[Any, Any]:
        def loss(params: Any) -> jax.Array:
            return jnp.mean(jnp.square(operator.apply(params, inputs, grid) - outputs))

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    update = jax.jit(update, donate_argnums=(0, 1))
    apply = jax.jit(operator.apply)
    held = [jax.tree.map(jnp.copy, operator.params), optimizer.init(operator.params)]

    def step() -> None:
        held[:] = jax.block_until_ready(update(*held, inputs, outputs, grid))

    def forward() -> None:
        jax.block_until_ready(apply(operator.params, inputs, grid))

    return Sides(step, forward, sum(value.size for value in operator.params.values()))
