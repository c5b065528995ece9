"""What can go wrong around training, and what the command makes of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import evaluate, lock, train
from pnol_jax.data.shards import Case, write_group, write_shard
from pnol_jax.errors import InputError
from pnol_jax.training import prepare

CONFIG = """
name = "smoothing"
[data]
train = ["{folder}/train"]
test = ["{folder}/test.npz"]
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
steps = 12
batch_size = 4
checkpoint_every = 4
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A run of seconds, its training cases in two shards."""
    rng = np.random.default_rng(0)
    fields = np.roll(np.cos(2 * np.pi * np.arange(8) / 8), 1) * rng.standard_normal((40, 1))
    arrays = [{"a": field.astype("f4"), "u": (field**2).astype("f4")} for field in fields]
    for number in range(2):
        cases = [Case({"case": n}, arrays[n]) for n in range(20 * number, 20 * (number + 1))]
        write_shard(tmp_path / "train" / "g", f"shard-{number:05d}", cases)
    write_group(tmp_path / "train" / "g", ["shard-00000", "shard-00001"], {"x": np.arange(8) / 8})
    np.savez(tmp_path / "test.npz", a=fields[:6], u=fields[:6] ** 2)
    path = tmp_path / "smoothing.toml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


@pytest.fixture
def handlers() -> Iterator[None]:
    """The command replaces what a signal does; afterwards it does what it did."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def told_at_first(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, but SIGTERM comes as it begins."""

    def first(*arguments: Any, **keywords: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return function(*arguments, **keywords)

    return first


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("where", "name"),
    [(train, "open_experiment"), (prepare, "make_step"), (train, "calibrate"), (evaluate, "evaluate")],
)
def test_sigterm_while_reading_building_calibrating_or_evaluating_exits_with_75_and_resumes(
    config, tmp_path, monkeypatch, where, name
):
    report = [] if name == "evaluate" else ["--no-report"]
    words = [str(config), "--run", str(tmp_path / "run"), *report]
    with monkeypatch.context() as patch:
        patch.setattr(where, name, told_at_first(getattr(where, name)))
        with pytest.raises(SystemExit) as left:
            train.main(words)
    assert left.value.code == 75
    assert train.main([*words, "--resume"]) == 0
    assert (tmp_path / "run" / ("report.html" if name == "evaluate" else "model.safetensors")).exists()
    assert not list((tmp_path / "run").glob(".*"))  # nothing half-written


@pytest.mark.usefixtures("handlers")
def test_sigterm_during_compilation_stops_after_that_step_saved(config, tmp_path, monkeypatch):
    words = [str(config), "--run", str(tmp_path / "run"), "--no-report"]

    def make_step(posterior: Any, *others: Any) -> Any:
        class Told:
            members, axes, initial = posterior.members, posterior.axes, posterior.initial
            loss = staticmethod(told_at_first(posterior.loss))  # called when it is traced

        return real(Told(), *others)

    real = prepare.make_step
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "make_step", make_step)
        assert train.main(words) == 75
    assert (tmp_path / "run" / "checkpoints" / "1").is_dir()
    assert train.main([*words, "--resume"]) == 0


def test_of_two_runs_in_one_folder_the_second_is_refused_with_who_works_there(config, tmp_path):
    run = tmp_path / "run"
    with lock.held(run):
        for words in ([], ["--overwrite"], ["--resume"]):
            with pytest.raises(InputError, match=f"in use by process {os.getpid()} on .* since 2"):
                train.main([str(config), "--run", str(run), *words])
        assert [path.name for path in run.iterdir()] == ["lock"]


def holder(folder: Path, then: str) -> "subprocess.Popen[str]":
    code = [
        "import time; from pathlib import Path; from experiments import lock",
        f"with lock.held(Path({str(folder)!r}), 60): print('holds', flush=True); {then}",
    ]
    return subprocess.Popen([sys.executable, "-c", "\n".join(code)], stdout=subprocess.PIPE, text=True)


def test_a_killed_holder_holds_no_more(tmp_path):
    with holder(tmp_path, "time.sleep(600)") as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(InputError, match=f"process {process.pid} "), lock.held(tmp_path, seconds=0.3):
            pass
        process.kill()
        process.wait()
    with lock.held(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_who_waits_for_the_lock_gets_it(tmp_path):
    with lock.held(tmp_path):
        waiting = holder(tmp_path, "pass")
        time.sleep(0.5)
    assert waiting.communicate(timeout=60)[0] == "holds\n"


@pytest.mark.usefixtures("handlers")
def test_a_config_changed_between_save_and_resume_is_refused_with_what_differs_and_changes_nothing(config, tmp_path):
    words = [str(config), "--run", str(tmp_path / "run"), "--no-report"]
    assert train.main(words) == 0
    before = (tmp_path / "run" / "config.toml").read_bytes()
    with pytest.raises(InputError, match=r"another config: operator\.width: got 8, began with 4"):
        train.main([*words, "--resume", "operator.width=8", "mesh.data=1"])
    assert (tmp_path / "run" / "config.toml").read_bytes() == before
    assert train.main([*words, "--resume", "mesh.data=1"]) == 0


def test_a_damaged_shard_is_named(config, tmp_path):
    file = tmp_path / "train" / "g" / "shard-00001" / "u.npy"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"shard-00001/u\.npy: damaged: got SHA-256"):
        train.main([str(config), "--run", str(tmp_path / "run")])


def test_a_refused_run_leaves_no_folder(config, tmp_path):
    with pytest.raises(InputError, match="no array 'b'"):
        train.main([str(config), "--run", str(tmp_path / "run"), 'data.inputs=["b"]', "--resume"])
    assert not (tmp_path / "run").exists()
