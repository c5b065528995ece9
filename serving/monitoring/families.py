"""Figures as plain values that go from one process to another, and those of several workers as one.

Counters and histograms add up. What a gauge of several workers comes to is its own rule: the sum (cases waiting), the
least (a version is ready where it is in all), the largest (what all see of the machine), or each by itself, with the
worker as a label.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

Rule = Literal["sum", "min", "max", "each"]
Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]  # the name, which may have a suffix, labels in their order, the value


class Family(Struct, frozen=True, array_like=True):
    """Samples of one name. kind: as Prometheus calls it."""

    name: str
    text: str
    kind: str
    rule: Rule
    samples: tuple[Sample, ...]

    @property
    def lasts(self) -> bool:
        """Whether what a worker counted stays counted when it has ended."""
        return self.kind != "gauge"


Families = tuple[Family, ...]


def merge(workers: Mapping[str, Iterable[Family]], ended: Iterable[Family] = ()) -> Families:
    """The figures of several workers, by their names, and what those have counted that have ended."""
    heads: dict[str, Family] = {}
    sums: dict[str, dict[tuple[str, Labels], float]] = {}
    for worker, families in [("", ended), *workers.items()]:
        for family in families:
            heads.setdefault(family.name, family)
            found = sums.setdefault(family.name, {})
            for name, labels, value in family.samples:
                key = (name, (*labels, ("worker", worker)) if family.rule == "each" else labels)
                found[key] = _combine(family.rule, found[key], value) if key in found else value
    return tuple(
        Family(name, head.text, head.kind, head.rule, tuple((*key, value) for key, value in sums[name].items()))
        for name, head in heads.items()
    )


def _combine(rule: Rule, before: float, value: float) -> float:
    if rule == "min":
        return min(before, value)
    return max(before, value) if rule == "max" else before + value


class Totals:
    """What several workers have counted, so that nothing is uncounted when one of them ends."""

    def __init__(self) -> None:
        self._last: dict[str, Families] = {}
        self._ended: Families = ()

    def note(self, worker: str, families: Families) -> None:
        """The figures of a worker as they are now."""
        self._last[worker] = families

    def end(self, worker: str) -> None:
        """A worker has ended: its counters stay as they were told last, its gauges go."""
        counted = tuple(family for family in self._last.pop(worker, ()) if family.lasts)
        self._ended = merge({worker: counted}, self._ended)

    def merged(self) -> Families:
        """The figures of all. What was counted of a version is let go when no worker tells of it any more."""
        known = {_version(labels) for families in self._last.values() for f in families for _, labels, _ in f.samples}
        if self._last:
            self._ended = tuple(_only(family, known | {None}) for family in self._ended)
        return merge(self._last, self._ended)


def _version(labels: Labels) -> tuple[str, str] | None:
    named = dict(labels)
    return (named["model"], named["version"]) if "model" in named and "version" in named else None


def _only(family: Family, known: set[tuple[str, str] | None]) -> Family:
    samples = tuple(sample for sample in family.samples if _version(sample[1]) in known)
    return Family(family.name, family.text, family.kind, family.rule, samples)
