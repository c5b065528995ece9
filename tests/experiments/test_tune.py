"""The search as a person runs it: what it finds, what a kill leaves, what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from experiments import tune
from experiments.search.group import Together
from experiments.search.opening import full_steps, load_study, open_search
from experiments.search.problem import Problem
from experiments.search.results import advice
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.toml import load

CONFIG = """
name = "smoothing"
[data]
train = ["{folder}/train.npz"]
inputs = ["a"]
outputs = ["u"]
axes = [{{ kind = "periodic" }}]
calibration = 20
[operator]
name = "fno"
modes = [4]
width = 4
depth = 1
[training]
steps = 20
batch_size = 8
log_every = 5
checkpoint_every = 1000
[optimizer]
warmup_steps = 0
"""
STUDY = """
name = "small"
config = "{folder}/base.toml"
[search]
objectives = ["crps"]
trials = 3
sampler = "random"
validation = 20
[search.space]
"optimizer.learning_rate" = {{ low = 1e-3, high = 1e-1, log = true }}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    rng, x = np.random.default_rng(0), np.arange(16) / 16
    waves = np.stack([np.cos(2 * np.pi * x), np.sin(2 * np.pi * x)])
    inputs = rng.standard_normal((80, 2)) @ waves
    np.savez(tmp_path / "train.npz", a=inputs, u=0.5 * inputs)
    (tmp_path / "base.toml").write_text(CONFIG.format(folder=tmp_path))
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(folder=tmp_path))
    return path


def _tune(study: Path, *words: str) -> int:
    return tune.main([str(study), "--run", str(study.parent / "run"), *words])


