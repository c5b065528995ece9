"""The learning rate as a function of the step: a warm-up, then pieces one after the other."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import optax

from pnol_jax.errors import InputError
from pnol_jax.optimizer_config import (
    ConstantConfig,
    CosineConfig,
    DecayConfig,
    ExponentialConfig,
    OneCycleConfig,
    OptimizerConfig,
    Piece,
    PlateauConfig,
    PolynomialConfig,
    RestartsConfig,
    StepConfig,
)


class Span(NamedTuple):
    """Where a piece lies: `steps` steps from step `begin` on, from `start` to `end`, shares of the learning rate `top`.

    Nothing is decided by `top`, which may be an argument of the compiled step.
    """

    begin: int
    steps: int
    start: float
    end: float
    top: Any


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """The learning rate at each of a run's steps, without what a plateau takes off.

    Raises:
        InputError: the pieces do not make up `steps`, or one of them does not fit its length.
    """
    pieces = _pieces(config)
    top: Any = config.learning_rate
    if not isinstance(top, jax.Array) and not 0 < top < math.inf:
        raise InputError(f"optimizer.learning_rate: got {top:g}, expected a positive number")
    spans = _spans(config, pieces, steps)
    parts = [optax.linear_schedule(0.0, _rate(spans[0]), spans[0].begin)]
    parts += [_build(position, piece, span) for position, (piece, span) in enumerate(zip(pieces, spans, strict=True))]
    return optax.join_schedules(parts, [span.begin for span in spans])


def plateau(config: OptimizerConfig, steps: int) -> optax.GradientTransformationExtraArgs | None:
    """What takes the learning rate down where the loss, `value=` of the update, stops falling; None if not asked for.

    Raises:
        InputError: as `schedule`.
    """
    pieces = _pieces(config)
    piece, span = pieces[-1], _spans(config, pieces, steps)[-1]
    if not isinstance(piece, PlateauConfig):
        return None
    reduce = optax.contrib.reduce_on_plateau(
        piece.factor,
        piece.patience,
        rtol=0.0,  # a share of the best loss would point the wrong way where a likelihood makes it negative
        atol=piece.threshold,
        cooldown=piece.cooldown,
        accumulation_size=piece.window,
        min_scale=span.end / span.start,
    )
    return optax.conditionally_transform(reduce, lambda step, **_: step >= span.begin)


def _pieces(config: OptimizerConfig) -> Sequence[Piece]:
    pieces = config.schedule or [CosineConfig()]
    early = [position for position, piece in enumerate(pieces[:-1]) if isinstance(piece, PlateauConfig)]
    if early:
        raise InputError(f"optimizer.schedule[{early[0]}]: got a plateau before other pieces, expected it as the last")
    return pieces


def _spans(config: OptimizerConfig, pieces: Sequence[Piece], steps: int) -> list[Span]:
    begin = min(config.warmup_steps, steps // 2)
    start = 1.0
    spans = []
    for piece, length in zip(pieces, _lengths(pieces, begin, steps), strict=True):
        start = start if piece.start_ratio is None else piece.start_ratio
        spans.append(Span(begin, length, start, _end(piece, start, config), config.learning_rate))
        begin, start = begin + length, spans[-1].end
    return spans


def _lengths(pieces: Sequence[Piece], warmup: int, steps: int) -> list[int]:
    """The length of each piece; the one that gives none takes what the others leave."""
    given = [piece.steps for piece in pieces]
    rest = steps - warmup - sum(length or 0 for length in given)
    made = f"{' + '.join('?' if length is None else str(length) for length in given)} after {warmup} of warm-up"
    if given.count(None) > 1:
        raise InputError(f"optimizer.schedule: got pieces of {made} steps, expected at most one without a length")
    if rest < 1 if None in given else rest != 0:
        raise InputError(f"optimizer.schedule: got pieces of {made} steps, expected {steps} (training.steps) in all")
    return [rest if length is None else length for length in given]


def _end(piece: Piece, start: float, config: OptimizerConfig) -> float:
    if isinstance(piece, StepConfig):
        return start * piece.factor ** len(set(piece.at))
    if not isinstance(piece, DecayConfig):
        return start
    return config.final_ratio if piece.final_ratio is None else piece.final_ratio


def _rate(span: Span) -> Any:
    """The learning rate at the piece's beginning."""
    return span.top * span.start


