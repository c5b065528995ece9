"""Laplace on operators that are linear in their parameters, where Bayesian regression says what must come out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.posteriors.laplace import products
from pnol_jax.posteriors.laplace.evidence import Data, log_marginal, maximise
from pnol_jax.posteriors.laplace.products import Products
from tests.regression import (
    BASES,
    CONSTANTS,
    DEVIATION,
    OUTPUTS,
    POINTS,
    Regression,
    constants,
    grid,
    laplace,
    mean_and_jacobian,
    operands,
    problem,
    regression,
    with_vector,
)

EXACT = {"rtol": 1e-8, "atol": 1e-10}
PRIOR = 0.7
SCALE = CONSTANTS["normaliser.outputs.std"]
EVERY = np.arange(POINTS * OUTPUTS)
DETERMINED = 12  # parameters of the convolution that have an effect, of 14


def at_its_mode(made: Any, precision: float = PRIOR) -> tuple[Any, Regression]:
    """Parameters at the posterior's mean, and the regression that they solve."""
    params = made.initial(0) | constants()
    exact = regression(made, params, problem(), precision)
    return with_vector(made, params, exact.mean), exact


def ask(made: Any, fitted: Any, inputs: Any, there: Any, weights: Any, points: Any = EVERY, draws: int = 2) -> Any:
    """What a process says, as NumPy arrays: one program."""

    @jax.jit
    def answers(fitted: Any, inputs: Any, there: Any) -> dict[str, Any]:
        process = made.process(fitted, inputs, there)
        return {
            "mean": process.mean,
            "aleatoric": process.aleatoric,
            "variance": process.variance(),
            "samples": process.samples(jax.random.key(0), draws),
            "covariance": process.covariance(jnp.asarray(points)),
            "functional": process.functional(jnp.asarray(weights)),
        }

    return jax.tree.map(np.asarray, answers(fitted, jnp.asarray(inputs), there))


def weights_of(n: int = POINTS, functionals: int = 3) -> Any:
    return np.random.default_rng(2).standard_normal((functionals, n, OUTPUTS))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("operator", "structure"),
    [
        ("fno", "full"),
        ("fno", "kronecker"),
        ("deeponet", "low_rank"),
        ("convolution", "full"),
        ("convolution", "low_rank"),
    ],
)
def test_on_a_linear_operator_laplace_is_exact_bayesian_regression(operator: str, structure: str) -> None:
    """Mean, covariance, marginal likelihood, functionals; of low rank at the whole rank."""
    made = laplace(operator, structure=structure, rank=32 if operator == "deeponet" else DETERMINED)
    params, exact = at_its_mode(made)
    fitted = made.fit(params, problem().batches(size=2))
    np.testing.assert_allclose(fitted["laplace.log_marginal"], exact.log_marginal, **EXACT)

    inputs, weights = np.random.default_rng(1).standard_normal((2, POINTS, 1)), weights_of()
    mean, J = mean_and_jacobian(made, params, inputs)
    mean, J = mean.reshape(2, -1), J.reshape(2, EVERY.size, -1) * np.tile(SCALE, POINTS)[:, None]
    mean = mean * np.tile(SCALE, POINTS) + np.tile(CONSTANTS["normaliser.outputs.mean"], POINTS)
    covariance = J @ exact.covariance @ np.swapaxes(J, 1, 2)
    found = ask(made, fitted, inputs, operands(), weights)
    np.testing.assert_allclose(found["mean"].reshape(2, -1), mean, **EXACT)
    np.testing.assert_allclose(found["covariance"], covariance, **EXACT)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    np.testing.assert_allclose(found["variance"].reshape(2, -1), variance, **EXACT)

    flat = (weights * grid().weights()[:, None]).reshape(3, -1)
    noise = np.tile(DEVIATION**2 * SCALE**2, POINTS)
    np.testing.assert_allclose(found["functional"][0], mean @ flat.T, **EXACT)
    np.testing.assert_allclose(found["functional"][1], np.tile(np.square(flat) @ noise, (2, 1)), **EXACT)
    np.testing.assert_allclose(found["functional"][2], np.einsum("kp,bpq,kq->bk", flat, covariance, flat), **EXACT)


