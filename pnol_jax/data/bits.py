"""Random bits by counter: for each place in a stream 64 bits that depend on the seed and the place alone.

So what is drawn for a case depends neither on its batch nor on the number of processes, and a stream can be entered
anywhere. The mixing is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def random_bits(seed: int, stream: int, places: NDArray[np.integer[Any]]) -> Bits:
    """Bits for each place in one of a seed's streams, both of one shape."""
    start = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)
    return again(places.astype(np.uint64) + start, 0)


def again(bits: Bits, number: int) -> Bits:
    """Fresh bits from bits, another set for each number."""
    z = bits + _GOLDEN * np.arange(number + 1, number + 2, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Bits = z ^ (z >> np.uint64(31))
    return mixed
