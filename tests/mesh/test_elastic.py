"""A run goes on where others began it: on more devices or fewer, with the same cases in the same order."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.devices import flags

pytestmark = pytest.mark.xdist_group("elastic")  # one process makes the runs that all of them go on from
STEPS, SAVED = 24, 10
CONFIG = """
name = "smoothing"
[data]
train = ["{folder}/train.npz"]
inputs = ["a"]
outputs = ["u"]
axes = [{{ kind = "periodic" }}]
symmetries = ["shift", "sign"]
thinning = 0.1
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
log_every = 1
checkpoint_every = {saved}
keep_checkpoints = 100
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elastic")
    draws, x = np.random.default_rng(0), np.arange(24) / 24
    a = np.stack([draws.standard_normal() * np.cos(2 * np.pi * (k * x + draws.random())) for k in (1, 2, 3)]).sum(
        axis=0
    )
    fields = np.stack([np.roll(a, shift) * scale for shift in range(6) for scale in draws.random(10)])
    np.savez(folder / "train.npz", a=fields, u=fields**2)
    path = folder / "smoothing.toml"
    path.write_text(CONFIG.format(folder=folder, steps=STEPS, saved=SAVED))
    return path


def run(module: str, config: Path, folder: Path, *words: str, devices: int = 1) -> dict[int, float]:
    """The losses by step of a run that must succeed."""
    environment = os.environ | {"XLA_FLAGS": flags(devices)}
    command = [sys.executable, "-m", module, str(config), "--run", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines}


@pytest.fixture(scope="module")
def alone(config: Path) -> dict[int, float]:
    """The losses of a run on one device, never broken."""
    return run("experiments.train", config, config.parent / "alone", "--no-report")


@pytest.fixture(scope="module")
def begun(config: Path, alone: dict[int, float]) -> Path:
    """The folder of a run of two processes with two devices each, as it was after its first checkpoint."""
    folder = config.parent / "begun"
    words = ["--processes", "2", "--devices-per-process", "2", "mesh.space=2", "--", "--no-report"]
    together = run("experiments.launch", config, folder, *words)
    assert [*together] == [*alone] == [*range(1, STEPS + 1)]
    np.testing.assert_allclose([*together.values()], [*alone.values()], rtol=1e-5)
    for checkpoint in (folder / "checkpoints").iterdir():
        if checkpoint.name.isdigit() and int(checkpoint.name) > SAVED:
            shutil.rmtree(checkpoint)
    return folder


@pytest.mark.parametrize(
    ("devices", "mesh"), [(1, []), (8, ["mesh.data=8"]), (8, ["mesh.data=2", "mesh.fsdp=2", "mesh.space=2"])]
)
def test_a_run_of_two_processes_and_four_devices_goes_on(
    devices: int, mesh: list[str], config: Path, alone: dict[int, float], begun: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(begun, folder)
    (folder / "log.jsonl").unlink()
    losses = run("experiments.train", config, folder, "--resume", "--no-report", *mesh, devices=devices)
    assert [*losses] == [*range(SAVED + 1, STEPS + 1)]
    np.testing.assert_allclose([*losses.values()], [alone[step] for step in losses], rtol=1e-5)


def test_a_run_is_recalibrated_on_its_mesh(config: Path) -> None:
    """Parameters that a mesh divides are put in their places first: other error bars are those of one device."""
    factors = []
    for mesh, devices in ((), 1), (("mesh.data=1", "mesh.fsdp=2"), 2):
        folder = config.parent / f"recalibrated-{devices}"
        run("experiments.train", config, folder, "--no-report", *mesh, devices=devices)
        environment = os.environ | {"XLA_FLAGS": flags(devices)}
        command = [sys.executable, "-m", "experiments.recalibrate", str(folder), "calibration.level=0.8"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads((folder / "calibration.json").read_text())["level"] == 0.8
        factors.append(load_file(folder / "model.safetensors")["calibration.split_conformal.factor"])
    np.testing.assert_allclose(factors[1], factors[0], rtol=1e-3)
