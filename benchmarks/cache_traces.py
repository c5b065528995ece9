"""Traces of requests, what a policy makes of them, and what the best possible one would."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from serving.cache.policy import Policy

OBJECTS, REQUESTS, SHARE = 10_000, 60_000, 0.1  # of the objects' bytes, which the cache holds
EXPONENTS = (0.7, 0.9, 1.1)
POINTS, WEIGHTS = (256, 1024, 4096, 16384, 65536), (0.3, 0.3, 0.2, 0.15, 0.05)  # of a field, where sizes differ
ARRAYS, MOVES = 5, 10  # of an answer; how often what is popular changes


@dataclass(frozen=True)
class Trace:
    """Requests for objects, (requests,), and the objects' bytes, (objects,)."""

    name: str
    requests: NDArray[np.int64]
    sizes: NDArray[np.int64]
    capacity: int

    @property
    def is_unequal(self) -> bool:
        """Whether sizes differ."""
        return bool((self.sizes != self.sizes[0]).any())


@dataclass(frozen=True)
class Ratios:
    """Shares of the requests that were hits, and of the bytes asked for."""

    requests: float
    bytes: float


def traces(seed: int = 0) -> list[Trace]:
    """Zipf's law with each exponent, alone, with scans, and moving; of equal and of different sizes."""
    found = []
    for unequal in (False, True):
        kinds = [(a, scan, False) for scan in (False, True) for a in EXPONENTS] + [(EXPONENTS[1], False, True)]
        for exponent, scan, moving in kinds:
            name = f"zipf_{exponent:g}" + "_scan" * scan + "_moving" * moving + "_unequal" * unequal
            found.append(_trace(name, exponent, scan, moving, unequal, np.random.default_rng(seed)))
    return found


def _trace(
    name: str, exponent: float, scan: bool, moving: bool, unequal: bool, generator: np.random.Generator
) -> Trace:
    chances = 1 / np.arange(1, OBJECTS + 1) ** exponent
    requests = generator.choice(OBJECTS, REQUESTS, p=chances / chances.sum())
    if moving:  # the popularity of every object becomes another's
        requests = (requests + np.arange(REQUESTS) * MOVES // REQUESTS * (OBJECTS // 20)) % OBJECTS
    requests = generator.permutation(OBJECTS)[requests]
    if scan:  # after every tenth, half as many objects that are asked for once
        once = OBJECTS + np.arange(REQUESTS // 2).reshape(MOVES, -1)
        requests = np.concatenate([np.concatenate(pair) for pair in zip(np.split(requests, MOVES), once, strict=True)])
    points = np.full(requests.max() + 1, POINTS[2])
    if unequal:
        points = generator.choice(POINTS, len(points), p=WEIGHTS)
    sizes = points * ARRAYS * np.float32().nbytes
    return Trace(name, requests, sizes, int(SHARE * sizes[:OBJECTS].sum()))


def replay(trace: Trace, make: Callable[[int], Policy]) -> Ratios:
    """What a policy makes of a trace."""
    policy = make(trace.capacity)
    keys = [blake3(number.to_bytes(8, "little")).digest() for number in range(len(trace.sizes))]
    sizes = trace.sizes.tolist()
    hit = []
    for number in trace.requests.tolist():
        hit.append(keys[number] in policy)
        if hit[-1]:
            policy.hit(keys[number])
        else:
            policy.add(keys[number], sizes[number])
    return _ratios(trace, np.array(hit))


def optimum(trace: Trace) -> Ratios:
    """What no policy can exceed: for equal sizes the best there is, else a bound of each ratio by itself.

    For equal sizes Belady's MIN (1966), which may also leave an object out. For different ones the bound of Berger,
    Beckmann and Harchol-Balter 2018, "Practical bounds on optimal caching with variable object sizes" (PFOO-L):
    the cache need not hold its bytes at each time but on average over the trace.
    """
    if not trace.is_unequal:
        return _ratios(trace, belady(trace.requests, trace.capacity // int(trace.sizes[0])))
    size = trace.sizes[trace.requests]
    following = next_request(trace.requests)
    again = np.flatnonzero(following < len(trace.requests))
    taken = (following[again] - again) * size[again]  # bytes, times requests during which they are held
    room = trace.capacity * len(trace.requests)
    few, short = np.argsort(taken), np.argsort(following[again] - again)
    by_request = (np.cumsum(taken[few]) - taken[few] < room).sum() / len(trace.requests)
    by_bytes = size[again][short][np.cumsum(taken[short]) - taken[short] < room].sum() / size.sum()
    return Ratios(float(by_request), float(by_bytes))


def next_request(requests: NDArray[np.int64]) -> NDArray[np.int64]:
    """When each request's object is asked for next, (requests,); the number of requests if never."""
    following = np.full(len(requests), len(requests))
    last: dict[int, int] = {}
    for position in range(len(requests) - 1, -1, -1):
        following[position] = last.get(int(requests[position]), len(requests))
        last[int(requests[position])] = position
    return following


def belady(requests: NDArray[np.int64], slots: int) -> NDArray[np.bool_]:
    """Which requests are hits if what is asked for again latest is let go, or not let in, (requests,)."""
    following, held = next_request(requests).tolist(), dict[int, int]()
    queue: list[tuple[int, int]] = []
    hit = np.zeros(len(requests), bool)
    for position, number in enumerate(requests.tolist()):
        hit[position] = number in held
        held[number] = following[position]
        heapq.heappush(queue, (-following[position], number))
        while len(held) > slots:
            negative, farthest = heapq.heappop(queue)
            if held.get(farthest) == -negative:
                del held[farthest]
    return hit


def _ratios(trace: Trace, hit: NDArray[np.bool_]) -> Ratios:
    size = trace.sizes[trace.requests]
    return Ratios(float(hit.mean()), float(size[hit].sum() / size.sum()))
