"""Every posterior goes with every operator: it trains, is exported, and the service answers what the model answers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import runs
from experiments.experiment import Experiment, open_experiment
from experiments.export import export
from experiments.model import save_model
from experiments.train import fitted
from pnol_jax.config import ExperimentConfig
from pnol_jax.operators.table import OPERATORS
from pnol_jax.posterior_config import DeterministicConfig
from pnol_jax.posteriors import POSTERIORS, Batch
from pnol_jax.predictive import Predictive
from pnol_jax.servable import Servable, load_servable
from pnol_jax.toml import load
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import initial_state, make_step
from serving.answers import Answer
from serving.cache import Cache
from serving.engine import Engine
from serving.query import Options, Query
from serving.repository import Repository
from serving.service import Service
from serving.settings import Settings
from tests.compiling import compiled_fast

CONFIG = """
name = "smoothing"
[data]
train = ["{folder}/train.npz"]
inputs = ["a"]
outputs = ["u"]
axes = [{{ kind = "periodic" }}]
[operator]
name = "{operator}"
modes = [3]
width = 4
{sizes}
[posterior]
name = "{posterior}"
{options}
[optimizer]
warmup_steps = 2
[training]
steps = 20
batch_size = 6
[export]
name = "smoothing"
num_samples = 3
"""
N, CASES = 10, 6
SIZES = {
    "fno": "depth = 1",
    "ffno": "depth = 1",
    "deeponet": "depth = 2\nfeatures = 4",
    "uno": "levels = 1",
    "transolver": "depth = 1\nheads = 2\nslices = 3",
}
OPTIONS = {
    "deterministic": "beta = 0.5",
    "coloured": "heteroscedastic = false",
    "ensemble": "members = 2\nheteroscedastic = false",
    "heads": "heads = 2\nheteroscedastic = false",
    "dropout": "draws = 2\ndropout = { spectral = 0.3, channel = 0.2 }",
    "laplace": 'cache = ""',
    "swag": "steps = 6\nevery = 2\nrank = 3\ndraws = 2",
    "variational": "rank = 2\ndraws = 2",
    "pno": 'variant = "dropout"\npasses = 2\ndropout = { spectral = 0.3, channel = 0.2 }',
    "quantile": "",
    "student": "",
    "flow": "steps = 2\npairs = 2",
}
LOSSES = {"deterministic": "nll"}


def name_of(posterior: type) -> str:
    return str(posterior.__struct_config__.tag)  # type: ignore[attr-defined]


def test_every_posterior_is_here() -> None:
    assert OPTIONS.keys() == {name_of(posterior) for posterior in POSTERIORS}
    assert SIZES.keys() == OPERATORS.keys()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    rng, x = np.random.default_rng(0), 2 * np.pi * np.arange(N) / N
    c = rng.standard_normal((CASES, 2))
    a, u = (c[:, :1] * np.cos(x) + c[:, 1:] * scale * np.sin(x) for scale in (1.0, 0.5))
    np.savez(folder / "train.npz", a=a, u=u + 0.1 * rng.standard_normal(u.shape))
    return folder


@pytest.fixture(autouse=True)
def _compile_fast() -> Iterator[None]:
    """These programs run once or twice and are compiled for every test."""
    with compiled_fast():
        yield


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(queue_cases=4, operands_bytes=2**20, utilisation_window=60.0)
    yield engine
    engine.close()


def train(experiment: Experiment, folder: Path) -> None:
    """The parameters after the config's steps, saved as a run's are."""
    config, batches = experiment.config, experiment.batches()
    optimizer = make_optimizer(config.optimizer, config.training.steps, experiment.posterior.members)
    state = initial_state(experiment.posterior, optimizer, 0, averaged=False)
    step, constants, losses = make_step(experiment.posterior, optimizer, 0.0), experiment.constants(), []
    for _ in range(config.training.steps):
        drawn = next(batches)
        state, metrics = step(state, constants, Batch(drawn.inputs, drawn.outputs), drawn.grid)
        losses.append(float(metrics["loss"]))
    batches.close()
    assert np.isfinite(losses).all()
    runs.write_about(folder, experiment)
    save_model(folder, fitted(experiment, state, constants), None)


def served(models: Path, engine: Engine, inputs: Any, outputs: tuple[str, ...]) -> Answer:
    repository = Repository(Settings(str(models), batch_sizes=(1,), samples_batch_sizes=(1,)))
    repository.load()
    service = Service(repository, engine, Cache(0), max_cases=2, deadline_seconds=60.0)
    return asyncio.run(service.answer(Query(Options(outputs=outputs), inputs)))


def same(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.slow
@pytest.mark.parametrize("operator", SIZES)
@pytest.mark.parametrize("posterior", OPTIONS)
def test_a_posterior_trains_and_is_served_with_its_own_answers(
    cases: Path, run_dir: Path, tmp_path: Path, engine: Engine, posterior: str, operator: str
) -> None:
    config = tmp_path / "config.toml"
    text = CONFIG.format(
        folder=cases, operator=operator, sizes=SIZES[operator], posterior=posterior, options=OPTIONS[posterior]
    )
    config.write_text(text)
    words = [f"training.loss={LOSSES[posterior]}"] if posterior in LOSSES else []
    experiment = open_experiment(load(config, ExperimentConfig, words))
    train(experiment, run_dir)
    servable: Servable = load_servable(export(run_dir, tmp_path / "models"))
    (vector,) = servable.vectors  # what the model itself answered to the first case
    names = ("mean", "std", "epistemic", "lower", "upper")
    has_samples = experiment.posterior.has_samples
    assert has_samples == (type(experiment.config.posterior) is not DeterministicConfig)
    answer = served(tmp_path / "models", engine, vector.inputs, (*names, "samples") if has_samples else names)
    for name in ("mean", "epistemic"):
        same(answer.arrays[name], vector.expected[name])
    assert np.all(vector.expected["aleatoric"] > 0)
    same(answer.arrays["std"], np.sqrt(vector.expected["aleatoric"] + vector.expected["epistemic"]))
    if has_samples:
        assert answer.arrays["samples"].shape == (3, N, 1)
        same(answer.arrays["samples"], vector.expected["samples"])
    _interval_as_the_model_has_it(experiment, vector.expected, answer)


def _interval_as_the_model_has_it(experiment: Experiment, expected: Any, answer: Answer) -> None:
    levels = tuple(getattr(experiment.config.posterior, "levels", ()))
    moments = [jnp.asarray(expected[name])[None] for name in ("mean", "aleatoric", "epistemic")]
    stated = jnp.asarray(expected["quantiles"])[:, None] if levels else None
    lower, upper = Predictive(*moments, quantiles=stated, levels=levels).interval(0.9)
    same(answer.arrays["lower"], lower[0])
    same(answer.arrays["upper"], upper[0])
    assert answer.interval is not None
    assert answer.interval.kind == ("quantiles" if levels else "gaussian")
