"""The spectral convolution: a linear map of the channels for every mode (Li et al. 2021, eq. 5)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from pnol_jax.bases import Basis, GridOperands
from pnol_jax.operators import wavenumbers
from pnol_jax.operators.transforms import analyse, analyse_axis, synthesise, synthesise_axis


def _mix_complex(modes: wavenumbers.Complex, kernel: jax.Array) -> wavenumbers.Complex:
    """Multiply complex coefficients (*modes, batch, in) by a kernel (*modes, in, 2, out), real then imaginary.

    Both parts of the coefficients meet both parts of the kernel in one real product per mode.
    """
    real, imaginary = modes
    batch, out = real.shape[-2], kernel.shape[-1]
    rows = jnp.concatenate([real, imaginary], axis=-2)
    product = jnp.matmul(rows, kernel.reshape(*kernel.shape[:-2], 2 * out))
    upper, lower = product[..., :batch, :], product[..., batch:, :]
    return upper[..., :out] - lower[..., out:], upper[..., out:] + lower[..., :out]


class SpectralConv(nnx.Module):
    """Analysis, a linear map of the channels for every kept mode, synthesis; no bias.

    On Fourier axes the map is complex and commutes with translations; on other bases it is one real map for every
    product of basis functions. Kernel: (*modes, in, 2, out) complex, (*modes, in, out) real.
    """

    def __init__(self, inputs: int, outputs: int, bases: Sequence[Basis], *, rngs: nnx.Rngs) -> None:
        self.bases = tuple(bases)
        shape = wavenumbers.kept(self.bases)
        # Xavier's variance, shared between the real and the imaginary part, as in neuraloperator 2.0.
        deviation = (2.0 / (inputs + outputs)) ** 0.5
        names: tuple[str | None, ...] = ("mode",) * len(shape)
        if any(basis.paired for basis in self.bases):
            draw = jax.random.normal(rngs.params(), (*shape, inputs, 2, outputs)) * deviation / 2**0.5
            self.kernel = nnx.Param(draw, axes=(*names, "in", None, "out"))
        else:
            draw = jax.random.normal(rngs.params(), (*shape, inputs, outputs)) * deviation
            self.kernel = nnx.Param(draw, axes=(*names, "in", "out"))

    def __call__(self, field: jax.Array, grid: GridOperands) -> jax.Array:
        """(*space, batch, in) -> (*space, batch, out), in either inner layout."""
        coefficients = analyse(field, grid)
        kernel = self.kernel[...].astype(field.dtype)
        if wavenumbers.half_axis(self.bases) is None:
            return synthesise(jnp.matmul(coefficients, kernel), grid)
        mixed = _mix_complex(wavenumbers.combine(coefficients, self.bases), kernel)
        return synthesise(wavenumbers.separate(mixed, self.bases), grid)


class SpectralConv1D(nnx.Module):
    """Analysis along one axis, a linear map of the channels for every kept mode of it, synthesis; no bias.

    Kernel: (modes // 2 + 1, in, 2, out) on a Fourier axis, (modes, in, out) on another.
    """

    def __init__(self, inputs: int, outputs: int, basis: Basis, position: int, *, rngs: nnx.Rngs) -> None:
        self.basis = basis
        self.position = position
        shape = (*wavenumbers.kept([basis]), inputs, *((2,) if basis.paired else ()), outputs)
        draw = jax.random.normal(rngs.params(), shape) / (inputs * outputs) ** 0.5
        names = ("mode", "in", None, "out") if basis.paired else ("mode", "in", "out")
        self.kernel = nnx.Param(draw, axes=names)

    def __call__(self, field: jax.Array, grid: GridOperands) -> jax.Array:
        """(*space, batch, in) -> (*space, batch, out), in either inner layout."""
        axis = self.position + grid.batched
        coefficients = jnp.moveaxis(analyse_axis(field, grid, self.position), axis, 0)
        rows = coefficients.reshape(coefficients.shape[0], -1, field.shape[-1])
        mixed = self._mix(rows, self.kernel[...].astype(field.dtype))
        mixed = mixed.reshape(*coefficients.shape[:-1], mixed.shape[-1])
        return synthesise_axis(jnp.moveaxis(mixed, 0, axis), grid, self.position)

    def _mix(self, rows: jax.Array, kernel: jax.Array) -> jax.Array:
        if not self.basis.paired:
            return jnp.matmul(rows, kernel)
        complex_rows = wavenumbers.combine(rows, [self.basis])
        return wavenumbers.separate(_mix_complex(complex_rows, kernel), [self.basis])