def _begin(study: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "experiments.tune", str(study), "--run", str(study.parent / "run"), *words]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def _wait_for(process: subprocess.Popen[bytes], journal: Path, complete: int) -> None:
    """Until so many trials are complete and another one trains."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        # an operation 6 of the journal gives a trial its state, of which 1 is complete
        lines = journal.read_text().splitlines() if journal.exists() else []
        told = [line for line in lines if '"op_code":6' in line and '"state":1' in line]
        steps = list((journal.parent / "trials").glob(f"{complete:04d}/log.jsonl"))
        if len(told) >= complete and steps and steps[0].stat().st_size:
            return
        time.sleep(0.02)
    raise AssertionError("it did not come so far")


@pytest.mark.slow
def test_the_best_config_is_whole_and_its_score_is_the_least(study):
    assert _tune(study, 'search.pruner="asha"', "search.report_every=5") == 0
    run = study.parent / "run"
    rows = json.loads((run / "trials.json").read_text())
    complete = [row for row in rows if row["state"] == "complete"]
    best = min(complete, key=lambda row: row["values"]["crps"])
    config = load(run / "best.toml", ExperimentConfig)
    base = load(study.parent / "base.toml", ExperimentConfig)
    assert config.optimizer.learning_rate == best["parameters"]["optimizer.learning_rate"]
    assert config.training == base.training
    assert config.data == base.data
    assert best["values"]["crps"] == best["scores"]["crps"]
    page = (run / "report.html").read_text()
    assert 'src="http' not in page
    assert "<link" not in page
    assert f"--run {run}_best" in page
    assert all(f'id="{anchor}"' in page for anchor in ("history", "pruning", "slice-crps", "timeline", "trials"))
    assert not list(run.glob("trials/*/checkpoints"))


@pytest.mark.slow
def test_a_killed_search_loses_no_finished_trial_and_asks_the_one_that_ran_again(study):
    run = study.parent / "run"
    words = ["overrides=['training.steps=400', 'training.checkpoint_every=50']"]
    process = _begin(study, *words)
    _wait_for(process, run / "journal.log", 1)
    while not any(path.name.isdigit() for path in run.glob("trials/0001/checkpoints/*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    with (run / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code":5,"trial')  # what a kill in the midst of a write leaves
    before = load_study(run).optuna.trials
    ran = [trial for trial in before if trial.state == TrialState.RUNNING]
    assert len(ran) == 1

    assert _begin(study, *words).wait(500) == 0
    after = load_study(run)
    first = after.optuna.trials[0]
    assert (first.state, first.values, first.params) == (TrialState.COMPLETE, before[0].values, before[0].params)
    assert after.optuna.trials[ran[0].number].state == TrialState.FAIL
    again = [trial for trial in after.finished() if trial.params == ran[0].params]
    assert [trial.state for trial in again] == [TrialState.COMPLETE]
    assert len(after.finished()) == 3
    assert len({trial.params["optimizer.learning_rate"] for trial in after.finished()}) == 3
    steps = [json.loads(line)["step"] for line in (run / "trials/0001/log.jsonl").read_text().splitlines()]
    assert steps.count(5) == 1  # it went on from its checkpoint


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_and_the_same_command_goes_on(study, number):
    run = study.parent / "run"
    words = ["overrides=['training.steps=300']"]
    process = _begin(study, *words)
    _wait_for(process, run / "journal.log", 1)
    process.send_signal(number)
    assert process.wait(60) == 75
    stopped = load_study(run)
    assert not [trial for trial in stopped.optuna.trials if trial.state == TrialState.RUNNING]
    assert (run / "best.toml").exists()
    first = stopped.finished()[0]
    assert _begin(study, *words).wait(300) == 0
    assert load_study(run).finished()[0].values == first.values
    assert len(load_study(run).finished()) == 3


@pytest.mark.slow
def test_two_processes_share_a_study_and_train_as_many_trials_as_it_is_to_have(study):
    processes = [_begin(study, "search.trials=5") for _ in range(2)]
    assert [process.wait(500) for process in processes] == [0, 0]
    found = load_study(study.parent / "run")
    assert len(found.optuna.trials) == len(found.finished()) == 5
    assert len({trial.user_attrs["searcher"] for trial in found.finished()}) == 2
    assert not os.listdir(study.parent / "run" / "searchers")


@pytest.mark.slow
def test_trials_of_one_program_get_the_scores_that_they_get_alone(study):
    # many steps are left out of each trial, and not the same ones
    words = ["overrides=['training.steps=40', 'training.spike_factor=0.9', 'training.max_bad_steps=40']"]
    assert _tune(study, "search.vectorised=3", *words) == 0
    together = load_study(study.parent / "run").finished()
    assert tune.main([str(study), "--run", str(study.parent / "alone"), "search.trials=2", *words]) == 0
    alone = load_study(study.parent / "alone").finished()
    assert [one.params for one in together[:2]] == [other.params for other in alone]
    assert [one.values[0] for one in together[:2]] == pytest.approx([one.values[0] for one in alone], rel=1e-4)


def test_a_lane_that_diverges_is_pruned_and_the_others_come_to_the_end(study, capsys):
    words = ["overrides=['optimizer.name=sgd', 'optimizer.clip_norm=0']", "search.vectorised=3", "search.sampler=grid"]
    space = "search.space={'optimizer.learning_rate' = {choices=[1e-3, 1e-2, 1e30]}}"
    assert _tune(study, *words, space) == 0
    ended = {trial.params["optimizer.learning_rate"]: trial for trial in load_study(study.parent / "run").finished()}
    assert {rate: trial.state.name for rate, trial in ended.items()} == {
        1e-3: "COMPLETE",
        1e-2: "COMPLETE",
        1e30: "PRUNED",
    }
    assert "diverged" in ended[1e30].user_attrs["note"]
    run = study.parent / "run"
    said = capsys.readouterr().err
    assert f"train the best: python -m experiments.train {run}/best.toml --run {run}_best\n" in said


def test_the_best_is_to_be_trained_for_the_steps_of_the_config_without_the_study(study):
    words = ["overrides=['training.steps=4']", "search.objectives=['relative_l2', 'parameters']"]
    run = study.parent / "run"
    opened = open_search(str(study), words, str(run))
    said = advice(opened, [run / "front" / "a.toml", run / "front" / "b.toml"], full_steps(str(study), words))
    best = f"{run}/front/a.toml --run {run}_best training.steps=20"
    assert said == f"train one of the 2 in {run}/front: python -m experiments.train {best}"


class Severe(optuna.pruners.BasePruner):
    """Prunes the odd trials at the first look and the others at the second."""

    def prune(self, study, trial):
        return trial.last_step >= (4 if trial.number % 2 else 8)


def test_a_group_ends_when_all_its_lanes_are_pruned(study):
    opened = open_search(
        str(study), ["search.vectorised=3", "search.pruner=median", "search.report_every=4"], str(study.parent / "run")
    )
    opened.optuna.pruner = Severe()
    together = Together(opened, Problem(opened.space.base(), opened.search))
    step, taken = together._step, []
    together._step = lambda *arguments: (taken.append(1), step(*arguments))[1]
    with opened.searching():
        results = together.train(opened.ask(3))
    assert [(one.state, one.note[-6:]) for one in results] == [(TrialState.PRUNED, f"step {n}") for n in (8, 4, 8)]
    assert len(taken) == 8
    assert [len(trial.intermediate_values) for trial in opened.optuna.trials[:3]] == [2, 1, 2]


@pytest.mark.slow
def test_several_objectives_on_two_workers_leave_a_front_that_nothing_dominates(study):
    space = "search.space={'operator.width' = {low=4, high=8, step=4}, 'training.seed' = {low=0, high=9}}"
    words = ["search.objectives=['relative_l2', 'parameters']", "search.trials=4", "search.sampler=gp", space]
    assert _tune(study, *words, "--workers", "2") == 0
    run = study.parent / "run"
    front = json.loads((run / "front.json").read_text())
    points = [tuple(row["values"].values()) for row in json.loads((run / "trials.json").read_text())]
    kept = [tuple(row["values"].values()) for row in front]
    for point in points:
        dominated = any(all(a <= b for a, b in zip(other, point, strict=True)) and other != point for other in points)
        assert (point in kept) == (not dominated)
    configs = [load(path, ExperimentConfig) for path in sorted((run / "front").glob("*.toml"))]
    assert len(configs) == len(front)


REFUSED = [
    (["search.space={'optimizer.learning_rat' = {low=1, high=2}}"], "did you mean 'learning_rate'"),
    (["search.space={'operator.width' = {low=1.5, high=2}}"], "search.space.operator.width: operator.width: Expected"),
    (["search.space={'operator.width' = {low=2}}"], "expected either choices = [...] or low and high"),
    (["search.space={'operator.width' = {low=2, hihg=3}}"], "unknown field `hihg`; expected choices, low, high"),
    (["search.space={'operator.width' = {low=8, high=2}}"], "search.space.operator.width: `low <= high` must hold"),
    (["search.space={'operator.skip' = {choices=['linear', 'liner']}}"], "operator.skip: Invalid enum value 'liner'"),
    (["search.space={'data.train' = {choices=['x']}}"], "data.train: this is the same for all trials"),
    (["search.space={}"], "got no keys"),
    (["search.sampler=grid"], "a range without a step"),
    (["search.objectives=['crps', 'parameters']", "search.pruner=median"], "with several objectives, expected 'none'"),
    (["search.objectives=['parameters']", "search.vectorised=2"], "whose trials cost alike"),
    (["search.vectorised=2", "search.space={'operator.width' = {low=2, high=4}}"], "are not of one program"),
    (["search.vectorised=2", "search.space={'optimizer.clip_norm' = {low=0.1, high=4.0}}"], "makes another program"),
    (["search.validation=60"], "expected fewer than the 60"),
    (["config=nowhere.toml"], "no file 'nowhere.toml'"),
    (["training.steps=60"], "expected it as \"overrides=['training.steps=60']\""),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_cannot_be_searched_is_refused_before_anything_is_written(study, words, message):
    with pytest.raises(InputError) as refused:
        _tune(study, *words)
    assert message in str(refused.value)
    assert not (study.parent / "run").exists()


def test_a_study_is_gone_on_with_only_as_it_was(study):
    folder = str(study.parent / "run")
    open_search(str(study), [], folder)
    open_search(str(study), ["search.trials=9", "search.sampler=tpe"], folder)
    with pytest.raises(InputError, match=r"differ from what is asked for in search.objectives, search.seed"):
        open_search(str(study), ["search.seed=1", "search.objectives=['nll']"], folder)
    with pytest.raises(InputError, match=r"in training\.steps; expected"):
        open_search(str(study), ["overrides=['training.steps=9']"], folder)
    with pytest.raises(InputError, match=r"got a training config, expected a study; python -m experiments\.train /"):
        tune.main([str(study.with_name("base.toml"))])
    with pytest.raises(InputError, match="something else already"):
        open_search(str(study), [], str(study.parent))


def test_where_all_trials_fail_it_ends_with_the_reason(study):
    with pytest.raises(InputError, match=r"all 3 trials failed; failed: .*[456]0 modes"):
        _tune(study, "search.trials=9", "search.space={'operator.modes' = {choices=[[40], [50], [60]]}}")
