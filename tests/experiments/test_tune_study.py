"""Studies without training: what is asked, what a process that is gone leaves, what the samplers find."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from experiments.jobs import PoolConfig
from experiments.jobs.pool import Here
from experiments.search.alone import ended
from experiments.search.gaussian import GaussianProcessSampler
from experiments.search.journal import Journal, is_locked, locked
from experiments.search.opening import begin
from experiments.search.record import Record
from experiments.search.run import _Hunt, search
from experiments.search.samplers import quiet
from experiments.search.settings import SearchConfig
from experiments.search.study import MOST_TRIES, Study

TREE = {
    "name": "none",
    "data": {"train": ["x.npz"], "inputs": ["a"], "outputs": ["u"], "axes": [{"kind": "periodic"}]},
    "operator": {"name": "fno", "modes": [4]},
}
SPACE = {
    "optimizer.learning_rate": {"low": 1e-4, "high": 1, "log": True},
    "operator.width": {"low": 2, "high": 10, "step": 2},
    "operator.modes": {"choices": [[2], [4]]},
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet()


def _study(folder: Path, **search: Any) -> Study:
    settings = {"space": SPACE, "sampler": "random", "trials": 6} | search
    return begin(folder / "run", Record("s", TREE, msgspec.convert(settings, SearchConfig), "digest"))


def _die(study: Study) -> list[dict[str, Any]]:
    """Ask two trials as a process that is gone before it tells them; their points."""
    study._me = "gone"
    return [asked.point for asked in study.ask(2)]


def test_a_trial_of_a_process_that_is_gone_is_asked_again_with_the_same_values(tmp_path):
    points = _die(_study(tmp_path))
    study = _study(tmp_path)
    with study.searching():
        again = study.ask(2)
        assert [asked.point for asked in again] == points
        assert [asked.origin for asked in again] == [0, 1]
        assert study.left() == 4
        others = study.ask(9)
        assert len(others) == 4
        assert all(asked.point not in points for asked in others)
    assert [trial.state for trial in study.optuna.trials[:2]] == [TrialState.FAIL] * 2


def test_a_trial_that_is_asked_again_is_said_to_be(tmp_path):
    class Pool:
        said: ClassVar[list[str]] = []
        say = said.append

        def submit(self, *_: object, name: str) -> None: ...

    _die(_study(tmp_path))
    study = _study(tmp_path)
    with study.searching():
        hunt = _Hunt(study, Pool())  # type: ignore[arg-type]
        for _ in range(3):
            hunt.submit()
    assert Pool.said == [f"trial {n + 2}: trial {n} again, which was stopped" for n in (0, 1)]


@pytest.mark.parametrize(("vectorised", "what"), [(1, "trials"), (2, "groups of trials")])
def test_what_a_search_counts_is_what_it_hands_out(tmp_path, monkeypatch, vectorised, what):
    titles: list[str] = []

    @contextlib.contextmanager
    def opened(_: PoolConfig, title: str) -> Iterator[Here]:
        titles.append(title)
        pool = Here(title)
        pool.completed = lambda: iter(())  # type: ignore[method-assign]
        yield pool

    monkeypatch.setattr("experiments.search.run.open_pool", opened)
    search(_study(tmp_path, vectorised=vectorised), PoolConfig())
    assert titles == [f"s: {what} handed out"]


def test_a_trial_of_a_process_that_lives_is_left_to_it(tmp_path):
    one, other = _study(tmp_path), _study(tmp_path)
    with one.searching():
        mine = one.ask(2)
        with other.searching():
            theirs = other.ask(9)
            assert len(theirs) == 4
        for asked in mine:
            one.tell(asked, [1.0], TrialState.COMPLETE)
    assert [trial.number for trial in one.finished()] == [0, 1]


def test_a_trial_of_a_process_that_goes_meanwhile_is_asked_again_too(tmp_path):
    study = _study(tmp_path)
    with study.searching():
        study.ask(2)
        points = _die(_study(tmp_path))
        assert len(study.ask(9)) == 4
        assert [trial.params for trial in study.optuna.trials[4:6]] == points


def test_a_trial_that_kills_its_process_every_time_is_given_up(tmp_path):
    for _ in range(MOST_TRIES):
        study = _study(tmp_path, trials=1)
        study._me = uuid.uuid4().hex
        assert len(study.ask(1)) == 1
    study = _study(tmp_path, trials=1)
    with study.searching():
        assert study.ask(1) == []
    assert [trial.state for trial in study.finished()] == [TrialState.FAIL]


def test_a_kill_between_asking_again_and_failing_does_not_ask_twice(tmp_path):
    points = _die(_study(tmp_path))
    study = _study(tmp_path)
    study.optuna.enqueue_trial(points[0], {"again_of": 0, "origin": 0, "tries": 2})
    with study.searching():
        assert [asked.point for asked in study.ask(2)] == points


def test_what_is_drawn_depends_on_the_seed_and_the_number_of_the_trial_alone(tmp_path):
    whole = _study(tmp_path / "a")
    with whole.searching():
        unbroken = [asked.point for asked in whole.ask(6)]
    found = []
    for _ in range(3):
        study = _study(tmp_path / "b")
        study._me = "the same, who lives"
        found += [asked.point for asked in study.ask(2)]
    assert found == unbroken
    assert len({str(point) for point in found}) == 6


def test_a_grid_is_every_point_once_also_after_a_kill(tmp_path):
    space = {"operator.width": {"low": 2, "high": 6, "step": 2}, "operator.modes": {"choices": [[2], [4]]}}
    _die(_study(tmp_path, space=space, sampler="grid", trials=100))
    study = _study(tmp_path, space=space, sampler="grid", trials=100)
    with study.searching():
        while asked := study.ask(4):
            for one in asked:
                study.tell(one, [1.0], TrialState.COMPLETE)
    points = [(trial.params["operator.width"], trial.params["operator.modes"]) for trial in study.finished()]
    assert sorted(points) == [(width, modes) for width in (2, 4, 6) for modes in ("[2]", "[4]")]


def test_a_folder_in_which_another_process_is_about_to_begin_the_study_is_not_something_else(tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("lock", ".study.json.a1b2"):
        (tmp_path / "run" / name).touch()
    assert _study(tmp_path).left() == 6


def test_a_score_that_is_no_number_ends_the_trial_and_not_the_search(tmp_path):
    study = _study(tmp_path)
    with study.searching():
        for asked, score in zip(study.ask(2), (0.5, np.nan), strict=True):
            result = ended(study, asked, {"relative_l2": score})
            study.tell(asked, result.values, result.state, result.note)
    assert [trial.state for trial in study.finished()] == [TrialState.COMPLETE, TrialState.PRUNED]


def test_points_become_configs_with_the_types_that_the_keys_have(tmp_path):
    study = _study(tmp_path)
    config = study.space.config({"optimizer.learning_rate": 0.5, "operator.width": 4, "operator.modes": "[2]"})
    assert (config.operator.modes, config.operator.width, config.optimizer.learning_rate) == ([2], 4, 0.5)
    assert isinstance(study.space.distributions["optimizer.learning_rate"], optuna.distributions.FloatDistribution)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random"])
@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_every_sampler_goes_on_after_trials_without_a_value(tmp_path, sampler, state):
    study = _study(tmp_path, sampler=sampler, trials=18)
    with study.searching():
        while asked := study.ask(3):
            for one in asked:
                ends = TrialState.COMPLETE if one.number % 3 else state
                study.tell(one, [one.point["operator.width"]], ends, note="diverged")
    assert len(study.finished()) == 18


def test_a_line_that_was_not_written_to_its_end_is_taken_away(tmp_path):
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.append_logs([{"a": 1}, {"a": 2}])
    with path.open("ab") as file:
        file.write(b'{"a": ' + b"9" * 10_000)
    assert list(Journal(path).read_logs(0)) == [{"a": 1}, {"a": 2}]
    Journal(path).append_logs([{"a": 3}])
    assert [entry["a"] for entry in Journal(path).read_logs(0)] == [1, 2, 3]


def test_a_lock_is_seen_while_it_is_held(tmp_path):
    with locked(tmp_path / "lock"):
        assert is_locked(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")
    assert not is_locked(tmp_path / "none")


def _least(make: Callable[[int], optuna.samplers.BaseSampler], seed: int, at_once: int = 1) -> float:
    """The least distance from (0.3, 1e-2, "b") after 28 trials, some told at once."""
    space = {
        "x": optuna.distributions.FloatDistribution(0, 1),
        "y": optuna.distributions.FloatDistribution(1e-4, 1, log=True),
        "z": optuna.distributions.CategoricalDistribution(["a", "b", "c"]),
    }
    study = optuna.create_study(sampler=make(seed))
    for _ in range(28 // at_once):
        trials = [study.ask(space) for _ in range(at_once)]
        for trial in trials:
            x, y, z = (trial.params[name] for name in "xyz")
            study.tell(trial, (x - 0.3) ** 2 + (np.log10(y) + 2) ** 2 / 16 + (z != "b"))
    return study.best_value


@pytest.mark.parametrize("at_once", [1, 4])
def test_the_gaussian_process_finds_what_chance_does_not(at_once):
    space = {
        "x": optuna.distributions.FloatDistribution(0, 1),
        "y": optuna.distributions.FloatDistribution(1e-4, 1, log=True),
        "z": optuna.distributions.CategoricalDistribution(["a", "b", "c"]),
    }
    bayes = [_least(lambda seed: GaussianProcessSampler(space, seed), seed, at_once) for seed in range(2)]
    chance = [_least(lambda seed: optuna.samplers.RandomSampler(seed), seed, at_once) for seed in range(2)]
    assert np.median(bayes) < np.median(chance) / 5
    assert max(bayes) < 5e-3
