"""README.md is right: its curl examples run against a real server, its commands are none that would be refused."""

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from experiments import launch, plan, sharded, simulate, submit, train, tune
from experiments.calibrate import check_calibration
from experiments.experiment import open_experiment
from experiments.strangeness import check_strangeness
from pnol_jax import toml
from pnol_jax.config import ExperimentConfig
from pnol_jax.sharding.mesh import check_batch, sizes
from pnol_jax.sharding.roofline import device_kind
from pnol_jax.toml import load, parse
from tests.serving.conftest import running

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
TINY = ["training.steps=4", "training.batch_size=8", "operator.width=8", "operator.depth=1", "training.ema=0"]


def write_darcy(folder: Path, cases: int = 110) -> None:
    """Cases in the form of the real ones, so that no network is needed."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, count, n in (("train_16", cases, 16), ("test_16", 4, 16), ("test_32", 4, 32)):
        pressure = rng.random((count, n, n), np.float32)
        np.savez(
            folder / f"darcy_{name}.npz", permeability=rng.integers(0, 2, (count, n, n), np.uint8), pressure=pressure
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data/darcy` and `models/darcy/1`."""
    folder = tmp_path_factory.mktemp("home")
    write_darcy(folder / "data" / "darcy")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    config = ROOT / "experiments" / "configs" / "darcy.toml"
    for command in (["train", str(config), "--no-report", *TINY], ["export", "runs/darcy"]):
        subprocess.run(
            [sys.executable, "-m", f"experiments.{command[0]}", *command[1:]], cwd=folder, env=environment, check=True
        )
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_curl_examples_are_answered(home: Path) -> None:
    [script] = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    with running(home / "models", home / "errors", "--batch-sizes", "[1]") as server:
        assert script.count("curl ") == 8
        script = script.replace("localhost:8080", server.url.removeprefix("http://"))
        script = script.replace("python -c", f"{sys.executable} -c").replace(
            "curl -s", "curl -s --fail-with-body -w '\\n'"
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    health, models, stats, *metrics, scaling, predicted, inferred, shape = [
        line for line in done.stdout.splitlines() if line
    ]
    assert json.loads(health)["ready"]
    assert json.loads(models)["models"][0]["name"] == "darcy"
    assert "engine" in json.loads(stats)
    assert any(line.startswith("pnol_requests_total") for line in metrics)
    assert "recommended_replicas" in json.loads(scaling)
    outputs = json.loads(predicted)["outputs"]
    assert np.shape(outputs["mean"]) == (31, 31, 1)
    assert json.loads(predicted)["interval"]["kind"] == "conformal"
    assert np.all(np.asarray(outputs["lower"]) <= np.asarray(outputs["mean"]))
    with (home / "answer.npy").open("rb") as file:
        mean, lower, upper = (np.load(file) for _ in range(3))
    np.testing.assert_allclose(mean, outputs["mean"], rtol=1e-5)
    assert np.all(lower <= upper)
    assert shape == "(31, 31, 1)"
    [tensor] = json.loads(inferred)["outputs"]
    assert (tensor["name"], tensor["shape"]) == ("mean", [1, 31, 31, 1])
    np.testing.assert_allclose(np.reshape(tensor["data"], (31, 31, 1)), outputs["mean"], rtol=1e-5)


def commands(section: str) -> list[list[str]]:
    """The command lines of a section, from the module's name on."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    [block] = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert all(words[:2] == ["python", "-m"] for words in lines)
    return [words[2:] for words in lines]


def check_train(words: list[str]) -> int:
    asked = train._parser().parse_intermixed_args(words)
    config = load(*_loaded(asked.words))
    mesh = {axis: size for axis, size in msgspec.structs.asdict(config.mesh).items() if size}
    check_batch(config.training.batch_size, sizes(config.mesh, math.prod(mesh.values())), config.training.accumulate)
    return 0


def check_plan(words: list[str]) -> int:
    asked = plan._parser().parse_intermixed_args(words)
    device_kind(asked.device_kind)
    load(*_loaded(asked.words))
    return 0


def _loaded(words: list[str]) -> tuple[str, type[ExperimentConfig], list[str]]:
    return words[0], ExperimentConfig, words[1:]


def test_the_commands_that_scale_and_search_would_not_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    write_darcy(tmp_path / "data" / "darcy", 300)
    (tmp_path / "runs" / "darcy_search").mkdir(parents=True)
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "PBS_", "LSB_"))]:
        monkeypatch.delenv(name)
    begun: list[Path] = []
    monkeypatch.setattr(launch, "supervise", lambda *arguments: begun.append(arguments[2]) or 0)
    monkeypatch.setattr(sharded, "simulate", lambda *arguments: begun.append(arguments[1]))
    monkeypatch.setattr("experiments.search.run.search", lambda *_: True)
    checks = {"train": check_train, "plan": check_plan, "doctor": lambda _: 0} | {
        module.__name__.rpartition(".")[2]: module.main for module in (launch, submit, simulate, tune)
    }
    for module, *words in [*commands("Scale"), *commands("Search")]:
        assert checks[module.removeprefix("experiments.")](words) == 0
        if module.endswith("tune"):
            shutil.copy("experiments/configs/darcy.toml", "runs/darcy_search/best.toml")
    assert [str(path) for path in begun] == ["runs/darcy_launched", "data/darcy_simulated"]


def test_no_two_commands_train_in_one_folder() -> None:
    lines = [words for section in ("Train", "Scale", "Search") for words in commands(section)]
    named = [words[words.index("--run") + 1] for words in lines if "--run" in words]
    assert len(named) == len(set(named)) >= 4
    assert "runs/darcy" not in named
    unnamed = [words for words in lines if words[0].endswith((".train", ".launch")) and "--run" not in words]
    assert [words for words in unnamed if "--resume" not in words] == [
        ["experiments.train", "experiments/configs/darcy.toml"]
    ]


def tables(section: str) -> dict[str, Any]:
    """The TOML of a section."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    [block] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    return tomllib.loads(block)


def test_the_config_for_own_data_reads_arrays_of_the_shapes_that_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    config = parse(tables("Your own data"), ExperimentConfig, "README.md")
    x, y = 2 * np.linspace(0, 1, 40) ** 2, np.linspace(0, 1, 32)
    for name, cases in (("train", 110), ("test", 4)):
        fields = {
            array: np.ones((cases, 40, 32, *more)) for array, more in (("conductivity", (1,)), ("temperature", ()))
        }
        np.savez(tmp_path / "data" / f"plate_{name}.npz", **fields, x=x, y=y)
    check_calibration(config)
    experiment = open_experiment(config)
    assert (len(experiment.train), len(experiment.calibration or ())) == (10, 100)
    for axis, points in zip(experiment.train.groups[0].grid.axes, (x, y), strict=True):
        np.testing.assert_allclose(axis.points, points, atol=1e-6)


def test_the_tables_of_trust_go_with_the_config_of_darcy_flow() -> None:
    tree = toml.read(str(ROOT / "experiments" / "configs" / "darcy.toml")) | tables("Trust")
    config = parse(tree, ExperimentConfig, "README.md")
    check_calibration(config)
    check_strangeness(config)
    assert config.risk
