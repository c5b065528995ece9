"""Traces of traffic: recorded ones, and made ones whose shape is known."""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pnol_jax.errors import InputError

Floats = NDArray[np.float64]
HOUR, DAY = 3600.0, 86400.0
SOURCES, TAIL = 20, 1.4  # of bursts: sources, and the exponent of their times on and off
ON_SECONDS, OFF_SECONDS = 20.0, 60.0  # their means


@dataclass(frozen=True)
class Trace:
    """A rate of requests that changes at times: `rates[i]` holds from `times[i]` to the next, the last until `end`."""

    name: str
    times: Floats  # seconds, increasing, the first 0
    rates: Floats  # requests a second
    end: float  # seconds

    def arrivals(self, seed: int) -> Floats:
        """Times of requests, a Poisson process of this rate, (requests,)."""
        generator = np.random.default_rng(seed)
        spans = np.diff(self.times, append=self.end)
        counts = generator.poisson(self.rates * spans)
        starts, spans = np.repeat(self.times, counts), np.repeat(spans, counts)
        return np.sort(starts + spans * generator.random(len(starts)))


def day(peak: float, seed: int, days: int = 1) -> Trace:
    """Low at four in the morning, high in the afternoon, with noise of some minutes; time 0 is midnight."""
    times = np.arange(0, days * DAY, 60.0)
    shape = 0.2 + 0.8 * (0.5 - 0.5 * np.cos(2 * np.pi * (times / DAY - 4 / 24))) ** 2
    generator, noise = np.random.default_rng(seed), np.empty(len(times))
    level = 0.0
    for index, shock in enumerate(generator.normal(0, 0.03, len(times))):
        level = 0.95 * level + shock
        noise[index] = level
    return Trace("day", times, peak * shape * np.exp(noise) / np.exp(noise).max(), days * DAY)


def ramp(peak: float, seed: int) -> Trace:
    """From a fifth of the peak to the peak in twenty minutes, and back, somewhere within an hour and a half."""
    times = np.arange(0, 1.5 * HOUR, 5.0)
    start = np.random.default_rng(seed).uniform(600, 1500)
    up = np.clip((times - start) / 1200, 0, 1)
    down = np.clip((times - start - 1800) / 1200, 0, 1)
    return Trace("ramp", times, peak * (0.2 + 0.8 * (up - down)), 1.5 * HOUR)


def spike(peak: float, seed: int) -> Trace:
    """A fifth of the peak, and every quarter of an hour or so the peak for a minute or two, two hours long."""
    times = np.arange(0, 2 * HOUR, 1.0)
    generator, rates = np.random.default_rng(seed), np.full(len(times), 0.2 * peak)
    begin = generator.uniform(300, 900)
    while begin < times[-1]:
        rates[(times >= begin) & (times < begin + generator.uniform(60, 120))] = peak
        begin += generator.uniform(600, 1200)
    return Trace("spike", times, rates, 2 * HOUR)


def step(peak: float, seed: int) -> Trace:
    """Other levels from a fifth of the peak to the peak, each for five to twenty minutes, two hours long."""
    times = np.arange(0, 2 * HOUR, 1.0)
    generator, rates = np.random.default_rng(seed), np.empty(len(times))
    begin = 0.0
    while begin < times[-1]:
        rates[times >= begin] = peak * generator.uniform(0.2, 1)
        begin += generator.uniform(300, 1200)
    return Trace("step", times, rates, 2 * HOUR)


def burst(peak: float, seed: int) -> Trace:
    """Sources that are on and off for times with heavy tails, two hours long.

    Their sum is self-similar, as traffic of the web is, with Hurst's exponent (3 - 1.4) / 2 = 0.8 (Willinger, Taqqu,
    Sherman and Wilson 1997, "Self-similarity through high-variability", theorem 1).
    """
    times = np.arange(0, 2 * HOUR, 1.0)
    generator, active = np.random.default_rng(seed), np.zeros(len(times))
    for _ in range(SOURCES):
        clock = -generator.uniform(0, HOUR)
        while clock < times[-1]:
            on, off = _pareto(generator, ON_SECONDS), _pareto(generator, OFF_SECONDS)
            active[(times >= clock) & (times < clock + on)] += 1
            clock += on + off
    return Trace("burst", times, peak * np.minimum(1.0, 0.1 + 0.9 * active / max(active.max(), 1.0)), 2 * HOUR)


def _pareto(generator: np.random.Generator, mean: float) -> float:
    return float(mean * (TAIL - 1) / TAIL * (1 + generator.pareto(TAIL)))


MADE: dict[str, Callable[[float, int], Trace]] = {
    "day": day,
    "ramp": ramp,
    "spike": spike,
    "step": step,
    "burst": burst,
}


def read_trace(path: Path) -> Trace:
    """A recorded trace: CSV or JSONL with `time` (seconds) and `requests_per_second` (requests a second).

    The last rate holds for as long as the one before it.

    Raises:
        InputError: no such file, columns or numbers, or times that do not increase.
    """
    if not path.is_file():
        raise InputError(f"trace: no file {str(path)!r}, and none of the made ones: {', '.join(MADE)}")
    with path.open(encoding="utf-8", newline="") as file:
        lines = map(json.loads, filter(str.strip, file)) if path.suffix == ".jsonl" else csv.DictReader(file)
        times, rates = _columns(path, lines)
    if len(times) < 2 or (np.diff(times) <= 0).any() or not (rates >= 0).all():
        raise InputError(f"trace {path}: expected two or more increasing times with rates of at least 0")
    times = times - times[0]
    return Trace(path.stem, times, rates, float(2 * times[-1] - times[-2]))


def _columns(path: Path, lines: Iterable[dict[str, str | float]]) -> tuple[Floats, Floats]:
    try:
        pairs = [(float(line["time"]), float(line["requests_per_second"])) for line in lines]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"trace {path}: expected numbers `time` and `requests_per_second`: {error!r}") from None
    table = np.array(pairs, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
