"""What batches of a program cost, from runs at start-up: how many cases should go together, and what waiting gains."""

from collections.abc import Mapping
from dataclasses import dataclass

ABOUT = 0.1


@dataclass(frozen=True)
class Costs:
    """Of one program: seconds of a batch of each compiled size, and the cheapest way to do so many cases.

    A batch of 8 may cost more than one of 4 and another of 4, and 5 cases may be cheapest in a batch of 8 that is not
    full: `least[k]` are the fewest seconds in which k cases are done, `first[k]` the largest batch of a plan that takes
    as long, but for ABOUT: a batch has costs of its own beside its program's.
    """

    seconds: Mapping[int, float]
    least: tuple[float, ...]
    first: tuple[int, ...]

    @classmethod
    def of(cls, seconds: Mapping[int, float]) -> "Costs":
        """Of batches of these sizes, 1 among them."""
        least, first = [0.0], [0]
        for cases in range(1, max(seconds) + 1):
            plans = {size: taken + least[max(cases - size, 0)] for size, taken in seconds.items()}
            best = min(plans.values())
            least.append(best)
            first.append(max(size for size, whole in plans.items() if whole <= best * (1 + ABOUT)))
        return cls(dict(seconds), tuple(least), tuple(first))

    @property
    def largest(self) -> int:
        """The most cases that go together."""
        return len(self.least) - 1

    @property
    def case(self) -> float:
        """Seconds of a case where there are many."""
        return min(taken / size for size, taken in self.seconds.items())

    def size(self, waiting: int) -> int:
        """The batch to run where so many cases wait."""
        if waiting <= self.largest:
            return self.first[waiting]
        return max(size for size, taken in self.seconds.items() if taken / size <= self.case * (1 + ABOUT))

    def holding(self, cases: int) -> int:
        """The smallest compiled batch that holds so many cases, at most the largest."""
        return min(size for size in self.seconds if size >= cases)

    def saving(self, waiting: int) -> float:
        """Seconds of the device that one case more saves by going with these, over going alone."""
        if waiting >= self.largest:
            return 0.0
        return max(0.0, self.least[1] - (self.least[waiting + 1] - self.least[waiting]))
