"""training.precision = "float64": everything in it from the files to the report, and the same run as in float32."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import runs
from experiments.calibrate import calibrate
from experiments.evaluate import evaluate
from experiments.experiment import Experiment, make_experiment, open_experiment
from experiments.export import export
from experiments.model import load_model, save_model
from experiments.train import train_model
from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.operators.table import OPERATORS
from pnol_jax.posteriors import Batch
from pnol_jax.servable import load_servable
from pnol_jax.servable.program import flatten_operands
from pnol_jax.toml import load
from pnol_jax.training.checkpoints import Checkpoints
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import initial_state, make_step

CONFIG = """
name = "smoothing"
[data]
train = ["{folder}/train.npz"]
test = ["{folder}/train.npz"]
inputs = ["a"]
outputs = ["u"]
axes = [{{ kind = "periodic" }}]
thinning = 0.1
calibration = 20
[operator]
name = "fno"
modes = [8]
width = 8
depth = 2
norm = "group"
[optimizer]
warmup_steps = 2
[training]
steps = 8
batch_size = 8
ema = 0.9
log_every = 1
"""


@pytest.fixture(autouse=True)
def _single_again() -> Iterator[None]:
    yield
    jax.config.update("jax_enable_x64", False)  # type: ignore[no-untyped-call]


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    rng, x = np.random.default_rng(0), np.arange(24) / 24
    c = rng.standard_normal((50, 2, 3))
    waves = 2 * np.pi * np.arange(1, 4)[:, None] * x
    modes = np.stack([np.cos(waves), np.sin(waves)])
    a, u = (np.einsum("csk,skx->cx", c / k, modes) for k in (1.0, 1.0 + np.arange(1, 4) ** 2))
    np.savez(tmp_path / "train.npz", a=a, u=u)
    path = tmp_path / "smoothing.toml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def opened(config: Path, precision: str, *words: str) -> Experiment:
    return open_experiment(load(config, ExperimentConfig, [f"training.precision={precision}", *words]))


def losses(folder: Path) -> Any:
    return np.array([json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()])


def dtypes(tree: Any) -> set[str]:
    kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}
    return {kind for kind in kinds if "float" in kind}


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_array_of_a_step_in_double_is_in_single_precision(config, operator):
    words = {"fno": ["training.loss=h1"], "ffno": ["posterior.name=ensemble", "training.loss=nll"]}
    config.write_text(
        config.read_text().replace('name = "fno"', f'name = "{operator}"').replace('depth = 2\nnorm = "group"', "")
    )
    experiment = opened(config, "float64", *words.get(operator, []))
    optimizer = make_optimizer(experiment.config.optimizer, 8, experiment.posterior.members)
    state = initial_state(experiment.posterior, optimizer, 0, averaged=True)
    drawn = next(experiment.batches())
    given = (state, experiment.constants(), Batch(drawn.inputs, drawn.outputs), drawn.grid)
    assert dtypes(given) == {"float64"}
    text = make_step(experiment.posterior, optimizer, 0.9).lower(*given).as_text()
    assert re.search(r"tensor<\d+x\d+xf64>", text)
    assert not re.search(r"tensor<\d+x\d+x[\dx]*f32>", text)  # the learning rate alone is, a number for each member


def test_cases_read_in_single_precision_are_no_data_for_a_run_in_double(config):
    double = load(config, ExperimentConfig, ["training.precision=float64"])
    with pytest.raises(InputError, match=r"training\.precision: got 'float64' with cases that were read as float32"):
        make_experiment(double, opened(config, "bfloat16").train)


@pytest.mark.slow
def test_a_run_in_double_is_the_run_in_single_precision_without_its_rounding(config, tmp_path):
    for precision in ("float32", "float64"):
        experiment, folder = opened(config, precision), tmp_path / precision
        folder.mkdir()
        params = train_model(experiment, folder)
    single, double = losses(tmp_path / "float32"), losses(tmp_path / "float64")
    np.testing.assert_allclose(single, double, rtol=1e-4)
    assert all(single != double)
    assert dtypes(params) == {"float64"}
    optimizer = make_optimizer(experiment.config.optimizer, 8, None)
    like = initial_state(experiment.posterior, optimizer, 0, averaged=True)
    state, _ = Checkpoints(folder / "checkpoints", 2, experiment.digest).restore(like)
    assert dtypes(state) == {"float64"}
    assert all(np.array_equal(state.average[name], params[name]) for name in state.average)
    runs.write_about(folder, experiment)
    save_model(folder, params, calibrate(experiment, params))
    assert dtypes(load_file(folder / "model.safetensors")) == {"float64"}
    _evaluated_and_exported(folder, tmp_path / "models")


def _evaluated_and_exported(folder: Path, to: Path) -> None:
    """A run in float64 is scored in float64 and served in float32, with the same answers."""
    evaluate(folder)
    (scores,) = json.loads((folder / "metrics.json").read_text())["tests"].values()
    experiment = open_experiment(runs.read_config(folder))
    model, group = load_model(folder, experiment), experiment.test[0].groups[0]
    assert dtypes(model.params) == {"float64"}
    batch, grid, _ = next(experiment.one_pass(experiment.test[0]))
    exact = model.predict(model.params, batch.inputs, grid, jax.random.key(0))
    assert exact.mean.dtype == np.float64
    assert scores["relative_l2"] > 0
    servable = load_servable(export(folder, to))
    assert dtypes(servable.weights) == {"float32"}
    assert servable.manifest.provenance["config"]["training"]["precision"] == "float64"
    operands = stack_operands([make_operands(group.grid, experiment.bases)] * 8)
    answer = servable.compile((24,), "moments", 8)(group.inputs[:8].astype(np.float32), flatten_operands(operands))
    np.testing.assert_allclose(answer["mean"], exact.mean, atol=1e-5 * float(np.abs(exact.mean).max()))
