"""Which of several devices a job goes to."""

import itertools
from collections.abc import Callable, Sequence

from serving.engine.jobs import Job
from serving.engine.thread import Engine
from serving.settings import Choice

Choose = Callable[[Job], int]


def make_choice(name: Choice, engines: Sequence[Engine]) -> Choose:
    """A policy: from a job to the number of an engine."""
    return {
        "expected": _expected,
        "least_outstanding": _least_outstanding,
        "weighted": _weighted,
        "round_robin": _round_robin,
    }[name](engines)


def _expected(engines: Sequence[Engine]) -> Choose:
    """Where it is expected to be done first: what is under way and waits there, and what it costs there itself."""

    def choose(job: Job) -> int:
        def seconds(number: int) -> float:
            return engines[number].free_in() + len(job.inputs) * _case_seconds(job, number)

        return min(range(len(engines)), key=seconds)

    return choose


def _least_outstanding(engines: Sequence[Engine]) -> Choose:
    """Where the fewest cases are under way and wait."""
    return lambda job: min(range(len(engines)), key=lambda number: engines[number].outstanding)


def _weighted(engines: Sequence[Engine]) -> Choose:
    """In turns, each as often as it is fast at the job's program: smooth weighted round robin, as nginx has it."""
    credits = [0.0] * len(engines)

    def choose(job: Job) -> int:
        rates = [1 / _case_seconds(job, number) for number in range(len(engines))]
        for number, rate in enumerate(rates):
            credits[number] += rate / sum(rates)
        chosen = max(range(len(engines)), key=credits.__getitem__)
        credits[chosen] -= 1
        return chosen

    return choose


def _round_robin(engines: Sequence[Engine]) -> Choose:
    """In turns."""
    turns = itertools.cycle(range(len(engines)))
    return lambda job: next(turns)


def _case_seconds(job: Job, number: int) -> float:
    """Of a case of a job on a device, where there are many."""
    return job.ladder.on(number).costs[job.place.bucket, job.answer].case
