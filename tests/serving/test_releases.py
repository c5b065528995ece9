"""Two versions behind one name: who gets which, what truths say of them, and what the rule does about it."""

import asyncio
import dataclasses
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from pnol_jax import scores as library
from pnol_jax.predictive import Predictive
from serving.cache import Cache
from serving.engine import Engine
from serving.query import Options, Query
from serving.refusals import NotFound, Refusal
from serving.releases.feedback import Judged, judge
from serving.releases.ledger import Account
from serving.releases.packing import pack_asked, unpack_asked
from serving.releases.scores import fit_truth, score
from serving.releases.service import ReleasingService
from serving.repository import Repository
from serving.settings import Settings
from tests.serving import rivals
from tests.serving.rivals import LABELS

RULE = '[rule]\nlevel = 0.05\nminimum = 20\non_better = "promote"\n'


class Releases:
    """A service of `line/1` and `line/2`, and cases whose truth is known."""

    def __init__(self, models: Path) -> None:
        self.file = models / "line" / "labels.toml"
        self.repository = Repository(Settings(str(models), batch_sizes=(1,), poll_seconds=0))
        self.engine = Engine(queue_cases=100, operands_bytes=2**20, utilisation_window=60.0)
        parts = (self.repository, self.engine, Cache(2**20), 4, 60.0)
        self.service = ReleasingService(*parts, feedback_requests=100, feedback_bytes=2**20, shadow_queue=4)
        self.generator = np.random.default_rng(0)

    def label(self, text: str) -> None:
        self.file.write_text(text)
        self.repository.refresh()
        self.repository.wait()

    def case(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        return rivals.case(self.generator)

    def broken(self, version: str) -> None:
        """From now on the programs of a version fail."""

        def fail(*_: Any) -> Any:
            raise RuntimeError("out of memory")

        def edit(table: Any) -> Any:
            entry = table["line", version]
            ladder = dataclasses.replace(entry.ladder, programs=dict.fromkeys(entry.ladder.programs, fail))
            return {**table, entry.key: dataclasses.replace(entry, ladder=ladder)}

        self.repository.change(edit)

    @property
    def account(self) -> Account:
        return self.service.ledgers.accounts()["line"]

    async def told(self, **options: Any) -> Judged:
        """A request and its truth."""
        field, truth = self.case()
        answer = await self.service.answer(Query(Options(**options), field))
        assert answer.id is not None
        return await judge(self.service, self.service.memory.recall(answer.id), truth)

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        try:
            asyncio.run(scenario)
        finally:
            self.engine.close()
            self.repository.stop()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    rivals.write_both(folder)
    return folder


@pytest.fixture
def releases(models: Path) -> Iterator[Releases]:
    releases = Releases(models)
    yield releases
    releases.file.unlink(missing_ok=True)


def test_scores_are_those_that_the_library_gives(releases: Releases) -> None:
    generator = np.random.default_rng(1)
    mean, truth = generator.standard_normal((2, 3, 10, 7, 2))
    std = generator.uniform(0.1, 2, mean.shape)
    std[0, 0] = 0
    lower, upper = mean - std, mean + 2 * std
    found = score(mean, std, lower, upper, truth, level=0.8)
    weights = jnp.full((10, 7), 1 / 70)
    predictive = Predictive(jnp.asarray(mean), jnp.asarray(std**2), jnp.zeros(mean.shape))
    interval = jnp.asarray(lower), jnp.asarray(upper)
    for got, expected in (
        (found.error, library.relative_l2(predictive, jnp.asarray(truth), weights)),
        (found.crps, library.gaussian_crps(predictive, jnp.asarray(truth), weights)),
        (found.coverage, library.coverage(interval, jnp.asarray(truth), weights)),
        (found.interval, library.interval_score(interval, jnp.asarray(truth), weights, 0.8)),
    ):
        assert got == pytest.approx(float(jnp.mean(expected)), rel=1e-5)


def test_a_truth_of_another_shape_is_refused() -> None:
    assert fit_truth(np.zeros((2, 3)), (2, 3, 1)).shape == (2, 3, 1)
    for wrong in (np.zeros((3, 2)), np.zeros((1, 2, 3, 1)), np.full((2, 3), np.nan), np.full((2, 3), 1e39)):
        with pytest.raises(Refusal, match="truth: got"):
            fit_truth(wrong, (2, 3, 1))


def test_a_split_gives_each_key_its_version_and_fills_in_where_one_is_missing(releases: Releases) -> None:
    async def scenario() -> None:
        async def versions() -> list[str]:
            field, _ = releases.case()
            queries = [Query(Options(key=str(number)), field) for number in range(200)]
            return [(await releases.service.answer(query)).manifest.version for query in queries]

        first = await versions()
        assert 60 < first.count("2") < 140  # the share is a half; five deviations
        assert await versions() == first
        releases.label('stable = "1"\ncanary = "3"\n' + split)  # of which there is none: the canary stays what it was
        assert await versions() == first
        named = await releases.service.answer(Query(Options(version="stable", key="0"), releases.case()[0]))
        assert named.manifest.version == "1"

    split = "[split]\nstable = 0.5\ncanary = 0.5\n"
    releases.label(LABELS + split)
    releases.run(scenario())


def test_a_worse_version_is_rolled_back_by_rule_and_the_reason_is_kept(releases: Releases) -> None:
    async def scenario() -> None:
        for _ in range(200):
            judged = await releases.told()
            assert set(judged.scores) == {"1", "2"}
            if releases.repository.catalogue.labels["line"]["canary"].version == "1":
                break
        [event] = releases.account.events
        assert event.action == "roll_back"
        assert "crps of version 2 worse than of 1" in event.reason
        assert releases.file.read_text() == LABELS.replace('canary = "2"', 'canary = "1"') + SPLIT + RULE
        tallies = releases.account.versions
        truths = tallies["2"].truths
        assert 20 <= truths < 200
        calibrated, confident = tallies["1"].means(), tallies["2"].means()
        assert calibrated["coverage"] == pytest.approx(0.9, abs=0.06)
        assert confident["coverage"] < 0.5
        assert calibrated["crps"] < confident["crps"]
        assert calibrated["error"] == pytest.approx(confident["error"])
        after = await releases.told()  # there is nothing left to compare
        assert set(after.scores) == {"1"}
        assert releases.account.versions["2"].truths == truths

    SPLIT = "[split]\nstable = 0.9\ncanary = 0.1\n"
    releases.label(LABELS + SPLIT + RULE)
    releases.run(scenario())


def test_a_better_version_is_promoted_by_rule(releases: Releases) -> None:
    async def scenario() -> None:
        for _ in range(200):
            await releases.told()
            if releases.repository.catalogue.labels["line"]["stable"].version == "1":
                break
        assert [event.action for event in releases.account.events] == ["promote"]
        assert (await releases.service.answer(Query(Options(), releases.case()[0]))).manifest.version == "1"

    releases.label('stable = "2"\ncanary = "1"\n' + RULE)
    releases.run(scenario())


def test_a_rule_that_does_nothing_only_counts(releases: Releases) -> None:
    async def scenario() -> None:
        for _ in range(60):
            await releases.told()
        assert releases.account.comparison(("1", "2"), "crps").p_worse < 0.05
        assert not releases.account.events

    text = LABELS + '[rule]\nminimum = 10\non_worse = "nothing"\n'
    releases.label(text)
    releases.run(scenario())
    assert releases.file.read_text() == text


def test_a_version_on_trial_that_fails_costs_nobody_an_answer_and_is_rolled_back(releases: Releases) -> None:
    async def scenario() -> None:
        service = releases.service
        traffic = service.traffic_of("line", "2")
        for number in range(60):
            answer = await service.answer(Query(Options(key=str(number)), releases.case()[0]))
            assert answer.manifest.version == "1"
        failures, truths = traffic.failures, 0
        assert 10 < failures < 50  # the share is a half; five deviations
        for number in range(20):
            with pytest.raises(Refusal, match="inputs: got shape"):
                await service.answer(Query(Options(key=str(number)), np.zeros((3, 3, 3))))
        assert traffic.failures == failures  # a query that fits no version is no version's failure
        while releases.repository.catalogue.labels["line"]["canary"].version == "2":
            await releases.told()
            truths += 1
        assert truths == 20  # the rule's minimum: there is no doubt
        assert "canary" in releases.file.read_text()

    releases.label(LABELS + "[split]\nstable = 0.5\ncanary = 0.5\n" + RULE)
    releases.broken("2")
    releases.run(scenario())


def test_a_label_that_cannot_be_moved_is_said_once(releases: Releases) -> None:
    async def scenario() -> None:
        for _ in range(40):
            await releases.told()
        [event] = releases.account.events
        assert event.action == "roll_back"
        assert 'expected one line canary = "2" before the sections, found 0' in str(event.error)

    releases.label('stable = "1"\ncanary = """2"""\n' + RULE)
    releases.broken("2")
    releases.run(scenario())


def test_a_truth_counts_once(releases: Releases) -> None:
    async def scenario() -> None:
        field, truth = releases.case()
        asked = releases.service.asked(Query(Options(), field))
        counted = [(await judge(releases.service, asked, truth)).counted for _ in range(3)]
        assert counted == [True, False, False]
        carried = unpack_asked(pack_asked(asked))  # as from another worker
        assert not (await judge(releases.service, carried, truth)).counted
        assert (await judge(releases.service, asked, truth + 1)).counted
        assert releases.account.versions["1"].truths == 2
        with pytest.raises(Refusal, match=r"truth: got shape \[3\]"):
            await judge(releases.service, asked, np.zeros(3))
        with pytest.raises(NotFound, match="id: got 'nobody'"):
            releases.service.memory.recall("nobody")

    releases.label(LABELS + RULE)
    releases.run(scenario())


def test_copies_go_to_the_shadow_and_their_answers_to_nobody(releases: Releases) -> None:
    async def scenario() -> None:
        service = releases.service
        for number in range(100):
            answer = await service.answer(Query(Options(key=str(number)), releases.case()[0]))
            assert answer.manifest.version == "1"
            await service.shadow.finish()
        traffic = service.traffic_of("line", "2")
        assert 25 < traffic.shadow["answered"] < 75  # the share is a half; five deviations
        assert traffic.shadow["seconds"] > 0
        assert traffic.requests == 0
        assert service.traffic_of("line", "1").requests == 100
        for _ in range(20):  # nothing runs in between, so that only as many as wait are kept
            service.shadow.add(Query(Options(version="2"), np.zeros(5)), traffic)
        await service.shadow.finish()
        assert (traffic.shadow["dropped"], traffic.shadow["refused"]) == (16, 4)

    releases.label(LABELS + "[shadow]\ncanary = 0.5\n")
    releases.run(scenario())
