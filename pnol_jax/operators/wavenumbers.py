"""From products of cosines and sines to complex wave numbers of both signs, and back.

With coefficients c of cos(kx) and s of sin(kx) the Fourier coefficient of wave number k is c - i s and that of -k is
c + i s. Contracting every axis with real columns and combining afterwards costs half the arithmetic of a complex
transform on the second axis and a quarter on the third.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from pnol_jax.bases import Basis

Complex = tuple[jax.Array, jax.Array]
Combination = Callable[[Complex], Complex]


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


def signed(modes: int) -> list[int]:
    """The wave numbers of a signed axis in their order: in pairs, so that a stretch of it holds both signs.

    0, -modes/2, 1, -1, 2, -2, ... where `modes` is even, and 0, 1, -1, 2, -2, ... where it is odd.
    """
    first = [0] if modes % 2 else [0, -(modes // 2)]
    return first + [sign * wave for wave in range(1, (modes + 1) // 2) for sign in (1, -1)]


def combine(coefficients: jax.Array, bases: Sequence[Basis], first: Combination | None = None) -> Complex:
    """(*functions, batch, C) real -> real and imaginary parts, (*modes, batch, C); `first`: for a signed first axis."""
    half = half_axis(bases)
    assert half is not None
    cosine, sine = _halves(coefficients, half)
    modes = cosine, -sine
    for position, basis in enumerate(bases):
        if basis.paired and position != half:
            modes = first(modes) if first and position == 0 else _signed(modes, position, basis.modes)
    return modes


def plus_and_minus(cosine: Complex, sine: Complex) -> tuple[Complex, Complex]:
    """Of wave numbers k and -k, from coefficients of cos(kx) and sin(kx) that are complex themselves."""
    (rc, ic), (rs, is_) = cosine, sine
    return (rc + is_, ic - rs), (rc - is_, ic + rs)


def interleaved(plus: jax.Array, minus: jax.Array, axis: int) -> jax.Array:
    """Entries of two arrays of one shape by turns along an axis, which becomes twice as long."""
    shape = plus.shape
    return jnp.stack([plus, minus], axis=axis + 1).reshape(*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])


def _signed(coefficients: Complex, axis: int, modes: int) -> Complex:
    (rc, rs), (ic, is_) = (_halves(part, axis) for part in coefficients)
    count = (modes + 1) // 2

    def ordered(plus: jax.Array, minus: jax.Array) -> jax.Array:
        if modes % 2:
            alone, plus = _split(plus, 1, axis)
            return jnp.concatenate([alone, interleaved(plus, _split(minus, 1, axis)[1], axis)], axis)
        minus, highest = _split(minus, count, axis)
        minus = jnp.concatenate([highest, _split(minus, 1, axis)[1]], axis)
        return interleaved(_split(plus, count, axis)[0], minus, axis)

    plus, minus = plus_and_minus((rc, ic), (rs, is_))
    return ordered(plus[0], minus[0]), ordered(plus[1], minus[1])


def _split(array: jax.Array, at: int, axis: int) -> tuple[jax.Array, jax.Array]:
    return lax.slice_in_dim(array, 0, at, axis=axis), lax.slice_in_dim(array, at, array.shape[axis], axis=axis)


def separate(modes: Complex, bases: Sequence[Basis], first: Combination | None = None) -> jax.Array:
    """The inverse of `combine`: real and imaginary parts (*modes, batch, C) -> (*functions, batch, C)."""
    half = half_axis(bases)
    assert half is not None
    for position, basis in enumerate(bases):
        if basis.paired and position != half:
            modes = first(modes) if first and position == 0 else _unsigned(modes, position, basis.modes)
    return jnp.concatenate([modes[0], -modes[1]], axis=half)


def by_turns(array: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """The inverse of `interleaved`: two arrays of one shape."""
    shape = array.shape
    pairs = array.reshape(*shape[:axis], shape[axis] // 2, 2, *shape[axis + 1 :])
    return lax.index_in_dim(pairs, 0, axis + 1, False), lax.index_in_dim(pairs, 1, axis + 1, False)


def cosine_and_sine(plus: Complex, minus: Complex) -> tuple[Complex, Complex]:
    """The inverse of `plus_and_minus`, doubled: the functions' own factor 2 is taken back where there are two signs."""
    (rp, ip), (rm, im) = plus, minus
    return (rp + rm, ip + im), (im - ip, rp - rm)


def _unsigned(modes: Complex, axis: int, count: int) -> Complex:
    highest = count // 2
    scale = jnp.where(jnp.arange(highest + 1) == 0, 1.0, 0.5).astype(modes[0].dtype)
    scale = scale.reshape(-1, *(1,) * (modes[0].ndim - axis - 1))

    def aligned(part: jax.Array) -> tuple[jax.Array, jax.Array]:
        """By wave number 0 ... highest: those of positive and of negative sign, zero where there is none."""
        nothing = jnp.zeros_like(_split(part, 1, axis)[0])
        if count % 2:
            alone, rest = _split(part, 1, axis)
            plus, minus = by_turns(rest, axis)
            return jnp.concatenate([alone, plus], axis), jnp.concatenate([nothing, minus], axis)
        plus, minus = by_turns(part, axis)
        last, minus = _split(minus, 1, axis)
        return jnp.concatenate([plus, nothing], axis), jnp.concatenate([nothing, minus, last], axis)

    (rp, rm), (ip, im) = aligned(modes[0]), aligned(modes[1])
    cosine, sine = cosine_and_sine((rp, ip), (rm, im))
    real, imaginary = (jnp.concatenate([scale * c, scale * s], axis) for c, s in zip(cosine, sine, strict=True))
    return real, imaginary
