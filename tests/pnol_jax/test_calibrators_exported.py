"""Every calibrator: written as arrays and plain data, read back, and inside an exported program that may be served."""

import json
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from pnol_jax.bases import Basis, make_operands, stack_operands
from pnol_jax.calibration import (
    CALIBRATORS,
    AdaptiveConformal,
    Asked,
    Calibrator,
    Chain,
    GroupConformal,
    LikelihoodRatio,
    NormBall,
    PitRecalibration,
    RegionScaling,
    RiskControl,
    SplitConformal,
    TemperatureScaling,
    VarianceScaling,
    WeightedConformal,
    calibrator_from_dict,
)
from pnol_jax.calibration.pit import KNOTS
from pnol_jax.errors import InputError
from pnol_jax.features import SpectralFeatures
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive
from pnol_jax.servable.program import flatten_operands, unflatten_operands
from pnol_jax.servable.stablehlo import check_module

BASES = (Basis("fourier", 8), Basis("cosine", 6))
GRID = Grid((Axis.uniform(10), Axis.uniform(9, "bounded", 2.0, "centre")))
BATCH = 3


def ratio() -> LikelihoodRatio:
    features = SpectralFeatures.make(BASES, (1.0, 2.0), np.zeros(2), np.ones(2))
    features = features.fitted(np.ones((4, *features.floor.shape)))
    rng = np.random.default_rng(0)
    return LikelihoodRatio.fit(features, *rng.normal(size=(2, 60, features.width)))


def made() -> list[Calibrator]:
    rng = np.random.default_rng(0)
    one, many = rng.exponential(size=(60, 1)), np.sort(rng.exponential(size=(60, 1000)), axis=1)
    floor = np.array([0.1, 0.2])
    return [
        VarianceScaling(jnp.asarray(2.5), 40),
        TemperatureScaling(jnp.asarray(1.5), "crps", 40),
        RegionScaling(jnp.asarray(rng.uniform(1, 2, (2, 3, 2))), 40),
        PitRecalibration.from_scores(np.tile(KNOTS > 0.3, (40, 1)).astype(float), 0.9),
        SplitConformal.from_scores(one, 0.9, "simultaneous", floor, "quantile"),
        RiskControl.from_scores(many, 0.8, "pointwise", 0.95, floor),
        GroupConformal.from_scores(one, rng.normal(size=60), 2, 0.8, "simultaneous", by="input", floor=floor),
        WeightedConformal.from_scores(many, rng.uniform(1, 2, 60), 0.8, "pointwise", ratio(), floor=floor),
        WeightedConformal.from_scores(one, np.ones(60), 0.8, "simultaneous", ratio(), modulation="unit"),
        AdaptiveConformal.from_scores(one, 0.9, 0.05, floor),
        NormBall.from_scores(one, 0.9, 0.1, floor),
        NormBall.from_scores(one, 0.9),
        Chain(
            (TemperatureScaling(jnp.asarray(1.5), "nll", 40), RiskControl.from_scores(one, 0.9, "simultaneous", 0.9))
        ),
    ]


def name(calibrator: Calibrator) -> str:
    return str(calibrator.guarantee["method"])


def asked_and_predicted() -> tuple[Asked, Predictive]:
    rng = np.random.default_rng(1)
    operands = stack_operands([make_operands(GRID, BASES)] * BATCH)
    mean, variance = (jnp.asarray(part, jnp.float32) for part in rng.uniform(1, 2, (2, BATCH, 10, 9, 2)))
    inputs = jnp.asarray(rng.normal(size=(BATCH, 10, 9, 2)), jnp.float32)
    return Asked(inputs, operands), Predictive(mean, variance, variance)


def test_every_calibrator_is_tried_here() -> None:
    assert {name(calibrator) for calibrator in made()} == {*CALIBRATORS, "chain"}


