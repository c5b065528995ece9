"""Risks of a config: refused where the posterior cannot know them, evaluated against the truth, and served."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import evaluate, export
from experiments.calibrate import calibrate
from experiments.model import Model, load_model
from experiments.risks import check_risks, risks_of
from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.posteriors.deterministic import Deterministic
from pnol_jax.servable import case_keys, flatten_operands, load_servable
from tests import smoothing

RISKS = """
[calibration]
kind = "none"
[[risk]]
name = "left"
box = [[0.0, 0.5]]
threshold = 0.1
[[risk]]
name = "peak"
statistic = "largest"
threshold = 1.0
level = 0.8
[[risk]]
name = "high"
statistic = "share"
threshold = 0.5
"""
ENSEMBLE = '[posterior]\nname = "ensemble"\nmembers = 3\n'


class Exact(Deterministic):
    """The noise at each point taken as independent: a posterior that knows its functionals."""

    def functional(self, params: Any, inputs: Any, grid: Any, weights: Any) -> Any:
        predictive = self.predict(params, inputs, grid, jax.random.key(0))
        shares = (weights if weights.ndim == 4 else weights[:, None]) * grid.weights()[..., None]
        mean = jnp.sum(shares * predictive.mean, axis=(2, 3)).T
        noise = jnp.sum(shares**2 * predictive.aleatoric, axis=(2, 3)).T
        return mean, noise, 0 * noise


def test_risks_are_served_by_the_answer_that_knows_them(tmp_path: Path) -> None:
    experiment = smoothing.opened(smoothing.write_config(tmp_path, RISKS + ENSEMBLE))
    check_risks(experiment)
    run = smoothing.write_run(tmp_path / "run", experiment)
    servable = load_servable(export.export(run, tmp_path / "models"))
    answers = {figure.name: figure.answer for figure in servable.manifest.signature.figures}
    assert answers["high.mean"] == "moments"
    names = (f"{risk}.{part}" for risk in ("left", "peak") for part in ("mean", "std", "tail", "exceedance"))
    assert {answers[name] for name in names} == {"samples"}
    group = experiment.test[0].groups[0]
    operands = flatten_operands(stack_operands([make_operands(group.grid, experiment.bases)]))
    drawn = servable.compile((24,), "samples", 1)(group.inputs[:1], operands, case_keys(3, 1))
    fields = drawn["samples"][0, :, :, 0]
    np.testing.assert_allclose(drawn["left.mean"], [fields[:, :12].mean()], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(drawn["peak.exceedance"], [np.mean(fields.max(axis=1) > 1)])


@pytest.mark.slow
def test_risks_are_scored_against_the_truth_and_shown(tmp_path: Path) -> None:
    experiment = smoothing.opened(smoothing.write_config(tmp_path, RISKS + ENSEMBLE))
    run = smoothing.write_run(tmp_path / "run", experiment)
    page = evaluate.evaluate(run).read_text()
    found = json.loads((run / "metrics.json").read_text())["tests"]["test@24"]
    truth = np.asarray(experiment.test[0].groups[0].outputs)[..., 0]
    assert found["left.truth"] == pytest.approx(truth[:, :12].mean(), abs=1e-5)
    assert found["peak.exceeded"] == pytest.approx(np.mean(truth.max(axis=1) > 1))
    assert {"left.error", "left.coverage", "left.brier", "peak.tail", "high.error"} <= set(found)
    assert "left: mean of u over its box, threshold 0.100" in page


def test_a_posterior_with_exact_functionals_needs_no_draws(tmp_path: Path) -> None:
    experiment = smoothing.opened(smoothing.write_config(tmp_path, RISKS.replace('"largest"', '"mean"')))
    fields = {field.name: getattr(experiment.posterior, field.name) for field in dataclasses.fields(Deterministic)}
    known = dataclasses.replace(experiment, posterior=Exact(**fields))
    check_risks(known)
    model = Model(known.posterior, smoothing.untrained(known), None, None, risks_of(known))
    ((batch, grid, _),) = known.one_pass(known.test[0], 32)
    predictive = jax.jit(model.predict)(model.params, batch.inputs, grid, jax.random.key(0))
    assert predictive.figures is not None
    left = predictive.mean[:, :12, 0].mean(axis=1)
    np.testing.assert_allclose(predictive.figures["left.mean"], left, atol=1e-5)
    std = np.sqrt(predictive.aleatoric[:, :12, 0].sum(axis=1)) / 12
    np.testing.assert_allclose(predictive.figures["left.std"], std, rtol=1e-4)


@pytest.mark.parametrize("calibration", ["none", "scaled"])
def test_a_caller_s_functional_is_that_of_the_config(tmp_path: Path, calibration: str) -> None:
    steps = '[calibration]\nsteps = [{ name = "variance" }]\n' if calibration == "scaled" else ""
    risks = RISKS.replace('"largest"', '"mean"')
    risks = risks.replace('[calibration]\nkind = "none"\n', steps) if steps else risks
    experiment = smoothing.opened(smoothing.write_config(tmp_path, risks))
    fields = {field.name: getattr(experiment.posterior, field.name) for field in dataclasses.fields(Deterministic)}
    known = dataclasses.replace(experiment, posterior=Exact(**fields))
    params = smoothing.untrained(known)
    calibrator = calibrate(known, params)
    assert (calibrator is not None) == bool(steps)
    arrays, guarantee = calibrator.to_dict() if calibrator else ({}, None)
    weights = params | {f"calibration.{name}": value for name, value in arrays.items()}
    model = Model(known.posterior, weights, guarantee, None, risks_of(known))
    ((batch, grid, _),) = known.one_pass(known.test[0], 32)
    figures = jax.jit(model.predict)(weights, batch.inputs, grid, jax.random.key(0)).figures
    assert figures is not None
    of = np.zeros((len(batch.inputs), 24, 1), np.float32)
    of[:, :12] = 2.0  # the mean over a half
    mean, variance = jax.jit(model.functional)(weights, batch.inputs, grid, of)
    np.testing.assert_allclose(mean, figures["left.mean"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.sqrt(variance), figures["left.std"], rtol=1e-4)
    nothing = jax.jit(model.functional)(weights, batch.inputs, grid, 0 * of)
    np.testing.assert_allclose(nothing[1], 0)


@pytest.mark.slow
def test_laplace_serves_its_exact_functionals_without_drawing(tmp_path: Path) -> None:
    laplace = '[posterior]\nname = "laplace"\ncache = ""\n'
    experiment = smoothing.opened(smoothing.write_config(tmp_path, RISKS.replace('"largest"', '"mean"') + laplace))
    run = smoothing.write_run(tmp_path / "run", experiment)
    servable = load_servable(export.export(run, tmp_path / "models"))
    assert {figure.answer for figure in servable.manifest.signature.figures} == {"moments"}
    group, model = experiment.test[0].groups[0], load_model(run, experiment)
    operands = stack_operands([make_operands(group.grid, experiment.bases)])
    inputs = jnp.asarray(group.inputs[:1])
    answer = servable.compile((24,), "moments", 1)(inputs, flatten_operands(operands))
    left = jnp.zeros((1, 1, 24, 1)).at[:, :, :12].set(2.0)
    mean, noise, doubt = experiment.posterior.functional(model.params, inputs, operands, left)  # type: ignore[attr-defined]
    np.testing.assert_allclose(answer["left.mean"], mean[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer["left.std"], np.sqrt(noise + doubt)[:, 0], rtol=1e-3)
    assert "functional" in servable.manifest.signature.answers
    weights = np.random.default_rng(0).normal(size=(5, 24, 1)).astype(np.float32)
    five = {name: np.repeat(leaf, 5, axis=0) for name, leaf in flatten_operands(operands).items()}
    found = servable.compile((24,), "functional", 5)(np.repeat(inputs, 5, axis=0), five, weights)
    mean, noise, doubt = experiment.posterior.functional(model.params, inputs, operands, weights)  # type: ignore[attr-defined]
    np.testing.assert_allclose(found["functional.mean"], mean[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["functional.std"], np.sqrt(noise + doubt)[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"risk\[0\]: the mean over a region does not follow .* 'deterministic' gives; expected a posterior that"),
        (["posterior.name=ensemble", "export.num_samples=4"], r"export.num_samples: got 4, expected at least 10"),
        (['risk=[{name="a", output="v"}]'], r"risk\[0\].output: got 'v', expected one of \['u'\]"),
        (['risk=[{name="a", box=[[0.5, 1.5]]}]'], r"risk\[0\].box: got .*, expected intervals within the axes"),
        (['risk=[{name="a", box=[[0, 1], [0, 1]]}]'], r"risk\[0\].box: got 2 intervals, expected 1"),
        (['risk=[{name="a"}, {name="a"}]'], r"names \['a', 'a'\], expected each once"),
        (['risk=[{name="a b"}]'], r"risk\[0\].name: got 'a b'"),
        (['risk=[{name="a", statistic="share"}]'], "statistic = 'share' without a threshold"),
    ],
)
def test_what_cannot_be_known_is_refused_before_training(tmp_path: Path, words: list[str], message: str) -> None:
    path = smoothing.write_config(tmp_path, RISKS)
    with pytest.raises(InputError, match=message):
        check_risks(smoothing.opened(path, *words))
