"""What `benchmarks.uq` makes of its measurements: steps, rows that are kept, headline figures."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import pytest

from benchmarks import uq_rows
from benchmarks.uq_calibrated import MEANS, over_splits, summary
from benchmarks.uq_figures import headline, shift_table, table
from benchmarks.uq_problems import CONFIGS, POSTERIORS, PROBLEMS, chosen, shrunk
from benchmarks.uq_rows import Row, Shift, as_figures
from benchmarks.uq_scores import KINDS, Noisy
from benchmarks.uq_shifts import SHIFTS
from benchmarks.uq_training import LEAST, MARGIN, MOST, SHARES, Base, Cost, Pace, paced, steps_for, training_cost
from experiments.simulation import make_plan
from pnol_jax import toml
from pnol_jax.data.simulators import SIMULATORS
from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive
from pnol_jax.scores import Estimate


def a_row(posterior: str, crps: float = 1.0, coverage: float = 0.9, **changes: Any) -> Row:
    coverages = [f"coverage_{kind}{over}" for kind in KINDS for over in ("", "_over_splits")]
    names = [*MEANS, *coverages, "ause"]
    values = {name: crps if name == "crps" else coverage for name in names}
    row = Row(
        problem="darcy",
        posterior=posterior,
        settings="s",
        steps=5,
        training_seconds=10.0,
        fit_seconds=0.0,
        cost=1.0,
        base_seconds=10.0,
        prediction_seconds=2.0,
        cases=4,
        tasks={"darcy": as_figures({name: Estimate(value, value, value) for name, value in values.items()})},
        crps={"darcy": [crps] * 4},
    )
    return msgspec.structs.replace(row, **changes)


def test_the_steps_that_are_paid_for_cost_no_more_than_is_allowed() -> None:
    cost = Cost(compiling=8.0, step=0.05)
    steps = steps_for(100.0, cost, others=20.0)
    assert cost.compiling + 20.0 + steps * cost.step <= MARGIN * 100.0
    assert cost.compiling + 20.0 + (steps + 1) * cost.step > MARGIN * 100.0
    assert steps_for(5.0, cost) == LEAST


def test_every_posterior_has_an_overlay_and_a_share_of_the_cost_that_is_allowed() -> None:
    assert set(SHARES) == {path.stem for path in (CONFIGS / "posteriors").glob("*.toml")}
    assert max(SHARES.values()) == MOST


def test_a_row_that_is_kept_is_read_again_with_what_was_not_a_number(tmp_path: Path) -> None:
    row = a_row("flow", crps=math.nan, shifts={"one": Shift(0.5, None, "refused")})
    row = msgspec.structs.replace(row, crps={"darcy": [1.0, None]})
    uq_rows.write(tmp_path, row)
    again = uq_rows.read(tmp_path, "darcy", "flow", "s")
    assert again == row
    assert math.isnan(again.figures("darcy")["crps"].value)


def test_rows_of_other_settings_or_half_written_ones_are_made_again(tmp_path: Path) -> None:
    uq_rows.write(tmp_path, a_row("flow"))
    assert uq_rows.read(tmp_path, "darcy", "flow", "other") is None
    assert uq_rows.read(tmp_path, "darcy", "pno", "s") is None
    file = uq_rows.place(tmp_path, "darcy", "flow")
    file.write_bytes(file.read_bytes()[:40])
    assert uq_rows.read(tmp_path, "darcy", "flow", "s") is None


def test_settings_tell_configs_apart() -> None:
    problem = PROBLEMS["darcy"]
    words: tuple[list[str], ...] = ([], ["training.seed=1"], ["posterior.draws=3"])
    assert len({uq_rows.digest(problem.config("dropout", each)) for each in words}) == 3


def figures_of_cases(cases: int, seed: int, width: float = 1.0) -> dict[str, Any]:
    """Of cases whose errors are `width` times what is said, each quantile of conformity a Gaussian's."""
    rng = np.random.default_rng(seed)
    errors = np.sort(np.abs(width * rng.standard_normal((cases, 1000))), axis=1)
    plain = {name: np.abs(rng.standard_normal(cases)) for name in (*MEANS, "rmse", "spread")}
    return plain | {"pointwise": errors, "simultaneous": errors[:, -1:]}


def test_a_posterior_that_is_too_sure_is_right_after_calibration() -> None:
    found = summary(figures_of_cases(200, 0, width=3.0), figures_of_cases(300, 1, width=3.0))
    assert found["coverage_pointwise"].value == pytest.approx(0.9, abs=0.01)
    # the share of 300 cases, and its own deviation over calibration sets of 200
    assert found["coverage_simultaneous"].value == pytest.approx(0.9, abs=4 * math.sqrt(0.09 * (1 / 200 + 1 / 300)))


def test_over_many_splits_the_coverage_is_the_level_more_nearly_than_over_one() -> None:
    held, asked = (figures_of_cases(cases, seed)["simultaneous"] for cases, seed in ((100, 0), (400, 1)))
    found = over_splits(held, asked, "simultaneous")
    assert found.value == pytest.approx(0.9, abs=0.02)
    assert found.low < 0.9 < found.high


def test_a_prediction_that_left_the_finite_numbers_has_no_figures_and_breaks_nothing() -> None:
    held, asked = figures_of_cases(50, 0), figures_of_cases(50, 1)
    for values in asked.values():
        values[3] = np.nan
    found = summary(held, asked)
    assert all(math.isnan(figure.value) for figure in found.values())


def by_name(rows: list[Row]) -> dict[str, float]:
    return {figure.name: figure.value for figure in headline(rows)}


