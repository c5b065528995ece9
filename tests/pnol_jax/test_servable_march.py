"""What a servable steps is what the library marches, and its products are with the mean's own Jacobian."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from msgspec import structs
from numpy.typing import NDArray

from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.servable import Servable, case_keys, crop, flatten_operands, load_servable, pad
from tests import heat, marching

POINTS, BUCKET, STEPS, SEED = 13, (16,), 5, 7
CLOSE = 1e-5  # float32: some hundred roundings of values of order one
GRID = heat.grid(POINTS)


@pytest.fixture(scope="module")
def servable(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return load_servable(marching.write(tmp_path_factory.mktemp("models")))


def padded() -> list[Any]:
    """Inputs and operands of one case in the bucket."""
    operands = make_operands(GRID, marching.signature(1).bases(), BUCKET)
    return [pad(marching.first(POINTS), BUCKET)[None], flatten_operands(stack_operands([operands]))]


def random(*channels: int) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal((POINTS, n)).astype(np.float32) for n in channels]


def product(servable: Servable, kind: Any, field: NDArray[Any]) -> dict[str, NDArray[Any]]:
    arrays = servable.compile(BUCKET, kind, 1)(*padded(), pad(field, BUCKET)[None])
    return {name: crop(array[0], GRID.shape) for name, array in arrays.items()}


def mean(inputs: Any) -> jax.Array:
    """The library's, on the grid itself."""
    operands = stack_operands([make_operands(GRID, marching.signature(1).bases())])
    weights: Any = heat.weights(1)
    return marching.predict(weights, inputs[None], operands, jax.random.key(0)).mean[0]


def test_steps_of_a_padded_grid_are_the_march_of_the_grid_itself(servable: Servable) -> None:
    program = servable.compile(BUCKET, "step", 1)
    state = np.broadcast_to(marching.first(POINTS)[:, :1], (heat.NUM_SAMPLES, POINTS, 1))
    bases = servable.manifest.signature.bases()
    expected = marching.marched(marching.first(POINTS), make_operands(GRID, bases), SEED, 0, STEPS)
    assert np.ptp(expected[-1], axis=0).min() > 10 * CLOSE  # draws differ
    for number in range(STEPS):
        found = program(*padded(), case_keys(SEED, 1, number), pad(state, BUCKET)[None])
        state = crop(found["states"][0], GRID.shape)
        np.testing.assert_allclose(state, expected[number], atol=CLOSE)
        mean, std = (crop(found[f"states.{name}"][0], GRID.shape) for name in ("mean", "std"))
        np.testing.assert_allclose(mean, expected[number].mean(axis=0), atol=CLOSE)
        np.testing.assert_allclose(std, expected[number].std(axis=0, ddof=1), atol=CLOSE)


def test_products_are_those_of_the_mean_of_the_library(servable: Servable) -> None:
    tangent, cotangent = random(2, 1)
    expected, along = jax.jvp(mean, (marching.first(POINTS),), (tangent,))
    back = jax.vjp(mean, marching.first(POINTS))[1](cotangent)[0]
    forward, reverse = product(servable, "jvp", tangent), product(servable, "vjp", cotangent)
    for found in (forward, reverse):
        np.testing.assert_allclose(found["mean"], expected, atol=CLOSE)
    np.testing.assert_allclose(forward["jvp"], along, atol=CLOSE)
    np.testing.assert_allclose(reverse["vjp"], back, atol=CLOSE)
    one, other = np.vdot(cotangent, forward["jvp"]), np.vdot(reverse["vjp"], tangent)
    np.testing.assert_allclose(one, other, atol=POINTS * CLOSE)


def test_a_product_is_the_limit_of_differences(servable: Servable) -> None:
    """Of the second order; 1e-2 leaves their error and what rounding divided by it does about equal."""
    (tangent,), step = random(2), 1e-2
    inputs = marching.first(POINTS)
    difference = (mean(inputs + step * tangent) - mean(inputs - step * tangent)) / (2 * step)
    np.testing.assert_allclose(product(servable, "jvp", tangent)["jvp"], difference, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"advance": None}, "got 6 draws without `advance`"),
        ({"num_samples": 1}, "got 1 draws with `advance`, expected it and at least 2"),
    ],
)
def test_what_cannot_march_is_not_written(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        marching.write(tmp_path, **changes)


def test_a_signature_of_steps_is_that_of_a_step_model() -> None:
    known = marching.signature(1)
    for changes in ({"time_step": None}, {"inputs": known.inputs[::-1]}):
        with pytest.raises(InputError, match="got 'step', expected a time step, and inputs that begin"):
            structs.replace(known, **changes)