@pytest.mark.usefixtures("x64")
def test_predict_is_the_process_with_its_noise() -> None:
    made = laplace("convolution")
    fitted = made.fit(made.initial(0) | constants(), problem().batches())
    inputs = jnp.asarray(problem().inputs)
    predictive = jax.jit(made.predict, static_argnums=4)(fitted, inputs, operands(), jax.random.key(0), 4000)
    process = ask(made, fitted, inputs, operands(), weights_of())
    np.testing.assert_allclose(predictive.mean, process["mean"], **EXACT)
    np.testing.assert_allclose(predictive.epistemic, process["variance"], **EXACT)
    np.testing.assert_allclose(predictive.aleatoric, np.broadcast_to((DEVIATION * SCALE) ** 2, process["mean"].shape))
    np.testing.assert_allclose(predictive.samples.var(0), predictive.variance, rtol=6 * (2 / 4000) ** 0.5)


@pytest.mark.usefixtures("x64")
def test_the_head_of_the_noise_has_no_part_in_the_mean() -> None:
    """Its entries are left out, and a constant head is as good as a given variance."""
    plain, head = laplace(), laplace(heteroscedastic=True, noise="trained")
    params, exact = at_its_mode(plain)
    kernel, bias = (params[f"operator.projection.second.{name}"] for name in ("kernel", "bias"))
    softplus = np.log(np.expm1(DEVIATION**2 - 1e-8))
    doubled = {
        "operator.projection.second.kernel": jnp.concatenate([kernel, jnp.zeros_like(kernel)], 1),
        "operator.projection.second.bias": jnp.concatenate([bias, jnp.full(2, softplus)]),
    }
    fitted = head.fit(params | doubled, problem().batches())
    assert head.subset.size == 2 * plain.subset.size == 2 * fitted["laplace.index"].size
    np.testing.assert_allclose(fitted["laplace.log_marginal"], exact.log_marginal, **EXACT)


def marginal(exact: Regression, precision: Any, gamma: float) -> float:
    return Regression(exact.jacobian, exact.target, gamma * exact.variance, precision).log_marginal


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("structure", "groups"), [("full", 1), ("full", 2), ("low_rank", 2)])
def test_the_evidence_is_greatest_where_it_says(structure: str, groups: int) -> None:
    """At the mode for the prior and noise found, the exact marginal likelihood of these is stationary."""
    made = laplace("convolution", structure=structure, rank=DETERMINED)
    params, exact = at_its_mode(made)
    found = made._decompose(params | {"noise.variance": jnp.full(OUTPUTS, DEVIATION**2)}, problem().batches())
    J, group = exact.jacobian[:, found["index"].astype(int)], np.arange(DETERMINED) % groups
    spectrum, _, (_, count, constant) = made.structure.spectrum(found, group, groups), found.pop("active"), found["fit"]
    draws = np.random.default_rng(5)
    target = J @ draws.standard_normal(DETERMINED) + DEVIATION * draws.standard_normal(len(J))
    precision, gamma = np.full(groups, PRIOR), 1.0
    for _ in range(200):  # the mode moves with them
        theta = Regression(J, target, gamma * exact.variance, precision[group]).mean
        residual = np.sum(np.square(target - J @ theta) / exact.variance)
        data = Data(residual, count, constant, np.bincount(group, theta**2))
        best = maximise(spectrum, data, None, noise=True)
        precision, gamma = best.precision, best.gamma
    reduced = Regression(J, target, exact.variance, np.ones(DETERMINED))
    here = marginal(reduced, precision[group], gamma)
    np.testing.assert_allclose([best.log_marginal, log_marginal(spectrum, data, precision, gamma)], here, rtol=1e-8)
    for factor in (1 - 1e-3, 1 + 1e-3):
        assert marginal(reduced, precision[group], gamma * factor) < here
        for moved in range(groups):
            assert marginal(reduced, precision[group] * np.where(group == moved, factor, 1), gamma) < here


@pytest.mark.usefixtures("x64")
def test_a_layer_has_a_prior_of_its_own_where_that_is_asked_for() -> None:
    made = laplace(parameters="all", structure="diagonal", prior="layerwise", prior_precision="evidence", probes=8)
    fitted = made.fit(made.initial(0) | constants(), problem().batches())
    layers = {name.rpartition(".")[0] for name in made.subset.shapes}
    assert len(np.unique(fitted["laplace.prior_precision"])) == len(layers)


