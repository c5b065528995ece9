"""Quantiles, intervals and the shapes of a predictive."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pnol_jax.errors import InputError
from pnol_jax.predictive import Predictive

SHAPE = (2, 5, 3)


def gaussian(seed: int = 0) -> Predictive:
    rng = np.random.default_rng(seed)
    mean, aleatoric, epistemic = rng.normal(size=SHAPE), rng.uniform(0.1, 2, SHAPE), rng.uniform(0.1, 2, SHAPE)
    return Predictive(jnp.asarray(mean), jnp.asarray(aleatoric), jnp.asarray(epistemic))


def sampled(m: int) -> Predictive:
    samples = np.random.default_rng(m).normal(size=(m, *SHAPE))
    return Predictive(jnp.zeros(SHAPE), jnp.ones(SHAPE), jnp.zeros(SHAPE), samples=jnp.asarray(samples))


@pytest.mark.usefixtures("x64")
def test_variances_add_and_quantiles_are_those_of_the_normal() -> None:
    predictive = gaussian()
    np.testing.assert_allclose(predictive.std**2, predictive.aleatoric + predictive.epistemic, rtol=1e-14)
    shares = np.array([0.001, 0.05, 0.5, 0.7, 0.999])
    expected = [stats.norm.ppf(q, predictive.mean, predictive.std) for q in shares]
    np.testing.assert_allclose(predictive.quantile(shares), expected, rtol=1e-10)
    np.testing.assert_allclose(predictive.quantile(0.7), expected[3], rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_an_interval_holds_its_level_of_the_normal() -> None:
    predictive = gaussian()
    lower, upper = predictive.interval(0.9)
    inside = stats.norm.cdf(upper, predictive.mean, predictive.std) - stats.norm.cdf(
        lower, predictive.mean, predictive.std
    )
    np.testing.assert_allclose(inside, 0.9, rtol=1e-12)
    np.testing.assert_allclose((lower + upper) / 2, predictive.mean, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("m", [1, 2, 4, 9])
@pytest.mark.usefixtures("x64")
def test_the_kth_of_m_samples_is_the_quantile_of_k_over_m_plus_one(m: int) -> None:
    predictive = sampled(m)
    assert predictive.samples is not None
    ordered = np.sort(predictive.samples, axis=0)
    for k in range(1, m + 1):
        np.testing.assert_allclose(predictive.quantile(k / (m + 1)), ordered[k - 1], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(predictive.quantile(1e-6), ordered[0])
    np.testing.assert_array_equal(predictive.quantile(1 - 1e-6), ordered[-1])


@pytest.mark.usefixtures("x64")
def test_sample_quantiles_do_not_depend_on_the_order_and_are_nested() -> None:
    predictive = sampled(9)
    assert predictive.samples is not None
    mixed = Predictive(predictive.mean, predictive.aleatoric, predictive.epistemic, predictive.samples[::-1])
    outer, inner = predictive.interval(0.8), predictive.interval(0.5)
    np.testing.assert_array_equal(outer, mixed.interval(0.8))
    assert np.all(outer[0] < inner[0])
    assert np.all(inner[1] < outer[1])


@pytest.mark.parametrize("predictive", [gaussian(), sampled(5)], ids=["gaussian", "samples"])
def test_intervals_compile_with_a_traced_level(predictive: Predictive) -> None:
    compiled = jax.jit(lambda p, level: p.interval(level))(predictive, 0.8)
    np.testing.assert_allclose(compiled, predictive.interval(0.8), rtol=1e-6, atol=1e-6)


def test_it_is_a_tree_through_vmap_and_maps_to_what_is_no_array() -> None:
    def predict(shift: jax.Array) -> Predictive:
        like = sampled(4)
        assert like.samples is not None
        return Predictive(like.mean + shift, like.aleatoric, like.epistemic, like.samples + shift)

    members = jax.vmap(predict)(jnp.arange(7.0))
    assert members.mean.shape == (7, *SHAPE)
    assert members.samples is not None
    assert members.samples.shape == (7, 4, *SHAPE)
    assert jax.tree.map(lambda leaf: leaf.sharding, members).lower is None
    assert jax.eval_shape(predict, 0.0).mean.shape == SHAPE


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"aleatoric": jnp.ones((2, 5, 1))}, r"aleatoric: got shape \(2, 5, 1\), expected \(2, 5, 3\)"),
        ({"samples": jnp.ones(SHAPE)}, r"samples: got shape \(2, 5, 3\), expected \(num_samples, batch, 5, 3\)"),
        ({"lower": jnp.ones(SHAPE)}, "one end of a band"),
        ({"lower": jnp.ones(SHAPE), "upper": jnp.ones((1, 5, 3))}, "upper: got shape"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(parts: dict[str, Any], message: str) -> None:
    whole = {name: jnp.ones(SHAPE) for name in ("mean", "aleatoric", "epistemic")}
    with pytest.raises(InputError, match=message):
        Predictive(**(whole | parts))


def test_no_band_and_no_such_level_are_refused() -> None:
    with pytest.raises(InputError, match="no band"):
        _ = gaussian().band
    for level in (0, 1.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            gaussian().interval(level)
