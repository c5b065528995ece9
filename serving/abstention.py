"""When a model should not answer: its figure of how strange an input is reaches a number, by policy or by request."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnol_jax.servable import Manifest
from serving.monitoring.alarms import FIGURE, alarm_threshold
from serving.query import Common
from serving.refusals import Abstained, Refusal

Action = Literal["mark", "refuse"]
LARGEST = float(np.finfo(np.float32).max)  # which every format can write
KINDS: tuple[Action, ...] = ("refuse", "mark")


class Abstention(msgspec.Struct, frozen=True):
    """The cases (positions in the request) whose figure is `threshold` or more, and the figures of all cases."""

    threshold: float
    cases: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Rule:
    """The figures from which on an answer is refused, and marked; infinite where it never is."""

    refuse: float = math.inf
    mark: float = math.inf


@dataclass
class Policy:
    """The service's: what happens where requests say nothing; a request may ask for more of it, never for less.

    threshold: of the figure, None for the alarm that the model itself states. counts: answers by model, version and
    action.
    """

    action: Literal["off", "mark", "refuse"] = "off"
    threshold: float | None = None
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def rule(self, options: Common, manifest: Manifest) -> Rule | None:
        """What goes for a request to a model, None if nothing does.

        Raises:
            Refusal: the request asks for it, and the model has no such figure, or no alarm and the request no number.
        """
        asked = options.abstain or (None if options.abstain_from is None else "refuse")
        if self.action == "off" and asked is None:
            return None
        if FIGURE not in manifest.signature.figures_of("moments"):
            _lacking(asked, f"has no figure {FIGURE!r}; expected a model that was trained with a section [ood]")
            return None
        own = _threshold(self.threshold, manifest)
        theirs = _threshold(options.abstain_from, manifest)
        if not math.isfinite(theirs):
            if options.abstain_from is not None:
                raise Refusal(f"abstain_from: got {theirs}, expected a finite number")
            _lacking(asked, "states no alarm; expected abstain_from, the figure from which on it should not answer")
        said = ((self.action, own), (asked, theirs))
        refuse, mark = (min((at for action, at in said if action == kind), default=math.inf) for kind in KINDS)
        return Rule(refuse, mark)

    def apply(self, rule: Rule, arrays: Mapping[str, NDArray[Any]], manifest: Manifest) -> Abstention | None:
        """What is to be said of an answer with these arrays, its figure (cases,), None if no case is too strange.

        Raises:
            Abstained: the rule refuses it.
        """
        scores: list[float] = arrays[FIGURE].tolist()
        told = tuple(score if math.isfinite(score) else LARGEST for score in scores)  # no number: too strange
        action: Action = "refuse" if math.inf > rule.refuse <= max(told) else "mark"
        threshold = rule.refuse if action == "refuse" else rule.mark
        cases = tuple(position for position, score in enumerate(told) if score >= threshold)
        if not cases or threshold == math.inf:
            return None
        self.counts[manifest.name, manifest.version, action] += 1
        found = Abstention(threshold, cases, told)
        if action == "refuse":
            raise Abstained(
                f"inputs: got {FIGURE} up to {max(told):.9g} in {len(cases)} of {len(told)} cases, expected less than "
                f"{threshold:.9g}: unlike what {manifest.name}/{manifest.version} was trained on",
                found,
            )
        return found


def _threshold(named: float | None, manifest: Manifest) -> float:
    """The figure that is named, else that at which the model's own alarm goes off, infinite if it states none."""
    own = alarm_threshold(manifest.alarm)
    return float(np.float32(named)) if named is not None else math.inf if own is None else own


def _lacking(asked: str | None, why: str) -> None:
    if asked is not None:
        raise Refusal(f"abstain: got {asked!r} of a model that {why}")
