"""Every posterior with draws is exported with a step that marches as it does, and with its mean's derivatives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.experiment import open_experiment
from experiments.export import export
from experiments.model import load_model
from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.config import ExperimentConfig
from pnol_jax.posteriors.march import march
from pnol_jax.servable import Servable, case_keys, crop, flatten_operands, load_servable, pad
from pnol_jax.toml import load
from tests.compiling import compiled_fast
from tests.experiments.test_posteriors import OPTIONS, same, train

N, BUCKET, CASES, TIMES, DRAWS, STEPS, SEED = 10, (12,), 6, 4, 3, 3, 5
CONFIG = """
name = "decay"
[data]
train = ["{folder}/train.npz"]
inputs = []
outputs = ["u"]
axes = [{{ kind = "periodic" }}]
time_step = 0.1
[operator]
name = "fno"
modes = [3]
width = 4
depth = 1
[posterior]
name = "{posterior}"
{options}
[optimizer]
warmup_steps = 2
[training]
steps = 20
batch_size = 6
remat = "{remat}"
[export]
buckets = [[12]]
num_samples = 3
derivatives = true
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    rng, x = np.random.default_rng(0), 2 * np.pi * np.arange(N) / N
    c, decay = rng.standard_normal((CASES, 1, 2)), 0.8 ** np.arange(TIMES)[:, None]
    u = (c * decay) @ np.stack([np.cos(x), np.sin(x)])
    np.savez(folder / "train.npz", u=u + 0.05 * rng.standard_normal(u.shape))
    return folder


@pytest.fixture(autouse=True)
def _compile_fast() -> Iterator[None]:
    """These programs run once or twice and are compiled for every test."""
    with compiled_fast():
        yield


def stepped(servable: Servable, first: Any, arguments: list[Any]) -> np.ndarray[Any, Any]:
    """The states of every step, as a service has them: cropped and padded again between steps."""
    program, states, found = servable.compile(BUCKET, "step", 1), np.broadcast_to(first, (DRAWS, N, 1)), []
    for number in range(STEPS):
        arrays = program(*arguments, case_keys(SEED, 1, number), pad(states, BUCKET)[None])
        states = crop(arrays["states"][0], (N,))
        found.append(states)
    return np.stack(found)


@pytest.mark.slow
@pytest.mark.parametrize("posterior", [name for name in OPTIONS if name != "deterministic"])
def test_a_servable_marches_and_derives_as_its_posterior(
    cases: Path, run_dir: Path, tmp_path: Path, posterior: str
) -> None:
    config = tmp_path / "config.toml"
    remat = "none" if posterior == "laplace" else "block"  # Laplace needs a forward mode itself
    text = CONFIG.format(folder=cases, posterior=posterior, options=OPTIONS[posterior], remat=remat)
    config.write_text(text)
    train(open_experiment(load(config, ExperimentConfig)), run_dir)
    servable = load_servable(export(run_dir, tmp_path / "models"))
    assert {"samples", "step", "jvp", "vjp"} <= set(servable.manifest.signature.answers)
    experiment = open_experiment(load(config, ExperimentConfig, ["training.remat=none"]))
    model, group = load_model(run_dir, experiment), experiment.train.groups[0]
    first = np.asarray(group.outputs[0][0], np.float32)
    alone = stack_operands([make_operands(group.grid, experiment.bases)])
    padded = flatten_operands(stack_operands([make_operands(group.grid, experiment.bases, BUCKET)]))
    key = jax.random.wrap_key_data(jnp.asarray([SEED, 0], jnp.uint32), impl="threefry2x32")
    run = jax.jit(lambda inputs: march(model.posterior, dict(model.params), inputs, alone, key, STEPS, DRAWS))
    expected, arguments = np.asarray(run(first[None]))[:, :, 0], [pad(first, BUCKET)[None], padded]
    assert np.ptp(expected[-1], axis=0).max() > 1e-3
    same(stepped(servable, first, arguments), expected)

    def mean(inputs: jax.Array) -> jax.Array:
        return model.predict(model.params, inputs[None], alone, jax.random.key(0)).mean[0]

    tangent, cotangent = np.random.default_rng(1).standard_normal((2, N, 1)).astype(np.float32)
    along = servable.compile(BUCKET, "jvp", 1)(*arguments, pad(tangent, BUCKET)[None])["jvp"]
    back = servable.compile(BUCKET, "vjp", 1)(*arguments, pad(cotangent, BUCKET)[None])["vjp"]
    same(crop(along[0], (N,)), jax.jvp(mean, (first,), (tangent,))[1])
    same(crop(back[0], (N,)), jax.vjp(mean, first)[1](cotangent)[0])
