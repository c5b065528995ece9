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
from serving.query import Options
from serving.refusals import Abstained, Refusal

FIGURE = "ood"
Action = Literal["mark", "refuse"]


class Abstention(msgspec.Struct, frozen=True):
    """The cases (positions in the request) whose figure is `threshold` or more, and the figures of all cases."""

    threshold: float
    cases: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Rule:
    """What happens to an answer of which a case has this figure or more."""

    action: Action
    threshold: float


@dataclass
class Policy:
    """The service's: what happens where requests say nothing; a request may ask for more of it, never for less.

    threshold: of the figure, None for the alarm that the model itself states. counts: answers by model, version and
    action.
    """

    action: Literal["off", "mark", "refuse"] = "off"
    threshold: float | None = None
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def rule(self, options: Options, manifest: Manifest) -> Rule | None:
        """What goes for a request to a model, None if nothing does.

        Raises:
            Refusal: the request asks for it, and the model has no such figure, or no alarm and the request no number.
        """
        asked = options.abstain or (None if options.abstain_from is None else "refuse")
        if self.action == "off" and asked is None:
            return None
        if FIGURE not in manifest.signature.figures_of("moments"):
            return _lacking(asked, f"has no figure {FIGURE!r}; expected a model that was trained with a section [ood]")
        own = self.threshold if self.action != "off" else None
        named = [number for number in (own, options.abstain_from) if number is not None]
        if (self.action != "off" and own is None) or not named:
            named += _alarm(manifest)
        if not named:
            return _lacking(
                asked, "states no alarm; expected abstain_from, the figure from which on it should not answer"
            )
        return Rule("refuse" if "refuse" in (self.action, asked) else "mark", min(named))

    def apply(self, rule: Rule, arrays: Mapping[str, NDArray[Any]], manifest: Manifest) -> Abstention | None:
        """What is to be said of an answer with these arrays, None if no case is too strange.

        Raises:
            Abstained: the rule refuses it.
        """
        scores = np.asarray(arrays[FIGURE], np.float64)
        cases = np.flatnonzero(~(scores < rule.threshold))  # what is not a number is too strange
        if not cases.size:
            return None
        self.counts[manifest.name, manifest.version, rule.action] += 1
        told = tuple(score if math.isfinite(score) else math.inf for score in scores.tolist())
        found = Abstention(rule.threshold, tuple(cases.tolist()), told)
        if rule.action == "refuse":
            worst = max(told)
            raise Abstained(
                f"inputs: got {FIGURE} up to {worst:.6g} in {cases.size} of {len(told)} cases, expected less than "
                f"{rule.threshold:g}: unlike what {manifest.name}/{manifest.version} was trained on",
                found,
            )
        return found


def _alarm(manifest: Manifest) -> list[float]:
    """The figure at which the model's own alarm goes off, if it states one."""
    rate = (manifest.alarm or {}).get("false_alarm")
    return [1 - rate] if isinstance(rate, float) else []


def _lacking(asked: str | None, why: str) -> None:
    if asked is not None:
        raise Refusal(f"abstain: got {asked!r} of a model that {why}")
