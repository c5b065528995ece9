"""The simulate command: deterministic, several grids, read back by the config that it prints, clear refusals."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from experiments import simulate
from experiments.experiment import open_experiment
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError
from pnol_jax.toml import parse

BURGERS = ["burgers", "--points", "16,32", "resolution=32", "steps=3", "substeps=10", "modes=6"]


def test_the_printed_section_reads_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "burgers"
    assert simulate.main([*BURGERS, "--cases", "4", "--out", str(out)]) == 0
    tree = tomllib.loads(capsys.readouterr().out)
    tree |= {"name": "burgers", "operator": {"name": "fno", "modes": [8], "width": 4, "depth": 1}}
    experiment = open_experiment(parse(tree, ExperimentConfig, "config"))
    assert [part.grid.shape for part in experiment.train.groups] == [(16,), (32,)]
    coarse, fine = (part.outputs[:] for part in experiment.train.groups)
    np.testing.assert_array_equal(coarse, fine[:, :, ::2])
    about = json.loads((out / "about.json").read_text())
    assert about["parameters"]["steps"] == 3
    assert about["seed"] == 0
    assert about["versions"]["exponax"]


def test_a_case_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    for name, cases, seed in (("few", 2, 1), ("many", 5, 1), ("other", 2, 2)):
        simulate.main(
            ["darcy", "--cases", str(cases), "--points", "9", "--seed", str(seed), "--out", str(tmp_path / name)]
        )
    few, many, other = (np.load(tmp_path / name / "9x9" / "pressure.npy") for name in ("few", "many", "other"))
    np.testing.assert_array_equal(few, many[:2])
    assert not np.allclose(few, other)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["burgers", "viscosty=1"], "unknown key 'viscosty'; did you mean 'viscosity'"),
        (["burgers", "viscosity=-1.0"], "viscosity"),
        (["burgers", "steps=many"], "steps"),
        (["darcy", "--cases", "0"], "got 0 cases"),
        (["darcy", "permeability=three-valued"], "permeability"),
        (["burgers", "--points", "33"], "case 0: points: got 33, expected a divisor"),
    ],
)
def test_wrong_words_are_refused_and_nothing_is_written(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate.main([*words, "--out", str(tmp_path / "set")])
    assert not list(tmp_path.iterdir())


def test_where_there_is_no_terminal_a_line_a_minute_says_how_many_cases_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.jobs.pool.EVERY", 0.001)
    simulate.main(["darcy", "--cases", "20", "--points", "33", "--out", str(tmp_path / "set")])
    assert re.search(r"^33 points a side: \d+ of 20 cases$", capsys.readouterr().err, re.M)


@pytest.mark.parametrize("words", [["--cases", "3"], ["--cases", "3", "--shard-size", "2"]])
def test_a_finished_set_is_said_to_be_and_of_how_many_cases(tmp_path: Path, words: list[str]) -> None:
    out = ["darcy", "--points", "9", "--out", str(tmp_path / "set")]
    simulate.main([*out, *words])
    with pytest.raises(InputError, match="set is finished with 3 cases; expected another --out"):
        simulate.main([*out, "--cases", "5"])


def test_an_existing_set_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="something already"):
        simulate.main(["darcy", "--out", str(tmp_path)])
