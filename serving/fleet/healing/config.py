"""When a replica counts as ill: the section `healing` of `fleet.toml`, with every default."""

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Factor = Annotated[float, Meta(gt=1)]
Part = Annotated[float, Meta(ge=0, le=1)]


class HealingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times in seconds, sizes in bytes."""

    stall_seconds: Seconds = 3.0  # without an answer to a probe, after which a replica is ended; workers of it included
    stall_all_seconds: Seconds = 15.0  # the same where all replicas are silent at once

    memory_bytes: Natural = 0  # resident, above which a replica is replaced; 0: no limit
    memory_window: Seconds = 120.0  # over which its growth is measured
    memory_ahead: Seconds = 300.0  # in which a replica that goes on growing would pass the limit: it is replaced before

    slow_factor: Factor = 3.0  # times the median of the others that a request takes at one that is slow
    slow_seconds: Seconds = 0.01  # and at least so much longer
    slow_looks: Count = 3  # readings in a row in which it was
    slow_requests: Count = 10  # in a reading, below which it says nothing
    eject_seconds: Seconds = 10.0  # that it gets no requests; twice as long each time
    eject_longest: Seconds = 300.0
    eject_share: Part = 0.5  # of the ready replicas that may be out for this at once
    eject_times: Count = 3  # after which it is replaced

    lasted_seconds: Seconds = 5.0  # that a replica is ready, after which its end is no sign of a loop
    pause_seconds: Seconds = 0.5  # before the next start after an end that was; twice as long each time
    longest_pause: Seconds = 60.0
    loop_alarm: Count = 3  # such ends in a row

    disk_bytes: Natural = 64 * 2**20  # free where the fleet's folder is, below which older logs are removed
