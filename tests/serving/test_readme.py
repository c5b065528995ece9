"""The curl examples of README.md, run by bash against a real server of a model trained by the README's own commands."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.serving.conftest import running

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
TINY = ["training.steps=4", "training.batch_size=8", "operator.width=8", "operator.depth=1", "training.ema=0"]


def write_darcy(folder: Path) -> None:
    """Cases in the form of the real ones, so that no network is needed."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, cases, n in (("train_16", 110, 16), ("test_16", 4, 16), ("test_32", 4, 32)):
        pressure = rng.random((cases, n, n), np.float32)
        np.savez(
            folder / f"darcy_{name}.npz", permeability=rng.integers(0, 2, (cases, n, n), np.uint8), pressure=pressure
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
        script = script.replace("localhost:8000", server.url.removeprefix("http://"))
        script = script.replace("python -c", f"{sys.executable} -c").replace(
            "curl -s", "curl -s --fail-with-body -w '\\n'"
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    health, models, stats, *metrics, scaling, predicted, inferred = [line for line in done.stdout.splitlines() if line]
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
    [tensor] = json.loads(inferred)["outputs"]
    assert (tensor["name"], tensor["shape"]) == ("mean", [1, 31, 31, 1])
    np.testing.assert_allclose(np.reshape(tensor["data"], (31, 31, 1)), outputs["mean"], rtol=1e-5)
