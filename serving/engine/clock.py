"""When a batch's steps were, counted for its version and noted for those of its requests that are recorded."""

import time
from dataclasses import dataclass, field

from serving.engine.queue import Picked
from serving.monitoring.stages import Stages


@dataclass(slots=True)
class Clock:
    """Seconds of the monotonic clock: a batch is put together, its program runs, it is taken apart.

    `begun` and `done` are 0 where it did not come to that.
    """

    start: float = field(default_factory=time.monotonic)
    begun: float = 0.0
    done: float = 0.0
    end: float = 0.0

    def note(self, stages: Stages, picked: Picked, fill: float) -> None:
        """Count a batch that is over. A request waited until the first of its cases was taken."""
        stages.fill.observe(fill)
        if self.done:
            stages.compute.observe(self.done - self.begun)
            stages.batch.observe(self.begun - self.start + self.end - self.done)
        last = None
        for ticket, _ in picked:
            if ticket is last:  # a ticket's cases stand side by side
                continue
            last, first = ticket, not ticket.started
            if first:
                ticket.started = True
                stages.queue.observe(self.start - ticket.submitted)
            if (record := ticket.job.record) is not None:
                if first:
                    record.note("queue", ticket.submitted, self.start)
                if self.done:
                    record.note("batch", self.start, self.begun)
                    record.note("compute", self.begun, self.done)