def _cosine(piece: CosineConfig, span: Span) -> optax.Schedule:
    return optax.cosine_decay_schedule(_rate(span), span.steps, span.end / span.start)


def _polynomial(piece: PolynomialConfig, span: Span) -> optax.Schedule:
    return optax.polynomial_schedule(_rate(span), span.top * span.end, piece.power, span.steps)


def _exponential(piece: ExponentialConfig, span: Span) -> optax.Schedule:
    if not span.end > 0:
        raise InputError("final_ratio: got 0, expected a positive number, as an exponential does not reach zero")
    return optax.exponential_decay(_rate(span), span.steps, span.end / span.start)


def _step(piece: StepConfig, span: Span) -> optax.Schedule:
    late = [step for step in piece.at if step >= span.steps]
    if late:
        raise InputError(f"at: got step {late[0]}, expected steps within the piece's {span.steps}")
    return optax.piecewise_constant_schedule(_rate(span), dict.fromkeys(piece.at, piece.factor))


def _one_cycle(piece: OneCycleConfig, span: Span) -> optax.Schedule:
    if not span.end > 0:
        raise InputError("final_ratio: got 0, expected a positive number")
    if piece.rise * span.steps < 1:
        raise InputError(f"rise: got {piece.rise:g} of {span.steps} steps, expected a step at least")
    down, up = span.start / span.end, 1 / span.start
    return optax.cosine_onecycle_schedule(span.steps, span.top, piece.rise, up, down)


def _restarts(piece: RestartsConfig, span: Span) -> optax.Schedule:
    shares = [piece.growth**cycle for cycle in range(piece.cycles)]
    knots = [round(span.steps * share / sum(shares)) for share in itertools.accumulate(shares, initial=0.0)]
    lengths = [after - before for before, after in itertools.pairwise(knots)]
    if min(lengths) < 1:
        raise InputError(f"cycles: got {piece.cycles} in {span.steps} steps, of {lengths}, expected a step in each")
    peaks = [span.start * piece.peak**cycle for cycle in range(piece.cycles)]
    cycles = [optax.cosine_decay_schedule(span.top * p, n, span.end / p) for p, n in zip(peaks, lengths, strict=True)]
    return optax.join_schedules(cycles, knots[1:-1])


def _constant(piece: ConstantConfig, span: Span) -> optax.Schedule:
    return optax.constant_schedule(_rate(span))


def _plateau(piece: PlateauConfig, span: Span) -> optax.Schedule:
    """Constant: what the plateau takes off is in the optimiser's state."""
    if span.end > span.start:
        raise InputError(f"final_ratio: got {span.end:g}, expected at most {span.start:g}")
    return optax.constant_schedule(_rate(span))


PIECES: Mapping[type, Callable[[Any, Span], optax.Schedule]] = {
    ConstantConfig: _constant,
    CosineConfig: _cosine,
    PolynomialConfig: _polynomial,
    ExponentialConfig: _exponential,
    StepConfig: _step,
    OneCycleConfig: _one_cycle,
    RestartsConfig: _restarts,
    PlateauConfig: _plateau,
}


def _build(position: int, piece: Piece, span: Span) -> optax.Schedule:
    try:
        if not span.start > 0:
            raise InputError("start_ratio: got 0, where the piece before ended; expected a positive number")
        return PIECES[type(piece)](piece, span)
    except InputError as error:
        raise InputError(f"optimizer.schedule[{position}].{error}") from None
