"""The plan command: what it says fits, what it changes so that it does, and what it refuses."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from experiments.experiment import open_experiment
from experiments.planning import table
from experiments.planning.abstract import Compiled, abstract_state, kept
from experiments.planning.choose import SPARE, Choice, best
from experiments.planning.frugal import Ladder
from pnol_jax.config import ExperimentConfig
from pnol_jax.sharding.roofline import KINDS, Cost, predict
from pnol_jax.sharding.traffic import Collective
from pnol_jax.toml import load
from tests.experiments.test_train import CONFIG, _cases


@pytest.fixture
def config(tmp_path: Path) -> Path:
    _cases(tmp_path)
    path = tmp_path / "smoothing.toml"
    path.write_text(CONFIG.format(folder=tmp_path, steps=100))
    return path


def _plan(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.plan", str(config), *words]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


WIDE = "operator.width=16384"  # two kernels of 5 x 16384 x 2 x 16384 numbers, with two moments and an average


def test_what_needs_hundreds_of_gigabytes_is_said_with_the_largest_arrays_and_the_mesh_that_holds_it(
    config: Path,
) -> None:
    done = _plan(config, WIDE, "--devices", "1,8")
    assert done.returncode == 0, done.stderr
    assert "PREDICTED" in done.stdout
    assert re.search(r"│ 1 +│ the state does not fit", done.stdout)
    mesh = re.search(r"^8 devices: ((?:mesh\.\w+=\d+ ?)+)", done.stdout, re.M)
    assert mesh, done.stdout
    sizes = [int(word.split("=")[1]) for word in mesh[1].split()]
    assert jax.numpy.prod(jax.numpy.array(sizes)) == 8
    kernel = 5 * 16384 * 2 * 16384 * 4 / 1e9
    needs = re.search(r"one device, as it stands: needs (\d+) GB of 80 GB \(h100\): (\d+) GB of state", done.stdout)
    assert needs, done.stdout
    assert 1.5 * 8 * kernel > int(needs[2]) > 8 * kernel  # two such kernels, four copies, and smaller arrays
    assert f"Largest: operator.blocks.*.spectral.kernel (5, 16384, 2, 16384), 8 x {kernel:.3g} GB;" in done.stdout


def test_what_a_step_keeps_for_the_backward_pass_is_said_where_it_is_more_than_the_state(config: Path) -> None:
    experiment = open_experiment(load(config, ExperimentConfig, ["training.batch_size=4096", "operator.width=64"]))
    state, alone = abstract_state(experiment), Ladder(experiment).first
    assert alone.rest > 10 * alone.state
    said = table.too_large(experiment, state, alone, replace(KINDS["h100"], memory=alone.total / 2))
    forward = sum(array.total for array in kept(experiment))
    assert 0.5 * alone.rest < forward < alone.rest
    assert re.search(r"Largest: kept for the backward pass \(98304, 128\), 4 x 50.3 MB;", said), said


def test_what_a_step_keeps_is_of_a_part_of_the_batch_where_it_is_taken_in_parts(config: Path) -> None:
    whole, parts = (
        open_experiment(load(config, ExperimentConfig, ["training.batch_size=64", f"training.accumulate={n}"]))
        for n in (1, 4)
    )
    sums = [sum(array.total for array in kept(experiment)) for experiment in (whole, parts)]
    assert 3 * sums[1] < sums[0]


def test_where_no_number_of_devices_that_was_asked_for_holds_it_it_says_which_does(config: Path) -> None:
    done = _plan(config, WIDE, "--devices", "1")
    assert done.returncode == 1
    assert re.search(r"by estimate it fits on (\d+) devices: mesh\.", done.stdout)


def test_more_devices_that_are_no_faster_are_said_to_be_and_what_fits_by_how_much(config: Path) -> None:
    done = _plan(config, "--devices", "1,2")
    assert done.returncode == 0, done.stderr
    assert re.search(r"│ 1 +│ .*│ <1% +│", done.stdout), done.stdout
    assert "no faster than one device, by what is sent and waited for: 2 devices" in done.stdout


def test_more_devices_that_are_no_faster_than_fewer_are_said_to_be(config: Path) -> None:
    cost = Cost(flops=1e15, bytes=1.0, collectives=())
    sent = [Collective("all-reduce", size, 2, ("data",), 1) for size in (10**9, 10**12)]
    kind, settings = KINDS["h100"], load(config, ExperimentConfig)
    choices: dict[int, Choice | str] = {}
    for devices, collective in zip((2, 4), sent, strict=True):
        part = Cost(cost.flops / devices, 1.0, (collective,))
        choices[devices] = Choice({"data": devices}, Compiled(1, 1, part), predict(part, kind), {})
    said = table.no_faster(choices, Compiled(1, 1, cost), kind, settings)
    assert said.startswith("no faster than 2 devices, by what is sent and waited for: 4 devices")
    assert table._milliseconds(2.536) == "2,536"


@pytest.mark.slow
def test_what_does_not_fit_is_planned_with_layers_computed_again_and_the_batch_in_parts(config: Path) -> None:
    experiment = open_experiment(load(config, ExperimentConfig, ["training.batch_size=32"]))
    state, ladder = abstract_state(experiment), Ladder(experiment)
    rungs = [(changes, alone.total) for changes, _, alone in ladder]
    assert [changes for changes, _ in rungs] == [
        {},
        {"remat": "block"},
        {"remat": "full"},
        *({"remat": "full", "accumulate": parts} for parts in (2, 4, 8, 16, 32)),
    ]
    needs = [total for _, total in rungs]
    assert needs[0] > needs[2] > needs[4]
    for rung in (0, 2, 4):
        kind = replace(KINDS["h100"], memory=needs[rung] / SPARE + 1)
        choice = best(experiment, state, ladder, 1, kind)
        assert isinstance(choice, Choice)
        assert choice.compiled.total == needs[rung]
        assert choice.overrides == [f"training.{name}={value}" for name, value in rungs[rung][0].items()]
    assert best(experiment, state, ladder, 1, replace(KINDS["h100"], memory=1.0)) == "the state does not fit"


def test_figures_in_16_bits_are_said_to_be_those_of_32(config: Path) -> None:
    half, whole = (load(config, ExperimentConfig, [f"training.precision={name}"]) for name in ("bfloat16", "float32"))
    assert "counted in 32 bits" in table.widened(half)
    assert not table.widened(whole)


def test_what_cannot_be_planned_is_refused(config: Path) -> None:
    done = _plan(config, "--devices", "8,none")
    assert done.returncode == 2
    assert "--devices: got 8,none, expected numbers of at least 1" in done.stderr
    done = _plan(config, "--device-kind", "h1000")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "device kind: got 'h1000', expected one of h100, h200, a100" in done.stderr
