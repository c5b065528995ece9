"""Runs beside each other: which differences are real, what a prediction costs, one page with all of it."""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments import compare
from experiments.comparison import Comparison, compared, standings, write_comparison
from experiments.comparison.charts import binned, pareto_axes
from experiments.comparison.cost import front, in_turns, training_seconds
from experiments.comparison.opened import SharedCases, labels, open_runs
from experiments.comparison.score import SCORES, Score
from experiments.comparison.standings import Rated, difference
from experiments.report.words import number, percent
from pnol_jax.data import CaseGroup, CaseSet
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.scores import Estimate
from tests import smoothing
from tests.compiling import compiled_fast
from tests.experiments import test_rollout
from tests.experiments.test_report import Page

pytestmark = pytest.mark.slow

BY_NAME = {score.name: score for score in SCORES}
CRPS, COVERAGE = BY_NAME["crps"], BY_NAME["coverage"]
LEVEL = 0.9
CASES = 12


class Run:
    """As much of a run as standings ask for."""

    level, kind = LEVEL, "pointwise"


class Entry:
    """As much of a run's results as scores ask for."""

    def __init__(self, rollout: dict[str, Any] | None = None, **figures: Any) -> None:
        self.figures, self.rollout = figures, rollout


def cases_of(cases: int, times: int | None = None) -> SharedCases:
    grid = Grid((Axis.uniform(4, "periodic"),))
    lead = (cases,) if times is None else (cases, times)
    group = CaseGroup(grid, np.zeros((cases, 4, 1)), np.zeros((*lead, 4, 1)))
    return SharedCases("t", CaseSet((group,), None if times is None else 1.0))


def same_as_of_a_mean(found: Estimate, rows: Any) -> None:
    """The normal interval, as nearly as 1000 draws give its ends: 4 deviations of a quantile."""
    reach = 1.96 * rows.std(ddof=1) / math.sqrt(len(rows))
    assert found.value == pytest.approx(rows.mean())
    assert (found.low, found.high) == pytest.approx((rows.mean() - reach, rows.mean() + reach), abs=0.17 * reach)


def standing(score: Score, *rows: Any) -> list[Any]:
    entries: list[Any] = [Entry(**{score.parts[0]: row}) for row in rows]
    runs: list[Any] = [Run()] * len(rows)
    return standings.standings(score, runs, entries, cases_of(len(rows[0])))


# --- which differences are real ---


def test_the_interval_of_a_paired_difference_is_that_of_a_mean_of_differences() -> None:
    rng = np.random.default_rng(0)
    here, there = rng.normal(2.0, 1.0, 400), rng.normal(1.0, 0.5, 400)
    apart = here - there
    found = difference(CRPS, Rated(here, LEVEL), Rated(there, LEVEL))
    same_as_of_a_mean(found, apart)


def test_distances_to_a_level_differ_as_their_means_do_where_no_sign_is_in_doubt() -> None:
    rng = np.random.default_rng(1)
    far, near = rng.normal(0.5, 0.1, 400), rng.normal(0.8, 0.05, 400)
    apart = near - far  # |0.5 - 0.9| - |0.8 - 0.9|, case by case, since both means are below the level
    found = difference(COVERAGE, Rated(far, LEVEL), Rated(near, LEVEL))
    same_as_of_a_mean(found, apart)


def test_what_is_hard_for_all_runs_cancels_so_that_overlapping_intervals_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    hard = rng.lognormal(0.0, 1.0, 100)
    best, worse, same = (hard + rng.normal(shift, 0.05, 100) for shift in (0.0, 0.05, 0.0))
    first, second, third = standing(CRPS, best, worse, same)
    assert second.estimate.low < first.estimate.value < second.estimate.high
    assert [stand.best for stand in (first, second, third)].count(True) == 1
    assert not second.best
    assert not second.tied
    assert first.best or first.tied
    assert third.best or third.tied


def test_one_case_tells_nothing_apart() -> None:
    best, other = standing(CRPS, np.array([1.0]), np.array([2.0]))
    assert best.best
    assert other.tied


def test_the_run_that_is_best_is_among_the_best_and_the_tied_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(3)
    trials, held = 60, 0
    for _ in range(trials):
        found = standing(CRPS, *rng.normal(0.0, 1.0, (5, 30)))  # the hardest case: all five are equally good
        held += found[0].best or found[0].tied
    assert held >= 0.95 * trials - 2 * math.sqrt(trials * 0.95 * 0.05)


