"""Both of our sides of the speed comparison compute the same function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.operator_sides import build
from benchmarks.peer_scripts.sizes import SIZES, Size

pytestmark = pytest.mark.slow

SMALL = {
    1: Size(points=(24,), modes=(10,), width=4, batch=2),
    2: Size(points=(16, 12), modes=(7, 8), width=4, batch=2),
    3: Size(points=(10, 9, 8), modes=(6, 5, 4), width=3, batch=2),
}


@pytest.mark.parametrize("size", SMALL.values(), ids=lambda size: f"{len(size.points)}d")
def test_the_operator_through_fft_is_the_same_function_with_the_same_gradient(size: Size, x64: None) -> None:
    (ours, grid), (fft, _) = build(size), build(size, through_fft=True)
    rng = np.random.default_rng(0)
    params = {name: jnp.asarray(rng.standard_normal(value.shape)) for name, value in ours.params.items()}
    inputs = jnp.asarray(rng.standard_normal((size.batch, *size.points, 1)))
    grid = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), grid)

    def total(side: object) -> object:
        return jax.jit(jax.value_and_grad(lambda p: jnp.sum(jnp.sin(side.apply(p, inputs, grid)))))(params)  # type: ignore[attr-defined]

    (value, gradient), (other, other_gradient) = total(ours), total(fft)  # type: ignore[misc]
    # operands are rounded to float32 once
    np.testing.assert_allclose(value, other, rtol=1e-4)
    for name, leaf in gradient.items():
        scale = float(jnp.abs(other_gradient[name]).max())
        np.testing.assert_allclose(leaf, other_gradient[name], atol=1e-4 * scale, err_msg=name)


def test_the_compared_operator_has_as_many_parameters_as_the_peer() -> None:
    operator, _ = build(SIZES["2d_64"])
    assert sum(value.size for value in operator.params.values()) == 4_469_601
