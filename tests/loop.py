"""A model that trains in milliseconds, for tests of what is around a training step: a line fitted by its slope."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import msgspec
import numpy as np

from pnol_jax.config import AxisConfig, DataConfig, ExperimentConfig, FNOConfig, TrainingConfig
from pnol_jax.optimizer_config import ConstantConfig, SGDConfig
from pnol_jax.training.loop import train
from pnol_jax.training.step import TrainState


class Line:
    """outputs = slope * inputs; a posterior as far as training goes."""

    members = None
    axes: dict[str, Any] = {}  # noqa: RUF012

    def initial(self, seed: int) -> dict[str, jax.Array]:
        return {"operator.slope": jnp.zeros(1)}

    def loss(self, params: Any, batch: Any, grid: Any, key: jax.Array) -> Any:
        noise = 0.01 * jax.random.normal(key)
        error = jnp.mean((params["operator.slope"] * batch.inputs - batch.outputs + noise) ** 2)
        return error, {"error": error}


class Drawn(NamedTuple):
    """A batch as the pipeline hands it over."""

    inputs: Any
    outputs: Any
    grid: Any = ()


class Batches:
    """Batch `number` depends on nothing else; those in `bad` hold a NaN, those in `large` outputs far away."""

    def __init__(self, bad: Any = (), large: Any = ()) -> None:
        self.bad, self.large, self.next = set(bad), set(large), 0
        self.drawn: list[int] = []

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Drawn:
        number, self.next = self.next, self.next + 1
        self.drawn.append(number)
        inputs = np.random.default_rng(number).standard_normal((4, 8, 1)).astype(np.float32)
        outputs = 2 * inputs + (1e4 if number in self.large else 0)
        outputs[0, 0, 0] += np.nan if number in self.bad else 0
        return Drawn(inputs, outputs)

    def get_state(self) -> dict[str, Any]:
        return {"batch": self.next}

    def set_state(self, state: dict[str, Any]) -> None:
        self.next = state["batch"]


def config(**training: Any) -> ExperimentConfig:
    """A config of which the optimiser and the training section count."""
    data = DataConfig(train=["none"], inputs=["a"], outputs=["u"], axes=[AxisConfig()])
    optimizer = SGDConfig(learning_rate=0.01, momentum=0.5, warmup_steps=0, schedule=[ConstantConfig()])
    settings = {"steps": 60, "batch_size": 4, "log_every": 5, "checkpoint_every": 10, "ema": 0.9}
    settings |= {"keep_checkpoints": 9, "max_bad_steps": 2}
    training_config = msgspec.convert(settings | training, TrainingConfig)
    return ExperimentConfig("line", data, FNOConfig(modes=[4]), optimizer=optimizer, training=training_config)


def run(folder: Path, batches: Batches, *, resume: bool = False, **training: Any) -> TrainState:
    """Train in a folder."""
    folder.mkdir(exist_ok=True)
    profiled = training.pop("profiled", None)
    beat = training.pop("beat", lambda _: None)
    asked = config(**training)
    return train(asked, "digest", Line(), {}, batches, folder, resume=resume, beat=beat, profiled=profiled)  # type: ignore[arg-type]


def same(left: TrainState, right: TrainState) -> bool:
    """Whether two states are equal bit for bit."""

    def data(leaf: Any) -> Any:
        return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)

    leaves = [[data(leaf) for leaf in jax.tree.leaves(state)] for state in (left, right)]
    return len(leaves[0]) == len(leaves[1]) and all(map(np.array_equal, *leaves))