def test_coverage_is_ranked_by_its_distance_to_the_level_from_either_side() -> None:
    ones = np.zeros(100)
    rows = [ones + share for share in (0.97, 0.88, 0.80)]
    assert [stand.best for stand in standing(COVERAGE, *rows)] == [False, True, False]


def test_a_band_is_ranked_by_what_it_promises_and_width_not_at_all() -> None:
    rows = np.ones(10), np.zeros(10)
    for name in ("band_simultaneous_coverage", "band_width", "sharpness"):
        found = standing(BY_NAME[name], *rows)
        assert all(not stand.best and stand.behind is None for stand in found)
    assert any(stand.best for stand in standing(BY_NAME["band_coverage"], *rows))


def test_what_is_not_a_number_is_shown_and_not_ranked() -> None:
    bad, good, worse = standing(CRPS, np.full(9, np.nan), np.arange(9.0), np.arange(9.0) + 1)
    assert math.isnan(bad.estimate.value)
    assert (bad.best, bad.behind) == (False, None)
    assert good.best
    assert worse.behind.value == 1


def test_steps_of_a_trajectory_are_drawn_together() -> None:
    rng = np.random.default_rng(4)
    hard = np.repeat(rng.normal(1.0, 0.5, 50), 20)  # every case is as hard at each of its 20 steps
    entry: Any = Entry(rollout=None, rmse=hard, spread=np.ones(1000))
    test = cases_of(50, times=21)
    rows = BY_NAME["spread_skill"].rows(entry, test)
    assert rows is not None
    assert rows.shape == (50, 20, 2)
    by_case = standings.estimate(BY_NAME["spread_skill"], Rated(rows, LEVEL))
    by_step = standings.estimate(BY_NAME["spread_skill"], Rated(rows.reshape(1000, 2), LEVEL))
    assert by_case.value == pytest.approx(by_step.value)
    assert (by_case.high - by_case.low) / (by_step.high - by_step.low) == pytest.approx(math.sqrt(20), rel=0.25)


# --- cost ---


def test_nothing_beats_what_is_on_the_front_and_something_beats_the_rest() -> None:
    rng = np.random.default_rng(5)
    costs, losses = rng.integers(0, 6, (2, 30)).astype(float)
    losses[4] = np.nan
    found = front(costs, losses)

    def beaten(i: int) -> bool:
        return any(
            costs[j] <= costs[i] and losses[j] <= losses[i] and (costs[j], losses[j]) != (costs[i], losses[i])
            for j in range(30)
        )

    assert not any(beaten(i) for i in found)
    pairs = {(costs[i], losses[i]) for i in found}
    assert all(beaten(i) or (costs[i], losses[i]) in pairs for i in range(30) if i != 4)
    assert len(pairs) == len(found)
    assert 4 not in found


def test_calls_are_timed_in_turns_and_every_other_round_backwards() -> None:
    called: list[int] = []
    calls = [lambda i=i: called.append(i) for i in range(3)]
    timings = in_turns(calls, rounds=4)
    assert called[6:] == [0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0]
    assert all(timing.rounds == 4 and timing.low <= timing.median <= timing.high for timing in timings)


def test_training_is_the_sum_of_all_attempts(tmp_path: Path) -> None:
    assert training_seconds(tmp_path) is None
    kinds = ("start", "compile", "input", "step", "checkpoint", "other")
    attempts = [{"seconds": dict.fromkeys(kinds, size)} for size in (1.0, 2.0)]
    (tmp_path / "goodput.json").write_text(json.dumps({"attempts": attempts}))
    assert training_seconds(tmp_path) == 18


def test_groups_of_spread_and_skill_hold_all_cases_in_order() -> None:
    spread = np.random.default_rng(6).permutation(np.arange(1.0, 101.0))
    found = binned(spread, 2 * spread)
    np.testing.assert_allclose(found[1], 2 * found[0])
    assert np.all(np.diff(found[0]) > 0)
    assert np.mean(np.square(found[0])) == pytest.approx(np.mean(np.square(spread)))
    assert binned(np.ones(50), spread[:50]).shape == (2, 1)


# --- runs ---


