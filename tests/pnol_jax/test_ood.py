"""Strange inputs: the alarm's rate is that which is stated, shifts are found, another resolution is none."""

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy import stats

from pnol_jax.bases import Basis, GridOperands, make_operands, stack_operands
from pnol_jax.calibration import Asked
from pnol_jax.data.simulators.random_fields import random_function
from pnol_jax.errors import InputError
from pnol_jax.features import SpectralFeatures
from pnol_jax.grids import Axis, Grid
from pnol_jax.ood import Components, Detector, FeatureGaussian, auroc, least_for, shrunk
from pnol_jax.predictive import Predictive
from pnol_jax.servable.program import flatten_operands, unflatten_operands
from pnol_jax.servable.stablehlo import check_module

Fields = tuple[jax.Array, GridOperands]
FALSE_ALARM = 0.05


def darcy(seed: int, cases: int, n: int = 16, tau: float = 3.0, high: float = 12.0, low: float = 3.0) -> Fields:
    """Permeabilities as the Darcy simulator draws them, with another contrast or correlation length."""
    rng, grid = np.random.default_rng(seed), Grid((Axis.uniform(n, "bounded", 1.0, "centre"),) * 2)
    fields = np.stack([random_function(rng, grid.axes, 16, 1.0, tau, 2.0) for _ in range(cases)])
    values = jnp.asarray(np.where(fields >= 0, high, low)[..., None], jnp.float32)
    return values, make_operands(grid, (Basis("padded", 12),) * 2)


def forcing(seed: int, cases: int, n: int = 64, sigma: float = 1.0, tau: float = 5.0) -> Fields:
    """Smooth periodic forcings in one dimension, stronger or of another correlation length."""
    rng, grid = np.random.default_rng(seed), Grid((Axis.uniform(n),))
    fields = np.stack([random_function(rng, grid.axes, 16, 25 * sigma, tau, 2.0) for _ in range(cases)])
    return jnp.asarray(fields[..., None], jnp.float32), make_operands(grid, (Basis("fourier", 24),))


def predicted(inputs: jax.Array) -> Predictive:
    """A model whose epistemic variance grows with its inputs."""
    return Predictive(jnp.sin(inputs), 0 * inputs, 1e-3 * (1 + jnp.square(inputs)))


def components(draw: Callable[..., Fields], bases: tuple[Basis, ...]) -> Components:
    inputs, grid = draw(0, 300)
    parts = []
    for field in (inputs, predicted(inputs).mean):
        features = SpectralFeatures.make(bases, (1.0,) * len(bases), np.array([field.mean()]), np.array([field.std()]))
        features = features.fitted(np.asarray(jax.jit(features.power)(field, grid)))
        parts.append((features, FeatureGaussian.fit(np.asarray(jax.jit(features.__call__)(field, grid)))))
    (given, known), (made, seen) = parts
    return Components(given, made, known, seen, epistemic=True)


@pytest.fixture(scope="module", params=["darcy", "forcing"])
def detected(request: pytest.FixtureRequest) -> tuple[str, Detector, Callable[..., Any]]:
    draw = darcy if request.param == "darcy" else forcing
    found = components(draw, (Basis("padded", 12),) * 2 if draw is darcy else (Basis("fourier", 24),))
    measure = jax.jit(lambda inputs, grid: found(predicted(inputs), Asked(inputs, grid)))
    detector = Detector.calibrate(found, np.asarray(measure(*draw(1, 200))), FALSE_ALARM)
    strangeness = jax.jit(lambda inputs, grid: detector(predicted(inputs), Asked(inputs, grid)))
    return request.param, detector, lambda seed, **shift: np.asarray(strangeness(*draw(seed, 200, **shift)))


SHIFTS: dict[str, list[dict[str, float]]] = {
    "darcy": [{"high": 15.0}, {"low": 1.0}, {"tau": 12.0}],
    "forcing": [{"sigma": 2.5}, {"tau": 1.0}, {"tau": 25.0, "sigma": 5.0}],
}


def test_contrast_forcing_and_correlation_length_are_found(detected: Any) -> None:
    name, _, strangeness = detected
    usual = strangeness(2)
    for shift in SHIFTS[name]:
        found = strangeness(3, **shift)
        assert auroc(usual, found) > 0.95, shift
        assert np.mean(found >= 1 - FALSE_ALARM) > 0.5, shift


def test_new_cases_and_another_resolution_are_not_strange(detected: Any) -> None:
    name, _, strangeness = detected
    allowed = FALSE_ALARM + 3 * np.sqrt(FALSE_ALARM / 200) + 0.02  # 200 new cases; 100 that were ranked
    usual = strangeness(4)
    assert np.mean(usual >= 1 - FALSE_ALARM) < allowed
    for n in (24, 32, 48) if name == "darcy" else (32, 96):
        other = strangeness(5, n=n)
        assert np.mean(other >= 1 - FALSE_ALARM) < allowed
        assert 0.4 < auroc(usual, other) < 0.6


