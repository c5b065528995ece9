"""Randomness inside an operator, at places that its layers offer: what is dropped, and how far weights are off.

A posterior opens it around the tracing of an operator, `with stochastic.at_hand(...)`; without one every hook here is
the identity and leaves no trace in the compiled program. What is drawn is a function of the key, the layer's name and
the numbers of case, mode and channel, and of nothing else: it is the same on every grid, in every bucket and on every
mesh. A function that was compiled under one context must not be called under another.
"""

import contextlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from pnol_jax import collectives
from pnol_jax.bases import Basis, GridOperands
from pnol_jax.collectives import CASES, MODEL, SPACE
from pnol_jax.operators import slab
from pnol_jax.operators.layout import enter, fold, unfold


@dataclass(frozen=True)
class Stochastic:
    """What is random.

    Args:
        key: of all draws.
        spectral: the share of modes that are dropped where a layer reads coefficients.
        channel: the share of hidden channels that are dropped.
        whole_modes: a mode is dropped in all channels at once, rather than in each by itself.
        by_case: each case has draws of its own; else all have the same, as if weights were drawn.
        deviations: standard deviations of weights by the names of the arrays, as the layers hold them.
        asked: the names of those that a layer has asked for.
    """

    key: jax.Array
    spectral: float = 0.0
    channel: float = 0.0
    whole_modes: bool = False
    by_case: bool = True
    deviations: Mapping[str, jax.Array] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)


_AT_HAND: ContextVar[Stochastic | None] = ContextVar("stochastic", default=None)


@contextlib.contextmanager
def at_hand(what: Stochastic | None) -> Iterator[None]:
    """While entered, operators that are traced are random in this way."""
    token = _AT_HAND.set(what)
    try:
        yield
    finally:
        _AT_HAND.reset(token)


def named(variable: nnx.Variable[Any]) -> str:
    """The dotted name of a layer's parameter in the operator, as `functional` has it."""
    return str(variable.get_metadata().get("parameter", ""))


def key_at_hand() -> jax.Array | None:
    """The key of all draws, (), None where nothing is random."""
    what = _AT_HAND.get()
    return None if what is None else what.key


def with_key(key: jax.Array | None) -> contextlib.AbstractContextManager[None]:
    """The same randomness with the key, (), as another value of the trace, for layers that are traced on their own."""
    what = _AT_HAND.get()
    return at_hand(None if what is None or key is None else replace(what, key=key))


def drop_modes(
    coefficients: jax.Array, name: str, bases: Sequence[Basis], *, divided: bool = True, share: bool = False
) -> jax.Array:
    """Drop modes of (*functions, batch, C), each wave number's cosine and sine alike, so that a field stays real.

    On several axes a mode is the product of the axes' wave numbers without their signs. `divided`: the channels are
    where a mesh divides channels; `share`: the first axis' functions are this device's share (`slab.py`).
    """
    what = _AT_HAND.get()
    if what is None or not what.spectral:
        return coefficients
    numbers = [jnp.asarray(_waves(basis)) for basis in bases]
    distinct = tuple(int(_waves(basis).max()) + 1 for basis in bases)
    if share:
        order = slab.column_order(bases[0], collectives.count(SPACE)) if bases[0].paired else slice(None)
        numbers[0] = collectives.mine(jnp.asarray(_waves(bases[0])[order]), SPACE, 0)
    kept = _kept(what, name, what.spectral, coefficients.shape[-2], distinct, coefficients.shape[-1], divided)
    for position, waves in enumerate(numbers):
        kept = jnp.take(kept, waves, axis=position + 1)
    return coefficients * jnp.moveaxis(kept, 0, -2).astype(coefficients.dtype)


