"""The detector of strange inputs in a run: refused beforehand, saved with the model, evaluated and served."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import evaluate, export
from experiments.inputs import read_inputs
from experiments.model import load_model
from experiments.strangeness import check_strangeness
from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.ood import auroc
from pnol_jax.servable import flatten_operands, load_servable
from tests import smoothing

pytestmark = pytest.mark.slow

OOD = '[calibration]\nkind = "none"\n[ood]\nfalse_alarm = 0.1\n'


@pytest.mark.parametrize("posterior", ["deterministic", "ensemble"])
def test_a_run_tells_strange_inputs_and_so_does_its_servable(tmp_path: Path, posterior: str) -> None:
    more = OOD + f'[posterior]\nname = "{posterior}"\n' + ("members = 2\n" if posterior == "ensemble" else "")
    experiment = smoothing.opened(smoothing.write_config(tmp_path, more))
    run = smoothing.write_run(tmp_path / "run", experiment)
    model = load_model(run, experiment)
    assert model.alarm is not None
    assert ("epistemic" in model.alarm["components"]) == (posterior == "ensemble")
    smoothing.write_cases(tmp_path / "large.npz", 30, 1, 5.0, outputs=False)
    predict, answers = jax.jit(model.predict), []
    for cases in (experiment.test[0], read_inputs(experiment, [str(tmp_path / "large.npz")])):
        ((batch, grid, mask),) = experiment.one_pass(cases, 32)
        figures = predict(model.params, batch.inputs, grid, jax.random.key(0)).figures
        assert figures is not None
        answers.append(np.asarray(figures["ood"])[np.asarray(mask) > 0])
    usual, large = answers
    assert np.mean(usual >= 0.9) < 0.1 + 3 * np.sqrt(0.09 / 30)
    assert auroc(usual, large) > 0.95
    exported = export.export(run, tmp_path / "models")
    assert exported == tmp_path / "models" / experiment.config.name / "1"
    servable = load_servable(exported)
    assert servable.manifest.alarm == model.alarm
    operands = stack_operands([make_operands(cases.groups[0].grid, experiment.bases)])
    answer = servable.compile((24,), "moments", 1)(cases.groups[0].inputs[:1], flatten_operands(operands))
    np.testing.assert_allclose(answer["ood"], large[:1], atol=1e-3)


@pytest.mark.slow
def test_the_share_of_alarms_on_each_test_set_is_told(tmp_path: Path) -> None:
    path = smoothing.write_config(tmp_path, OOD)
    smoothing.write_cases(tmp_path / "large.npz", 30, 1, 5.0)
    experiment = smoothing.opened(path, f'data.test=["{tmp_path}/test.npz", "{tmp_path}/large.npz"]')
    run = smoothing.write_run(tmp_path / "run", experiment)
    page = evaluate.evaluate(run).read_text()
    tests = json.loads((run / "metrics.json").read_text())["tests"]
    assert tests["test@24"]["ood_alarm"] < 0.3 < 0.7 < tests["large@24"]["ood_alarm"]
    assert "taken for strange" in page


def test_too_few_cases_are_refused_before_training(tmp_path: Path) -> None:
    config = smoothing.opened(smoothing.write_config(tmp_path, OOD), "data.calibration=18").config
    with pytest.raises(InputError, match=r"got 18 cases, expected at least 19, which ood.false_alarm = 0.1 needs"):
        check_strangeness(config)
