"""What is known of a model's versions: scores so far, evidence between two of them, and what the rule makes of it."""

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any, Literal

from serving.monitoring.histogram import Histogram
from serving.releases.evidence import Evidence, observe, relative_difference
from serving.releases.scores import Scores
from serving.repository.labels import Metric, Rule

MISSED = (0.0, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
EVENTS = 100  # that are kept to be told
SEEN = 3  # entries of a truth: of two versions and of the pair
Pair = tuple[str, str]  # the base's version and the candidate's
Action = Literal["roll_back", "promote"]


@dataclass
class Tally:
    """Running sums of one version."""

    requests: int = 0
    failures: int = 0  # requests of its share that another version had to answer
    truths: int = 0
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)  # and of how many: an error relative to 0 is none
    shadow: dict[str, float] = field(default_factory=dict)
    misses: dict[float, Histogram] = field(default_factory=dict)  # shares of points outside, by the interval's level

    def add(self, scores: Scores, level: float) -> None:
        """Note the scores of a truth, its coverage that of an interval of this level."""
        self.truths += 1
        if math.isfinite(scores.coverage):
            self.misses.setdefault(level, Histogram(MISSED)).observe(1 - scores.coverage)
        for name in scores.__struct_fields__:
            value, (total, count) = getattr(scores, name), self.sums.get(name, (0.0, 0))
            if math.isfinite(value):
                self.sums[name] = (total + value, count + 1)

    def count_shadow(self, what: str, amount: float = 1) -> None:
        """Note what became of a copied request."""
        self.shadow[what] = self.shadow.get(what, 0) + amount

    def scores(self) -> dict[str, float]:
        """Mean scores over the truths."""
        return {name: total / count for name, (total, count) in self.sums.items()}

    def summary(self) -> dict[str, Any]:
        """Counts, mean scores, and what became of copies."""
        counts = {"requests": self.requests, "failures": self.failures, "truths": self.truths}
        return {**counts, **self.scores(), "shadow": self.shadow}


class Ledger:
    """Of one model. Used from the event loop's thread only."""

    def __init__(self, remembered: int) -> None:
        self.tallies: dict[str, Tally] = {}
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
        self.acting = False  # a decision is being carried out
        self._remembered = remembered
        self._seen: OrderedDict[tuple[bytes, tuple[str, ...]], None] = OrderedDict()
        self._evidence: dict[tuple[Pair, Metric], Evidence] = {}

    def tally(self, version: str) -> Tally:
        """That of a version."""
        return self.tallies.setdefault(version, Tally())

    def is_new(self, digest: bytes, *versions: str) -> bool:
        """Whether a truth was not given before of a version, or of two: repeated, one would count as many."""
        key = digest, versions
        new = key not in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > SEEN * self._remembered:
            self._seen.popitem(last=False)
        return new

    def evidence(self, pair: Pair, metric: Metric) -> Evidence:
        """What is known between two versions."""
        return self._evidence.get((pair, metric), Evidence())

    def compare(self, pair: Pair, rule: Rule, base: Scores, candidate: Scores) -> Action | None:
        """Take one truth's scores of both versions into account; what the rule then wants, if anything."""
        difference = relative_difference(getattr(base, rule.metric), getattr(candidate, rule.metric))
        evidence = observe(self.evidence(pair, rule.metric), difference)
        self._evidence[pair, rule.metric] = evidence
        return decide(evidence, rule)

    def comparison(self, pair: Pair, rule: Rule) -> dict[str, Any]:
        """The evidence between two versions in words that a person reads."""
        evidence = self.evidence(pair, rule.metric)
        worse, better = evidence.peaks
        return {
            "base": pair[0],
            "candidate": pair[1],
            "metric": rule.metric,
            "truths": evidence.count,
            "mean_relative_difference": evidence.mean,
            "p_worse": math.exp(-worse),  # anytime-valid, against "no worse"
            "p_better": math.exp(-better),
        }


def decide(evidence: Evidence, rule: Rule) -> Action | None:
    """What the rule wants."""
    worse, better = evidence.rejects(rule.level)
    if evidence.count < rule.minimum:
        return None
    if worse and rule.on_worse == "roll_back":
        return "roll_back"
    return "promote" if better and not worse and rule.on_better == "promote" else None
