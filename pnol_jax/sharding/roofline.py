"""How long a step would take on devices that are not at hand: a prediction, from a program's figures and datasheets.

A step takes the longer of its arithmetic and its memory traffic, then its collectives one after the other:

    t = max(flops / (e_f F), bytes / (e_m M)) + sum over collectives of (sent / (e_l L) + rounds * latency)

with the peak F, the memory's bandwidth M and the link's bandwidth L of the device kind. The shares e that programs
reach of a datasheet's figures are assumptions (`SHARES`). Nothing overlaps, so that communication is not made to look
cheaper than it may be. A collective whose devices lie on several hosts is done in two stages: within the host by its
links, and between hosts each device's share over its own port.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jax.sharding import Mesh

from pnol_jax.errors import InputError
from pnol_jax.sharding.traffic import Collective, collectives_of

GB, GIB = 1e9, 2**30


@dataclass(frozen=True)
class DeviceKind:
    """What a datasheet says of a device: operations a second by precision, bytes, bytes a second in one direction."""

    name: str
    float64: float
    float32: float
    bfloat16: float  # and float16
    memory: float
    memory_bandwidth: float
    link: float  # to the others of its host
    port: float  # to other hosts, each device's share
    per_host: int
    source: str

    def peak(self, precision: str) -> float:
        """Operations a second in float64, float32, bfloat16 or float16."""
        return {"float64": self.float64, "float32": self.float32}.get(precision, self.bfloat16)


KINDS = {
    kind.name: kind
    for kind in (
        DeviceKind(
            "h100",
            float64=67e12,  # on tensor cores, as the others
            float32=494e12,  # TF32 on tensor cores, dense
            bfloat16=989e12,
            memory=80 * GB,
            memory_bandwidth=3.35e12,
            link=450 * GB,
            port=50 * GB,
            per_host=8,
            source="NVIDIA H100 SXM5 datasheet; NVLink 4, 900 GB/s both ways; one NDR InfiniBand port of 400 Gb/s each",
        ),
        DeviceKind(
            "h200",
            float64=67e12,
            float32=494e12,
            bfloat16=989e12,
            memory=141 * GB,
            memory_bandwidth=4.8e12,
            link=450 * GB,
            port=50 * GB,
            per_host=8,
            source="NVIDIA H200 SXM datasheet; links as H100",
        ),
        DeviceKind(
            "a100",
            float64=19.5e12,
            float32=156e12,
            bfloat16=312e12,
            memory=80 * GB,
            memory_bandwidth=2.04e12,
            link=300 * GB,
            port=25 * GB,
            per_host=8,
            source="NVIDIA A100 80GB SXM datasheet; NVLink 3, 600 GB/s both ways; one HDR InfiniBand port of 200 Gb/s",
        ),
    )
}


@dataclass(frozen=True)
class Shares:
    """What is assumed to be reached of the datasheets' figures, and how long one round of messages takes."""

    arithmetic: float = 0.4
    memory: float = 0.75
    link: float = 0.75
    port: float = 0.8
    link_latency: float = 1e-6  # seconds a round
    port_latency: float = 5e-6
    launch: float = 5e-6  # seconds of a collective before anything moves


SHARES = Shares()


@dataclass(frozen=True)
class Cost:
    """What one device does in a step."""

    flops: float
    bytes: float
    collectives: tuple[Collective, ...]


def cost_of(compiled: Any, mesh: Mesh | None, parts: int = 1) -> Cost:
    """What one device does in a compiled step, which takes its batch in `parts` (`training.accumulate`).

    XLA counts the body of a loop once, and the first part stands before the loop: so two of the parts are counted.
    """
    analysis, uncounted = compiled.cost_analysis() or {}, max(1.0, parts / 2)
    collectives = () if mesh is None else tuple(collectives_of(compiled.as_text(), mesh))
    flops, moved = (uncounted * float(analysis.get(name, 0.0)) for name in ("flops", "bytes accessed"))
    return Cost(flops, moved, collectives)


@dataclass(frozen=True)
class Prediction:
    """Seconds of a step by what takes them. A prediction, not a measurement."""

    arithmetic: float
    memory: float
    communication: float

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return max(self.arithmetic, self.memory) + self.communication


def device_kind(name: str) -> DeviceKind:
    """The kind of this name.

    Raises:
        InputError: an unknown one.
    """
    if name not in KINDS:
        raise InputError(f"device kind: got {name!r}, expected one of {', '.join(KINDS)}")
    return KINDS[name]


def predict(cost: Cost, kind: DeviceKind, precision: str = "float32", shares: Shares = SHARES) -> Prediction:
    """The time of a step by the formula above."""
    return Prediction(
        arithmetic=cost.flops / (shares.arithmetic * kind.peak(precision)),
        memory=cost.bytes / (shares.memory * kind.memory_bandwidth),
        communication=communication(cost.collectives, kind, shares),
    )


def communication(collectives: Iterable[Collective], kind: DeviceKind, shares: Shares = SHARES) -> float:
    """Seconds that collectives take, one after the other."""
    return sum(_seconds(collective, kind, shares) for collective in collectives)


def _seconds(collective: Collective, kind: DeviceKind, shares: Shares) -> float:
    here = max(1, min(collective.parts, kind.per_host // collective.stride))
    hosts = collective.parts // here
    rounds = 2 if collective.kind == "all-reduce" else 1
    within = rounds * collective.size * (1 - 1 / here) / (shares.link * kind.link)
    seconds = shares.launch + within + rounds * (here - 1) * shares.link_latency
    if hosts > 1:
        between = rounds * collective.size / here * (1 - 1 / hosts)
        # A tree between hosts: the rounds grow with the logarithm.
        seconds += between / (shares.port * kind.port) + rounds * (hosts - 1).bit_length() * shares.port_latency
    return seconds
