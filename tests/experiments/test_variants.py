"""Variants of an exported run: what they are made of, what they are measured to lose, and what the service answers."""

import asyncio
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import export as command
from experiments.calibrate import calibrate
from experiments.experiment import Experiment
from experiments.model import Model, load_model
from experiments.variants import Recipe, cost, make, read_recipe
from experiments.variants.losses import Change, Losses
from experiments.variants.make import shared_dimensions
from experiments.variants.members import fewer_members
from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.posteriors import trained
from pnol_jax.scores import Estimate
from pnol_jax.servable import SCALE, Servable, flatten_operands, load_servable, quantise, restore
from serving.cache import Cache
from serving.engine import Engine
from serving.information import _describe, find_metadata
from serving.query import Options, Query
from serving.repository import Repository
from serving.service import Service
from serving.settings import Settings
from tests import smoothing
from tests.compiling import compiled_fast

pytestmark = pytest.mark.slow

MEMBERS, N = 3, 24
MORE = f"""
[posterior]
name = "ensemble"
members = {MEMBERS}
heteroscedastic = false
[export]
num_samples = 2
int8_entries = 64
"""
WRECKED = 1  # the member whose last layer is turned round


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """These programs run once or twice, and how long they take is nobody's concern here."""
    monkeypatch.setattr(cost, "in_turns", functools.partial(cost.in_turns, rounds=2))
    with compiled_fast():
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, `run`, and its servable `models/smoothing/1`."""
    folder = tmp_path_factory.mktemp("variants")
    experiment = smoothing.opened(smoothing.write_config(folder, MORE))
    smoothing.write_run(folder / "run", experiment)
    export(folder)
    return folder


@pytest.fixture(scope="module")
def experiment(home: Path) -> Experiment:
    return smoothing.opened(home / "config.toml")


def export(home: Path, *words: str) -> Servable:
    command.main([str(home / "run"), "--to", str(home / "models"), *words])
    newest = max((home / "models" / "smoothing").iterdir(), key=lambda path: int(path.name))
    return load_servable(newest)


def moments(servable: Servable, inputs: Any, experiment: Experiment) -> dict[str, Any]:
    """What its program answers to a batch of cases on the training grid."""
    grid = experiment.train.groups[0].grid
    operands = flatten_operands(stack_operands([make_operands(grid, experiment.bases)] * len(inputs)))
    return servable.compile((N,), "moments", len(inputs))(inputs, operands)


# --- what is asked for ---


def test_a_recipe_is_read_and_said_again() -> None:
    assert read_recipe(["int8", "members=2"]) == Recipe(members=2, int8=True)
    assert read_recipe(["bfloat16"]).words == ("bfloat16",)
    assert read_recipe(["int8", "bfloat16", "members=12"]).words == ("members=12", "bfloat16", "int8")


@pytest.mark.parametrize(
    "words", [[], ["int4"], ["int8", "int8"], ["members=1"], ["members=two"], ["members=2", "members=3"], ["members"]]
)
def test_what_is_no_recipe_is_refused(words: list[str]) -> None:
    with pytest.raises(InputError, match=r"--optimise: got .*expected 'bfloat16', 'int8' or 'members=K'"):
        read_recipe(words)


def test_what_cannot_be_made_is_refused(home: Path, experiment: Experiment, tmp_path: Path) -> None:
    refused = {
        "--max-loss 0.1": "--max-loss: expected with --optimise only",
        "--optimise int8 --max-loss -1": "--max-loss: got -1, expected at least 0",
        f"--optimise members={MEMBERS}": f"members: got {MEMBERS}, expected fewer than the {MEMBERS} that there are",
        f"--optimise int8 --to {tmp_path}": r"no version with the weights and buckets of .*experiments\.export",
    }
    for words, message in refused.items():
        with pytest.raises(InputError, match=message):
            command.main([str(home / "run"), "--to", str(home / "models"), *words.split()])
    alone = smoothing.opened(home / "config.toml", "posterior={name='deterministic'}")
    with pytest.raises(InputError, match=r"got posterior.name = 'deterministic', expected 'ensemble' or 'heads'"):
        fewer_members(alone, {}, 2)


def test_scales_belong_to_output_channels_and_modes(experiment: Experiment) -> None:
    axes = experiment.posterior.axes
    shapes = {name: value.shape for name, value in experiment.posterior.initial(0).items()}
    kernel = "operator.blocks.0.spectral.kernel"
    assert len(shapes[kernel]) == 5  # members, modes, input channels, real and imaginary, output channels
    assert shared_dimensions(axes[kernel], 5) == (2, 3)
    assert shared_dimensions(axes["operator.blocks.0.mlp.first.kernel"], 3) == (1,)
    assert shared_dimensions(axes["operator.lifting.kernel"], 3) == (1,)  # whose inputs have no name


# --- the members that stay ---


def test_a_member_that_is_wrong_is_left_out_and_other_cases_calibrate(home: Path, experiment: Experiment) -> None:
    model = load_model(home / "run", experiment)
    kernel = "operator.projection.second.kernel"
    params = model.params | {kernel: model.params[kernel].at[WRECKED].multiply(-50.0)}
    fewer, left, chosen = fewer_members(experiment, params, 2)
    assert sorted(chosen.members) == [0, 2]
    assert fewer.posterior.members == 2
    assert experiment.calibration is not None
    assert fewer.calibration is not None
    assert (chosen.cases, len(fewer.calibration)) == (30, 30)
    for name, value in trained(params).items():
        assert np.array_equal(left[name], value[np.asarray(chosen.members)])
    batch, grid, _ = next(fewer.one_pass(fewer.calibration))
    alone = [experiment.posterior.each(params, batch.inputs, grid, jax.random.key(0)).mean[i] for i in chosen.members]  # type: ignore[attr-defined]
    found = fewer.posterior.predict(left, batch.inputs, grid, jax.random.key(0))
    np.testing.assert_allclose(found.mean, np.mean(alone, axis=0), atol=1e-6)


# --- what is written ---


def test_int8_has_its_own_calibration_and_answers_what_the_library_does(home: Path, experiment: Experiment) -> None:
    made = export(home, "--optimise", "int8", "--max-loss", "9")
    name = "operator.blocks.0.spectral.kernel"
    assert made.weights[name].dtype == np.int8
    assert made.weights[SCALE + name].size * 8 * 2 == made.weights[name].size  # 8 channels in, two parts
    assert made.weights["operator.blocks.0.spectral.bias"].dtype == np.float32
    params, group = restore(made.weights), experiment.test[0].groups[0]
    calibrator = calibrate(experiment, params)
    assert calibrator is not None
    for key, value in calibrator.to_dict()[0].items():
        assert np.array_equal(np.ravel(made.weights[f"calibration.{key}"]), np.ravel(value))
    operands = jax.tree.map(jnp.asarray, stack_operands([make_operands(group.grid, experiment.bases)]))
    inputs = group.inputs[:1].astype(np.float32)
    model = Model(experiment.posterior, params, made.manifest.calibration)
    expected, found = model.predict(params, inputs, operands, jax.random.key(0)), moments(made, inputs, experiment)
    for name in ("mean", "epistemic", "lower", "upper"):
        value = getattr(expected, name)
        np.testing.assert_allclose(found[name], value, atol=1e-5 * float(jnp.abs(value).max()))
    _the_record_is_true(made, load_servable(home / "models" / "smoothing" / "1"), experiment)


def _the_record_is_true(made: Servable, base: Servable, experiment: Experiment) -> None:
    about, group = made.manifest.optimised, experiment.test[0].groups[0]
    assert about is not None
    assert about["of"] == {"name": "smoothing", "version": "1", "digest": base.digest}
    assert about["what"] == ["int8"]
    assert about["arithmetic"].startswith("products of float32, exact")
    (tested,) = about["tests"].values()
    for key, servable in (("before", base), ("after", made)):
        answer = moments(servable, group.inputs.astype(np.float32), experiment)
        square = ((answer["mean"] - group.outputs) ** 2).mean(axis=(1, 2))
        errors = np.sqrt(square / (group.outputs**2).mean(axis=(1, 2)))
        assert tested["scores"]["relative_l2"][key] == pytest.approx(errors.mean(), rel=1e-4)
        inside = (answer["lower"] <= group.outputs) & (group.outputs <= answer["upper"])
        assert tested["scores"]["band_coverage"][key] == pytest.approx(inside.mean(), abs=2e-3)
    before, after = about["cost"]["weights_bytes"]
    assert after < 0.5 * before
    assert [program["batch"] for program in about["cost"]["programs"]] == [1, 16]
    for program in about["cost"]["programs"]:
        assert all(peak > size for peak, size in zip(program["peak_bytes"], (before, after), strict=True))


def test_bfloat16_is_stored_and_multiplied_so_and_the_manifest_says_it(home: Path, experiment: Experiment) -> None:
    made = export(home, "--optimise", "bfloat16", "members=2", "--max-loss", "9", "--name", "smoothing")
    about = made.manifest.optimised
    assert about is not None
    assert about["what"] == ["members=2", "bfloat16"]
    assert "not those of exact float32" in about["arithmetic"]
    assert len(about["members"]["chosen"]) == 2
    assert about["members"]["by_cases"] == made.manifest.calibration["cases"] == 30  # type: ignore[index]
    stored = trained(made.weights)
    assert {str(value.dtype) for value in stored.values()} == {"bfloat16"}
    assert {value.shape[0] for value in stored.values()} == {2}
    assert all(set(program.platforms) == {"cpu", "cuda"} for program in made.programs.values())
    module = made.programs[(N,), "moments"].mlir_module()
    assert [line for line in module.splitlines() if "dot_general" in line and line.count("bf16") > 1]


def test_what_loses_too_much_is_refused_with_its_figures_and_nothing_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(values: Any, shared: tuple[int, ...]) -> Any:
        whole, scale = quantise(values, shared)
        return whole, 3 * scale

    monkeypatch.setattr(make, "quantise", wrong)
    before = sorted(home.glob("models/**/*"))
    said = r"--optimise int8: loses more than --max-loss 0.02: test@24: relative_l2 .* to .*; nothing was written"
    with pytest.raises(InputError, match=said):
        export(home, "--optimise", "int8")
    assert sorted(home.glob("models/**/*")) == before


@pytest.mark.parametrize(
    ("changes", "gaps", "said"),
    [
        ({"crps": 0.019, "relative_l2": -0.3}, {"coverage": 0.02}, []),
        ({"crps": 0.021, "relative_l2": 0.0}, {"coverage": 0.0}, ["t: crps"]),
        ({"crps": float("nan"), "relative_l2": 0.0}, {"coverage": 0.0}, ["t: crps"]),
        ({"crps": 0.0, "relative_l2": 0.0}, {"coverage": 0.03}, ["t: coverage"]),
        ({"crps": 0.0, "relative_l2": 0.0}, {"coverage": 0.0, "band_simultaneous_coverage": 0.06}, []),
        ({"crps": 0.0, "relative_l2": 0.0}, {"band_simultaneous_coverage": 0.08}, ["t: band_simultaneous_coverage"]),
    ],
)
def test_what_counts_as_too_much(changes: dict[str, float], gaps: dict[str, float], said: list[str]) -> None:
    """Intervals reach 0.05 to either side: of whole cases inside the band only what is beyond them counts."""

    def near(value: float) -> Estimate:
        return Estimate(value, value - 0.05, value + 0.05)

    found = {name: Change(1.0, 1.0 + value, near(value)) for name, value in (changes | gaps).items()}
    losses = Losses("t", 50, found, {name: near(gap) for name, gap in gaps.items()})
    over = losses.over(0.02)
    assert [entry.split(" ")[:2] for entry in over] == [entry.split(" ") for entry in said]


# --- the service ---


def test_the_service_answers_what_the_variant_answers_and_tells_what_it_is(home: Path, experiment: Experiment) -> None:
    models = home / "models"
    repository = Repository(Settings(str(models), batch_sizes=(1,), samples_batch_sizes=(1,)))
    repository.load()
    engine = Engine(queue_cases=4, operands_bytes=2**20, utilisation_window=60.0)
    try:
        service = Service(repository, engine, Cache(0), max_cases=2, deadline_seconds=60.0)
        entries = {entry.version: entry for entry in repository.entries()}
        told = [version for version, entry in entries.items() if _describe(entry, repository.catalogue)["optimised"]]
        assert told == [version for version in entries if version != "1"]
        for version, entry in entries.items():
            assert entry.state == "ready", entry.error
            assert entry.ladder is not None
            (vector,) = entry.ladder.servable.vectors
            options = Options(version=version, outputs=("mean", "interval"))
            answer = asyncio.run(service.answer(Query(options, vector.inputs)))
            near = entry.ladder.servable.manifest.tolerance
            for name in ("mean", "lower", "upper"):
                expected = vector.expected[name]
                np.testing.assert_allclose(answer.arrays[name], expected, atol=near * np.abs(expected).max())
            metadata = json.loads(json.dumps(find_metadata(service, "smoothing", version)))
            assert ("optimised" in metadata) == (version != "1")
    finally:
        engine.close()