@pytest.fixture(scope="module", autouse=True)
def _compile_fast() -> Iterator[None]:
    """These programs run a few times and are compiled for every run."""
    with compiled_fast():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one problem, "plain" and "several"."""
    folder = tmp_path_factory.mktemp("compare")
    config = smoothing.write_config(folder)
    for name, words in (("plain", ()), ("several", ('posterior={ name = "ensemble", members = 2 }',))):
        smoothing.write_run(folder / name, smoothing.opened(config, "name=same <i>name</i>", *words))
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Comparison:
    runs = [folder / "plain", folder / "several"]
    comparison = compared(runs, limit=CASES, baseline=folder / "plain")
    write_comparison(folder / "compare.html", comparison)
    return comparison


def test_the_page_needs_no_other_file_and_says_what_every_picture_shows(folder: Path, found: Comparison) -> None:
    page = Page((folder / "compare.html").read_text(encoding="utf-8"))
    inside = [source for source in page.sources if source and source.startswith("#")]
    assert {"#scores", "#cost", "#calibration", "#case", "#runs"} <= set(inside)
    assert "#rollout" not in inside
    assert {link.removeprefix("#") for link in inside} <= page.anchors
    assert page.sources == inside
    assert all(image["aria-label"] for image in page.images)
    assert "same <i>name</i> (several)" in page.words
    assert "i" not in page.tags


def test_a_run_that_draws_has_samples_on_the_page_and_one_that_does_not_says_so(
    folder: Path, found: Comparison
) -> None:
    page = Page((folder / "compare.html").read_text(encoding="utf-8"))
    first, second = found.shown
    assert first.samples is None
    assert second.samples is not None
    assert second.samples.shape == (2, 24)
    assert page.words.count("It draws no samples.") == 1
    np.testing.assert_array_equal(first.case.truth, second.case.truth)


def test_the_shown_case_is_the_first_run_s_median_as_it_was_scored(found: Comparison) -> None:
    first = found.tests[0].results[0]
    assert found.case == first.shown["median"]
    for shown, entry in zip(found.shown, found.tests[0].results, strict=True):
        error = np.sqrt(np.mean(np.square(shown.case.error)) / np.mean(np.square(shown.case.truth)))
        assert error == pytest.approx(entry.figures["relative_l2"][found.case], rel=1e-4)


def test_the_numbers_beside_the_page_are_those_on_it_and_those_of_evaluate(folder: Path, found: Comparison) -> None:
    numbers = json.loads((folder / "compare.json").read_text())
    words = Page((folder / "compare.html").read_text(encoding="utf-8")).words
    (test,) = numbers["tests"]
    assert test["cases"] == CASES
    assert test["digest"] == found.tests[0].test.digest
    for entry, run in zip(found.tests[0].results, numbers["runs"], strict=True):
        scores = test["scores"][run["label"]]
        for name in ("relative_l2", "crps", "spread_skill", "ause", "band_simultaneous_coverage"):
            low, high = entry.intervals()[name]
            assert (scores[name]["value"], scores[name]["low"], scores[name]["high"]) == pytest.approx(
                (entry.summary()[name], low, high)
            )
            write = percent if BY_NAME[name].share else number
            assert write(scores[name]["value"]) in words
        assert run["cost"]["moments"]["median"] > 0
    plain, several = (test["scores"][run["label"]] for run in numbers["runs"])
    assert [plain["crps"]["best"], several["crps"]["best"]].count(True) == 1
    assert several["crps"]["against"]["value"] == pytest.approx(several["crps"]["value"] - plain["crps"]["value"])
    assert "against" not in plain["crps"]
    assert "energy_score" not in plain
    assert set(numbers["pareto_front"]) <= set(found.labels)


def test_a_logarithmic_axis_of_cost_says_that_it_is_one(found: Comparison) -> None:
    axes = Figure().add_subplot(xlabel="time", ylabel="CRPS")
    costs = tuple(
        replace(cost, moments=replace(cost.moments, low=time, median=time, high=time))
        for cost, time in zip(found.costs, (1.0, 9.0), strict=True)
    )
    pareto_axes(axes, replace(found, costs=costs))
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "time (log)"
    assert axes.get_ylabel() == ("CRPS (log)" if axes.get_yscale() == "log" else "CRPS")


def test_the_picture_is_one_svg_that_needs_no_other_file(folder: Path, found: Comparison) -> None:
    picture = ElementTree.parse(folder / "compare.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    links = [value for node in picture.iter() for name, value in node.attrib.items() if name.endswith("href")]
    assert all(link.startswith(("#", "data:")) for link in links)


def test_step_models_are_compared_by_lead_time_and_by_draws_where_there_are_some(tmp_path: Path) -> None:
    test_rollout.write_trajectories(tmp_path / "train.npz", 60, 5)
    test_rollout.write_trajectories(tmp_path / "test.npz", 6, 9)
    (tmp_path / "config.toml").write_text(test_rollout.CONFIG.format(folder=tmp_path))
    for name in ("deterministic", "coloured"):
        words = (f'posterior={{ name = "{name}" }}', f"name={name}", "calibration.steps=[]", "export.num_samples=4")
        smoothing.write_run(tmp_path / name, smoothing.opened(tmp_path / "config.toml", *words))
    page = tmp_path / "page.html"
    assert compare.main([str(tmp_path / "deterministic"), str(tmp_path / "coloured"), "--out", str(page)]) == 0
    (test,) = json.loads(page.with_suffix(".json").read_text())["tests"]
    mean, draws = test["scores"]["deterministic"], test["scores"]["coloured"]
    assert test["cases"] == 6
    assert mean["rollout_relative_l2"]["value"] == pytest.approx(draws["rollout_relative_l2"]["value"], rel=1e-4)
    assert draws["rollout_relative_l2"]["best"] != mean["rollout_relative_l2"]["best"]
    assert "rollout_draws_crps" in draws
    assert "rollout_draws_crps" not in mean
    assert "Rollout" in Page(page.read_text(encoding="utf-8")).words


# --- what cannot be compared ---


def copied(folder: Path, to: Path, old: str = "", new: str = "") -> Path:
    shutil.copytree(folder / "plain", to)
    config = to / "config.toml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    return to


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('outputs = [\n    "u",\n]', 'outputs = ["a"]', "data.outputs: got .'a'., but .'u'. in"),
        ("length = 1.0", "length = 2.0", "data.axes: got"),
        ('precision = "float32"', 'precision = "float64"', "float64, but float32 in"),
        ("/test.npz", "/train.npz", "tested on train .24., 160 cases, SHA-256"),
    ],
)
def test_runs_of_other_problems_are_refused_by_both_names(
    folder: Path, tmp_path: Path, old: str, new: str, said: str
) -> None:
    other = copied(folder, tmp_path / "other", old, new)
    with pytest.raises(InputError, match=said) as refused:
        open_runs([folder / "plain", other])
    assert str(other) in str(refused.value)
    assert str(folder / "plain") in str(refused.value)


def test_an_unfinished_run_and_a_missing_one_are_named(folder: Path, tmp_path: Path) -> None:
    other = copied(folder, tmp_path / "other")
    (other / "model.safetensors").unlink()
    with pytest.raises(InputError, match="other: no model\\.safetensors: training has not finished"):
        open_runs([folder / "plain", other])
    with pytest.raises(InputError, match="nowhere holds no run"):
        open_runs([folder / "plain", tmp_path / "nowhere"])


def test_one_run_and_one_named_twice_are_no_comparison(folder: Path) -> None:
    with pytest.raises(InputError, match="got 1, expected at least 2; experiments\\.evaluate reports on one"):
        open_runs([folder / "plain"])
    with pytest.raises(InputError, match="which are one folder"):
        open_runs([folder / "plain", folder / "several", folder / "several" / ".." / "plain"])


def test_what_cannot_be_asked_is_refused_before_anything_is_read(folder: Path, tmp_path: Path) -> None:
    runs = [str(folder / "plain"), str(folder / "several")]
    with pytest.raises(InputError, match=r"--out: got .*compare\.json, expected a file that ends in \.html"):
        compare.main([*runs, "--out", str(tmp_path / "compare.json")])
    with pytest.raises(InputError, match="--cases: got 1, expected at least 2"):
        compare.main([*runs, "--out", str(tmp_path / "compare.html"), "--cases", "1"])


def test_runs_of_one_name_are_told_apart_by_their_folders() -> None:
    folders = [Path("runs/a/x"), Path("runs/b/x"), Path("other/y")]
    assert labels(["n", "n", "m"], folders) == ["n (a/x)", "n (b/x)", "m"]


def test_runs_are_compared_on_the_test_sets_that_all_have(folder: Path, tmp_path: Path) -> None:
    test = str(folder / "test.npz")
    more = copied(folder, tmp_path / "more", f'"{test}",', f'"{folder}/train.npz", "{test}",')
    together = open_runs([more, folder / "plain"], limit=5)
    assert [one.title for one in together.tests] == ["test (24)"]
    assert len(together.tests[0].cases) == 5
    assert together.left_out == ("train (24)",)
