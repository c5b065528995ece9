"""Replicas that take too much memory, or soon will."""

from collections.abc import Iterator, Mapping, Sequence

from serving.fleet.healing.config import HealingConfig
from serving.fleet.healing.verdict import Cure, Verdict

Samples = Sequence[tuple[float, float]]  # seconds and resident bytes, in order
SHORTEST = 0.9  # of the window that samples must span before their growth says anything
FEWEST = 10  # samples


def oversized(memory: Mapping[str, Samples], config: HealingConfig) -> Iterator[Verdict]:
    """Those above the limit, and those whose growth over the window takes them there within `memory_ahead`."""
    if not config.memory_bytes:
        return
    for name, samples in memory.items():
        if not samples:
            continue
        now, size = samples[-1]
        if size > config.memory_bytes:
            yield Verdict(name, Cure.RETIRE, f"memory: {_mib(size)}, expected at most {_mib(config.memory_bytes)}")
            continue
        within = [(time, held) for time, held in samples if time >= now - config.memory_window]
        rate = growth(within) if _long_enough(within, config.memory_window) else 0.0
        if size + rate * config.memory_ahead > config.memory_bytes:
            seconds = (config.memory_bytes - size) / rate
            yield Verdict(name, Cure.RETIRE, f"memory: {_mib(size)}, at its limit in {seconds:.0f} s as it grows now")


def growth(samples: Samples) -> float:
    """Bytes a second: the slope of the line of least squares."""
    times, sizes = [time for time, _ in samples], [size for _, size in samples]
    middle, mean = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((time - middle) ** 2 for time in times)
    return sum((time - middle) * (size - mean) for time, size in samples) / spread if spread else 0.0


def _long_enough(samples: Samples, window: float) -> bool:
    return len(samples) >= FEWEST and samples[-1][0] - samples[0][0] >= SHORTEST * window


def _mib(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"