@pytest.mark.parametrize("calibrator", made(), ids=name)
def test_a_calibrator_says_what_it_promises_and_is_read_back(calibrator: Calibrator) -> None:
    arrays, metadata = calibrator.to_dict()
    plain = json.loads(json.dumps(metadata))
    again = calibrator_from_dict(arrays | {"other": jnp.ones(1)}, plain)
    assert again.guarantee == plain == metadata
    assert {"method", "level", "kind", "cases", "statement"} <= set(plain)
    assert (plain["level"] is None) == (plain["kind"] is None)
    asked, predictive = asked_and_predicted()
    for got, expected in zip(
        jax.tree.leaves(again(predictive, asked)), jax.tree.leaves(calibrator(predictive, asked)), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    for missing in arrays:
        with pytest.raises(InputError, match=r"got no array"):
            calibrator_from_dict({key: value for key, value in arrays.items() if key != missing}, plain)


@pytest.mark.parametrize("calibrator", made(), ids=name)
def test_an_exported_program_with_a_symbolic_batch_calibrates_as_the_model_does(calibrator: Calibrator) -> None:
    arrays, metadata = calibrator.to_dict()
    asked, predictive = asked_and_predicted()

    def program(weights: dict[str, Any], inputs: Any, operands: Any, mean: Any, variance: Any) -> dict[str, Any]:
        where = Asked(inputs, unflatten_operands(operands))
        answer = calibrator_from_dict(weights, metadata)(Predictive(mean, variance, variance), where)
        return {key: leaf for key, leaf in vars(answer).items() if leaf is not None}

    operands = flatten_operands(asked.grid)
    (batch,) = export.symbolic_shape("batch")

    def shape(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype)

    given = (asked.inputs, operands, predictive.mean, predictive.aleatoric)
    exported = export.export(jax.jit(program), platforms=["cpu", "cuda"])(arrays, *jax.tree.map(shape, given))
    check_module(exported.mlir_module_serialized, "here")
    expected = calibrator(predictive, asked)
    for key, leaf in exported.call(arrays, *given).items():
        np.testing.assert_allclose(leaf, getattr(expected, key), rtol=1e-5, atol=1e-5, err_msg=key)


def test_a_chain_promises_what_its_band_does_and_each_step_sees_those_before() -> None:
    scaling = TemperatureScaling(jnp.asarray(3.0), "crps", 50)
    band = SplitConformal(jnp.asarray(2.0), jnp.asarray(0.0), 0.9, "simultaneous", 60)
    asked, predictive = asked_and_predicted()
    both = Chain((scaling, band))
    lower, upper = both(predictive, asked).band
    np.testing.assert_allclose(upper - lower, 2 * 2 * 3 * predictive.std, rtol=1e-6)
    promised = both.guarantee
    assert promised["statement"] == band.guarantee["statement"]
    assert [step["method"] for step in promised["steps"]] == ["temperature_scaling", "split_conformal"]
    assert Chain((scaling,)).guarantee["level"] is None
    with pytest.raises(InputError, match="got none"):
        Chain(())
    with pytest.raises(InputError, match=r"calibration\.steps: got 3"):
        calibrator_from_dict(both.to_dict()[0], promised | {"steps": 3})


def test_plain_data_written_before_there_were_modulations_is_read() -> None:
    arrays, metadata = SplitConformal(jnp.asarray(1.7), jnp.asarray(0.0), 0.9, "pointwise", 40).to_dict()
    del metadata["modulation"]
    assert calibrator_from_dict(arrays, metadata).guarantee["modulation"] == "std"
    with pytest.raises(InputError, match="modulation: got 'wide', expected 'std' or 'unit' or 'quantile'"):
        calibrator_from_dict(arrays, metadata | {"modulation": "wide"})


def test_an_infinite_factor_is_no_bound_even_where_the_std_is_zero() -> None:
    _, predictive = asked_and_predicted()
    certain = replace(predictive, aleatoric=0 * predictive.mean, epistemic=0 * predictive.mean)
    band = AdaptiveConformal.from_scores(np.ones((9, 1)), 0.9, 0.5)
    lower, upper = band.band(certain, jnp.full(BATCH, 0.01)).band
    assert bool(jnp.all((upper == jnp.inf) & (lower == -jnp.inf)))
    assert bool(jnp.all(band.factor(jnp.asarray([1.0, 1.3])) == 0))