def test_the_headline_is_the_worst_of_all_rows() -> None:
    rows = [
        a_row("deterministic", crps=1.5, coverage=0.88),
        a_row("ensemble", crps=1.0, coverage=0.95, cost=2.9, prediction_seconds=11.0),
        a_row("laplace", crps=0.8, coverage=0.9, cost=1.1, fit_seconds=1.0, prediction_seconds=3.0),
    ]
    found = by_name(rows)
    assert found["coverage_gap_max"] == pytest.approx(0.05)
    assert found["best_crps_vs_ensemble"] == pytest.approx(0.8)
    assert found["best_crps_vs_ensemble_darcy"] == pytest.approx(0.8)
    assert found["laplace_cost_ratio"] == pytest.approx(14 / 40)
    assert found["laplace_cost_ratio_once_trained"] == pytest.approx(4 / 40)
    assert found["training_cost_max"] == pytest.approx(2.9)
    met = {figure.name: figure.met for figure in headline(rows)}
    assert [met["coverage_gap_max"], met["laplace_cost_ratio"]] == [False, False]
    assert [met["best_crps_vs_ensemble"], met["laplace_cost_ratio_once_trained"]] == [True, True]
    slower = [rows[0], msgspec.structs.replace(rows[1], base_seconds=20.0), rows[2]]  # the machine was, beside it
    assert by_name(slower)["laplace_cost_ratio"] == pytest.approx((1.1 + 0.3) / (2.9 + 11 / 20))
    assert found["not_finite"] == 0


def test_a_machine_that_is_slower_from_pair_to_pair_changes_no_cost() -> None:
    slowness = 1.0

    def own_step() -> float:
        nonlocal slowness
        slowness *= 1.1
        return 0.3 * slowness

    own: Any = SimpleNamespace(compiling=8.0, step=own_step)
    clock: Any = SimpleNamespace(compiling=2.0, step=lambda: 0.1 * slowness)
    pace = paced(own, clock)
    assert pace.step / pace.base == pytest.approx(3)
    base, still = Base(clock, steps=900, fit_seconds=5.0), Pace(0.3, 0.1)
    assert base.seconds(still.base) == pytest.approx(2 + 90 + 5)
    steps = steps_for(MOST * base.seconds(still.base), Cost(own.compiling, still.step))
    assert training_cost(own, steps, 0.0, base, still) == pytest.approx(MARGIN * MOST, abs=0.3 / 97)
    assert training_cost(clock, base.steps, base.fit_seconds, base, Pace(0.1, 0.1)) == pytest.approx(1)


def test_what_blew_up_is_counted_and_hides_no_other_figure() -> None:
    blown = a_row("flow", crps=math.nan, coverage=math.nan)
    found = by_name([a_row("ensemble"), a_row("pno", crps=0.7, coverage=0.93), blown])
    assert found["not_finite"] == 1
    assert found["coverage_gap_max"] == pytest.approx(0.03)
    assert found["best_crps_vs_ensemble"] == pytest.approx(0.7)


def test_only_shifts_of_the_inputs_count() -> None:
    [counts, *_], [silent, *_] = (
        [name for name, shift in SHIFTS["burgers"].items() if bool(shift.why) is hidden] for hidden in (False, True)
    )
    row = a_row("laplace", problem="burgers", shifts={counts: Shift(0.97, 0.1), silent: Shift(0.5, 0.2)})
    assert by_name([row])["ood_auroc_min"] == pytest.approx(0.97)
    refused = a_row("ensemble", problem="burgers", shifts={counts: Shift(None, None, "why")})
    assert all(math.isnan(by_name(rows)["ood_auroc_min"]) for rows in ([row, refused], [refused, row]))


def test_tables_have_a_line_for_each_row_and_each_shift() -> None:
    row = a_row("laplace", shifts={"64 points": Shift(0.5, 0.1), "8 points": Shift(None, None, "too few")})
    assert table([row, a_row("flow", crps=math.nan)], "darcy").row_count == 2
    assert shift_table([row], "darcy").row_count == len(SHIFTS["darcy"])


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_shift_is_a_problem_that_the_simulator_knows(name: str) -> None:
    problem, *parameters = PROBLEMS[name].simulator
    for shift in SHIFTS[name].values():
        schema = SIMULATORS[problem]
        simulator = toml.parse(toml.overridden({}, [*parameters, *shift.words], schema), schema, problem)
        assert make_plan(simulator, problem, 1, [8], 0, None).parameters


def test_draws_of_a_gaussian_have_its_moments() -> None:
    mean, variance = jnp.linspace(-1, 1, 5).reshape(1, 5, 1), jnp.linspace(0.5, 2, 5).reshape(1, 5, 1)
    base: Any = SimpleNamespace(predict=lambda *_: Predictive(mean, variance, jnp.zeros_like(mean)))
    samples = Noisy(base).predict({}, mean, None, jax.random.key(0), num_samples=4000).samples  # type: ignore[arg-type]
    assert samples is not None
    np.testing.assert_allclose(samples.mean(0), mean, atol=5 * math.sqrt(2 / 4000))
    np.testing.assert_allclose(samples.var(0), variance, rtol=5 * math.sqrt(2 / 4000))


def test_a_name_that_is_not_known_is_refused() -> None:
    assert chosen([], POSTERIORS, "posteriors") == list(POSTERIORS)
    with pytest.raises(InputError, match="--posteriors: got 'swagg', expected some of deterministic"):
        chosen(["swagg"], POSTERIORS, "posteriors")


def test_the_quick_form_keeps_the_kind_of_problem() -> None:
    for problem in PROBLEMS.values():
        assert len(shrunk(problem).tasks()) == len(problem.tasks())
        assert shrunk(problem).data() != problem.data()