def drop_axis_modes(field: jax.Array, name: str, basis: Basis, position: int, batched: bool) -> jax.Array:
    """The same along one axis alone, where coefficients stand, of a field (*space, batch, C) or (batch, *space, C)."""
    what = _AT_HAND.get()
    if what is None or not what.spectral:
        return field
    waves = _waves(basis)
    cases = field.shape[0 if batched else -2]
    kept = _kept(what, name, what.spectral, cases, (int(waves.max()) + 1,), field.shape[-1], True)
    kept = jnp.take(kept, jnp.asarray(waves), axis=1)
    others = [axis for axis in range(1, field.ndim - 1) if axis != position + 1]
    kept = jnp.expand_dims(kept, others)
    return field * (kept if batched else jnp.moveaxis(kept, 0, -2)).astype(field.dtype)


def drop_channels(rows: jax.Array, name: str, grid: GridOperands) -> jax.Array:
    """Drop hidden channels of rows (rows, C), each of a case everywhere."""
    what = _AT_HAND.get()
    if what is None or not what.channel:
        return rows
    values = unfold(rows, grid)
    cases = values.shape[0 if grid.batched else -2]
    kept = _kept(what, name, what.channel, cases, (), rows.shape[-1], True).astype(rows.dtype)
    return fold(values * (jnp.expand_dims(kept, tuple(range(1, 1 + len(grid.axes)))) if grid.batched else kept))


def drop_features(values: jax.Array, name: str) -> jax.Array:
    """Drop hidden channels of what is no field, (batch, C, ...)."""
    what = _AT_HAND.get()
    if what is None or not what.channel:
        return values
    kept = _kept(what, name, what.channel, values.shape[0], (), values.shape[1], False)
    return values * jnp.expand_dims(kept.astype(values.dtype), tuple(range(2, values.ndim)))


def deviation(name: str, dtype: DTypeLike) -> jax.Array | None:
    """The standard deviation of a weight of any shape by its name, None where it is known exactly."""
    what = _AT_HAND.get()
    if what is None or name not in what.deviations:
        return None
    what.asked.add(name)
    return what.deviations[name].astype(dtype)


def white(like: jax.Array, name: str, grid: GridOperands, *, divided: bool) -> jax.Array:
    """Standard normal draws for rows (rows, C), one for each case, point and channel."""
    what = _AT_HAND.get()
    assert what is not None
    channels = like.shape[-1] * (collectives.count(MODEL) if divided else 1)
    unfolded = unfold(like, grid).shape
    cases = unfolded[0] if grid.batched else unfolded[-2]
    draws = collectives.normal(_of_layer(what.key, name), (cases, *grid.shape, channels), like.dtype)
    rows = enter(draws, grid)
    return collectives.mine(rows, MODEL, rows.ndim - 1) if divided else rows


def _kept(
    what: Stochastic, name: str, rate: float, cases: int, modes: tuple[int, ...], channels: int, divided: bool
) -> jax.Array:
    """Zero where something is dropped, 1 / (1 - rate) where not: (batch, *modes, C), of size 1 where all are alike.

    Bits are compared and not numbers, so that it is the same in every precision.
    """
    whole = channels * (collectives.count(MODEL) if divided else 1)
    shape = (*modes, 1 if modes and what.whole_modes else whole)
    key, threshold = _of_layer(what.key, name), np.uint32(round(rate * 2**32))

    def of(case: jax.Array) -> jax.Array:
        return jax.random.bits(jax.random.fold_in(key, case), shape, jnp.uint32) >= threshold

    numbers = collectives.index(CASES) * cases + jnp.arange(cases) if what.by_case else jnp.zeros(1, jnp.int32)
    kept = jax.vmap(of)(numbers) / (1 - rate)
    return collectives.mine(kept, MODEL, kept.ndim - 1) if divided and shape[-1] == whole else kept


def _of_layer(key: jax.Array, name: str) -> jax.Array:
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def _waves(basis: Basis) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """The number of the wave that each function of a basis belongs to, (K,): that of its cosine and of its sine."""
    if basis.kind == "cosine":
        return np.arange(basis.modes, dtype=np.int32)
    cosines, sines = basis.modes // 2 + 1, (basis.modes + 1) // 2
    first = np.arange(cosines, dtype=np.int32)
    return np.concatenate([first, first if basis.paired else np.arange(1, sines, dtype=np.int32)])
