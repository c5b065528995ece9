"""Where the time of one version's requests goes, and how full its batches are."""

from dataclasses import dataclass, field

from serving.monitoring.histogram import SHARES, Histogram


@dataclass(frozen=True)
class Stages:
    """Seconds, but for `fill`, the share of a batch's places that hold cases.

    Of each request: `cache`, the look-up; `queue`, from there to its batch; `decode` and `encode`, the wire (of a
    rollout each step's, with the turns that others have while a large one is written). Of each batch: `batch`, putting
    it together and taking it apart; `compute`, the program. Those of a batch and of the queue are written by the
    engine's thread, the others by the event loop's.
    """

    decode: Histogram = field(default_factory=Histogram)
    cache: Histogram = field(default_factory=Histogram)
    queue: Histogram = field(default_factory=Histogram)
    batch: Histogram = field(default_factory=Histogram)
    compute: Histogram = field(default_factory=Histogram)
    encode: Histogram = field(default_factory=Histogram)
    fill: Histogram = field(default_factory=lambda: Histogram(SHARES))


STAGES = ("decode", "cache", "queue", "batch", "compute", "encode")  # in the order of a request
