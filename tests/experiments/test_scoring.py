"""Powers of draws by wave number, and the figures of a test set with their intervals."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import results as made
from experiments.scoring import sample_power
from experiments.spectrum import Spectrum, make_shells
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive

GRID = Grid((Axis.uniform(15), Axis.uniform(12, "bounded", 1.0, "centre")))


@pytest.mark.parametrize("m", [2, 5])
@pytest.mark.usefixtures("x64")
def test_the_spread_of_true_draws_is_the_error_of_their_mean_at_every_wave_number(m: int) -> None:
    cases = 3000
    fields = jnp.asarray(np.random.default_rng(m).normal(size=(m + 1, cases, 15, 12, 1)))
    drawn = Predictive(fields[1:].mean(axis=0), 0 * fields[0], 0 * fields[0], fields[1:])
    found = jax.jit(sample_power)(drawn, fields[0], make_shells(GRID, GRID.shape))
    spread, error = (np.asarray(found[name])[..., 0] for name in ("spread", "sample_error"))
    off = (spread - error) / spread.mean(axis=0)
    assert np.all(np.abs(off.mean(axis=0)) < 4 * off.std(axis=0) / np.sqrt(cases))
    np.testing.assert_allclose(found["samples"].sum(axis=1).mean(), 1, atol=0.01)


def results(cases: int, steps: int = 1) -> made.TestResults:
    rng = np.random.default_rng(0)
    rmse = rng.exponential(size=cases)
    figures = {"relative_l2": rmse / 2, "rmse": rmse, "spread": rmse * rng.uniform(0.5, 1.5, cases)}
    figures = {name: np.repeat(values, steps) for name, values in figures.items()}
    regions, spectrum = np.array([[0.9], [0.4], [np.nan]]), Spectrum(np.arange(3.0), 3, {})
    return made.TestResults("test", GRID, figures, np.zeros(19), np.zeros(10), regions, spectrum, {}, {}, steps=steps)


def test_every_figure_has_an_interval_that_holds_it() -> None:
    entry = results(200)
    summary, intervals = entry.summary(), entry.intervals()
    assert set(summary) - set(intervals) == {"coverage_worst_region"}
    assert summary["coverage_worst_region"] == 0.4
    assert {"spearman", "ause", "spread_skill", "relative_l2_median"} <= set(intervals)
    for name, (low, high) in intervals.items():
        assert low < summary[name] < high, name
    assert intervals == results(200).intervals()
    assert json.loads(json.dumps(intervals))["rmse"] == list(intervals["rmse"])


def test_steps_that_repeat_each_other_make_no_figure_surer() -> None:
    """Trajectories are drawn whole, so twenty equal steps of each leave every figure and interval as it was."""
    once, often = results(100), results(100, steps=20)
    for name in ("rmse", "relative_l2_median", "spread_skill"):
        assert often.summary()[name] == pytest.approx(once.summary()[name])
        np.testing.assert_allclose(often.intervals()[name], once.intervals()[name], rtol=1e-6)
    assert results(1, steps=20).intervals() == {}


def test_a_single_case_has_figures_and_no_intervals() -> None:
    entry = results(1)
    assert entry.intervals() == {}
    assert entry.summary()["rmse"] == entry.figures["rmse"][0]
