"""A million look-ups, many of which share the bytes of their inputs and nothing else: is any answer another's?"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.cache import Request, request_key
from serving.cache.store import Store

NUMBERS = 16  # of four bytes, in every input
SHAPES = ((1, 16, 1), (2, 8, 1), (1, 8, 2), (1, 4, 4, 1), (4, 4, 1))
DTYPES = (np.float32, np.int32, np.uint32)
PAYLOADS, SEEDS, HELD = 12, 3, 20_000  # different bytes; of draws; answers for which there is room, about


@dataclass(frozen=True)
class LookUps:
    """What came of them. `wrong`: answers to something else than was asked."""

    count: int
    hits: int
    wrong: int
    evictions: int


def look_up(count: int, seed: int = 0) -> LookUps:
    """Ask at random, and hold what was not held: the number of what was asked, by which it is known again."""
    generator = np.random.default_rng(seed)
    contexts = list(
        itertools.product(("m", "mo"), ("1", "o1"), ("d", "e"), ((16,), (4, 4)), ("g", "h"), ("moments", "samples"))
    )
    inputs = _inputs(generator)
    store = Store(HELD * 2048, compressed=False, neighbours=None)
    hits = wrong = 0
    for number in generator.integers(0, len(contexts) * SEEDS * len(inputs), count).tolist():
        rest, given = divmod(number, len(inputs))
        which, seed = divmod(rest, SEEDS)
        model, version, digest, bucket, grid, options = contexts[which]
        request = Request(model, version, digest, bucket, grid, options, seed, inputs[given])
        context = request.context
        key = request_key(request.inputs, context)
        held = store.get(key)
        if held is None:
            store.put(
                key, (request.model, request.version), {"number": np.array([number])}, 0.0, context, inputs[given]
            )
        else:
            hits += 1
            wrong += int(held[0]["number"][0]) != number
    return LookUps(count, hits, wrong, store.evictions)


def _inputs(generator: np.random.Generator) -> list[NDArray[Any]]:
    """Every payload in every shape and dtype."""
    found: list[NDArray[Any]] = []
    for _ in range(PAYLOADS):
        payload = generator.integers(0, 2**30, NUMBERS, dtype=np.uint32)
        found += [payload.view(dtype).reshape(shape) for dtype in DTYPES for shape in SHAPES]
    return found
