"""The child's half of the measuring protocol. Standard library alone: it runs in the environments of peers too.

The child writes one line of JSON when it is ready: facts about itself. Then, one line for one line:

    parent: run NAME K      child: {"seconds": seconds per step, over K steps of operation NAME}

Between two lines the child blocks in a read and costs nothing. The end of its input ends it.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def seconds_per_step(step: Callable[[], object], steps: int) -> float:
    """The wall time of `steps` calls, divided by their number. `step` returns when its work is done."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def serve(operations: Mapping[str, Callable[[], object]], facts: Mapping[str, Any]) -> None:
    """Answer `run NAME K` until the input ends.

    Standard output carries the protocol alone: what libraries print goes to standard error from here on.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps(dict(facts)), file=answers)
    for line in sys.stdin:
        _, name, steps = line.split()
        print(json.dumps({"seconds": seconds_per_step(operations[name], int(steps))}), file=answers)
