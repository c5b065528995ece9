"""From products of cosines and sines to complex wave numbers of both signs, and back.

With coefficients c of cos(kx) and s of sin(kx) the Fourier coefficient of wave number k is c - i s and that of -k is
c + i s. Contracting every axis with real columns and combining afterwards costs half the arithmetic of a complex
transform on the second axis and a quarter on the third.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax.bases import Basis

Complex = tuple[jax.Array, jax.Array]


def half_axis(bases: Sequence[Basis]) -> int | None:
    """The Fourier axis of which only wave numbers k >= 0 are kept, since the field is real: the last one."""
    paired = [position for position, basis in enumerate(bases) if basis.paired]
    return paired[-1] if paired else None


def kept(bases: Sequence[Basis]) -> tuple[int, ...]:
    """The number of modes that a spectral layer mixes on each axis."""
    half = half_axis(bases)
    return tuple(basis.modes // 2 + 1 if position == half else basis.modes for position, basis in enumerate(bases))


def _halves(array: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    size = array.shape[axis] // 2
    return lax.slice_in_dim(array, 0, size, axis=axis), lax.slice_in_dim(array, size, 2 * size, axis=axis)


def combine(coefficients: jax.Array, bases: Sequence[Basis]) -> Complex:
    """(*functions, batch, C) real -> real and imaginary parts, (*modes, batch, C).

    A signed axis is ordered 0, 1, ..., (modes-1)//2, -1, ..., -(modes//2).
    """
    half = half_axis(bases)
    assert half is not None
    cosine, sine = _halves(coefficients, half)
    real, imaginary = cosine, -sine
    for position, basis in enumerate(bases):
        if basis.paired and position != half:
            real, imaginary = _signed(real, imaginary, position, basis.modes)
    return real, imaginary


def _signed(real: jax.Array, imaginary: jax.Array, axis: int, modes: int) -> Complex:
    (rc, rs), (ic, is_) = _halves(real, axis), _halves(imaginary, axis)
    positive, negative = (modes + 1) // 2, modes // 2 + 1

    def both(plus: jax.Array, minus: jax.Array) -> jax.Array:
        parts = [lax.slice_in_dim(plus, 0, positive, axis=axis), lax.slice_in_dim(minus, 1, negative, axis=axis)]
        return jnp.concatenate(parts, axis=axis)

    return both(rc + is_, rc - is_), both(ic - rs, ic + rs)


def separate(modes: Complex, bases: Sequence[Basis]) -> jax.Array:
    """The inverse of `combine`: real and imaginary parts (*modes, batch, C) -> (*functions, batch, C)."""
    half = half_axis(bases)
    assert half is not None
    real, imaginary = modes
    for position, basis in enumerate(bases):
        if basis.paired and position != half:
            real, imaginary = _unsigned(real, imaginary, position, basis.modes)
    return jnp.concatenate([real, -imaginary], axis=half)


def _unsigned(real: jax.Array, imaginary: jax.Array, axis: int, modes: int) -> Complex:
    count = modes // 2 + 1
    positive = (modes + 1) // 2
    scale = jnp.where(jnp.arange(count) == 0, 1.0, 0.5).astype(real.dtype)
    scale = scale.reshape(-1, *(1,) * (real.ndim - axis - 1))

    def aligned(array: jax.Array, start: int, stop: int, before: int) -> jax.Array:
        padding = [(0, 0)] * array.ndim
        padding[axis] = (before, count - before - (stop - start))
        return jnp.pad(lax.slice_in_dim(array, start, stop, axis=axis), padding)

    rp, ip = aligned(real, 0, positive, 0), aligned(imaginary, 0, positive, 0)
    rm, im = aligned(real, positive, modes, 1), aligned(imaginary, positive, modes, 1)
    cosine_real, cosine_imaginary = scale * (rp + rm), scale * (ip + im)
    sine_real, sine_imaginary = scale * (im - ip), scale * (rp - rm)
    return (
        jnp.concatenate([cosine_real, sine_real], axis=axis),
        jnp.concatenate([cosine_imaginary, sine_imaginary], axis=axis),
    )
