"""Which parameters are an operator's last layer: what stands after all that mixes points."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

PROJECTION = "projection.*"


def last_layer(names: Iterable[str]) -> list[str]:
    """The projection where there is one; of a DeepONet the branch's last map and the bias, in which it is linear."""
    known = list(names)
    projection = [name for name in known if fnmatchcase(name, PROJECTION)]
    if projection:
        return projection
    last = max(int(name.split(".")[2]) for name in known if fnmatchcase(name, "branch.layers.*"))
    return [name for name in known if fnmatchcase(name, f"branch.layers.{last}.*") or name == "bias"]
