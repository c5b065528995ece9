"""A trained run gets another calibration without training, and is then what it would have been."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments import lock, model, recalibrate, train
from experiments.experiment import open_experiment
from experiments.runs import load_model, read_config
from pnol_jax.errors import InputError
from tests.experiments.test_train import CONFIG, _cases

OTHER = ["calibration.level=0.8", "calibration.kind='pointwise'", "ood.false_alarm=0.2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the config, its data, and a run of it."""
    folder = tmp_path_factory.mktemp("recalibrated")
    _cases(folder)
    (folder / "config.toml").write_text(CONFIG.format(folder=folder, steps=20))
    train.main([str(folder / "config.toml"), "--run", str(folder / "run")])
    return folder


def files(run: Path) -> dict[str, bytes]:
    """Of a run all but the lock, in which the last one to hold it says who it was."""
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != lock.FILE}


def test_a_run_that_is_refused_stays_as_it_was(folder: Path) -> None:
    before = files(folder / "run")
    for words, message in {
        (
            "training.steps=30",
            "calibration.level=0.8",
        ): "another training than .* was trained with; expected changes in",
        ("data.calibration=10",): "another data than",
        ("calibration.level=0.99",): "got 20 cases, expected at least 99",
        ("calibration.levels=0.8",): "levels",
    }.items():
        with pytest.raises(InputError, match=message):
            recalibrate.main([str(folder / "run"), *words])
    assert files(folder / "run") == before
    with pytest.raises(InputError, match=f"holds no run.*; runs there: {folder / 'run'}"):
        recalibrate.main([str(folder / "none")])
    assert not (folder / "none").exists()


def test_a_calibration_that_fails_loses_no_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = folder / "failed"

    def fails(*_: object) -> None:
        raise InputError("not with these cases")

    with monkeypatch.context() as patch:
        patch.setattr(train, "calibrate", fails)
        with pytest.raises(InputError, match="not with these cases"):
            train.main([str(folder / "config.toml"), "--run", str(run)])
    experiment = open_experiment(read_config(run))
    with pytest.raises(InputError, match=r"its calibration has not finished; python -m experiments\.recalibrate"):
        model.load_model(run, experiment)
    recalibrate.main([str(run)])
    assert model.load_model(run, experiment).guarantee == model.load_model(folder / "run", experiment).guarantee


def test_other_data_is_refused(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "other").mkdir()
    _cases(tmp_path / "other", cases=61)
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace(f"{folder}/train.npz", f"{tmp_path}/other/train.npz"))
    before = files(run)
    with pytest.raises(InputError, match="the files are not those that it was trained on"):
        recalibrate.main([str(run)])
    assert files(run) == before


def test_a_recalibrated_run_is_the_one_that_was_trained_so(folder: Path) -> None:
    trained = folder / "trained"
    train.main([str(folder / "config.toml"), "--run", str(trained), *OTHER])
    recalibrate.main([str(folder / "run"), *OTHER])
    assert read_config(folder / "run") == read_config(trained)
    for name in ("calibration.json", "ood.json"):
        assert (folder / "run" / name).read_bytes() == (trained / name).read_bytes()
    found, expected = load_model(folder / "run"), load_model(trained)
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
