"""What truths say of a model's versions: scores so far, evidence between two of them, and what the rule makes of it."""

import copy
import math
import time
from collections import OrderedDict, deque
from typing import Literal

from msgspec import Struct

from serving.releases.evidence import Evidence, observe, relative_difference
from serving.releases.tally import Scores, Tally
from serving.rule import Metric, Rule

EVENTS = 100  # that are kept to be told
SEEN = 3  # entries of a truth: of two versions and of the pair
Pair = tuple[str, str]  # the base's version and the candidate's
Action = Literal["roll_back", "promote"]


class Scored(Struct, frozen=True):
    """A truth: what it says of versions, and which two the model's rule compares. `digest`: of it and the request."""

    model: str
    digest: bytes
    scores: dict[str, Scores]
    rule: Rule | None = None
    pair: Pair | None = None


class Comparison(Struct, frozen=True):
    """The evidence between two versions in words that a person reads; p-values are anytime-valid."""

    base: str
    candidate: str
    metric: Metric
    truths: int
    mean_relative_difference: float
    p_worse: float  # against "no worse"
    p_better: float


class Event(Struct, frozen=True):
    """What was done by rule, or why it could not be."""

    time: str
    action: Action
    reason: str
    error: str | None


class Decision(Struct, frozen=True):
    """What is to be done, and why. `error`: why the last attempt failed, if it did."""

    action: Action
    rule: Rule
    comparison: Comparison
    error: str | None


class Counted(Struct, frozen=True):
    """What became of a truth.

    `new`: the versions of which it was not given before; `decision`: to be carried out, and concluded, by whoever
    brought the truth.
    """

    new: list[str]
    decision: Decision | None = None


class Account(Struct, frozen=True):
    """How a model's versions stand."""

    versions: dict[str, Tally] = {}
    comparisons: list[Comparison] = []
    events: list[Event] = []

    def comparison(self, pair: Pair, metric: Metric) -> Comparison:
        """That of two versions; where no truth was given, there is no evidence."""
        key = (*pair, metric)
        found = (known for known in self.comparisons if (known.base, known.candidate, known.metric) == key)
        return next(found, _in_words(pair, metric, Evidence()))


class State(Struct):
    """All that a ledger knows."""

    tallies: dict[str, Tally]
    events: list[Event]
    acting: int | None
    since: float
    seen: list[tuple[bytes, tuple[str, ...]]]
    evidence: list[tuple[Pair, Metric, Evidence]]


class Ledger:
    """Of one model. Used by one thread at a time."""

    def __init__(self, remembered: int) -> None:
        self.tallies: dict[str, Tally] = {}
        self.events: deque[Event] = deque(maxlen=EVENTS)
        self.acting: int | None = None  # who carries out a decision
        self.since = 0.0  # when, in seconds of the monotonic clock
        self._remembered = remembered
        self._seen: OrderedDict[tuple[bytes, tuple[str, ...]], None] = OrderedDict()
        self._evidence: dict[tuple[Pair, Metric], Evidence] = {}

    def count(self, scored: Scored, by: int) -> Counted:
        """Take a truth into account; what the rule then wants is to be done by whoever brought it, one at a time."""
        rule, pair = scored.rule or Rule(), scored.pair
        new = [version for version in scored.scores if self._is_new(scored.digest, version)]
        for version in new:
            self.tallies.setdefault(version, Tally()).add(scored.scores[version], rule.coverage)
        if scored.rule is None or pair is None or not set(pair) <= set(scored.scores):
            return Counted(new)
        if not self._is_new(scored.digest, *pair):
            return Counted(new)
        action = self.compare(pair, rule, *(scored.scores[version] for version in pair))
        if action is None or self.acting is not None:
            return Counted(new)
        self.acting, self.since = by, time.monotonic()
        error = self.events[-1].error if self.events else None
        return Counted(new, Decision(action, rule, self.comparison(pair, rule.metric), error))

    def conclude(self, event: Event | None) -> None:
        """What was to be done is, or could not be; None if there was nothing to do any more, or nothing new to say."""
        self.acting = None
        if event is not None:
            self.events.append(event)

    def compare(self, pair: Pair, rule: Rule, base: Scores, candidate: Scores) -> Action | None:
        """Take one truth's scores of both versions into account; what the rule then wants, if anything."""
        difference = relative_difference(getattr(base, rule.metric), getattr(candidate, rule.metric))
        evidence = observe(self._evidence.get((pair, rule.metric), Evidence()), difference)
        self._evidence[pair, rule.metric] = evidence
        return decide(evidence, rule)

    def comparison(self, pair: Pair, metric: Metric) -> Comparison:
        """The evidence between two versions."""
        return _in_words(pair, metric, self._evidence.get((pair, metric), Evidence()))

    def state(self) -> State:
        """What `restore` takes."""
        evidence = [(*key, value) for key, value in self._evidence.items()]
        return State(self.tallies, list(self.events), self.acting, self.since, list(self._seen), evidence)

    def restore(self, state: State) -> None:
        """Know what another one knew."""
        self.tallies, self.acting, self.since = state.tallies, state.acting, state.since
        self.events.extend(state.events)
        self._seen = OrderedDict.fromkeys(state.seen)
        self._evidence = {(pair, metric): evidence for pair, metric, evidence in state.evidence}

    def account(self) -> Account:
        """A copy of what is known."""
        comparisons = [self.comparison(*key) for key in self._evidence]
        return Account(copy.deepcopy(self.tallies), comparisons, list(self.events))

    def _is_new(self, digest: bytes, *versions: str) -> bool:
        """Whether a truth was not given before of a version, or of two: repeated, one would count as many."""
        key = digest, versions
        new = key not in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > SEEN * self._remembered:
            self._seen.popitem(last=False)
        return new


def decide(evidence: Evidence, rule: Rule) -> Action | None:
    """What the rule wants."""
    worse, better = evidence.rejects(rule.level)
    if evidence.count < rule.minimum:
        return None
    if worse and rule.on_worse == "roll_back":
        return "roll_back"
    return "promote" if better and not worse and rule.on_better == "promote" else None


def _in_words(pair: Pair, metric: Metric, evidence: Evidence) -> Comparison:
    worse, better = (math.exp(-peak) for peak in evidence.peaks)
    return Comparison(*pair, metric, evidence.count, evidence.mean, worse, better)
