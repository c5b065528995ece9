"""What a fleet promises, and from where on somebody is told: the section `alerts` of `fleet.toml`."""

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Inner = Annotated[float, Meta(gt=0, lt=1)]


class AlertsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two objectives, of errors and of latency, and the limits of everything else."""

    availability: Inner = 0.999  # share of requests that do not fail by the service's fault
    latency_seconds: Seconds = 0.25  # one of the bounds of `pnol_request_seconds`
    latency_share: Inner = 0.99  # of answers within these seconds
    objective_days: Count = 30  # over which both hold
    hold_seconds: Natural = 60  # for which a limit must be passed, but for those of the objectives
    drift_p: Inner = 0.01  # p-value of no drift, of inputs and of calibration
    queue_share: Inner = 0.5  # of the deadline, that work may wait
    restarts: Count = 3  # of a replica or its workers within `restart_minutes`: a crash loop
    restart_minutes: Count = 10
    memory_share: Inner = 0.9  # of the limit, that processes may hold
    disk_share: Inner = 0.05  # free, where compiled programs are kept
    evaluation_seconds: Count = 15  # between two evaluations of the rules
    webhook: str = "http://127.0.0.1:9099/"  # to which the example for Alertmanager sends
