"""One batch: cases of several requests, each with the operands of its own grid, through a compiled program."""

import time
from typing import Any

import numpy as np

from pnol_jax.servable import crop
from serving.engine.clock import Clock
from serving.engine.jobs import Arrays, Outcome, Ticket
from serving.engine.operands import OperandStore
from serving.engine.queue import Lane, Picked


def compute(lane: Lane, picked: Picked, operands: OperandStore, clock: Clock) -> list[Ticket]:
    """Run the cases that were picked, by a clock that notes when; the tickets that are complete by it."""
    batch = lane.costs.holding(len(picked))
    arguments: list[Any] = [_inputs(lane, picked, batch)]
    arguments.append(operands.stacked([ticket.job.place for ticket, _ in picked], batch))
    if lane.answer == "samples":
        keys = np.zeros((batch, 2), np.uint32)
        keys[: len(picked)] = [ticket.keys[position] for ticket, position in picked]
        arguments.append(keys)
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


def _inputs(lane: Lane, picked: Picked, batch: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    inputs = np.zeros((batch, *lane.bucket, picked[0][0].job.inputs.shape[-1]), np.float32)
    for row, (ticket, position) in enumerate(picked):
        case = ticket.job.inputs[position]
        inputs[row][tuple(map(slice, case.shape[:-1]))] = case
    return inputs
