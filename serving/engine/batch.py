"""One batch: cases of several requests, each with the operands of its own grid, through a compiled program."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.servable import KEYED, crop
from serving.engine.clock import Clock
from serving.engine.jobs import Arrays, Outcome, Ticket
from serving.engine.operands import OperandStore
from serving.engine.queue import Lane, Picked

Cases = NDArray[np.float32]


def compute(lane: Lane, picked: Picked, operands: OperandStore, clock: Clock) -> list[Ticket]:
    """Run the cases that were picked, by a clock that notes when; the tickets that are complete by it."""
    batch = lane.costs.holding(len(picked))
    cases = [(ticket.job.inputs, position) for ticket, position in picked]
    arguments: list[Any] = [_padded(lane, cases, batch)]
    arguments.append(operands.stacked([ticket.job.place for ticket, _ in picked], batch))
    if lane.answer in KEYED:
        keys = np.zeros((batch, picked[0][0].keys.shape[1]), np.uint32)
        keys[: len(picked)] = [ticket.keys[position] for ticket, position in picked]
        arguments.append(keys)
    arguments += [
        _padded(lane, [(ticket.job.fields[number], position) for ticket, position in picked], batch)
        for number in range(len(picked[0][0].job.fields))
    ]
    clock.begun = time.monotonic()
    arrays: Arrays = lane.ladder.programs[lane.bucket, lane.answer, batch](*arguments)
    clock.done = time.monotonic()
    for row, (ticket, position) in enumerate(picked):
        shape = ticket.job.place.grid.shape
        ticket.take(position, {name: crop(array[row], shape) for name, array in arrays.items()})
    return [ticket for ticket in tickets_of(picked) if not ticket.missing]


def tickets_of(picked: Picked) -> list[Ticket]:
    """The tickets of cases, each once."""
    return list(dict.fromkeys(ticket for ticket, _ in picked))


def deliver(outcome: Outcome) -> None:
    """Give what is waited for; on the event loop's thread."""
    for future, value in outcome:
        if future.done():
            continue
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)


def _padded(lane: Lane, cases: list[tuple[Cases, int]], batch: int) -> Cases:
    """One of each array's cases, (batch, *bucket, channels), zero on padding and beyond the last.

    Draws may stand between the cases and the space axes.
    """
    shape = cases[0][0].shape
    padded = np.zeros((batch, *shape[1 : -1 - len(lane.bucket)], *lane.bucket, shape[-1]), np.float32)
    for row, (array, position) in enumerate(cases):
        case = array[position]
        padded[row][tuple(map(slice, case.shape[:-1]))] = case
    return padded
