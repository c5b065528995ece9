"""The launch command: what it starts and where, what it refuses, and the real training under it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import launch
from experiments.supervision.events import Events, read_events
from experiments.supervision.sites import Allocation, Hosts, Local, Pod, Site
from pnol_jax.errors import InputError
from tests.experiments.test_train import CONFIG, STEPS, _cases

pytestmark = pytest.mark.slow

POD = {"JOB_COMPLETION_INDEX": "1", "PNOL_NODES": "2", "JAX_COORDINATOR_ADDRESS": "set-0.set:8476"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    _cases(tmp_path)
    path = tmp_path / "smoothing.toml"
    path.write_text(CONFIG.format(folder=tmp_path, steps=STEPS))
    return path


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "PNOL_", "JOB_", "PBS_", "LSB_"))]:
        monkeypatch.delenv(name)


def _site(*words: str) -> Site:
    return launch.find_site(launch.parser().parse_intermixed_args(["config.toml", *words]))


def _launch(config: Path, run: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "experiments.launch", str(config), "--run", str(run), *words, "--", "--no-report"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_a_wrong_word_of_train_is_not_tried_again_and_said_on_the_terminal(config: Path, tmp_path: Path) -> None:
    process = _launch(config, tmp_path / "run", "operator.modes=[40]")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "40 modes (fourier) need at least 41 points" in said
    assert [event["event"] for event in read_events(tmp_path / "run")] == ["started", "lost", "refused"]


def test_the_command_resumes_what_has_begun_also_where_nothing_was_saved(tmp_path: Path) -> None:
    command = launch.train_command(["c.toml", "seed=1"], tmp_path)
    assert command(None)[-6:] == ["-m", "experiments.train", "c.toml", "seed=1", "--run", str(tmp_path)]
    assert command(7)[-1] == "--resume"
    (tmp_path / "config.toml").touch()  # which train writes before the first step
    assert command(None)[-1] == "--resume"


def test_where_it_runs_follows_from_words_and_surroundings(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _site() == Local(1)
    assert _site("--processes", "2", "--devices-per-process", "4", "--elastic") == Local(2, 1, 4)
    hosts = _site("--hosts", "a,b", "--processes", "4", "--elastic", "--minimum", "2", "--ssh", "ssh -F x")
    assert hosts == Hosts(["a", "b"], 2, 2, ["ssh", "-F", "x"])
    for name, value in POD.items():
        monkeypatch.setenv(name, value)
    assert _site("--processes", "4") == Pod(1, 2, "set-0.set:8476", 2)


def test_a_cluster_starts_by_its_own_command(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def known(cluster: str) -> object:
        return lambda words, using, each: [cluster, *words]

    monkeypatch.setattr(launch, "_worker_command", known)
    site = _site("--cluster", "mpi", "--hosts", "a,b", "--processes", "4")
    assert isinstance(site, Allocation)
    assert (site.cluster, site.nodes, site.each, site.command(["x"], None, 1)) == ("mpi", ["a", "b"], 2, ["mpi", "x"])


def test_a_run_in_which_another_launch_works_is_not_deleted(alone: None, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Events(run):
        (run / "config.toml").write_text("of a run that goes on")
        with pytest.raises(InputError, match="another launch works in this folder"):
            launch.main([str(config), "--run", str(run), "--overwrite"])
    assert (run / "config.toml").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hosts", "a,b", "--processes", "3"], "--processes: got 3 on 2 hosts, expected a multiple of 2"),
        (["training.step=3"], "unknown key 'step'; did you mean 'steps'"),
        (["--", "--resume"], "--resume after --"),
        (["--processes", "3"], "training.batch_size: got 8, expected a multiple of 3"),
        (["mesh.data=4", "--processes", "2", "--devices-per-process", "1"], "4 times .* devices, expected 2"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_started(
    alone: None, config: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        launch.main([str(config), "--run", str(tmp_path / "run"), *words])
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_in_the_folder_is_deleted_only_if_asked(config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text("of another run")
    words = [str(config), "--run", str(run)]
    assert launch.main(words) == 2
    assert (run / "config.toml").read_text() == "of another run"
    assert launch.main([*words, "--overwrite", "training.steps=10", "--", "--no-report"]) == 0
    assert json.loads((run / "log.jsonl").read_text().splitlines()[-1])["step"] == 10
