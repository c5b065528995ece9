"""From a query to an answer: model, check, cache, engine, and the outputs that were asked for."""

import asyncio
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnol_jax.servable import FUNCTIONAL, Answers, Signature
from serving.abstention import Abstention, Policy, Rule
from serving.answers import Answer, Approximation, find_interval, output_of
from serving.cache import Cache, Found, Request
from serving.deadline import within
from serving.derived import Answered, derive
from serving.draws import APART, together
from serving.engine import Engine, Job, Replicas
from serving.ladder import Ladder
from serving.monitoring.alarms import FIGURE
from serving.monitoring.record import RECORD
from serving.query import Options, Query
from serving.question import Question, check
from serving.repository import Entry, Repository
from serving.wanted import NOTHING

DERIVING = 2  # threads for what takes fields several times over, and so requests whose fields are held so
Arrays = Mapping[str, NDArray[np.float32]]
_FUNCTIONAL = frozenset(FUNCTIONAL)


class Service:
    """Answers queries from any wire. Used from one event loop."""

    def __init__(
        self,
        repository: Repository,
        engine: Engine | Replicas,
        cache: Cache,
        max_cases: int,
        deadline_seconds: float,
        *,
        policy: Policy | None = None,
    ) -> None:
        self.repository = repository
        self.engine = engine
        self.cache = cache
        self.policy = policy or Policy()
        self._max_cases = max_cases
        self._deadline = deadline_seconds
        self._deriving = ThreadPoolExecutor(DERIVING, "derive")

    async def answer(self, query: Query, *, abstaining: bool = True) -> Answer:
        """Answer a query; `abstaining`: unless it is too strange, where policy or query say so.

        Raises:
            Refusal, InputError: the query does not fit, or is too strange.
            Unavailable: the queue is full, or the deadline passed.
        """
        ladder = self.repository.find(query.options.model, query.options.version)
        question = check(query, ladder.places, self._max_cases)
        rule = self.policy.rule(query.options, ladder.servable.manifest) if abstaining else None
        async with within(query.options.timeout, self._deadline):
            return await self._answer(query, question, ladder, rule)

    async def judge(self, question: Question, ladder: Ladder, options: Options) -> Abstention | None:
        """What is to be said of how strange inputs are whose answer has no figure of that; by the cache if it knows.

        Raises:
            Refusal: they are too strange, or this cannot be asked of the model.
            Unavailable: the queue is full.
        """
        manifest = ladder.servable.manifest
        rule = self.policy.rule(options, manifest)
        if rule is None:
            return None
        found = await self._ask(question, ladder, "moments", options)
        return self.policy.apply(rule, found.arrays, manifest)

    def forget(self, entry: Entry) -> None:
        """Let go of what a version that was unloaded has answered, and of its programs once nobody waits for them."""
        self.cache.invalidate(entry.name, entry.version)
        if entry.ladder is not None:
            self.engine.forget(entry.ladder)

    async def _answer(self, query: Query, question: Question, ladder: Ladder, rule: Rule | None) -> Answer:
        manifest = ladder.servable.manifest
        arrays: dict[str, NDArray[Any]] = {}
        cached, distances, seconds = True, [], 0.0
        needed = question.outputs if rule is None else (*question.outputs, FIGURE)
        for answer in _kinds(needed, manifest.signature):
            ask = self._draws if answer == "samples" else self._ask
            found = await ask(question, ladder, answer, query.options)
            arrays |= found.arrays
            cached, seconds = cached and found.cached, seconds + found.seconds
            distances += [found.distance] if found.distance is not None else []
        approximate = Approximation(max(distances), self.cache.approximate) if distances else None
        interval = find_interval(query.options.level, ladder) if {"lower", "upper"} & set(question.outputs) else None
        if interval is not None and approximate is not None:
            interval = msgspec.structs.replace(interval, guarantee=None)  # that is of the inputs' own band
        levels, number = manifest.signature.levels, question.num_samples
        stated: dict[str, msgspec.Struct] = {}
        if rule is not None and (abstention := self.policy.apply(rule, arrays, manifest)) is not None:
            stated["abstention"] = abstention
        named: Arrays = {}  # of what the caller names
        if question.wanted is not NOTHING:
            answered = Answered(arrays, levels, question.place.grid.weights(), number)
            loop = asyncio.get_running_loop()
            named, about = await loop.run_in_executor(self._deriving, derive, question.wanted, answered)
            stated |= about
        outputs = {
            name: named[name] if name in named else output_of(name, arrays, interval, number, levels)
            for name in question.outputs
        }
        if question.single:
            outputs = {name: np.asarray(array[0]) for name, array in outputs.items()}
        # What abstentions count is counted each time.
        again = seconds if cached and approximate is None and "abstention" not in stated else None
        bucket, stages = question.place.bucket, ladder.stages
        return Answer(outputs, manifest, bucket, interval, cached, stages, approximate, repeatable=again, stated=stated)

    async def _draws(self, question: Question, ladder: Ladder, answer: Answers, options: Options) -> Found:
        """As many runs of the program as it takes for the draws that were asked for."""
        runs = math.ceil(question.num_samples / ladder.servable.manifest.num_samples)
        if runs == 1:
            return await self._ask(question, ladder, answer, options)
        asked = [asyncio.ensure_future(self._ask(question, ladder, answer, options, run)) for run in range(runs)]
        try:
            return together(await asyncio.gather(*asked))
        finally:
            for run in asked:  # of which nobody waits for the others where one has failed
                run.cancel()

    async def _ask(self, question: Question, ladder: Ladder, answer: Answers, options: Options, run: int = 0) -> Found:
        manifest, place = ladder.servable.manifest, question.place
        seed = options.seed if answer == "samples" else 0  # moments do not depend on it
        record = RECORD.get()
        job = Job(ladder, place, answer, question.inputs, seed, options.priority, first=run * APART, record=record)
        digest = ladder.servable.digest
        what = f"{answer} {question.wanted.weights_digest}" if answer == "functional" else f"{answer} {run}"
        request = Request(
            manifest.name, manifest.version, digest, place.bucket, place.digest, what, seed, question.inputs
        )

        async def compute() -> Arrays:
            if answer == "functional":
                return await self._functionals(job, question)
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

    async def _functionals(self, job: Job, question: Question) -> Arrays:
        """Each functional of each case as a case of the engine: arrays (cases, functionals)."""
        weights, cases = question.wanted.weights, len(job.inputs)
        assert weights is not None
        inputs = np.repeat(job.inputs, len(weights), axis=0)
        tiled = np.broadcast_to(weights, (cases, *weights.shape)).reshape(-1, *weights.shape[1:])
        arrays = await self.engine.submit(replace(job, inputs=inputs, fields=(tiled,)))
        return {name: array.reshape(cases, -1) for name, array in arrays.items()}


def _kinds(outputs: tuple[str, ...], signature: Signature) -> list[Answers]:
    """The programs that the outputs are made of: functionals of the model's own if it has one, else of draws."""
    drawn, asked = {"samples", *signature.figures_of("samples")}, set(outputs)
    weighted = asked & _FUNCTIONAL
    exact = weighted and "functional" in signature.answers
    if weighted and not exact:
        drawn |= weighted
    kinds: list[Answers] = ["moments"] if asked - drawn - weighted else []
    kinds += ["samples"] if drawn & asked else []
    return [*kinds, "functional"] if exact else kinds
