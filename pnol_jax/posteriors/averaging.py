"""Gradient descent at a constant rate after training, and the Gaussian that its iterates look like.

Of the iterates that are kept: their mean, their variance, and the deviations of the last few from the mean so far
(Maddox, Izmailov, Garipov, Vetrov, Wilson 2019, A simple baseline for Bayesian uncertainty, Algorithm 1).
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pnol_jax.bases import GridOperands
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import SWAGConfig
from pnol_jax.posteriors.protocol import Batch, FitBatch, Metrics, Params
from pnol_jax.sharding.divide import Program, Specs, current_mesh, divide, holder, specs_of
from pnol_jax.sharding.partition import shardings, spec
from pnol_jax.sharding.placement import WHOLE, like_parameters

Loss = Callable[[Params, Batch, GridOperands, jax.Array], tuple[jax.Array, Metrics]]


class Iterates(NamedTuple):
    """Moments of the iterates that were kept.

    `squares` are their squared deviations from the mean, added up; `last` the deviations from the mean at the time, the
    newest first, (rank, *shape).
    """

    number: jax.Array
    mean: Params
    squares: Params
    last: Params


class Descent(NamedTuple):
    """What a step changes."""

    params: Params
    optimizer: Any
    iterates: Iterates


def follow(
    loss: Loss,
    params: Params,
    constants: Params,
    data: Callable[[], Iterable[FitBatch]],
    settings: SWAGConfig,
    members: int | None,
    seed: int,
) -> Iterates:
    """Go on from `params` over passes of the data, in order, and keep an iterate now and then, as the settings say.

    The last batch of a pass is filled up with its last case, which then counts more often.

    Raises:
        InputError: an iterate is not finite.
    """
    optimizer = _optimizer(settings, members)
    state = _begin(params, optimizer, settings.rank, members)
    step, keep, key = _step(loss, optimizer), _keep(), jax.random.key(seed)
    batches = itertools.chain.from_iterable(data() for _ in itertools.count())
    for number, one in zip(range(1, settings.steps + 1), batches, strict=False):
        state = step(state, constants, one.batch, one.grid, jax.random.fold_in(key, number))
        if number % settings.every == 0:
            state = keep(state)
    if not all(bool(jnp.all(jnp.isfinite(value))) for value in state.iterates.squares.values()):
        raise InputError(
            f"posterior.learning_rate: got {settings.learning_rate:g}, at which descent left the finite numbers within "
            f"{settings.steps} steps; expected a smaller one"
        )
    return state.iterates


def _optimizer(settings: SWAGConfig, members: int | None) -> Any:
    clip = optax.clip_by_global_norm(settings.clip_norm) if settings.clip_norm else optax.identity()
    one = optax.chain(clip, optax.sgd(settings.learning_rate, settings.momentum or None))
    if members is None:
        return one
    return optax.GradientTransformation(jax.vmap(one.init), lambda *given: jax.vmap(one.update)(*given[:2]))


def _begin(params: Params, optimizer: Any, rank: int, members: int | None) -> Descent:
    """The state before the first step, divided as the weights are."""

    def make(params: Params) -> Descent:
        nothing = jax.tree.map(jnp.zeros_like, params)
        last = jax.tree.map(lambda leaf: jnp.zeros((rank, *leaf.shape), leaf.dtype), params)
        iterates = Iterates(jnp.zeros((), jnp.int32), nothing, nothing, last)
        return Descent(jax.tree.map(jnp.copy, params), optimizer.init(params), iterates)

    mesh = current_mesh()
    if mesh is None:
        here: Descent = jax.jit(make)(params)
        return here
    own, shape = specs_of(params), jax.eval_shape(make, params)
    of_last = {name: spec(None, *division) for name, division in own.items()}
    of_optimizer = like_parameters(shape.optimizer, params, own, members is not None)
    whole: Any = WHOLE
    places = Descent(own, of_optimizer, Iterates(whole, own, own, of_last))  # type: ignore[arg-type]
    there: Descent = jax.jit(make, out_shardings=shardings(mesh, places))(params)
    return there


def _step(loss: Loss, optimizer: Any) -> Program[..., Descent]:
    def slope(params: Params, constants: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> Params:
        found: Params = jax.grad(lambda params: loss(params | constants, batch, grid, key)[0])(params)
        return found

    def make(specs: Specs, *others: Specs) -> Callable[..., Descent]:
        gradient_of = divide(slope, (specs.params, *others[:3], WHOLE), specs.params)
        hold: Callable[[Descent], Descent] = holder(specs)

        def step(state: Descent, constants: Params, batch: Batch, grid: GridOperands, key: jax.Array) -> Descent:
            gradient = gradient_of(state.params, constants, batch, grid, key)
            updates, moved = optimizer.update(gradient, state.optimizer)
            return hold(Descent(optax.apply_updates(state.params, updates), moved, state.iterates))

        return step

    return Program(make, donate=(0,))


def _keep() -> Program[[Descent], Descent]:
    def make(specs: Specs) -> Callable[[Descent], Descent]:
        hold: Callable[[Descent], Descent] = holder(specs)

        def keep(state: Descent) -> Descent:
            return hold(state._replace(iterates=kept(state.iterates, state.params)))

        return keep

    return Program(make, donate=(0,))


def kept(iterates: Iterates, params: Params) -> Iterates:
    """The moments with one iterate more, by Welford's formula, which loses nothing to a large mean."""
    number = iterates.number + 1
    before = {name: value - iterates.mean[name] for name, value in params.items()}
    mean = {name: iterates.mean[name] + gap / number for name, gap in before.items()}
    after = {name: value - mean[name] for name, value in params.items()}
    squares = {name: iterates.squares[name] + before[name] * gap for name, gap in after.items()}
    last = {name: jnp.concatenate([gap[None], iterates.last[name][:-1]]) for name, gap in after.items()}
    return Iterates(number, mean, squares, last)
