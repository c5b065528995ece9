"""From a query to an answer: model, check, cache, engine, and the outputs that were asked for."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnol_jax.quantiles import Levels, quantile
from pnol_jax.servable import Answers, Bucket, Channel, Manifest, Signature
from serving.cache import Cache, Found, Request
from serving.engine import Engine, Job, Replicas
from serving.ladder import Ladder
from serving.monitoring.record import RECORD
from serving.monitoring.stages import Stages
from serving.query import DEFAULT_LEVEL, Options, Query, Question, check
from serving.refusals import Expired
from serving.repository import Entry, Repository

Arrays = Mapping[str, NDArray[np.float32]]


class Interval(msgspec.Struct, frozen=True):
    """What an answer's lower and upper are.

    The band of the calibration, with its guarantee; or quantiles at each point, which promise nothing: those that the
    model states, else a Gaussian's.
    """

    level: float
    kind: Literal["conformal", "quantiles", "gaussian"]
    guarantee: dict[str, Any] | None = None


class Approximation(msgspec.Struct, frozen=True):
    """The answer is that to other inputs, so far from these: nothing is promised of the distance of the outputs.

    The largest deviation at any point over the largest magnitude of the inputs asked, of the case and channel where
    that is largest; and the bound that the service's settings put on it.
    """

    input_distance: float
    input_distance_bound: float


@dataclass(frozen=True, eq=False)
class Answer:
    """The outputs that were asked for, in physical units.

    arrays: (cases, *space, channels), samples (cases, num_samples, *space, channels), figures (cases,); without the
    cases axis where the query had none. `cached`: nothing had to be computed. `approximate`: if it was computed for
    other inputs. `id`: by which a truth may name the request, where it is remembered. `repeatable`:
    that the same bytes may get the same response again without being read; the seconds that it once took to compute.
    `stages`: where the time of the version's requests is counted.
    """

    arrays: dict[str, NDArray[np.float32]]
    manifest: Manifest
    bucket: Bucket
    interval: Interval | None
    cached: bool
    stages: Stages
    approximate: Approximation | None = None
    id: str | None = None
    repeatable: float | None = None

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels of every array."""
        return self.manifest.signature.outputs


class Service:
    """Answers queries from any wire. Used from one event loop."""

    def __init__(
        self, repository: Repository, engine: Engine | Replicas, cache: Cache, max_cases: int, deadline_seconds: float
    ) -> None:
        self.repository = repository
        self.engine = engine
        self.cache = cache
        self._max_cases = max_cases
        self._deadline = deadline_seconds

    async def answer(self, query: Query) -> Answer:
        """Answer a query.

        Raises:
            Refusal, InputError: the query does not fit.
            Unavailable: the queue is full, or the deadline passed.
        """
        seconds = min(query.options.timeout or self._deadline, self._deadline)
        ladder = self.repository.find(query.options.model, query.options.version)
        question = check(query, ladder.places, self._max_cases)
        try:
            async with asyncio.timeout(seconds):
                return await self._answer(query, question, ladder)
        except TimeoutError:
            raise Expired(f"no answer within the deadline of {seconds:g} s") from None

    def forget(self, entry: Entry) -> None:
        """Let go of what a version that was unloaded has answered, and of its programs once nobody waits for them."""
        self.cache.invalidate(entry.name, entry.version)
        if entry.ladder is not None:
            self.engine.forget(entry.ladder)

    async def _answer(self, query: Query, question: Question, ladder: Ladder) -> Answer:
        manifest = ladder.servable.manifest
        arrays: dict[str, NDArray[Any]] = {}
        cached, distances, seconds = True, [], 0.0
        for answer in _kinds(question.outputs, manifest.signature):
            found = await self._ask(question, ladder, answer, query.options)
            arrays |= found.arrays
            cached, seconds = cached and found.cached, seconds + found.seconds
            distances += [found.distance] if found.distance is not None else []
        approximate = Approximation(max(distances), self.cache.approximate) if distances else None
        interval = _interval(query.options.level, ladder) if {"lower", "upper"} & set(question.outputs) else None
        if interval is not None and approximate is not None:
            interval = msgspec.structs.replace(interval, guarantee=None)  # that is of the inputs' own band
        levels, number = manifest.signature.levels, question.num_samples
        outputs = {name: _output(name, arrays, interval, number, levels) for name in question.outputs}
        if question.single:
            outputs = {name: np.asarray(array[0]) for name, array in outputs.items()}
        again = seconds if cached and approximate is None else None
        bucket, stages = question.place.bucket, ladder.stages
        return Answer(outputs, manifest, bucket, interval, cached, stages, approximate, repeatable=again)

    async def _ask(self, question: Question, ladder: Ladder, answer: Answers, options: Options) -> Found:
        manifest, place = ladder.servable.manifest, question.place
        seed = options.seed if answer == "samples" else 0  # moments do not depend on it
        record = RECORD.get()
        job = Job(ladder, place, answer, question.inputs, seed, options.priority, record)
        digest = ladder.servable.digest
        request = Request(
            manifest.name, manifest.version, digest, place.bucket, place.digest, answer, seed, question.inputs
        )

        async def compute() -> Arrays:
            arrays = await self.engine.submit(job)
            ladder.alarms.note(arrays)
            return arrays

        found = await self.cache.fetch(request, compute)
        if found.look_up is not None:
            start, end = found.look_up
            ladder.stages.cache.observe(end - start)
            if record is not None:
                record.note("cache", start, end)
        return found


def _kinds(outputs: tuple[str, ...], signature: Signature) -> list[Answers]:
    drawn = {"samples", *signature.figures_of("samples")}
    kinds: list[Answers] = ["moments"] if set(outputs) - drawn else []
    return [*kinds, "samples"] if drawn & set(outputs) else kinds


def _interval(level: float | None, ladder: Ladder) -> Interval:
    """The calibrated band where there is one of that level, else an interval of the model's own."""
    calibration = ladder.servable.manifest.calibration
    if ladder.servable.has_band and calibration is not None:
        calibrated = float(calibration["level"])
        if level is None or math.isclose(level, calibrated, rel_tol=0, abs_tol=1e-9):
            return Interval(calibrated, "conformal", calibration)
    kind: Literal["quantiles", "gaussian"] = "quantiles" if ladder.servable.manifest.signature.levels else "gaussian"
    return Interval(DEFAULT_LEVEL if level is None else level, kind)


def _output(
    name: str, arrays: Arrays, interval: Interval | None, num_samples: int, levels: Levels
) -> NDArray[np.float32]:
    if name == "samples":
        draws: NDArray[np.float32] = arrays["samples"][:, :num_samples]
        return draws
    if name in ("lower", "upper") and interval is not None:
        if interval.kind == "conformal":
            return arrays[name]
        score = NormalDist().inv_cdf((1 + interval.level) / 2)
        score = -score if name == "lower" else score
        if interval.kind == "quantiles":
            stated: NDArray[np.float32] = quantile(levels, np.moveaxis(arrays["quantiles"], 1, 0), score)
            return stated.astype(np.float32)
        return arrays["mean"] + np.float32(score) * _std(arrays)
    return _std(arrays) if name == "std" else arrays[name]


def _std(arrays: Arrays) -> NDArray[np.float32]:
    std: NDArray[np.float32] = np.sqrt(arrays["aleatoric"] + arrays["epistemic"])
    return std