@pytest.mark.usefixtures("x64")
def test_variance_falls_as_one_over_the_number_of_cases() -> None:
    """And as one over the observations that each is worth: the points of the grid, if nothing else is said."""
    variances = {}
    for observations in ("points", EVERY.size, EVERY.size / 2):
        made = laplace("convolution", prior_precision=1e-9, observations=observations)
        params, inputs = made.initial(0) | constants(), problem().inputs
        for repeat in (1, 4) if observations == "points" else (1,):
            fitted = made.fit(params, problem().batches(repeat=repeat))
            found = ask(made, fitted, inputs, operands(), weights_of())
            variances[observations, repeat] = found["variance"], found["functional"][1]
    once, noise = variances["points", 1]
    np.testing.assert_allclose(variances["points", 4][0], once / 4, rtol=1e-6)
    np.testing.assert_allclose(variances["points", 4][1], noise, rtol=1e-12)
    for factor in (1, 2):
        for found, expected in zip(variances[EVERY.size / factor, 1], (once, noise), strict=True):
            np.testing.assert_allclose(found, factor * expected, rtol=1e-6)


def waves(n: int) -> Any:
    """Two input functions in the span of the basis, on a grid of n points."""
    x = 2 * np.pi * np.arange(n) / n
    return np.stack([np.sin(x), np.cos(2 * x + 1) + 0.5])[..., None]


@pytest.mark.usefixtures("x64")
def test_a_fine_prediction_restricted_to_the_coarse_grid_is_the_coarse_one() -> None:
    """On a grid three times as fine every third point is the same: moments, draws, covariances, functionals."""
    made = laplace("convolution")
    fitted = made.fit(made.initial(0) | constants(), problem().batches())
    asked = []
    for factor in (1, 3):
        n = factor * POINTS
        points = np.arange(n * OUTPUTS).reshape(n, OUTPUTS)[::factor].ravel()
        weights = np.broadcast_to(waves(n)[:1], (1, n, OUTPUTS))
        asked.append(ask(made, fitted, waves(n), operands(n), weights, points))
    coarse, fine = asked
    for name in ("mean", "variance", "samples"):
        np.testing.assert_allclose(fine[name][..., ::3, :], coarse[name], **EXACT, err_msg=name)
    np.testing.assert_allclose(fine["covariance"], coarse["covariance"], **EXACT)
    for number, factor in enumerate((1, 3, 1)):  # of the noise there are three times as many observations
        np.testing.assert_allclose(factor * fine["functional"][number], coarse["functional"][number], **EXACT)


@pytest.mark.usefixtures("x64")
def test_two_grids_and_two_inputs_have_a_covariance_too() -> None:
    made = laplace("convolution")
    fitted = made.fit(made.initial(0) | constants(), problem().batches())
    coarse, fine = (made.process(fitted, jnp.asarray(waves(n)), operands(n)) for n in (POINTS, 3 * POINTS))
    points = np.arange(3 * POINTS * OUTPUTS).reshape(-1, OUTPUTS)[::3].ravel()
    across = jax.jit(lambda: fine.covariance(jnp.asarray(points), coarse, jnp.asarray(EVERY)))()
    within = ask(made, fitted, waves(POINTS), operands(), weights_of())["covariance"]
    np.testing.assert_allclose(across, within, **EXACT)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("structure", ["full", "low_rank", "kronecker", "diagonal"])
def test_draws_have_the_covariance_that_is_stated(structure: str) -> None:
    made, n = laplace("convolution", structure=structure, rank=6), 20_000
    fitted = made.fit(made.initial(0) | constants(), problem().batches())
    found = ask(made, fitted, waves(POINTS)[:1], operands(), weights_of(), draws=n)
    stated, draws = found["covariance"][0], found["samples"].reshape(n, -1)
    np.testing.assert_allclose(np.diag(stated), found["variance"].ravel(), **EXACT)
    np.testing.assert_array_less(np.abs(draws.mean(0) - found["mean"].ravel()), 5 * np.sqrt(np.diag(stated) / n))
    error = np.sqrt((np.outer(np.diag(stated), np.diag(stated)) + np.square(stated)) / n)
    assert np.abs((np.cov(draws.T) - stated) / error).max() < 5


@pytest.mark.usefixtures("x64")
def test_padding_and_operands_per_case_change_nothing() -> None:
    made, plain = laplace("convolution", structure="kronecker"), problem()
    params, inputs, weights = made.initial(0) | constants(), plain.inputs, weights_of()
    bucket = stack_operands([make_operands(grid(), BASES, (POINTS + 2,), "float64")] * len(inputs))

    def padded(field: Any, value: float) -> Any:
        return np.pad(field, [(0, 0), (0, 2), (0, 0)], constant_values=value)

    def batches() -> Any:
        (one,) = plain.batches()()
        return [one._replace(batch=type(one.batch)(*(padded(field, 7.0) for field in one.batch)), grid=bucket)]

    fitted, again = made.fit(params, plain.batches()), made.fit(params, batches)
    np.testing.assert_allclose(again["laplace.log_marginal"], fitted["laplace.log_marginal"], **EXACT)
    expected = ask(made, fitted, inputs, operands(), weights)
    found = ask(made, again, padded(inputs, 7.0), bucket, padded(weights, 3.0))
    for name in ("mean", "variance"):
        np.testing.assert_allclose(found[name][:, :POINTS], expected[name], **EXACT)
    for a, b in zip(found["functional"], expected["functional"], strict=True):
        np.testing.assert_allclose(a, b, **EXACT)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("each", [False, True], ids=["shared grid", "grid per case"])
