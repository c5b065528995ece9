"""One batch: cases of several requests, each with the operands of its own grid, through a compiled program."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.servable import KEYED, crop
from serving.engine.jobs import Arrays, Outcome, Ticket
from serving.engine.operands import OperandStore
from serving.engine.queue import Lane, Picked


def compute(lane: Lane, picked: Picked, operands: OperandStore) -> list[Ticket]:
    """Run the cases that were picked; the tickets that are complete by it."""
    batch = lane.costs.holding(len(picked))
    arguments: list[Any] = [_stacked([ticket.job.inputs[position] for ticket, position in picked], lane, batch)]
    arguments.append(operands.stacked([ticket.job.place for ticket, _ in picked], batch))
    if lane.answer in KEYED:
        keys = np.zeros((batch, picked[0][0].keys.shape[1]), np.uint32)
        keys[: len(picked)] = [ticket.keys[position] for ticket, position in picked]
        arguments.append(keys)
    for field in range(len(picked[0][0].job.fields)):
        rows = [ticket.job.fields[field][position] for ticket, position in picked]
        arguments.append(_stacked(rows, lane, batch))
    arrays: Arrays = lane.ladder.programs[lane.bucket, lane.answer, batch](*arguments)
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


def _stacked(cases: Sequence[NDArray[np.float32]], lane: Lane, batch: int) -> NDArray[np.float32]:
    """Fields, which may have draws before the space axes, padded; zero beyond them."""
    lead, channels = cases[0].shape[: -1 - len(lane.bucket)], cases[0].shape[-1]
    stacked = np.zeros((batch, *lead, *lane.bucket, channels), np.float32)
    for row, case in enumerate(cases):
        stacked[row][tuple(map(slice, case.shape[:-1]))] = case
    return stacked
