"""The spectral convolution: a linear map of the channels for every mode (Li et al. 2021, eq. 5)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from pnol_jax import collectives
from pnol_jax.bases import Basis, GridOperands
from pnol_jax.collectives import MODEL
from pnol_jax.operators import draws, slab, stochastic, wavenumbers
from pnol_jax.operators.layout import fold, unfold
from pnol_jax.operators.transforms import analyse, analyse_axis, synthesise, synthesise_axis


@jax.custom_jvp
def _per_mode(rows: jax.Array, kernel: jax.Array) -> jax.Array:
    """One product per mode, (*modes, rows, in) by (*modes, in, out)."""
    return jnp.matmul(rows, kernel)


@_per_mode.defjvp
def _per_mode_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The rule of a product, with the rows transposed beforehand.

    The kernel's gradient is then a product of the form that XLA hands to its fast library; the one that it would make
    of the transposed operand takes twice as long on a CPU.
    """
    (rows, kernel), (rows_tangent, kernel_tangent) = primals, tangents
    columns = lax.optimization_barrier(jnp.swapaxes(rows, -1, -2))  # type: ignore[no-untyped-call]
    by_kernel = jnp.matmul(jnp.swapaxes(columns, -1, -2), kernel_tangent)
    return jnp.matmul(rows, kernel), jnp.matmul(rows_tangent, kernel) + by_kernel


def _mix_complex(modes: wavenumbers.Complex, kernel: jax.Array) -> wavenumbers.Complex:
    """Multiply complex coefficients (*modes, batch, in) by a kernel (*modes, in, 2, out), real then imaginary.

    Both parts of the coefficients meet both parts of the kernel in one real product per mode.
    """
    real, imaginary = modes
    batch, out = real.shape[-2], kernel.shape[-1]
    rows = jnp.concatenate([real, imaginary], axis=-2)
    product = _per_mode(rows, kernel.reshape(*kernel.shape[:-2], 2 * out))
    upper, lower = product[..., :batch, :], product[..., batch:, :]
    parts = upper[..., :out] - lower[..., out:], upper[..., out:] + lower[..., :out]
    return collectives.scattered(parts[0], MODEL, -1), collectives.scattered(parts[1], MODEL, -1)


def _mix_real(coefficients: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiply real coefficients (*modes, batch, in) by a kernel (*modes, in, out)."""
    return collectives.scattered(_per_mode(coefficients, kernel), MODEL, -1)


def _add_constant(coefficients: jax.Array, value: jax.Array) -> jax.Array:
    """Add a constant function, value (C,), to (*functions, batch, C): the first function of every basis is 1."""
    space = coefficients.shape[:-2]
    first = value.reshape(*(1,) * (len(space) + 1), -1)
    return coefficients + jnp.pad(first, [*((0, n - 1) for n in space), (0, 0), (0, 0)])


class SpectralConv(nnx.Module):
    """Analysis, a linear map of the channels for every kept mode, synthesis; and a bias, added to the constant mode.

    On Fourier axes the map is complex and commutes with translations; on other bases it is one real map for every
    product of basis functions. Kernel: (*modes, in, 2, out) complex, (*modes, in, out) real; where a mesh divides space
    it divides the first axis' modes too, if it divides them evenly (`slab.py`).
    """

    def __init__(self, inputs: int, outputs: int, bases: Sequence[Basis], *, rngs: nnx.Rngs) -> None:
        self.bases = tuple(bases)
        shape = wavenumbers.kept(self.bases)
        # Xavier's variance, shared between the real and the imaginary part, as in neuraloperator 2.0.
        deviation = (2.0 / (inputs + outputs)) ** 0.5
        shared = slab.shared_dimension(self.bases)
        names: tuple[str | None, ...] = (shared, *(None,) * (len(shape) - 1))
        if any(basis.paired for basis in self.bases):
            draw = draws.normal(rngs.params(), (*shape, inputs, 2, outputs)) * deviation / 2**0.5
            self.kernel = nnx.Param(draw, axes=(*names, "in", None, "out"))
        else:
            draw = draws.normal(rngs.params(), (*shape, inputs, outputs)) * deviation
            self.kernel = nnx.Param(draw, axes=(*names, "in", "out"))
        self.bias = nnx.Param(draws.normal(rngs.params(), (outputs,)) * deviation, axes=("width",))

    def __call__(self, rows: jax.Array, grid: GridOperands, onto: GridOperands | None = None) -> jax.Array:
        """Rows (rows, in) -> (rows, out), on another grid where one is given."""
        field, onto = unfold(rows, grid), onto or grid
        if self.kernel.shape[0] < wavenumbers.kept(self.bases)[0]:
            mixed = self._mix(slab.analyse(field, grid, self.bases), share=True)
            return fold(slab.synthesise(mixed.astype(rows.dtype), onto, self.bases))
        return fold(synthesise(self._mix(analyse(field, grid), share=False).astype(rows.dtype), onto))

    def _mix(self, coefficients: jax.Array, share: bool) -> jax.Array:
        """All modes, or this device's share of them."""
        coefficients = stochastic.drop_modes(coefficients, stochastic.named(self.kernel), self.bases, share=share)
        dtype = coefficients.dtype
        kernel, bias = self.kernel[...].astype(dtype), self.bias[...].astype(dtype)
        if share:
            bias = slab.of_first(bias)
        if wavenumbers.half_axis(self.bases) is None:
            return _add_constant(_mix_real(coefficients, kernel), bias)
        signed, unsigned = (slab.signed, slab.unsigned) if share else (None, None)
        real, imaginary = _mix_complex(wavenumbers.combine(coefficients, self.bases, signed), kernel)
        return wavenumbers.separate((_add_constant(real, bias), imaginary), self.bases, unsigned)


class SpectralConv1D(nnx.Module):
    """Analysis along one axis, a linear map of the channels for every kept mode of it, synthesis; no bias.

    Kernel: (modes // 2 + 1, in, 2, out) on a Fourier axis, (modes, in, out) on another.
    """

    def __init__(self, inputs: int, outputs: int, basis: Basis, position: int, *, rngs: nnx.Rngs) -> None:
        self.basis = basis
        self.position = position
        shape = (*wavenumbers.kept([basis]), inputs, *((2,) if basis.paired else ()), outputs)
        draw = draws.normal(rngs.params(), shape) / (inputs * outputs) ** 0.5
        names = (None, "in", None, "out") if basis.paired else (None, "in", "out")
        self.kernel = nnx.Param(draw, axes=names)

    def __call__(self, rows: jax.Array, grid: GridOperands) -> jax.Array:
        """Rows (rows, in) -> (rows, out)."""
        axis = self.position + grid.batched
        transformed, name = analyse_axis(unfold(rows, grid), grid, self.position), stochastic.named(self.kernel)
        transformed = stochastic.drop_axis_modes(transformed, name, self.basis, self.position, grid.batched)
        coefficients = jnp.moveaxis(transformed, axis, 0)
        mixed = self._mix(coefficients.reshape(coefficients.shape[0], -1, rows.shape[-1]))
        mixed = mixed.reshape(*coefficients.shape[:-1], mixed.shape[-1])
        return fold(synthesise_axis(jnp.moveaxis(mixed, 0, axis).astype(rows.dtype), grid, self.position))

    def _mix(self, coefficients: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(coefficients.dtype)
        if not self.basis.paired:
            return _mix_real(coefficients, kernel)
        modes = wavenumbers.combine(coefficients, [self.basis])
        return wavenumbers.separate(_mix_complex(modes, kernel), [self.basis])
