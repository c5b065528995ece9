"""Ranking a pool: what is chosen is what the score says, and what cannot be scored is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments import acquire, acquisition
from pnol_jax.errors import InputError
from tests import smoothing

MORE = """
[calibration]
kind = "none"
[posterior]
name = "{name}"
[[risk]]
name = "left"
statistic = "{statistic}"
threshold = 0.1
box = [[0.0, 0.5]]
"""


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensemble")
    path = smoothing.write_config(folder, MORE.format(name="ensemble", statistic="mean"))
    rows = np.load(folder / "new.npz")["a"][:20]
    np.savez(folder / "pool.npz", a=np.concatenate([rows, 6 * rows[:5]]))  # the last five are far outside
    return smoothing.write_run(folder / "run", smoothing.opened(path))


def chosen(run: Path, *words: str) -> tuple[list[int], np.ndarray]:
    assert acquire.main([str(run), str(run.parent / "pool.npz"), *words]) == 0
    written = json.loads((run / "acquired.json").read_text())
    assert [entry["score"] for entry in written["chosen"]] == [written["scores"][e["case"]] for e in written["chosen"]]
    return [entry["case"] for entry in written["chosen"]], np.asarray(written["scores"])


@pytest.mark.parametrize("score", ["variance", "badge", "lcmd"])
def test_cases_unlike_any_other_are_chosen_first(ensemble: Path, score: str) -> None:
    cases, scores = chosen(ensemble, "--count", "3", "--score", score, "--parameters", "operator.projection*")
    assert len(scores) == 25
    assert len(set(cases)) == 3
    assert cases[0] >= 20


@pytest.mark.parametrize(
    ("score", "order"), [("variance", "the largest score first"), ("lcmd", "each chosen given those before it")]
)
def test_the_table_says_what_the_score_is_and_that_the_order_counts(score: str, order: str) -> None:
    asking = acquisition.Asking(score, 2)
    said = acquire._table(acquisition.Acquired(asking, "pool", "", np.array([1.0, 3.0, 2.0]), np.array([1, 2]))).caption
    assert said == f"Score: {acquire.MEANINGS[score]}. In the order in which to simulate them: {order}"
    assert acquire.MEANINGS.keys() == acquisition.SCORES.keys()


def test_by_their_variance_cases_are_in_the_order_of_their_scores(ensemble: Path) -> None:
    cases, scores = chosen(ensemble, "--count", "25")
    np.testing.assert_array_equal(cases, np.argsort(-scores, kind="stable"))
    per_cost = chosen(ensemble, "--count", "25", "--per-cost")[1]
    np.testing.assert_allclose(per_cost, scores / 24, rtol=1e-6)


def test_the_first_choice_by_a_risk_takes_the_most_from_its_variance_over_the_pool(ensemble: Path) -> None:
    cases, scores = chosen(ensemble, "--count", "3", "--score", "risk")
    assert cases[0] == np.argmax(scores)
    assert len(set(cases)) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "26"], r"--count: got 26, expected 1 to 25"),
        (["--count", "1", "--score", "risk", "--risk", "right"], r"--risk: got 'right', expected one of .*\['left'\]"),
        (["--count", "1", "--score", "badge", "--parameters", "noise"], r"--parameters: 'noise' fits none"),
        (["--count", "1", "--score", "lcmd", "--per-cost"], "--per-cost: a choice by lcmd is of a batch"),
    ],
)
def test_what_cannot_be_ranked_is_refused(ensemble: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        acquire.main([str(ensemble), str(ensemble.parent / "pool.npz"), *words])


def test_a_model_that_knows_no_doubt_is_refused_and_told_what_works(tmp_path: Path) -> None:
    path = smoothing.write_config(tmp_path, MORE.format(name="deterministic", statistic="share"))
    run = smoothing.write_run(tmp_path / "run", smoothing.opened(path))
    pool = str(tmp_path / "new.npz")
    with pytest.raises(InputError, match="no epistemic variance; expected one that has"):
        acquire.main([str(run), pool, "--count", "2"])
    with pytest.raises(InputError, match="the posterior draws no fields"):
        acquire.main([str(run), pool, "--count", "2", "--score", "risk"])
    assert acquire.main([str(run), pool, "--count", "2", "--score", "residual", "--out", str(tmp_path / "a.json")]) == 0
    assert len(json.loads((tmp_path / "a.json").read_text())["chosen"]) == 2