@pytest.mark.parametrize("ties", [False, True])
def test_a_false_alarm_over_many_calibration_sets_is_as_rare_as_stated(ties: bool) -> None:
    rng, rate, cases, alarms = np.random.default_rng(0), 0.1, 80, []
    blank: Any = None
    for _ in range(1000):
        rows = rng.exponential(size=(cases + 20, 2))
        rows = rows.round() if ties else rows
        detector = Detector.calibrate(blank, rows[:cases], rate)
        score = np.max((rows[cases:] - np.asarray(detector.centre)) / np.asarray(detector.scale), axis=1)
        ends = np.append(np.asarray(detector.scores), detector.scores[-1] + 0.25)
        alarms.append(np.interp(score, ends, np.arange(detector.cases + 1) / (detector.cases + 1)) >= 1 - rate)
    share = np.mean(alarms)
    error = 3 * np.std(np.mean(alarms, axis=1)) / np.sqrt(1000)
    assert share <= rate + error
    assert ties or share > rate - 2 / 60 - error  # one rank for the new case, one for being continuous


def test_the_number_is_a_continuous_p_value() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 1))
    detector = Detector.calibrate(None, rows, 0.1)  # type: ignore[arg-type]
    at = jnp.linspace(-8, 8, 20001)
    found = np.asarray(detector.strangeness(at))
    assert found[0] == 0
    assert found[-1] == pytest.approx(detector.cases / (detector.cases + 1))
    assert np.all(np.diff(found) >= 0)
    step = 1 - (1 + np.sum(np.asarray(detector.scores) >= np.asarray(at)[:, None], axis=1)) / (detector.cases + 1)
    assert np.all(found <= step + 1e-6)
    assert np.all(found >= step - 1 / (detector.cases + 1) - 1e-6)
    assert float(detector.strangeness(jnp.asarray([jnp.nan]))[0]) == found[-1]


@pytest.mark.parametrize(("rate", "least"), [(0.05, 29), (0.1, 19), (0.01, 109)])
def test_too_few_cases_are_refused_by_the_number_that_is_needed(rate: float, least: int) -> None:
    assert least_for(rate) == least
    rows = np.random.default_rng(0).normal(size=(least, 1))
    assert Detector.calibrate(None, rows, rate).cases >= round(1 / rate) - 1  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"got {least - 1} cases, expected at least {least}, for a false alarm rate"):
        Detector.calibrate(None, rows[1:], rate)  # type: ignore[arg-type]


def test_padding_and_operands_per_case_change_nothing(detected: Any) -> None:
    _, detector, _ = detected
    draw = darcy if len(detector.components.inputs.band) > 50 else forcing
    inputs, grid = draw(7, 6)
    measure = jax.jit(detector.components.__call__)
    expected = measure(predicted(inputs), Asked(inputs, grid))
    bases = (Basis("padded", 12),) * 2 if inputs.ndim == 4 else (Basis("fourier", 24),)
    axes = (Axis.uniform(16, "bounded", 1.0, "centre"),) * 2 if inputs.ndim == 4 else (Axis.uniform(64),)
    wide = [(0, 0), *[(0, 5)] * len(axes), (0, 0)]
    padded = jnp.pad(inputs, wide)
    operands = make_operands(Grid(axes), bases, tuple(axis.n + 5 for axis in axes))
    got = measure(predicted(padded), Asked(padded, stack_operands([operands] * 6)))
    np.testing.assert_allclose(got, expected, atol=2e-3)


def test_a_detector_is_read_back_and_exported(detected: Any) -> None:
    name, detector, _ = detected
    arrays, metadata = detector.to_dict()
    plain = json.loads(json.dumps(metadata))
    assert Detector.from_dict(arrays, plain).guarantee == plain
    assert plain["components"] == ["input_spectrum", "input_neighbours", "output_spectrum", "epistemic"]
    inputs, grid = (darcy if name == "darcy" else forcing)(7, 3)
    grid = stack_operands([grid] * 3)

    def program(weights: Any, inputs: jax.Array, operands: Any) -> jax.Array:
        return Detector.from_dict(weights, plain)(predicted(inputs), Asked(inputs, unflatten_operands(operands)))

    (batch,) = export.symbolic_shape("batch")
    given = (inputs, flatten_operands(grid))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype), given)
    exported = export.export(jax.jit(program), platforms=["cpu", "cuda"])(arrays, *shapes)
    check_module(exported.mlir_module_serialized, "here")
    expected = jax.jit(detector.__call__)(predicted(inputs), Asked(inputs, grid))
    np.testing.assert_allclose(exported.call(arrays, *given), expected, atol=1e-3)
    with pytest.raises(InputError, match=r"no array 'inputs\.band'"):
        Detector.from_dict({}, plain)


def test_the_area_under_the_curve_is_the_statistic_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=80).round(1), (rng.normal(size=50) + 0.5).round(1)
    expected = stats.mannwhitneyu(second, first).statistic / (80 * 50)
    assert auroc(first, second) == pytest.approx(expected)
    assert auroc(first, first) == pytest.approx(0.5)
    assert auroc([0.0, 1.0], [2.0]) == 1
    with pytest.raises(InputError, match="not numbers"):
        auroc([np.nan], [1.0])
    with pytest.raises(InputError, match="at least one"):
        auroc([], [1.0])


def test_the_shrunk_covariance_is_that_of_ledoit_and_wolf() -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    rows = np.random.default_rng(0).normal(size=(60, 12)) @ np.random.default_rng(1).normal(size=(12, 12))
    rows -= rows.mean(axis=0)
    theirs = covariance.LedoitWolf(assume_centered=True).fit(rows).covariance_
    np.testing.assert_allclose(shrunk(rows), theirs, rtol=1e-10)
    assert np.linalg.cond(shrunk(np.ones((5, 12)))) < 1e5