def test_curvature_is_the_same_in_whatever_pieces_it_is_computed(each: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cases together; in three parts, so that columns fit into memory; by rows, where those of one case do not."""
    made, (one,) = laplace("convolution"), problem().batches()()
    one = one._replace(grid=stack_operands([one.grid] * len(one.mask))) if each else one
    params = made.initial(0) | constants() | {"noise.variance": jnp.full(OUTPUTS, 0.5)}
    index = np.flatnonzero(np.r_[1:5, 0, 1, 1])
    found = []
    for budget in (2**28, 2 * 8 * index.size * EVERY.size, 1):
        monkeypatch.setattr(products, "BUDGET", budget)
        noise = params["noise.variance"]
        given = Products(made.moments, made.subset, "points", noise, params, lambda: [one], index.astype(np.int32))
        found.append(given.gram())
    for gram, fit in found[1:]:
        np.testing.assert_allclose(gram, found[0][0], **EXACT)
        np.testing.assert_allclose(fit, found[0][1], **EXACT)


@pytest.mark.usefixtures("x64")
def test_of_a_trajectory_the_map_to_the_next_step_is_fitted() -> None:
    made, plain = laplace("convolution"), problem()
    (one,) = plain.batches()()
    later = jnp.stack([one.batch.outputs, 9 + one.batch.outputs], axis=1)
    params = made.initial(0) | constants()
    fitted = made.fit(params, plain.batches())
    again = made.fit(params, lambda: [one._replace(batch=one.batch._replace(outputs=later))])
    for name in ("laplace.log_marginal", "laplace.root.root"):
        np.testing.assert_array_equal(again[name], fitted[name])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("structure", ["diagonal", "kronecker"])
def test_random_signs_stand_for_what_is_too_many(structure: str) -> None:
    """The curvature of 1,000 random vectors is that of all directions to 5%; of one it is not."""
    exact, sampled, one = (
        laplace("convolution", structure=structure, exact=exact, probes=probes, prior_precision=0.1)
        for exact, probes in ((4096, 64), (1, 1000), (1, 1))
    )
    params = exact.initial(0) | constants()
    variance = []
    for made in (exact, sampled, one):
        fitted = made.fit(params, problem().batches())
        variance.append(ask(exact, fitted, problem().inputs, operands(), weights_of())["variance"])
    apart = [np.abs(found / variance[0] - 1).mean() for found in variance[1:]]
    assert apart[0] < 0.05
    assert apart[1] > 0.1


@pytest.mark.usefixtures("x64")
def test_a_variance_of_too_many_directions_is_near_the_exact_one() -> None:
    """Of 87 parameters 60 random directions have a standard error of at most sqrt(2 / 60)."""
    few, every = (laplace("deeponet", parameters="all", structure="diagonal", probes=probes) for probes in (60, 4096))
    fitted = few.fit(few.initial(0) | constants(), problem().batches())
    found = [ask(each, fitted, problem().inputs[:1], operands(), weights_of())["variance"] for each in (few, every)]
    assert 0 < np.abs(found[0] / found[1] - 1).max() < 5 * (2 / 60) ** 0.5


def test_what_cannot_work_is_refused_with_what_would() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"exact": 10}, "a matrix of 18 x 18 numbers.*'low_rank', 'kronecker' or 'diagonal'.*'last_layer'"),
        ({"parameters": "*.lastlayer.*"}, "fits no parameter.*operator"),
        ({"structure": "low_rank", "rank": 19}, "got 19, expected at most 18"),
        ({"heteroscedastic": True}, "has a head for it"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            laplace(**options)


@pytest.mark.usefixtures("x64")
def test_weights_that_fit_no_field_are_refused() -> None:
    made = laplace("convolution")
    fitted = made.fit(made.initial(0) | constants(), problem().batches())
    with pytest.raises(InputError, match=r"weights of shape \(1, 3, 2\), expected \(functionals, 7, 2\)"):
        made.functional(fitted, jnp.asarray(problem().inputs), operands(), jnp.ones((1, 3, 2)))
