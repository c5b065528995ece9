"""What a compiled program moves between devices: its collectives, read from the text that XLA compiled it to."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_LINE = re.compile(rf"= (?P<type>.*?) (?P<kind>{'|'.join(KINDS)})(?:-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+[0-9]+)\[([0-9,]*)\]")
_LIST = re.compile(r"replica_groups=\{(\{[0-9,{}]+\})\}")
_IOTA = re.compile(r"replica_groups=\[([0-9,]+)\]<=\[([0-9,]+)\](?:T\(([0-9,]+)\))?")
_NAMED = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
_COMPUTATION = re.compile(r"(?:ENTRY )?(%\S+) \(")
_LOOP = re.compile(r" while\(.* body=(%[^\s,]+),.*\"known_trip_count\":\{\"n\":\"(\d+)\"\}")
_PAIRS = re.compile(r"source_target_pairs=\{(.*?)\}\}")


@dataclass(frozen=True)
class Collective:
    """One collective: `size` bytes of the whole array that it adds up or puts together, over `parts` devices.

    `axes` are the mesh axes along which these devices lie, `stride` the distance between neighbours among them.
    """

    kind: str
    size: int
    parts: int
    axes: tuple[str, ...]
    stride: int

    @property
    def sent(self) -> float:
        """Bytes that each device sends along a ring, which no algorithm undercuts (Patarasuk, Yuan 2009)."""
        share = (self.parts - 1) / self.parts
        return self.size * {"all-reduce": 2 * share, "collective-permute": 1.0}.get(self.kind, share)


def collectives_of(text: str, mesh: Mesh) -> list[Collective]:
    """The collectives of a compiled program's text (`compiled.as_text()`), in its order; those within a device not.

    One in the body of a loop stands there as often as the loop is gone through, where XLA knows how often.
    """
    found, times, rounds = [], {body: int(count) for body, count in _LOOP.findall(text)}, 1
    for line in text.splitlines():
        if begins := _COMPUTATION.match(line):
            rounds = times.get(begins[1], 1)
        match = _LINE.search(line)
        if match is None:
            continue
        group = _first_group(line, mesh.size)
        if len(group) > 1:
            found += [_collective(match["kind"], _bytes(match["type"]), group, mesh)] * rounds
    return found


def _collective(kind: str, result: int, group: Sequence[int], mesh: Mesh) -> Collective:
    places = np.array([np.unravel_index(device, mesh.devices.shape) for device in group])
    axes = tuple(name for position, name in enumerate(mesh.axis_names) if len(np.unique(places[:, position])) > 1)
    # A reduce-scatter's result is the part that a device keeps.
    size = result * len(group) if kind == "reduce-scatter" else result
    return Collective(kind, size, len(group), axes, int(np.diff(np.sort(group)).min()))


def _bytes(shapes: str) -> int:
    return sum(_width(kind) * math.prod(_numbers(dims)) for kind, dims in _ARRAY.findall(shapes)) // 8


def _width(kind: str) -> int:
    return 8 if kind == "pred" else int(re.sub(r"\D.*", "", kind.lstrip("abcdefghijklmnopqrstuvwxyz")))


def _first_group(line: str, devices: int) -> list[int]:
    """Device numbers, in the mesh's order, of one of the groups that a collective acts within."""
    if match := _LIST.search(line):
        return _numbers(match[1].split("}")[0].lstrip("{"))
    if match := _IOTA.search(line):
        groups = np.arange(math.prod(_numbers(match[2]))).reshape(_numbers(match[2]))
        ordered = groups.transpose(_numbers(match[3])) if match[3] else groups
        return _list(ordered.reshape(_numbers(match[1]))[0])
    if match := _NAMED.search(line):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", match[1])}
        chosen = re.findall(r"'([^']+)'", match[2])
        index = tuple(slice(None) if name in chosen else 0 for name in sizes)
        return _list(np.arange(devices).reshape([*sizes.values()])[index].ravel())
    if match := _PAIRS.search(line):
        return _numbers(match[1].split("}")[0].lstrip("{"))
    return list(range(devices))


def _list(group: NDArray[np.int_]) -> list[int]:
    return [int(device) for device in group]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]
