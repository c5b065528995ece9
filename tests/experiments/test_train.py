"""The train command as a process: it resumes bit for bit, stops when told, and refuses what it cannot work with."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import runs, train
from experiments.experiment import open_experiment
from experiments.runs import load_model, read_config
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.optimizer_config import ConstantConfig, PlateauConfig
from pnol_jax.toml import load
from pnol_jax.training.checkpoints import Checkpoints
from pnol_jax.training.optimizers import evaluation_params, make_optimizer
from pnol_jax.training.step import initial_state

STEPS = 60
CONFIG = """
name = "smoothing"
[data]
train = ["{folder}/train.npz"]
inputs = ["a"]
outputs = ["u"]
axes = [{{ kind = "periodic" }}]
symmetries = ["shift", "sign"]
calibration = 20
[operator]
name = "fno"
modes = [8]
width = 8
depth = 2
[training]
steps = {steps}
batch_size = 8
ema = 0.9
log_every = 10
checkpoint_every = 7
"""


def _cases(folder: Path, cases: int = 60, n: int = 24, spoiled: bool = False) -> None:
    rng = np.random.default_rng(0)
    x = np.arange(n) / n
    k = np.arange(1, 4)
    modes = np.stack([np.cos(2 * np.pi * k[:, None] * x), np.sin(2 * np.pi * k[:, None] * x)])
    c = rng.standard_normal((cases, 2, 3))
    a = np.einsum("csk,skx->cx", c, modes)
    u = np.einsum("csk,skx->cx", c / (1 + k**2), modes)
    if spoiled:
        u[7, 3] = np.nan
    np.savez(folder / "train.npz", a=a, u=u)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    _cases(tmp_path)
    path = tmp_path / "smoothing.toml"
    path.write_text(CONFIG.format(folder=tmp_path, steps=STEPS))
    return path


def _command(config: Path, run: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "experiments.train", str(config), "--run", str(run), "--no-report", *words]


def _train(config: Path, run: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(config, run, *words), capture_output=True, text=True, timeout=300, check=False)


def _steps(run: Path) -> int:
    return max((int(path.name) for path in (run / "checkpoints").glob("*") if path.name.isdigit()), default=0)


def _begin_and_wait(config: Path, run: Path, step: int, *overrides: str) -> subprocess.Popen[bytes]:
    """Start training, slowed down so that it can be caught, and wait for a checkpoint at or after `step`."""
    process = subprocess.Popen(_command(config, run, "training.steps=1000000", *overrides), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while _steps(run) < step and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    return process


def _train_killed(config: Path, run: Path) -> None:
    """Kill a run of the right config with SIGKILL at a random moment after its first checkpoint."""
    process = subprocess.Popen(_command(config, run), stderr=subprocess.DEVNULL)
    while not _steps(run) and process.poll() is None:
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.1))
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_run_killed_at_a_random_step_and_resumed_equals_an_unbroken_one_bit_for_bit(config, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert _train(config, whole).returncode == 0
    _train_killed(config, broken)
    assert 0 < _steps(broken) <= STEPS
    resumed = _train(config, broken, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_members_train_by_another_optimiser_with_a_plateau_and_its_config_is_read_back(config, tmp_path):
    pieces = [{"name": "constant", "steps": 20}, {"name": "plateau", "window": 2, "patience": 1, "threshold": 0.5}]
    words = ["posterior.name=ensemble", "posterior.members=2", "optimizer.name=muon", "optimizer.warmup_steps=5"]
    asked = "[" + ", ".join("{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in p.items()) + "}" for p in pieces) + "]"
    done = _train(config, tmp_path / "run", *words, f"optimizer.schedule={asked}")
    assert done.returncode == 0, done.stderr
    read = read_config(tmp_path / "run").optimizer
    assert [(piece.steps, type(piece)) for piece in read.schedule] == [(20, ConstantConfig), (None, PlateauConfig)]
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[1]["learning_rate"] == pytest.approx(read.learning_rate)
    assert lines[-1]["learning_rate"] < read.learning_rate  # a threshold that no loss can meet
    assert lines[-1]["loss"] < lines[0]["loss"]


@pytest.mark.slow
def test_a_schedule_free_run_keeps_its_average(config, tmp_path):
    words = ["optimizer.name=schedule_free_adamw", "training.ema=0"]
    done = _train(config, tmp_path / "run", *words)
    assert done.returncode == 0, done.stderr
    experiment = open_experiment(read_config(tmp_path / "run"))
    optimizer = make_optimizer(experiment.config.optimizer, STEPS, None)
    state = initial_state(experiment.posterior, optimizer, 0, averaged=False)
    state, _ = Checkpoints(tmp_path / "run" / "checkpoints", 2, experiment.digest).restore(state)
    average = evaluation_params(experiment.config.optimizer, state.optimizer, state.params)
    model = load_model(tmp_path / "run")
    assert all(np.array_equal(model[name], value) for name, value in average.items())
    assert not all(np.array_equal(model[name], value) for name, value in state.params.items())


def test_resuming_what_never_began_begins_it_and_says_so(config, tmp_path):
    other = _train(config, tmp_path / "run", "--resume", "training.steps=1")
    assert other.returncode == 0
    assert "run holds no run to resume: it begins" in other.stderr
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_sigterm_saves_and_asks_to_be_resumed(config, tmp_path):
    often = 997
    process = _begin_and_wait(config, tmp_path / "run", often, f"training.checkpoint_every={often}")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert _steps(tmp_path / "run") % often  # saved where it stopped, not at the last regular checkpoint


def test_the_log_has_one_json_line_per_logged_step(config, tmp_path):
    assert _train(config, tmp_path / "run").returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(10, STEPS + 1, 10))
    assert {"loss", "learning_rate", "cases_per_second", "relative_l2"} <= lines[0].keys()
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_a_loss_that_is_not_finite_stops_with_step_tensor_and_last_good_checkpoint(config, tmp_path):
    done = _train(config, tmp_path / "run", "optimizer.learning_rate=1e30", "optimizer.warmup_steps=20")
    assert done.returncode == 2
    assert "is not finite; the last good checkpoint is of step" in done.stderr or "no checkpoint yet" in done.stderr
    assert "operator." in done.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training.steps=-5"], "training.steps: Expected `int` >= 1"),
        (["training.step=3"], "training: unknown key 'step'; did you mean 'steps'"),
        (["operator.modes=[40]"], "modes[0]: 40 modes (fourier) need at least 41 points on axis 0, the grid has 24"),
        (['data.inputs=["b"]'], "no array 'b'"),
        (['data.train=["nowhere.npz"]'], "nowhere.npz"),
        (['data.symmetries=["spin"]'], "spin"),
        (
            ['optimizer.schedule=[{name="cosine", steps=2}]'],
            "got pieces of 2 after 0 of warm-up steps, expected 1 (train",
        ),
        (['optimizer.groups=[{parameters="*.krnel", rate=0}]'], "optimizer.groups[0].parameters: '*.krnel' fits no"),
        (["data.calibration=5"], "data.calibration: got 5 cases, expected at least 9"),
    ],
)
def test_what_cannot_work_is_refused_before_training(config, tmp_path, words, message):
    with pytest.raises(InputError) as refused:
        train.main([str(config), "--run", str(tmp_path / "run"), "training.steps=1", *words])
    assert message in str(refused.value)


def test_where_the_points_of_bounded_axes_lie_is_said(config):
    word = "data.axes=[{kind='bounded', name='depth', placement='centre', length=12}]"
    said = train._summary(open_experiment(load(config, ExperimentConfig, ["data.symmetries=[]", word])))
    assert said == "40 training cases (24 points, depth from 0.25 to 11.75 in [0, 12]), 20 for calibration"


def test_a_nan_in_the_data_is_named(config, tmp_path):
    _cases(tmp_path, spoiled=True)
    with pytest.raises(InputError, match="'u', case 7"):
        train.main([str(config), "--run", str(tmp_path / "run")])


def test_what_a_command_prints_and_what_it_says_stay_in_order():
    program = (
        "import sys; from experiments.command import run;"
        "run(lambda: print('first') or print('second', file=sys.stderr) or print('third') or 0)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    assert done.stdout.split() == ["first", "second", "third"]


def test_the_command_prints_one_line_and_exits_with_2(config, tmp_path):
    done = _train(config, tmp_path / "run", "training.step=3")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_that_holds_a_run_is_not_overwritten(config, tmp_path):
    assert _train(config, tmp_path / "run").returncode == 0
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    again = _train(config, tmp_path / "run", "training.seed=1")
    assert again.returncode == 2
    assert "holds a run already" in again.stderr
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_resuming_a_finished_run_says_that_it_is(config, tmp_path):
    words = (config, tmp_path / "run", "training.steps=2")
    assert "is finished" not in _train(*words).stderr
    again = _train(*words, "--resume")
    assert again.returncode == 0
    assert "run is finished at step 2: calibration is made again" in again.stderr


def test_a_study_is_refused_with_the_command_that_it_is_for(config):
    config.write_text('name = "small"\nconfig = "base.toml"\n[search]\n')
    with pytest.raises(InputError, match=r"got a study, expected a training config; python -m experiments\.tune /"):
        train.main([str(config)])


def test_the_commit_is_that_of_the_files_that_git_knows(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        known = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run([*known, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "code.py").write_text("1\n")
    git("add", "code.py")
    git("commit", "-m", "A file")
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "runs.py"))
    (tmp_path / "notes.txt").write_text("none of git's\n")
    assert runs.commit() == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("2\n")
    assert runs.commit() == git("rev-parse", "HEAD") + "-changed"


def test_resuming_with_another_config_is_refused(config, tmp_path):
    assert _train(config, tmp_path / "run").returncode == 0
    other = _train(config, tmp_path / "run", "--resume", "operator.width=16")
    assert other.returncode == 2
    assert "another config" in other.stderr
