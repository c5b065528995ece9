"""What is to become of a replica with which something is wrong."""

from dataclasses import dataclass
from enum import Enum


class Cure(Enum):
    """From the mildest to the hardest."""

    HOLD = "hold"  # it gets no requests while this is said, where another can take them
    RETIRE = "retire"  # it is replaced, as soon as another is ready
    KILL = "kill"  # it is ended at once


@dataclass(frozen=True)
class Verdict:
    """About one replica."""

    name: str
    cure: Cure
    why: str
