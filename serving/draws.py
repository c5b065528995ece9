"""More draws than a model's program makes at once: several runs of it, with keys of their own, put together."""

import math
from collections.abc import Sequence

import numpy as np

from serving.cache import Found
from serving.refusals import Refusal
from serving.wanted import MAX_NUMBERS

APART = 2**20  # between the positions that two runs give to the same case, more than cases in a request


def check_draws(asked: int, made: int, shape: Sequence[int], max_cases: int) -> None:
    """Refuse more draws than one request may have of outputs of this shape, (cases, *space, channels).

    Every run counts as so many cases, and what is put together for one answer is limited as well.

    Raises:
        Refusal: it is more than that, and more than one run makes.
    """
    most = max(made, min(made * (max_cases // shape[0]), MAX_NUMBERS // math.prod(shape)))
    if asked > most:
        raise Refusal(f"num_samples: got {asked}, expected at most {most} for {shape[0]} cases of this size")


def together(runs: Sequence[Found]) -> Found:
    """The draws of several runs as of one; figures are those of the first, as if no more had been asked for."""
    if len(runs) == 1:
        return runs[0]
    draws = np.concatenate([run.arrays["samples"] for run in runs], axis=1)
    distances = [run.distance for run in runs if run.distance is not None]
    return Found(
        {**runs[0].arrays, "samples": draws},
        all(run.cached for run in runs),
        max(distances, default=None),
        sum(run.seconds for run in runs),
    )
